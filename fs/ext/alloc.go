package ext

import (
	"syscall"

	"godax/internal/extfmt"
	"godax/pmem"
)

// Placement. The aim is that large files can be mapped in 2 MiB pages: block
// l of a file lies at a block p with p = l modulo the chunk (2 MiB). So the space is
// seen as chunks. A file that is or gets large takes whole free chunks; everything
// small, and that is the first megabyte of a file that grows slowly, directories,
// indirect and attribute blocks, goes where a chunk is in use already, and
// breaks a new one only if there is none.

// chunkBlocks is the number of blocks of a chunk: 2 MiB of blocks that can be
// mapped; fewer of the smaller ones, which cannot, and only profit from being together.
func (f *FS) chunkBlocks() uint64 {
	if f.blockSize() == pmem.PageSize {
		return 2 << 20 / pmem.PageSize
	}
	return 64
}

// smallWindow is how many blocks behind a small allocation are kept for the file.
const smallWindow = 16

// allocData finds and marks up to want contiguous blocks for the file's blocks
// from lblk on, zeroes and flushes them. They are not linked to anything yet. ahead, at
// least want, is how many blocks the file is about to need there.
// Errors: ENOSPC if there is no block at all, or no room underneath for one.
//
// Locks: in.mu exclusive.
func (in *inode) allocData(lblk, want, ahead uint64) (pblk, n uint64, err error) {
	f := in.fs
	if pblk, n, err = in.place(lblk, want, ahead); err != nil {
		return 0, 0, err
	}
	if n, err = in.makeRoom(pblk, n, in.pieceFor(lblk, ahead)); isFull(err) {
		in.dropWindow()
		pblk, n, err = f.placeInRoom(in.homeGroup(), want, err)
	}
	if err != nil {
		return 0, 0, err
	}
	if err = f.zeroData(pblk, n); err != nil {
		_ = f.freeRun(in.name(), pblk, n) // the first error counts
		return 0, 0, err
	}
	return pblk, n, nil
}

// allocMeta is allocData for one block that is not part of a file's data: an
// indirect, directory or attribute block. It is near the inode's other small things.
func (in *inode) allocMeta() (pblk uint64, err error) {
	f := in.fs
	pblk, _, err = f.findSmall(in.homeGroup(), 1, nil)
	if err != nil {
		return 0, err
	}
	if _, err = in.makeRoom(pblk, 1, noPiece); isFull(err) {
		pblk, _, err = f.placeInRoom(in.homeGroup(), 1, err)
	}
	if err != nil {
		return 0, err
	}
	if err = f.zeroData(pblk, 1); err != nil {
		_ = f.freeRun(in.name(), pblk, 1) // the first error counts
		return 0, err
	}
	return pblk, nil
}

// homeGroup is the group of the inode.
func (in *inode) homeGroup() uint32 { return (in.ino - 1) / in.fs.sb.InodesPerGroup }

// place marks the best run it finds for lblk and its successors, at most want.
func (in *inode) place(lblk, want, ahead uint64) (pblk, n uint64, err error) {
	f := in.fs
	if p, room := in.window.at(lblk); room > 0 {
		if n, err := f.takeAt(p, min(want, room), in.window); n > 0 || err != nil {
			return p, n, err
		}
	}
	chunk := f.chunkBlocks()
	// What follows the chunk has a place of its own.
	want = min(want, chunk-lblk%chunk)
	if lblk >= chunk || ahead >= chunk/2 {
		if pblk, n, err = in.placeLarge(lblk, want); n > 0 || err != nil {
			return pblk, n, err
		}
	}
	if goal, ok, err := in.goal(lblk); err != nil {
		return 0, 0, err
	} else if ok {
		if n, err := f.takeAt(goal, want, in.window); n > 0 || err != nil {
			return goal, n, err
		}
	}
	in.dropWindow()
	pblk, n, err = f.findSmall(in.homeGroup(), want, nil)
	if err == nil && in.isType(extfmt.ModeFile) {
		in.window = f.reserveAfter(lblk+n, pblk+n, smallWindow)
	}
	return pblk, n, err
}

// goal is the block right behind the file's previous one.
func (in *inode) goal(lblk uint64) (pblk uint64, ok bool, err error) {
	if lblk == 0 {
		return 0, false, nil
	}
	r, err := in.bmap.lookup(lblk-1, 1)
	if err != nil || r.pblk == 0 {
		return 0, false, err
	}
	return r.pblk + 1, true, nil
}

