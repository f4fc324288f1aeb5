package dax

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"syscall"

	"godax/internal/hook"
	"godax/pmem"
)

// WriteAt copies b into the file at off, extending it if need be (5.2), and marks
// the pages DIRTY; Writeback makes them durable. It returns the bytes written; the
// error says why they are fewer than len(b). A bad page is overwritten only whole.
// ctx may be nil.
//
// The new size is published piece by piece, each after its bytes are in place; the
// file system stores it on the medium afterwards.
//
// Locks: the caller holds the inode lock exclusive. Storage is found before a byte
// is copied, and no entry lock is held during the copy of direct pages.
func (m *Mapping) WriteAt(ctx context.Context, b []byte, off int64, p Populator) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("dax: write at %d: %w", off, syscall.EINVAL)
	}
	if int64(len(b)) > math.MaxInt64-pmem.PageSize-off {
		return 0, fmt.Errorf("dax: write of %d bytes at %d: %w", len(b), off, syscall.EFBIG)
	}
	if m.cfg.ReadOnly {
		return 0, syscall.EROFS
	}
	if len(b) == 0 {
		return 0, nil
	}
	size := m.size.Load()
	if !mayWait(ctx) && int64(len(b)) > size-off {
		return 0, ErrWouldBlock // see dropPastEnd; and views that see the end would have to be filled again
	}
	if off > size {
		if err := m.zeroTail(ctx, p); err != nil {
			return 0, err
		}
	}
	defer m.settle()
	done := 0
	for done < len(b) {
		at := off + int64(done)
		n, err := m.writePiece(ctx, b[done:], at)
		if err == errMiss {
			if err = canceled(ctx); err == nil {
				err = m.fillForWrite(ctx, at, int64(len(b)-done), p)
			}
			hook.At(hook.WriteInvalidated, m, pageOf(at))
		}
		done += n
		m.grow(at+int64(n), n)
		if err == nil && done < len(b) {
			hook.At(hook.WritePiece, m, pageOf(at))
			err = canceled(ctx)
		}
		if err != nil {
			m.dropPastEnd()
			return done, err
		}
	}
	return done, nil
}

// WriteFrom is WriteAt for bytes that come from elsewhere than memory of this process:
// f is given the place of the n bytes at off piece by piece, straight in their frames,
// and returns how many bytes it has put there. It ends after the first short piece, or
// error of f. WriteFrom returns how many bytes were written in all. No lock but the
// inode's is held while f runs, so f may touch a view of the same file. Cached pages are
// filled through a buffer.
//
// Pages on bad media cannot be written so: EIO, also pmem.ErrPoisoned.
func (m *Mapping) WriteFrom(ctx context.Context, off, n int64, p Populator, f func(b []byte) (int, error)) (int64, error) {
	if off < 0 || n < 0 || n > math.MaxInt64-pmem.PageSize-off {
		return 0, fmt.Errorf("dax: write of %d bytes at %d: %w", n, off, syscall.EINVAL)
	}
	if m.cfg.ReadOnly {
		return 0, syscall.EROFS
	}
	if n == 0 {
		return 0, nil
	}
	if m.mustRefill(ctx) || !mayWait(ctx) && n > m.size.Load()-off {
		return 0, ErrWouldBlock // as WriteAt
	}
	defer m.settle()
	if off > m.size.Load() {
		if err := m.zeroTail(ctx, p); err != nil {
			return 0, err
		}
	}
	var done int64
	for done < n {
		at := off + done
		k, short, err := m.writeFromPiece(ctx, at, n-done, f)
		if err == errMiss {
			if err = canceled(ctx); err == nil {
				err = m.fillForWrite(ctx, at, n-done, p)
			}
			hook.At(hook.WriteInvalidated, m, pageOf(at))
		}
		done += int64(k)
		m.grow(at+int64(k), k)
		if err != nil || short {
			m.dropPastEnd()
			return done, err
		}
	}
	return done, nil
}

