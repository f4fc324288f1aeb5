package dax

import (
	"context"
	"errors"
	"fmt"

	"godax/internal/hook"
)

// BreakLayout runs change while nothing refers to the pages [page, page+n): no
// entry, no translation, no pin, and no fault can come (5.8). n may be ToEnd.
// Dirty entries in the range are destroyed with the bytes they describe; an entry
// that is only partly inside keeps its outside part, dirty if it was.
//
// The wait for pins gives up when ctx is done, and then nothing has changed.
// Views are filled again before the return.
//
// Locks: the caller holds the inode lock exclusive. Takes the invalidate lock
// exclusive, except while waiting for pins.
func (m *Mapping) BreakLayout(ctx context.Context, page, n uint64, change func() error) error {
	defer m.settle()
	if err := m.lockRemovable(ctx, page, n); err != nil {
		return err
	}
	defer m.inval.Unlock()
	return m.changeLayout(page, n, change)
}

// changeLayout takes everything that still refers to the pages away and runs change. inval
// has been held exclusively since lockIdle took their translations.
//
// If change fails the bytes that were dirty may live on where they are, with no entry left
// to say so (I33): they are flushed then. A cached page, which is the only place of its bytes,
// comes back as it was, for the next writeback to find out what has become of its blocks.
func (m *Mapping) changeLayout(page, n uint64, change func() error) error {
	hook.At(hook.LayoutIdle, m, page)
	dirty := m.remove(page, n)
	hook.At(hook.LayoutRemoved, m, page)
	err := change()
	if err == nil {
		m.forget(dirty)
		return nil
	}
	for _, s := range dirty {
		if s.word.is(wCached) {
			m.mu.Lock()
			m.storeLocked(s.page, s.order, s.word, marks{dirty: true})
			m.mu.Unlock()
			continue
		}
		err = errors.Join(err, m.flushRemoved(s))
	}
	return err
}

// forget gives the frames of cached pages back that remove returned.
func (m *Mapping) forget(removed []slot) {
	for _, s := range removed {
		if s.word.is(wCached) {
			m.cfg.Frames.free(m, s.page, s.word.pfn())
		}
	}
}

// flushRemoved flushes the frames of an entry that is not in the index any more. The next
// writeback waits for it.
func (m *Mapping) flushRemoved(s slot) error {
	e := []taken{{slot: s}}
	m.flush(e)
	if err := e[0].err; err != nil {
		m.wbErr.set(err)
		return err
	}
	if dev := e[0].dev; dev != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.noteFlushLocked(dev)
	}
	return nil
}

// lockIdle takes the invalidate lock exclusive at a moment when the range has no
// pin, and no translation through which one could come (PinFrame). On an error the lock is
// not held. Translations are left alone while there is a pin: a wait that is given up must
// have changed nothing, and a view without demand faults would lose the stores made during
// the wait.
func (m *Mapping) lockIdle(ctx context.Context, page, n uint64) error {
	if m.mustRefill(ctx) {
		return ErrWouldBlock
	}
	for {
		if err := m.inval.Lock(ctx); err != nil {
			return lockErr(err)
		}
		err := m.waitIdle(ctx, page, n)
		if err == nil {
			if m.takeIdle(page, n) {
				return nil
			}
			m.inval.Unlock()
			m.settle() // a view without demand faults has its translations back for the wait
			continue
		}
		if err != errPinned {
			return err
		}
	}
}