// placeLarge places a block of a large file in the chunk that its neighbours are in,
// or in a free chunk. It returns n = 0 if that is not possible.
func (in *inode) placeLarge(lblk, want uint64) (pblk, n uint64, err error) {
	f := in.fs
	chunk := f.chunkBlocks()
	start := lblk - lblk%chunk
	// Blocks of the same chunk of the file that lie in their place show where the
	// others belong.
	for at := start; at < start+chunk; {
		r, err := in.bmap.lookup(at, start+chunk-at)
		if err != nil {
			return 0, 0, err
		}
		if r.pblk%chunk == at%chunk && r.pblk != 0 {
			p := r.pblk - at%chunk + lblk%chunk
			n, err := f.takeAt(p, want, in.window)
			return p, n, err
		}
		if r.pblk != 0 {
			return 0, 0, nil // not aligned, and so the rest need not be
		}
		at += r.n
	}
	w, err := f.findChunk(in.chunkGoal(start), start)
	if w == nil || err != nil {
		return 0, 0, err
	}
	in.dropWindow()
	in.window = w
	p, _ := w.at(lblk)
	n, err = f.takeAt(p, want, w)
	return p, n, err
}

// chunkGoal is the block where the chunk of the file before start ends, or the
// start of the inode's group.
func (in *inode) chunkGoal(start uint64) uint64 {
	if p, ok, err := in.goal(start); err == nil && ok {
		return p
	}
	return in.fs.groups[in.homeGroup()].first
}

// Release implements [vfs.Releaser]: nobody has the file open to make it grow.
func (in *inode) Release() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.dropWindow()
}

// dropWindow gives the inode's window back.
//
// Locks: in.mu exclusive.
func (in *inode) dropWindow() {
	w := in.window
	if w == nil {
		return
	}
	in.window = nil
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	w.group.dropLocked(w)
}

// takeAt marks the free blocks from exactly pblk on, at most want, up to the end of
// the group. n is 0 if pblk is not free, or kept for somebody else.
func (f *FS) takeAt(pblk, want uint64, own *window) (n uint64, err error) {
	if pblk < uint64(f.sb.FirstDataBlock) || pblk >= f.sb.BlocksCount {
		return 0, nil
	}
	g := f.groupOf(pblk)
	g.mu.Lock()
	defer g.mu.Unlock()
	bm, err := f.blockBitmap(g)
	if err != nil {
		return 0, err
	}
	from := uint32(pblk - g.first)
	to := uint32(min(uint64(g.blocks), uint64(from)+want))
	n = uint64(nextBit(bm, from, to, true) - from)
	if n, _ = g.clipLocked(pblk, n, own); n == 0 {
		return 0, nil
	}
	return n, f.takeLocked(g, pblk, n)
}

// takeLocked marks free blocks of g as used.
func (f *FS) takeLocked(g *group, pblk, n uint64) error {
	if !f.isData(pblk, n) {
		f.failed.Store(true)
		return extfmt.Corrupt("block bitmap", f.blockOff(g.BlockBitmap), "block", pblk, "metadata marked as free")
	}
	if err := f.st.putBits(f.blockOff(g.BlockBitmap), uint32(pblk-g.first), uint32(n), true); err != nil {
		return err
	}
	return f.addFreeLocked(g, -int64(n))
}

func (f *FS) blockBitmap(g *group) ([]byte, error) {
	return f.st.view(f.blockOff(g.BlockBitmap), f.blockSize())
}

// findChunk makes a window of a wholly free chunk, for the file's chunk that starts
// at lblk. It looks at goal first, then in goal's group and those behind it. The
// window is nil if there is none.
func (f *FS) findChunk(goal, lblk uint64) (*window, error) {
	first := uint32(0)
	if goal >= uint64(f.sb.FirstDataBlock) && goal < f.sb.BlocksCount {
		first = uint32((goal - uint64(f.sb.FirstDataBlock)) / uint64(f.sb.BlocksPerGroup))
	}
	for i := range f.sb.Groups {
		g := &f.groups[(first+i)%f.sb.Groups]
		from := g.first
		if i == 0 {
			from = goal
		}
		for _, at := range [...]uint64{from, g.first} {
			if w, err := f.chunkIn(g, at, lblk); w != nil || err != nil {
				return w, err
			}
		}
	}
	return nil, nil
}

// chunkIn looks for a free chunk of g from the block at on.
func (f *FS) chunkIn(g *group, at, lblk uint64) (*window, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	chunk := f.chunkBlocks()
	if g.noChunk || uint64(g.free) < chunk {
		return nil, nil
	}
	bm, err := f.blockBitmap(g)
	if err != nil {
		return nil, err
	}
	end := g.first + uint64(g.blocks)
	for p := (at + chunk - 1) / chunk * chunk; p < end && chunk <= end-p; p += chunk {
		from := uint32(p - g.first)
		if nextBit(bm, from, from+uint32(chunk), true) != from+uint32(chunk) {
			continue
		}
		if n, _ := g.clipLocked(p, chunk, nil); n == chunk && f.isData(p, chunk) {
			return g.reserveLocked(lblk, p, chunk), nil
		}
	}
	if at == g.first {
		g.noChunk = true
	}
	return nil, nil
}