// writeFromPiece has f store into the one entry that off lies in; errMiss if the index
// does not allow stores there.
func (m *Mapping) writeFromPiece(ctx context.Context, off, n int64, f func(b []byte) (int, error)) (done int, short bool, err error) {
	page := pageOf(off)
	val, order, ok := m.index.Load(page)
	w := word(val)
	if !ok || !w.answers(IntentWrite) {
		return 0, false, errMiss
	}
	first := base(page, order)
	n = min(n, int64(first+pages(order))*pmem.PageSize-off)
	if w.is(wCached) {
		if !mayWait(ctx) {
			return 0, false, ErrWouldBlock // what f has given cannot be given back
		}
		b := make([]byte, n)
		k, ferr := f(b)
		done, err = m.copyCached(nil, page, b[:k], off, true)
		if err == nil {
			err = ferr
		}
		return done, k < len(b), err
	}
	run, inPage, err := goodBytes(w.at(page-first).pfn(), off, n)
	if err != nil {
		return 0, false, fmt.Errorf("dax: write at %d: %w", off, err)
	}
	b := run.Bytes[inPage:]
	b = b[:min(n, int64(len(b)))]
	done, err = f(b)
	// What f has stored beyond what it says is there all the same.
	for at := page; at < page+pagesUp(inPage+int64(len(b))); at++ {
		if merr := m.markDirty(at); merr != nil {
			return 0, true, fmt.Errorf("dax: write at %d: %w", off, merr)
		}
	}
	return done, done < len(b), err
}

// dropPastEnd removes the entries of pages that a write was given and did not get
// to (I15). The file system frees their storage.
func (m *Mapping) dropPastEnd() {
	if _, _, _, ok := m.index.Next(m.pageEnd(), ToEnd); !ok {
		return // mostly; faults under way need not be waited for
	}
	_ = m.inval.Lock(nil) // cannot fail without a context
	defer m.inval.Unlock()
	m.forget(m.remove(m.pageEnd(), ToEnd))
}

// grow publishes the size after n bytes were stored up to end. Views that see the
// file's end have pages to gain.
func (m *Mapping) grow(end int64, n int) {
	size := m.size.Load()
	if n == 0 || end <= size {
		return
	}
	m.size.Store(end)
	if old, now := pagesUp(size), pagesUp(end); now > old && m.views.Len() > 0 {
		m.unmap(old, now-old, false)
	}
}

// writePiece copies into the one entry that off lies in; errMiss if the index does
// not allow stores there.
func (m *Mapping) writePiece(ctx context.Context, b []byte, off int64) (int, error) {
	page := pageOf(off)
	val, order, ok := m.index.Load(page)
	w := word(val)
	if !ok || !w.answers(IntentWrite) {
		return 0, errMiss
	}
	first := base(page, order)
	n := min(int64(len(b)), int64(first+pages(order))*pmem.PageSize-off)
	if w.is(wCached) {
		return m.copyCached(ctx, page, b[:n], off, true)
	}
	inPage := off % pmem.PageSize
	pfn := w.at(page - first).pfn()
	run, err := frameBytes(pfn, pagesUp(inPage+n), pmem.Normal)
	if err != nil {
		return m.writeBad(b[:n], off, pfn, err)
	}
	done := copy(run.Bytes[inPage:], b[:n])
	if err := m.markDirty(page); err != nil {
		return 0, fmt.Errorf("dax: write at %d: %w", off, err)
	}
	return done, nil
}

