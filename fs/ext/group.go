package ext

import (
	"slices"
	"sync"

	"godax/internal/extfmt"
)

// group is a block group: where its tables are, and what is free in it. The
// bitmaps themselves are on the medium only.
type group struct {
	extfmt.Group        // places; its counts are those at mount
	desc         int64  // device offset of the descriptor
	first        uint64 // first block of the group
	blocks       uint32
	superEnd     uint64 // first block behind the copies of superblock and descriptors

	mu         sync.Mutex
	free       uint32 // free blocks
	freeInodes uint32
	dirs       uint32
	noChunk    bool      // no whole chunk is free; reset when a block is freed
	windows    []*window // kept for files that grow; by place, apart from each other
}

// window is a run of free blocks that one inode keeps in memory for its growth:
// lblk of the file would go to pblk. Others leave it alone until nothing else is left.
type window struct {
	lblk, pblk, n uint64
	group         *group
}

// at returns the place for block lblk of the file and how many follow it.
func (w *window) at(lblk uint64) (pblk, n uint64) {
	if w == nil || lblk < w.lblk || lblk-w.lblk >= w.n {
		return 0, 0
	}
	d := lblk - w.lblk
	return w.pblk + d, w.n - d
}

// groupOf returns the group that a block inside the file system lies in.
func (f *FS) groupOf(b uint64) *group {
	return &f.groups[(b-uint64(f.sb.FirstDataBlock))/uint64(f.sb.BlocksPerGroup)]
}

// isData reports whether all of the n blocks at b may belong to files: they exist,
// and are none of the superblocks, descriptors, bitmaps and inode tables.
func (f *FS) isData(b, n uint64) bool {
	if b < uint64(f.sb.FirstDataBlock) || b >= f.sb.BlocksCount || n > f.sb.BlocksCount-b {
		return false
	}
	for n > 0 {
		g := f.groupOf(b)
		k := min(n, g.first+uint64(g.blocks)-b)
		end := b + k
		overlap := func(at, n uint64) bool { return at < end && b < at+n }
		if b < g.superEnd || overlap(g.BlockBitmap, 1) || overlap(g.InodeBitmap, 1) ||
			overlap(g.InodeTable, uint64(f.sb.ITableBlocks)) {
			return false
		}
		b, n = end, n-k
	}
	return true
}

// checkData is isData as an error, after which the file system does not become clean
// again without a check. owner says whose block it is.
func (f *FS) checkData(owner string, b, n uint64) error {
	if f.isData(b, n) {
		return nil
	}
	f.failed.Store(true)
	return extfmt.Corrupt(owner, -1, "block", b, "not a block that a file can have")
}

// addFreeLocked changes the group's count of free blocks, here and on the medium.
func (f *FS) addFreeLocked(g *group, d int64) error {
	g.free = uint32(min(max(int64(g.free)+d, 0), int64(g.blocks)))
	f.freeBlocks.Add(d)
	return f.st.put16(g.desc+extfmt.GroupFreeBlocks, uint16(g.free))
}

// reserveLocked makes a window of blocks of g, which are free and in nobody's window.
func (g *group) reserveLocked(lblk, pblk, n uint64) *window {
	w := &window{lblk: lblk, pblk: pblk, n: n, group: g}
	g.windows = slices.Insert(g.windows, g.firstEndingLocked(pblk), w)
	return w
}

// dropLocked forgets a window, if it is still there.
func (g *group) dropLocked(w *window) {
	if i := g.firstEndingLocked(w.pblk); i < len(g.windows) && g.windows[i] == w {
		g.windows = slices.Delete(g.windows, i, i+1)
		g.noChunk = false
	}
}

// firstEndingLocked is the index of the first window that ends behind block b.
func (g *group) firstEndingLocked(b uint64) int {
	i, _ := slices.BinarySearchFunc(g.windows, b, func(w *window, b uint64) int {
		if w.pblk+w.n <= b {
			return -1
		}
		return 1
	})
	return i
}

// clipLocked returns how many of the n blocks at b come before somebody else's
// window; 0 and the window's end if b lies in one.
func (g *group) clipLocked(b, n uint64, own *window) (k, skip uint64) {
	for _, w := range g.windows[g.firstEndingLocked(b):] {
		switch {
		case w.pblk >= b+n:
			return n, 0
		case w == own:
		case w.pblk > b:
			return w.pblk - b, 0
		default:
			return 0, w.pblk + w.n
		}
	}
	return n, 0
}
