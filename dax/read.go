package dax

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"godax/pmem"
	"godax/vm"
)

// ReadAt copies bytes of the file at off into b (5.1). It returns io.EOF with what
// there is if the file ends before b is full. Bad pages are EIO (also
// pmem.ErrPoisoned), with the number of bytes before them. ctx may be nil.
//
// Locks: the caller holds the inode lock shared. Direct pages are copied without
// any further lock, cached ones under their entry's lock.
func (m *Mapping) ReadAt(ctx context.Context, b []byte, off int64, p Populator) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("dax: read at %d: %w", off, syscall.EINVAL)
	}
	if len(b) == 0 {
		return 0, nil
	}
	size := m.size.Load()
	if off >= size {
		return 0, io.EOF
	}
	short := int64(len(b)) > size-off
	if short {
		b = b[:size-off]
	}
	done := 0
	for done < len(b) {
		n, err := m.readPiece(b[done:], off+int64(done))
		if err == errMiss {
			if err = canceled(ctx); err == nil {
				err = m.fill(ctx, pageOf(off+int64(done)), p)
			}
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	if short {
		return done, io.EOF
	}
	return done, nil
}

// errMiss: the index has nothing for the page.
var errMiss = errors.New("dax: not in the index")

// readPiece copies from the one entry that off lies in.
func (m *Mapping) readPiece(b []byte, off int64) (int, error) {
	page := pageOf(off)
	val, order, ok := m.index.Load(page)
	w := word(val)
	if !ok || !w.is(wMapped|wZero) {
		return 0, errMiss
	}
	first := base(page, order)
	n := min(int64(len(b)), int64(first+pages(order))*pmem.PageSize-off)
	switch {
	case w.is(wZero):
		clear(b[:n])
		return int(n), nil
	case w.is(wCached):
		return m.copyCached(page, b[:n], off, false)
	}
	inPage := off % pmem.PageSize
	pfn := w.at(page - first).pfn()
	run, err := frameBytes(pfn, pagesUp(inPage+n), pmem.Normal)
	if errors.Is(err, pmem.ErrPoisoned) {
		run, err = frameBytes(pfn, 1, pmem.Normal) // up to the bad page
	}
	if err != nil {
		return 0, fmt.Errorf("dax: read at %d: %w", off, err)
	}
	return copy(b[:n], run.Bytes[inPage:]), nil
}

// copyCached copies between b and the cached page that off lies in, under the
// entry's lock, so that the frame cannot be given up meanwhile. b is this
// process's memory, whose faults never need us. errMiss if the page is no longer a
// cached one.
func (m *Mapping) copyCached(page uint64, b []byte, off int64, write bool) (int, error) {
	s, err := m.grab(wait{}, page, 0)
	if err != nil {
		return 0, err
	}
	if !s.word.is(wCached) {
		m.giveUp(s)
		return 0, errMiss
	}
	defer m.ungrab(s)
	run, err := frameBytes(s.word.pfn(), 1, pmem.Normal)
	if err != nil {
		return 0, err
	}
	if !write {
		return copy(b, run.Bytes[off%pmem.PageSize:]), nil
	}
	n := copy(run.Bytes[off%pmem.PageSize:], b)
	m.mu.Lock()
	m.index.SetMark(page, markDirty)
	m.mu.Unlock()
	return n, nil
}

// fill makes the index answer reads of the page.
func (m *Mapping) fill(ctx context.Context, page uint64, p Populator) error {
	m.inval.RLock()
	defer m.inval.RUnlock()
	return m.fillLocked(ctx, page, p)
}

// fillLocked is fill with inval held, shared or exclusive.
func (m *Mapping) fillLocked(ctx context.Context, page uint64, p Populator) error {
	end := m.pageEnd()
	if page >= end {
		return ErrBeyondEnd
	}
	s, err := m.answer(ctx, question{page: page, n: min(runHint, end-page)}, m.readOrder(page, end), p)
	if err == nil {
		m.ungrab(s)
	}
	return err
}

// readOrder is the order of the slot to fill for a read: huge if the file reaches
// over the whole run.
func (m *Mapping) readOrder(page, end uint64) uint {
	if base(page, m.cfg.PMDOrder)+pages(m.cfg.PMDOrder) > end {
		return 0
	}
	return m.cfg.PMDOrder
}

// answer locks a slot of the given order around the page, or if smaller entries
// are in the way one of a single page, and resolves it.
func (m *Mapping) answer(ctx context.Context, q question, order uint, p Populator) (slot, error) {
	s, err := m.grab(wait{ctx: ctx, nowait: q.nowait}, q.page, order)
	if errors.Is(err, vm.ErrFallback) {
		s, err = m.grab(wait{ctx: ctx, nowait: q.nowait}, q.page, 0)
	}
	if err != nil {
		return slot{}, err
	}
	s, _, err = m.resolve(s, q, p)
	return s, err
}
