package blockfs

import (
	"errors"
	"syscall"

	"godax/block"
	"godax/dax"
	"godax/pmem"
)

// PopulatePFNs implements [dax.Populator], with the extent lock held throughout: the
// answer is of one moment, and two files do not take one block.
func (f *File) PopulatePFNs(r *dax.Request) error {
	fs := f.FS
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.calls++
	if fs.cfg.Answered != nil {
		fs.cfg.Answered(r)
	}
	if r.Sync && (fs.changes > fs.durable.Load().changes || f.M.Size() != f.diskSize) {
		r.MetadataPending()
	}
	fresh := false
	switch r.Intent {
	case dax.IntentUnshare:
		if e, ok := f.ext[r.Page]; ok && !e.Raw && fs.sharedLocked(e) {
			return f.copyOnWriteLocked(r)
		}
	case dax.IntentWrite:
		e, ok := f.ext[r.Page]
		if ok && fs.sharedLocked(e) || !ok && fs.cfg.SourceHoles && fs.cfg.Carrier == Iomap {
			return f.copyOnWriteLocked(r)
		}
		var err error
		if fresh, err = f.allocateLocked(r); err != nil {
			return err
		}
	}
	if r.Sync && fresh {
		r.MetadataPending()
	}
	if fs.cfg.Carrier == BufferHead {
		return block.GetBlock(func(iblock uint64, bh *block.BufferHead, _ bool) error {
			return f.getBlockLocked(r, iblock, bh, fresh)
		}).Populate(r, PageSize)
	}
	im := f.describeLocked(r, fresh)
	e, err := im.Extent()
	if err != nil {
		return err
	}
	return block.CreatePFNs(r, e)
}

func (fs *FS) sharedLocked(e Ext) bool { return fs.space.refs[e.Block.Dev][e.Block.Page] > 1 }

// meant is the pages [from, to) that the request may allocate: those that it is about.
func meant(r *dax.Request) (from, to uint64) {
	return r.From(), min(r.End(), uint64(r.Off+r.Len+PageSize-1)/PageSize)
}

// allocateLocked gives r.Page, and the others that are meant if there is room, blocks
// that are initialised. Those that are shared are left alone.
func (f *File) allocateLocked(r *dax.Request) (fresh bool, err error) {
	from, to := meant(r)
	done := false // r.Page
	for p := from; p < to && err == nil; p++ {
		e, ok := f.ext[p]
		switch {
		case !ok:
			n := uint64(1)
			for p+n < to {
				if _, ok := f.ext[p+n]; ok {
					break
				}
				n++
			}
			if n, err = f.newLocked(p, n); err == nil {
				fresh, done = true, done || r.Page-p < n
				p += n - 1
			}
		case e.Raw && !f.FS.sharedLocked(e):
			if err = f.FS.zeroBlock(e.Block); err == nil {
				f.setLocked(p, e.Block)
				fresh = true
			}
		}
		done = done || p == r.Page && err == nil
	}
	if done || err == nil {
		return fresh, nil
	}
	// There is no room for those before it. Maybe there is for the one.
	if _, ok := f.ext[r.Page]; ok {
		return fresh, nil
	}
	_, err = f.newLocked(r.Page, 1)
	return true, err
}

// newLocked gives holes from p on zeroed blocks, as many in a row as there are.
func (f *File) newLocked(p, n uint64) (uint64, error) {
	b, n, err := f.FS.allocLocked(f, p, n)
	if err != nil {
		return 0, err
	}
	for i := range n {
		b := Block{b.Dev, b.Page + i}
		if e := f.FS.zeroBlock(b); e != nil {
			err = e
			f.FS.space.undo(b)
			continue
		}
		f.setLocked(p+i, b)
	}
	return n, err
}

// setLocked makes a block that was given out the page's. The commit flushes it first.
func (f *File) setLocked(p uint64, b Block) {
	f.ext[p] = Ext{Block: b}
	f.FS.fresh = append(f.FS.fresh, b)
	f.FS.changes++
}