// reserveAfter makes a window of up to n free blocks from exactly pblk on, in the
// same chunk; nil if there are none.
func (f *FS) reserveAfter(lblk, pblk, n uint64) *window {
	if pblk >= f.sb.BlocksCount || pblk%f.chunkBlocks() == 0 {
		return nil
	}
	n = min(n, f.chunkBlocks()-pblk%f.chunkBlocks())
	g := f.groupOf(pblk)
	g.mu.Lock()
	defer g.mu.Unlock()
	bm, err := f.blockBitmap(g)
	if err != nil {
		return nil // only a wish
	}
	from := uint32(pblk - g.first)
	to := uint32(min(uint64(g.blocks), uint64(from)+n))
	n = uint64(nextBit(bm, from, to, true) - from)
	if n, _ = g.clipLocked(pblk, n, nil); n == 0 {
		return nil
	}
	return g.reserveLocked(lblk, pblk, n)
}

// findSmall marks up to want contiguous blocks, in group home or behind it: in a
// chunk in use, else in any; shorter runs only if there is none of want blocks, and
// windows of others last.
func (f *FS) findSmall(home uint32, want uint64, own *window) (pblk, n uint64, err error) {
	want = min(want, f.chunkBlocks())
	for _, least := range [...]uint64{want, 1} {
		for i := range f.sb.Groups {
			pblk, n, err = f.smallIn(&f.groups[(home+i)%f.sb.Groups], least, want, own)
			if n > 0 || err != nil {
				return pblk, n, err
			}
		}
	}
	if f.dropWindows() {
		return f.findSmall(home, want, own)
	}
	return 0, 0, syscall.ENOSPC
}

// dropWindows takes all windows away from their files, and reports whether there were
// any. The files notice when they find the blocks in use.
func (f *FS) dropWindows() (any bool) {
	for i := range f.groups {
		g := &f.groups[i]
		g.mu.Lock()
		if len(g.windows) > 0 {
			any, g.windows, g.noChunk = true, nil, false
		}
		g.mu.Unlock()
	}
	return any
}

// smallIn marks the first run of least to want free blocks in a chunk of g that is
// partly in use, or else the first run.
func (f *FS) smallIn(g *group, least, want uint64, own *window) (pblk, n uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if uint64(g.free) < least {
		return 0, 0, nil
	}
	bm, err := f.blockBitmap(g)
	if err != nil {
		return 0, 0, err
	}
	chunk := f.chunkBlocks()
	var second, secondN uint64
	for from := nextBit(bm, 0, g.blocks, false); from < g.blocks; {
		b := g.first + uint64(from)
		inChunk := min(uint64(g.blocks-from), chunk-b%chunk)
		run := uint64(nextBit(bm, from, from+uint32(inChunk), true) - from)
		k, skip := g.clipLocked(b, run, own)
		switch {
		case skip > b:
			from = nextBit(bm, min(uint32(skip-g.first), g.blocks), g.blocks, false)
			continue
		case k >= least && k < chunk:
			n = min(k, want)
			return b, n, f.takeLocked(g, b, n)
		case k >= least && secondN == 0:
			second, secondN = b, min(k, want)
		}
		from = nextBit(bm, from+uint32(max(k, 1)), g.blocks, false)
	}
	if secondN == 0 {
		return 0, 0, nil
	}
	return second, secondN, f.takeLocked(g, second, secondN)
}

// freeRun gives n blocks back. Nothing leads to them any more. A block that is free
// already, or cannot be a file's, is vfs.ErrCorrupt, and the file system stays
// marked as not clean.
func (f *FS) freeRun(owner string, pblk, n uint64) error {
	if err := f.checkData(owner, pblk, n); err != nil {
		return err
	}
	for n > 0 {
		g := f.groupOf(pblk)
		k := min(n, g.first+uint64(g.blocks)-pblk)
		if err := f.freeIn(g, owner, pblk, k); err != nil {
			return err
		}
		pblk, n = pblk+k, n-k
	}
	return nil
}

// freeIn is freeRun inside one group.
func (f *FS) freeIn(g *group, owner string, pblk, n uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	bm, err := f.blockBitmap(g)
	if err != nil {
		return err
	}
	from := uint32(pblk - g.first)
	if bit := nextBit(bm, from, from+uint32(n), false); bit != from+uint32(n) {
		f.failed.Store(true)
		return extfmt.Corrupt(owner, -1, "block", g.first+uint64(bit), "is to be freed and is free already")
	}
	if err := f.st.putBits(f.blockOff(g.BlockBitmap), from, uint32(n), false); err != nil {
		return err
	}
	g.noChunk = false
	return f.addFreeLocked(g, int64(n))
}
