package ext

import (
	"errors"
	"syscall"

	"godax/internal/extfmt"
)

// Room underneath. A block that is free in the image may be a hole of the image file, and
// the disk with that file may be full. Blocks are given room when they are taken, before
// anything is stored to them; if there is none they go back, and the caller has
// ENOSPC as if the file system were full. Blocks that are freed keep their room.
//
// What is in use has room, unless the image was copied with holes for its zeros, or
// made by another program. So a write asks also for blocks that exist (inode.blocks),
// and every store to metadata does (store.target).

// Sizes in bytes of the pieces in which room is made ahead of need, to save system calls.
// The pieces are aligned and end at their boundaries.
const (
	noPiece    = 1        // starts of files, directories, pointers: scattered, and often small
	smallPiece = 64 << 10 // small files that grow, inodes
	largePiece = 2 << 20  // files that take whole chunks
)

// reserve makes room for n bytes at off, and if there is plenty also for what follows, to
// the end of the piece but not beyond limit.
func (st *store) reserve(off, n, piece, limit int64) error {
	if st.room == nil {
		return nil
	}
	end := min((off+n+piece-1)/piece*piece, limit, st.size)
	return st.room.Reserve(off, n, max(end-off-n, 0))
}

// target is view for bytes that are about to be stored to: there is room for them.
// Errors: ENOSPC, and those of view.
func (st *store) target(off, n int64) ([]byte, error) {
	b, err := st.view(off, n)
	if err != nil || st.room == nil {
		return b, err
	}
	if err := st.room.Reserve(off, n, 0); err != nil {
		return nil, err
	}
	return b, nil
}

// pieceFor is the size of the pieces that block lblk of a file is given room in.
func (in *inode) pieceFor(lblk, ahead uint64) int64 {
	switch chunk := in.fs.chunkBlocks(); {
	case lblk >= chunk || ahead >= chunk/2:
		return largePiece
	case lblk == 0:
		return noPiece
	}
	return smallPiece
}

// makeRoom gives n blocks at pblk that were just taken for the inode room, or the first few of
// them, and gives the others back. Nothing leads to them yet.
func (in *inode) makeRoom(pblk, n uint64, piece int64) (uint64, error) {
	f := in.fs
	k := n
	err := f.st.reserve(f.blockOff(pblk), f.blockOff(k), piece, f.st.size)
	for err != nil && k > 1 {
		k /= 2
		if f.st.reserve(f.blockOff(pblk), f.blockOff(k), 1, 0) == nil {
			err = nil
		}
	}
	switch {
	case err != nil:
		_ = f.freeRun(in.name(), pblk, n) // the first error counts
		return 0, err
	case k < n:
		return k, f.freeRun(in.name(), pblk+k, n-k)
	}
	return n, nil
}

// isFull reports whether an error says that there is no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// placeInRoom marks up to want free blocks that have room already, in group home or behind
// it, for a disk that is full; windows of others last. no is the error if there are none.
func (f *FS) placeInRoom(home uint32, want uint64, no error) (pblk, n uint64, err error) {
	for {
		for i := range f.sb.Groups {
			pblk, n, err = f.roomIn(&f.groups[(home+i)%f.sb.Groups], want)
			if n > 0 || err != nil {
				return pblk, n, err
			}
		}
		if !f.dropWindows() {
			return 0, 0, no
		}
	}
}

// roomIn is placeInRoom inside one group.
func (f *FS) roomIn(g *group, want uint64) (pblk, n uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free == 0 {
		return 0, 0, nil
	}
	bm, err := f.blockBitmap(g)
	if err != nil {
		return 0, 0, err
	}
	for from := nextBit(bm, 0, g.blocks, false); from < g.blocks; from = nextBit(bm, from, g.blocks, false) {
		first, end := f.roomAmong(f.blockOff(g.first+uint64(from)), f.blockSize(), g.blocks-from)
		first, end = from+first, from+end
		if first = nextBit(bm, first, end, false); first == end {
			from = end
			continue
		}
		b := g.first + uint64(first)
		run := min(want, uint64(nextBit(bm, first, end, true)-first))
		k, skip := g.clipLocked(b, run, nil)
		if k == 0 {
			from = min(uint32(skip-g.first), g.blocks)
			continue
		}
		if f.st.room.Reserve(f.blockOff(b), f.blockOff(k), 0) != nil {
			from = first + uint32(k)
			continue
		}
		return b, k, f.takeLocked(g, b, k)
	}
	return 0, 0, nil
}

// roomAmong returns the first run of things that have room, among total ones of size
// bytes from off on: as indices, both total if there is none.
func (f *FS) roomAmong(off, size int64, total uint32) (first, end uint32) {
	for at := int64(0); at < int64(total); {
		start, n := f.st.room.Room(off+at*size, (int64(total)-at)*size)
		if n == 0 {
			break
		}
		from, to := (start-off+size-1)/size, (start+n-off)/size
		if from < to {
			return uint32(from), uint32(to)
		}
		at = max(at+1, to) // none of them is wholly in the run
	}
	return total, total
}

// roomFor is the part of a run of existing blocks that is or can be given room: ENOSPC if
// there is none for the first.
func (f *FS) roomFor(x run) (run, error) {
	if f.st.room == nil {
		return x, nil
	}
	for {
		err := f.st.room.Reserve(f.blockOff(x.pblk), f.blockOff(x.n), 0)
		if err == nil || x.n == 1 {
			return x, err
		}
		x.n /= 2
	}
}

// reserveTables gives the tables room that exist once and for all: superblock,
// descriptors and bitmaps. Inode tables, which are large and mostly empty, get it
// with their inodes. Nothing is changed.
func (f *FS) reserveTables() error {
	sb := f.sb
	if f.st.room == nil {
		return nil
	}
	if err := f.st.room.Reserve(extfmt.SuperOffset, extfmt.SuperSize, 0); err != nil {
		return err
	}
	if err := f.st.room.Reserve(f.groups[0].desc, int64(sb.Groups)*extfmt.GroupDescSize, 0); err != nil {
		return err
	}
	for i := range f.groups {
		for _, b := range [...]uint64{f.groups[i].BlockBitmap, f.groups[i].InodeBitmap} {
			if err := f.st.room.Reserve(f.blockOff(b), f.blockSize(), 0); err != nil {
				return err
			}
		}
	}
	return nil
}
