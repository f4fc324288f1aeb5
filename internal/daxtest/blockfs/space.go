package blockfs

import (
	"syscall"

	"godax/pmem"
)

// Block is the place of a block.
type Block struct {
	Dev  int
	Page uint64
}

// Ext is what a page of a file has. There is none for a hole.
type Ext struct {
	Block Block
	Raw   bool // unwritten: reads as zero, whatever the block holds
}

// space is the blocks of all devices. Guarded by FS.mu.
type space struct {
	devices []pmem.Device
	refs    [][]int        // pages of files for each block; 0 for a free or freed one
	used    map[Block]bool // freed, and not to be used before the next commit
	freed   []Block
	limit   int // blocks that may be in use or freed; -1 for no limit
	taken   int // blocks in use or freed
}

func (s *space) init(devices []pmem.Device) {
	s.devices, s.used, s.limit = devices, map[Block]bool{}, -1
	for _, d := range devices {
		s.refs = append(s.refs, make([]int, d.Size()/PageSize))
	}
}

// SetLimit lets no more than n blocks be in use; -1 is no limit.
func (fs *FS) SetLimit(n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.space.limit = n
}

// Taken is how many blocks are in use, or freed and not given back by a commit.
func (fs *FS) Taken() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.space.taken
}

// Refs is how many pages of files use the block.
func (fs *FS) Refs(b Block) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.space.refs[b.Dev][b.Page]
}

func (s *space) isFree(b Block) bool {
	return b.Page < uint64(len(s.refs[b.Dev])) && s.refs[b.Dev][b.Page] == 0 && !s.used[b]
}

func (s *space) addRef(b Block) {
	if s.refs[b.Dev][b.Page]++; s.refs[b.Dev][b.Page] == 1 {
		s.taken++
	}
}

// drop takes one reference away. A block without any is free after the next commit.
func (s *space) drop(b Block) {
	s.refs[b.Dev][b.Page]--
	switch n := s.refs[b.Dev][b.Page]; {
	case n < 0:
		panic("blockfs: a block is freed twice")
	case n == 0:
		s.used[b] = true
		s.freed = append(s.freed, b)
	}
}

// reuse makes a freed block free. It is filled with a pattern, so that a use of it shows.
func (s *space) reuse(b Block) {
	delete(s.used, b)
	s.taken--
	if bytes, err := s.devices[b.Dev].Bytes(int64(b.Page)*PageSize, PageSize); err == nil {
		for i := range bytes {
			bytes[i] = 0xdb
		}
	}
}

// undo takes a block back that was given out and never used.
func (s *space) undo(b Block) {
	s.refs[b.Dev][b.Page] = 0
	s.taken--
}

// allocLocked gives out up to n blocks in a row for the pages from page on, at least one.
// Blocks lie so that huge pages can be used, or with Scatter so that they cannot.
func (fs *FS) allocLocked(f *File, page, n uint64) (Block, uint64, error) {
	s := &fs.space
	n = min(n, fs.cfg.Stripe-page%fs.cfg.Stripe)
	if s.limit >= 0 {
		if s.taken >= s.limit {
			return Block{}, 0, syscall.ENOSPC
		}
		n = min(n, uint64(s.limit-s.taken))
	}
	b, ok := fs.findLocked(f, page, n)
	if !ok {
		return Block{}, 0, syscall.ENOSPC
	}
	got := uint64(0)
	for got < n && s.isFree(Block{b.Dev, b.Page + got}) {
		s.addRef(Block{b.Dev, b.Page + got})
		got++
		if fs.cfg.Scatter {
			break
		}
	}
	return b, got, nil
}

// findLocked finds a free block for a page: behind the block of the page before, else at
// a place of the page's colour with room for the rest of its huge page, else anywhere.
func (fs *FS) findLocked(f *File, page, n uint64) (Block, bool) {
	s, run := &fs.space, uint64(1)<<fs.cfg.Mapping.PMDOrder
	if e, ok := f.ext[page-1]; ok && page%run != 0 && page%fs.cfg.Stripe != 0 && !fs.cfg.Scatter {
		if b := (Block{e.Block.Dev, e.Block.Page + 1}); s.isFree(b) {
			return b, true
		}
	}
	first := int(page/fs.cfg.Stripe) % len(s.refs)
	for _, whole := range []bool{true, false} {
		for i := range s.refs {
			dev := (first + i) % len(s.refs)
			for p := range s.refs[dev] {
				b := Block{dev, uint64(p)}
				if !s.isFree(b) {
					continue
				}
				same := b.Page%run == page%run
				if !whole || fs.cfg.Scatter && !same || !fs.cfg.Scatter && same && s.rowFree(b, run) {
					return b, true
				}
			}
		}
	}
	return Block{}, false
}

// rowFree reports whether the whole aligned run around b is free.
func (s *space) rowFree(b Block, run uint64) bool {
	for p := b.Page / run * run; p < (b.Page/run+1)*run; p++ {
		if !s.isFree(Block{b.Dev, p}) {
			return false
		}
	}
	return true
}

// dropLocked frees the blocks of the pages [first, end).
func (f *File) dropLocked(first, end uint64) {
	for p, e := range f.ext {
		if p >= first && p < end {
			delete(f.ext, p)
			f.FS.space.drop(e.Block)
		}
	}
	f.FS.changes++
}

// zeroBlock clears a block. Bad media is made good by it.
func (fs *FS) zeroBlock(b Block) error {
	dev := fs.devices[b.Dev]
	run, err := dev.DirectAccess(b.Page, 1, pmem.RecoveryWrite)
	if err != nil {
		return err
	}
	clear(run.Bytes)
	if p, ok := dev.(pmem.Poisoner); ok {
		return p.ClearPoison(b.Page, 1)
	}
	return nil
}

func (fs *FS) blockOf(pfn pmem.PFN) Block {
	for i, d := range fs.devices {
		if d.ID() == pfn.Device() {
			return Block{i, pfn.Page()}
		}
	}
	return Block{-1, 0}
}

// PFN is the frame of a block.
func (fs *FS) PFN(b Block) pmem.PFN { return pmem.MakePFN(fs.devices[b.Dev].ID(), b.Page) }
