package axfs

import (
	"fmt"
	"sync"

	"godax/fs/axfs/internal/format"
)

// cblockCache keeps the blocks that were inflated last, since neighbours are asked for
// next. A block is inflated by one, and whoever needs it meanwhile waits.
//
// Locks: see the package comment.
type cblockCache struct {
	fs    *FS
	limit int       // blocks to keep; more only while more are used at a time
	pool  sync.Pool // of *[]byte with room for a whole block

	mu       sync.Mutex // guards what follows, and cblock.refs and used
	blocks   map[uint64]*cblock
	clock    uint64
	inflated uint64 // how often a block was inflated
}

// cblock is an inflated block. buf, n and err are immutable once ready is closed.
type cblock struct {
	ready chan struct{}
	buf   *[]byte
	n     int // bytes it has
	err   error
	refs  int
	used  uint64 // the clock when it was asked for last
}

// maxCblocks bounds how many blocks are kept, however small they are.
const maxCblocks = 64

func (c *cblockCache) init(f *FS) {
	c.fs = f
	size := int64(f.sb.CblockSize)
	c.limit = int(max(min(f.cacheBytes/8/size, maxCblocks), 1))
	c.blocks = make(map[uint64]*cblock)
	c.pool.New = func() any {
		b := make([]byte, size)
		return &b
	}
}

// use calls f with the bytes of an inflated block, which must not be kept. Errors: those
// of f, vfs.ErrCorrupt, those of the devices. A block that cannot be inflated is not
// kept, so that nobody is given what its buffer had before.
func (c *cblockCache) use(n uint64, f func(block []byte) error) error {
	b, mine := c.get(n)
	defer c.put(b)
	if mine {
		c.fill(n, b)
	}
	<-b.ready
	if b.err != nil {
		return b.err
	}
	return f((*b.buf)[:b.n])
}

// get returns a block with a reference. It is the caller's to fill if it is new.
func (c *cblockCache) get(n uint64) (b *cblock, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	if b = c.blocks[n]; b == nil {
		b, mine = &cblock{ready: make(chan struct{})}, true
		if len(c.blocks) >= c.limit {
			c.dropLocked()
		}
		c.blocks[n] = b
	}
	b.refs++
	b.used = c.clock
	return b, mine
}

// dropLocked forgets the block that was not asked for longest, of those that nobody
// uses.
func (c *cblockCache) dropLocked() {
	var oldest *cblock
	var at uint64
	for n, b := range c.blocks {
		if b.refs == 0 && (oldest == nil || b.used < oldest.used) {
			oldest, at = b, n
		}
	}
	if oldest != nil {
		delete(c.blocks, at)
		c.pool.Put(oldest.buf)
	}
}

// put gives a reference back.
func (c *cblockCache) put(b *cblock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.refs--
}

// fill inflates a new block.
func (c *cblockCache) fill(n uint64, b *cblock) {
	buf := c.pool.Get().(*[]byte)
	size, err := c.fs.inflateBlock(*buf, n)
	c.mu.Lock()
	c.inflated++
	if b.buf, b.n, b.err = buf, size, err; err != nil {
		delete(c.blocks, n) // who comes now tries again
		c.pool.Put(buf)
	}
	c.mu.Unlock()
	close(b.ready)
}

// inflateBlock inflates block n into b, which has the size of the largest, and returns
// how many bytes the block has.
func (f *FS) inflateBlock(b []byte, n uint64) (int, error) {
	structure := fmt.Sprintf("cblock %d", n)
	start, err := f.at(format.CblockOffset, n)
	if err != nil {
		return 0, fmt.Errorf("axfs: %s: %w", structure, err)
	}
	end, err := f.at(format.CblockOffset, n+1)
	switch {
	case err != nil || n+1 == 0:
		return 0, format.Corrupt(structure, -1, "cnode_index", n, fmt.Sprintf("there are %d cblocks", f.tables[format.CblockOffset].Len()-1))
	case start > end || end > f.compressed.size:
		return 0, format.Corrupt(structure, -1, "cblock_offset", start, fmt.Sprintf("ends at %d, compressed has %d bytes", end, f.compressed.size))
	case end-start > maxStream(len(b)):
		return 0, format.Corrupt(structure, -1, "cblock_offset", start, fmt.Sprintf("stream of %d bytes for at most %d", end-start, len(b)))
	}
	stream, err := f.compressed.bytes(start, end-start)
	if err != nil {
		return 0, err
	}
	size, err := inflate(b, stream)
	if err != nil {
		return 0, format.Corrupt(structure, int64(f.compressed.off+start), "cblock_size", uint64(len(b)), err.Error())
	}
	return size, nil
}

// maxStream is how many bytes a zlib stream of n bytes can have: more than any deflate
// makes of them.
func maxStream(n int) uint64 { return uint64(n + n/7 + 64) }
