package ext

import (
	"sync"

	"godax/dax"
	"godax/pmem"
)

// blocks returns the run of blocks that starts at lblk, at most n long. With create
// a hole there is filled, and stores to the run have room.
//
// Locks: takes mu.
func (in *inode) blocks(lblk, n uint64, create bool) (run, error) {
	in.mu.RLock()
	x, err := in.bmap.lookup(lblk, n)
	in.mu.RUnlock()
	if err != nil || !create {
		return x, err
	}
	if x.pblk != 0 {
		return in.fs.roomFor(x)
	}
	in.mu.Lock()
	x, err = in.bmap.allocate(lblk, x.n)
	in.mu.Unlock()
	if err != nil || x.new {
		return x, err
	}
	return in.fs.roomFor(x) // somebody else was first
}

// blocksFor is the number of blocks that a file of the given size spans.
func (in *inode) blocksFor(size int64) uint64 {
	return (uint64(size) + uint64(in.fs.sb.BlockSize) - 1) >> in.fs.sb.BlockShift
}

// allocateBytes gives every block of a range storage. ENOSPC can leave part of it
// done.
func (in *inode) allocateBytes(off, n int64) error {
	_, err := in.allocatePrefix(off, n)
	return err
}

// allocatePrefix is allocateBytes that says how many bytes have got storage.
func (in *inode) allocatePrefix(off, n int64) (int64, error) {
	if n <= 0 {
		return 0, nil
	}
	bs := in.fs.blockSize()
	for at, end := uint64(off/bs), uint64((off+n-1)/bs)+1; at < end; {
		x, err := in.blocks(at, end-at, true)
		if err != nil {
			return max(int64(at)*bs-off, 0), err
		}
		at += x.n
	}
	return n, nil
}

// eachBlock calls do for each block of a cached page, with its part of the page's
// bytes, of which there can be fewer than a page.
func (fl *file) eachBlock(page uint64, b []byte, do func(lblk uint64, b []byte) error) error {
	bs := int(fl.fs.blockSize())
	lblk := page * uint64(pmem.PageSize/bs)
	for ; len(b) > 0; lblk++ {
		n := min(bs, len(b))
		if err := do(lblk, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// readBlock fills b, which is zero, from the start of a block.
func (fl *file) readBlock(lblk uint64, b []byte) error {
	x, err := fl.blocks(lblk, 1, false)
	if err != nil || x.pblk == 0 {
		return err
	}
	src, err := fl.fs.st.view(fl.fs.blockOff(x.pblk), int64(len(b)))
	copy(b, src)
	return err
}

// writeBlock stores b at the start of a block. A hole stays one if b is all zeros: a
// cached page can have parts that were never allocated.
func (fl *file) writeBlock(lblk uint64, b []byte) error {
	x, err := fl.blocks(lblk, 1, !isZero(b))
	if err != nil || x.pblk == 0 {
		return err
	}
	off := fl.fs.blockOff(x.pblk)
	dst, err := fl.fs.st.target(off, int64(len(b)))
	if err != nil {
		return err
	}
	copy(dst, b)
	return fl.fs.dev.Flush(off, int64(len(b)))
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// WriteCached puts a dirty cached page back into its blocks.
func (fl *file) WriteCached(page uint64, b []byte) error {
	return fl.eachBlock(page, b, fl.writeBlock)
}

// frames is where the cached pages of one file system live, made when first needed.
type frames struct {
	mu sync.Mutex
	f  *dax.Frames
}

// Limits of cached pages: clean ones in use before the oldest are given up, and how much
// of the device's size, plus a fixed part, all together can take.
const (
	defaultCacheBytes = 64 << 20
	cacheSlack        = 256 << 20
)

// get returns the frames; nil if there is no memory for them, and then files cannot
// have cached pages.
func (fr *frames) get(f *FS) *dax.Frames {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	if fr.f == nil {
		limit := f.cacheBytes
		if limit <= 0 {
			limit = defaultCacheBytes
		}
		fr.f, _ = dax.NewFrames(limit, limit+f.st.size+cacheSlack)
	}
	return fr.f
}

func (fr *frames) close() error {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	if fr.f == nil {
		return nil
	}
	return fr.f.Close()
}