// lockRemovable is lockIdle for a caller that is going to remove the entries of the range.
// If nobody may wait, none of them may be one that a writeback has locked, or can lock
// before it is removed: none may be dirty. Other holders without inval do not sleep.
func (m *Mapping) lockRemovable(ctx context.Context, page, n uint64) error {
	err := m.lockIdle(ctx, page, n)
	if err != nil || mayWait(ctx) || n == 0 {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for next, last := page, lastPage(page, n); ; {
		first, order, val, ok := m.index.Next(next, last)
		if !ok {
			return nil
		}
		if word(val).is(wLocked) || m.index.Marked(first, markDirty) {
			m.inval.Unlock()
			return ErrWouldBlock
		}
		if next = first + pages(order); next > last || next == 0 {
			return nil
		}
	}
}

// takeIdle takes the translations of a range away that has no pin, and reports whether
// it has none even now: one that came through a translation meanwhile was there before that
// was gone, or finds that it is and gives up. inval is held exclusively, so that there
// will be no new translations.
func (m *Mapping) takeIdle(page, n uint64) bool {
	if n == 0 {
		return true
	}
	m.unmap(page, n, false)
	m.dirtyUnseen(page, n) // whoever called may still fail, or wait
	hook.At(hook.LayoutUnmapped, m, page)
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.pins.overlaps(page, n)
}

// dirtyUnseen marks what views that know themselves what was stored to may have stored to
// in a range, after their translations were taken away, and with them that knowledge.
func (m *Mapping) dirtyUnseen(page, n uint64) {
	if m.storesUnseen(page, n) {
		m.dirtyAll(page, lastPage(page, n))
	}
}

// tryLockIdle is lockIdle without any wait. It reports whether the lock is held.
func (m *Mapping) tryLockIdle(page, n uint64) bool {
	if !m.inval.TryLock() {
		return false
	}
	m.mu.Lock()
	pinned := m.pins.overlaps(page, n)
	m.mu.Unlock()
	if !pinned && m.takeIdle(page, n) {
		return true
	}
	m.inval.Unlock()
	return false
}

// waitIdle returns nil with inval still held if no pin is in the range; otherwise
// it drops inval, sleeps until a pin is released, and returns errPinned or the
// context's error. Pins of pages without any view count as well.
func (m *Mapping) waitIdle(ctx context.Context, page, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.pins.overlaps(page, n) {
		return nil
	}
	m.inval.Unlock()
	if err := m.waitUnpinnedLocked(ctx, page); err != nil {
		return err
	}
	return errPinned
}

// remove deletes the entries of the range, waiting for those that a writeback
// holds. What a partly covered entry says about pages outside the range is stored
// again; with a view it counts as dirty, because the view's own record of what was
// written went with its translations. It returns the entries that were dirty, or may have
// been; those of cached pages keep their frames until forget.
//
// Locks: inval exclusive.
func (m *Mapping) remove(page, n uint64) (dirty []slot) {
	if n == 0 {
		return nil
	}
	last := lastPage(page, n)
	mapped := m.views.Len() > 0
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := page; ; {
		first, order, val, ok := m.index.Next(next, last)
		if !ok {
			return dirty
		}
		w := word(val)
		if w.is(wLocked) {
			_ = m.waitLocked(nil, first, false) // cannot fail without a context
			continue
		}
		if !m.claimToRemoveLocked(first, order, w) {
			continue
		}
		keep := m.marksLocked(first)
		keep.dirty = keep.dirty || mapped && w.is(wWrite)
		m.eraseLocked(first)
		old := slot{first, order, w}
		m.restoreLocked(old, first, max(first, page), keep)
		if old.end()-1 > last {
			m.restoreLocked(old, last+1, old.end(), keep)
		}
		switch {
		case keep.dirty && w.is(wMapped):
			dirty = append(dirty, old)
		case w.is(wCached):
			m.cfg.Frames.free(m, first, w.pfn())
		}
		if next = old.end(); next > last || next == 0 {
			return dirty
		}
	}
}

// Invalidate takes back what DAX knows about the pages [page, page+n), after the
// file system changed the extent map under them (5.9): translations first, then
// the entries. A dirty or pinned page is refused: ErrBusy, and stays.
//
// Locks: the caller excludes whatever may read, write or allocate in the range.
// Takes the invalidate lock exclusive.
func (m *Mapping) Invalidate(page, n uint64) error {
	if n == 0 {
		return nil
	}
	defer m.settle()
	_ = m.inval.Lock(nil) // cannot fail without a context
	defer m.inval.Unlock()
	// Once before the translations go, so that dirty pages keep theirs, and once
	// after, when no store can come any more.
	for range 2 {
		if _, err := m.collect(nil, page, n); err != nil {
			return err
		}
		m.mu.Lock()
		_, _, _, dirty := m.index.NextMarked(page, lastPage(page, n), markDirty)
		busy := dirty || m.pins.overlaps(page, n)
		m.mu.Unlock()
		if busy {
			return fmt.Errorf("dax: invalidate pages %d+%d: %w", page, n, ErrBusy)
		}
		m.unmap(page, n, false)
	}
	m.forget(m.remove(page, n))
	return nil
}

// Evict empties the mapping for good: it waits for pins, writes back what is dirty
// (unless discard says that the file is gone), and removes every entry. Views must
// be detached: ErrBusy. Afterwards every call fails with ErrGone.
//
// If the writeback fails the mapping stays as it is, with the error; call again
// with discard to drop the bytes. ctx bounds the wait for pins and may be nil.
func (m *Mapping) Evict(ctx context.Context, discard bool) error {
	if n := m.views.Len(); n > 0 {
		return fmt.Errorf("dax: evict with %d views: %w", n, ErrBusy)
	}
	for {
		lock := m.lockIdle
		if discard {
			lock = m.lockRemovable
		}
		if err := lock(ctx, 0, ToEnd); err != nil {
			return err
		}
		m.mu.Lock()
		_, _, _, dirty := m.index.NextMarked(0, ToEnd, markDirty)
		m.mu.Unlock()
		if discard || !dirty {
			break
		}
		m.inval.Unlock()
		if _, err := m.Writeback(ctx, 0, 1<<63-1); err != nil {
			return err
		}
	}
	defer m.inval.Unlock()
	// First, so that no waiter that a removal wakes makes an entry behind it.
	m.mu.Lock()
	m.dead = true
	m.mu.Unlock()
	m.forget(m.remove(0, ToEnd))
	return nil
}
