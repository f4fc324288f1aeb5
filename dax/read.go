package dax

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
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
		n, err := m.readPiece(ctx, b[done:], off+int64(done))
		if err == errMiss {
			if err = canceled(ctx); err == nil {
				err = m.fill(ctx, pageOf(off+int64(done)), p)
			}
		}
		done += n
		if err == nil && done < len(b) {
			err = canceled(ctx)
		}
		if err != nil {
			return done, err
		}
	}
	if short {
		return done, io.EOF
	}
	return done, nil
}

// ReadHit copies len(b) bytes at off if they lie before the end of the file and in the
// frames of one entry of the index that are the file's own; otherwise it does nothing
// and returns false. It takes no lock at all: the bytes are those of the file only if
// nobody has had the inode lock exclusively meanwhile, which the caller finds out
// afterwards (package rwsem: Version, Unchanged). If somebody had, b holds anything.
func (m *Mapping) ReadHit(b []byte, off int64) bool {
	size := m.size.Load()
	if off < 0 || off > size || int64(len(b)) > size-off || len(b) == 0 {
		return false
	}
	page := pageOf(off)
	val, order, ok := m.index.Load(page)
	w := word(val)
	if !ok || !w.is(wMapped) || w.is(wCached) {
		return false
	}
	first := base(page, order)
	if int64(len(b)) > int64(first+pages(order))*pmem.PageSize-off {
		return false
	}
	pfn := w.at(page - first).pfn()
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return false
	}
	inPage := off % pmem.PageSize
	run, err := dev.DirectAccess(pfn.Page(), pagesUp(inPage+int64(len(b))), pmem.Normal)
	if err != nil || int64(len(run.Bytes)) < inPage+int64(len(b)) {
		return false
	}
	copy(b, run.Bytes[inPage:])
	runtime.KeepAlive(dev) // its addresses stay readable so long, also if it is closed now
	return true
}

// ReadTo is ReadAt for bytes that go elsewhere than into memory of this process: f is
// given the n bytes at off piece by piece, straight in their frames, and returns how many
// of them it took. It ends after the first short piece, or error of f. ReadTo returns how
// many bytes f took in all. No lock but the inode's is held while f runs, so f may touch
// a view of the same file. Cached pages are copied out first.
func (m *Mapping) ReadTo(ctx context.Context, off, n int64, p Populator, f func(b []byte) (int, error)) (int64, error) {
	if off < 0 || n < 0 {
		return 0, fmt.Errorf("dax: read of %d bytes at %d: %w", n, off, syscall.EINVAL)
	}
	n = min(n, max(m.size.Load()-off, 0))
	var done int64
	for done < n {
		if err := canceled(ctx); err != nil {
			return done, err
		}
		b, err := m.readBytes(ctx, off+done, n-done)
		if err == errMiss {
			if err = m.fill(ctx, pageOf(off+done), p); err != nil {
				return done, err
			}
			continue
		}
		if err != nil {
			return done, err
		}
		k, err := f(b)
		done += int64(k)
		if err != nil || k < len(b) {
			return done, err
		}
	}
	return done, nil
}

// readBytes returns at most n bytes at off: those in the frames of one entry, zeroes, or
// a copy of a cached page. errMiss if the index has nothing.
func (m *Mapping) readBytes(ctx context.Context, off, n int64) ([]byte, error) {
	page := pageOf(off)
	val, order, ok := m.index.Load(page)
	w := word(val)
	if !ok || !w.is(wMapped|wZero) {
		return nil, errMiss
	}
	first := base(page, order)
	n = min(n, int64(first+pages(order))*pmem.PageSize-off)
	switch {
	case w.is(wZero):
		return zeroes[:min(n, int64(len(zeroes)))], nil
	case w.is(wCached):
		b := make([]byte, n)
		_, err := m.copyCached(ctx, page, b, off, false)
		return b, err
	}
	run, inPage, err := goodBytes(w.at(page-first).pfn(), off, n)
	if err != nil {
		return nil, fmt.Errorf("dax: read at %d: %w", off, err)
	}
	b := run.Bytes[inPage:]
	return b[:min(n, int64(len(b)))], nil
}

// goodBytes returns the frames from pfn on that hold the n bytes at off, up to the first
// bad one, and where in them off is.
func goodBytes(pfn pmem.PFN, off, n int64) (run pmem.Run, inPage int64, err error) {
	inPage = off % pmem.PageSize
	run, err = frameBytes(pfn, pagesUp(inPage+n), pmem.Normal)
	if errors.Is(err, pmem.ErrPoisoned) {
		run, err = frameBytes(pfn, 1, pmem.Normal)
	}
	return run, inPage, err
}

// errMiss: the index has nothing for the page.
var errMiss = errors.New("dax: not in the index")

// readPiece copies from the one entry that off lies in.
func (m *Mapping) readPiece(ctx context.Context, b []byte, off int64) (int, error) {
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
		return m.copyCached(ctx, page, b[:n], off, false)
	}
	run, inPage, err := goodBytes(w.at(page-first).pfn(), off, n)
	if err != nil {
		return 0, fmt.Errorf("dax: read at %d: %w", off, err)
	}
	return copy(b[:n], run.Bytes[inPage:]), nil
}

// copyCached copies between b and the cached page that off lies in, under the
// entry's lock, so that the frame cannot be given up meanwhile. b is this
// process's memory, whose faults never need us. errMiss if the page is no longer a
// cached one.
func (m *Mapping) copyCached(ctx context.Context, page uint64, b []byte, off int64, write bool) (int, error) {
	s, err := m.grab(ctx, page, 0)
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
	if err := m.lockShared(ctx); err != nil {
		return err
	}
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
	s, err := m.grab(ctx, q.page, order)
	if errors.Is(err, vm.ErrFallback) {
		s, err = m.grab(ctx, q.page, 0)
	}
	if err != nil {
		return slot{}, err
	}
	s, _, err = m.resolve(ctx, s, q, p)
	return s, err
}