// copyOnWriteLocked gives r.Page, and pages around it that are alike, new blocks, which
// DAX copies the old ones' bytes to, or zeroes for a hole. The file has the new blocks if
// that was successful.
func (f *File) copyOnWriteLocked(r *dax.Request) error {
	fs := f.FS
	from, to := meant(r)
	from, to = max(from, r.First()), min(to, r.First()+1<<r.Order)
	old, ok := f.ext[r.Page]
	src := &block.Iomap{Addr: block.NullAddr, Type: block.IomapHole}
	like := func(p uint64) bool { // pages whose bytes come from one source
		e, have := f.ext[p]
		switch {
		case p < from || p >= to || have != ok:
			return false
		case !ok:
			return true
		}
		_, err := fs.devices[e.Block.Dev].Bytes(int64(e.Block.Page)*PageSize, PageSize)
		return e.Raw == old.Raw && e.Block.Dev == old.Block.Dev && e.Block.Page-p == old.Block.Page-r.Page && fs.sharedLocked(e) && err == nil
	}
	first, end := r.Page, r.Page+1
	if ok {
		src.Device, src.Addr, src.Type = fs.devices[old.Block.Dev], int64(old.Block.Page)*PageSize, block.IomapMapped
		if _, err := src.Device.Bytes(src.Addr, PageSize); errors.Is(err, pmem.ErrPoisoned) && r.Overwrite {
			src.Type = block.IomapUnwritten // nothing of it is needed
		}
		if old.Raw {
			src.Type = block.IomapUnwritten
		}
	}
	if src.Type == block.IomapHole || like(r.Page) {
		for like(first - 1) {
			first--
		}
		for like(end) {
			end++
		}
	}
	b, n, err := fs.allocLocked(f, first, end-first)
	if err == nil && r.Page-first >= n {
		fs.undoLocked(b, n)
		first = r.Page
		b, n, err = fs.allocLocked(f, first, 1)
	}
	if err != nil {
		return err
	}
	src.Offset, src.Length = int64(first)*PageSize, int64(n)*PageSize
	if ok {
		src.Addr -= int64(r.Page-first) * PageSize
	}
	im := block.Iomap{Offset: src.Offset, Length: src.Length, Type: block.IomapMapped, Flags: block.IomapNew,
		Device: fs.devices[b.Dev], Addr: int64(b.Page) * PageSize, Source: src}
	e, err := im.Extent()
	if err == nil {
		err = block.CreatePFNs(r, e)
	}
	if err != nil {
		fs.undoLocked(b, n)
		return err
	}
	for i := range n {
		if e, ok := f.ext[first+i]; ok {
			fs.space.drop(e.Block)
		}
		f.setLocked(first+i, Block{b.Dev, b.Page + i})
	}
	if r.Sync {
		r.MetadataPending()
	}
	return nil
}

func (fs *FS) undoLocked(b Block, n uint64) {
	for i := range n {
		fs.space.undo(Block{b.Dev, b.Page + i})
	}
}

// runLocked is the pages [first, end) around page that are of one extent, from low on and
// before high.
func (f *File) runLocked(page, low, high uint64) (first, end uint64) {
	e, ok := f.ext[page]
	like := func(p uint64) bool {
		x, have := f.ext[p]
		switch {
		case p < low || p >= high || have != ok:
			return false
		case !ok:
			return true
		}
		return x.Raw == e.Raw && (x.Raw || x.Block.Dev == e.Block.Dev && x.Block.Page-p == e.Block.Page-page && f.FS.sharedLocked(x) == f.FS.sharedLocked(e))
	}
	for first = page; first > low && like(first-1); first-- {
	}
	for end = page + 1; like(end); end++ {
	}
	return first, end
}

func (f *File) describeLocked(r *dax.Request, fresh bool) *block.Iomap {
	first, end := f.runLocked(r.Page, r.First(), r.End())
	im := &block.Iomap{Offset: int64(first) * PageSize, Length: int64(end-first) * PageSize, Addr: block.NullAddr}
	e, ok := f.ext[first]
	if !ok {
		return im
	}
	im.Type, im.Addr, im.Device = block.IomapMapped, int64(e.Block.Page)*PageSize, f.FS.devices[e.Block.Dev]
	if e.Raw {
		im.Type = block.IomapUnwritten
	}
	if f.FS.sharedLocked(e) {
		im.Flags |= block.IomapShared
	}
	if fresh {
		im.Flags |= block.IomapNew
	}
	return im
}

func (f *File) getBlockLocked(r *dax.Request, iblock uint64, bh *block.BufferHead, fresh bool) error {
	_, end := f.runLocked(iblock, iblock, r.End())
	bh.Size = min(bh.Size, int64(end-iblock)*PageSize)
	bh.State = block.BHHoleSize
	e, ok := f.ext[iblock]
	if !ok {
		return nil
	}
	if f.FS.sharedLocked(e) {
		return syscall.EOPNOTSUPP // the carrier cannot say so; see Reflink
	}
	bh.State, bh.BlockNr, bh.Device = block.BHMapped, e.Block.Page, f.FS.devices[e.Block.Dev]
	if e.Raw {
		bh.State = block.BHUnwritten
	}
	if fresh {
		bh.State |= block.BHNew
	}
	return nil
}