// writeBad is writePiece where the run that begins with frame pfn failed with err. If
// it is for bad media, what lies in the first page is written all the same, or, if that
// is the bad one, overwritten whole or not at all (5.2 step 7).
func (m *Mapping) writeBad(b []byte, off int64, pfn pmem.PFN, err error) (int, error) {
	page, inPage := pageOf(off), off%pmem.PageSize
	b = b[:min(int64(len(b)), pmem.PageSize-inPage)]
	var run pmem.Run
	if errors.Is(err, pmem.ErrPoisoned) {
		run, err = frameBytes(pfn, 1, pmem.Normal)
	}
	recovery := errors.Is(err, pmem.ErrPoisoned) && len(b) == pmem.PageSize
	if recovery {
		run, err = frameBytes(pfn, 1, pmem.RecoveryWrite)
	}
	if err != nil {
		return 0, fmt.Errorf("dax: write at %d: %w", off, err)
	}
	done := copy(run.Bytes[inPage:], b)
	if recovery {
		if err := clearPoison(pfn); err != nil {
			return 0, fmt.Errorf("dax: write at %d: %w", off, err)
		}
		m.unmap(page, 1, false) // views without demand faults have a SIGBUS there
	}
	if err := m.markDirty(page); err != nil {
		return 0, fmt.Errorf("dax: write at %d: %w", off, err)
	}
	return done, nil
}

// clearPoison declares a frame good that was overwritten whole.
func clearPoison(pfn pmem.PFN) error {
	if dev, ok := pmem.Lookup(pfn); ok {
		if d, ok := dev.(pmem.Poisoner); ok {
			return d.ClearPoison(pfn.Page(), 1)
		}
	}
	return nil
}

// markDirty sets DIRTY on the entry of a page that was just stored to. It comes
// after the copy: a writeback that cleaned the entry before did not flush these
// bytes, and one that is about to clear the mark is told not to. ErrRemoved if the entry is
// gone: only a device that was removed takes an entry away from a write (Revoke), and
// nobody will flush these bytes.
func (m *Mapping) markDirty(page uint64) error {
	if m.staysDirty(page) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first, _, val, ok := m.index.Next(page, page)
	if !ok || !word(val).is(wMapped) {
		return pmem.ErrRemoved
	}
	m.dirtyLocked(first, word(val))
	return nil
}

// dirtyLocked marks the entry at page first, whose word is w, DIRTY for stores made
// without its lock. If it is locked the holder may be a writeback that has flushed
// already: clean then leaves the mark.
func (m *Mapping) dirtyLocked(first uint64, w word) {
	m.index.SetMark(first, markDirty)
	if w.is(wLocked) {
		m.stored[first] = struct{}{}
	}
}

// staysDirty reports, without a lock, whether the entry of a page that was just
// stored to is DIRTY and will be flushed after those stores. The fence makes them
// visible before the entry is looked at; a writeback that locks an entry seen unlocked
// flushes later than that. So the lock bit is looked at first and the mark after it:
// the other way round the mark could be one that such a writeback has since cleared.
func (m *Mapping) staysDirty(page uint64) bool {
	var fence atomic.Int32
	fence.Add(1)
	val, _, dirty, _ := m.index.LoadMarked(page, markDirty)
	return dirty && !word(val).is(wLocked)
}

// fillForWrite makes the index allow stores at off, the next n of which follow.
func (m *Mapping) fillForWrite(ctx context.Context, off, n int64, p Populator) error {
	if err := m.lockShared(ctx); err != nil {
		return err
	}
	defer m.inval.RUnlock()
	page := pageOf(off)
	q := question{
		page: page, n: pagesUp(off%pmem.PageSize + n), intent: IntentWrite, off: off, length: n,
		whole: off%pmem.PageSize == 0 && n >= pmem.PageSize,
	}
	// A slot as large as the run of whole pages allows, so that a large write makes
	// large entries; pages that the write does not reach are not allocated.
	order := alignedOrder(page, uint64(off%pmem.PageSize+n)/pmem.PageSize, m.cfg.PMDOrder)
	if off%pmem.PageSize != 0 {
		order = 0
	}
	if m.mustRefill(ctx) {
		return ErrWouldBlock // a hole that is filled may be a zero page in views
	}
	s, err := m.answer(ctx, q, order, p)
	if err == nil {
		m.ungrab(s)
	}
	return err
}
