package sim

import (
	"errors"
	"fmt"
	"slices"

	"godax/pmem"
	"godax/vm"
)

// Views that change. A view's bounds and address are for ever; what splits, grows or
// moves one makes others that take its place, as in a kernel:
//
//  1. the accesses under way have ended, and none begins (mm, exclusively);
//  2. the new views take the old one's addresses in the space, locked as well;
//  3. they take its place on the file's list, and in the same step, while nobody can
//     go through the list, its translations (vm.Replacer).
//
// The old view is closed: accesses through it are ErrClosed, accesses by address find
// the new ones. A huge translation that does not fit any more, across a border or of
// another colour, is gone; its pages fault again.

// ErrNotListed: the view is not on the file's list that the caller gave.
var ErrNotListed = errors.New("sim: view is not on the list")

// Split makes two views of one at a file page inside it (as mprotect or mbind of a part
// do). list is the file's list that the view is on; nil if it is on none. Errors:
// [ErrSegv] if the page is not inside, or the first; [ErrClosed]; [ErrNotListed].
//
// Locks: waits for the accesses under way. The caller holds nothing that a fault takes.
func (v *View) Split(list vm.Replacer, page uint64) (low, high *View, err error) {
	if !v.contains(page, 1) || page == v.page {
		return nil, nil, fmt.Errorf("%w: split at page %d of view [%d, %d)", ErrSegv, page, v.page, v.page+v.n)
	}
	parts, err := v.replace(list, v.part(v.page, page-v.page), v.part(page, v.page+v.n-page))
	if err != nil {
		return nil, nil, err
	}
	return parts[0], parts[1], nil
}

// Cut takes the file pages [page, page+n), which must be inside, out of the view, with
// their translations and private copies (munmap of a part, or a view that shrinks).
// It returns the views of what is left: two, one, or none. See [View.Split].
func (v *View) Cut(list vm.Replacer, page, n uint64) (rest []*View, err error) {
	if n == 0 || !v.contains(page, n) {
		return nil, fmt.Errorf("%w: cut of %d pages at page %d of view [%d, %d)", ErrSegv, n, page, v.page, v.page+v.n)
	}
	var parts []part
	if page > v.page {
		parts = append(parts, v.part(v.page, page-v.page))
	}
	if end := page + n; end < v.page+v.n {
		parts = append(parts, v.part(end, v.page+v.n-end))
	}
	return v.replace(list, parts...)
}

// Grow adds n pages of the file at the view's end (mremap). It fails if another view is
// there. See [View.Split].
func (v *View) Grow(list vm.Replacer, n uint64) (*View, error) {
	if n > maxPages {
		return nil, fmt.Errorf("%w: grow by %d pages", ErrSegv, n)
	}
	return one(v.replace(list, v.part(v.page, v.n+n)))
}

// Move puts the view at another address, in pages (mremap with MREMAP_FIXED). It fails
// if another view is there; it may overlap its own old place. See [View.Split].
func (v *View) Move(list vm.Replacer, addr uint64) (*View, error) {
	return one(v.replace(list, part{page: v.page, n: v.n, addr: addr}))
}

// one returns the only view of a replacement.
func one(views []*View, err error) (*View, error) {
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

// Fork makes a view like v at the same address of another space, which must have the
// same orders. The child has its own copies of the private pages; every other page it
// faults in by itself. See [View.Split].
func (v *View) Fork(list vm.Replacer, to *Space) (*View, error) {
	if !slices.Equal(v.space.levels, to.levels) {
		return nil, fmt.Errorf("sim: fork: orders %v and %v", v.space.levels, to.levels)
	}
	_ = v.mm.Lock(nil) // cannot fail without a context
	defer v.mm.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	to.mu.Lock()
	child, err := to.mapLocked(v.handler, v.page, v.n, v.flags, v.addr)
	if err == nil {
		child.mm.TryLock() // succeeds: it is new
	}
	to.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer child.mm.Unlock()
	if !swap(list, v, func() { child.putAll(v.copies()) }, v, child) {
		_ = child.killLocked()
		to.remove(child)
		return nil, ErrNotListed
	}
	return child, nil
}

// copies returns copies of the private pages, and of what raises SIGBUS.
func (v *View) copies() []placed {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []placed
	v.eachLocked(v.addr, v.n, func(base uint64, level int, s *slot) bool {
		if s.kind == vm.Private || s.kind == vm.Gone {
			l := placed{v.pageOf(base), level, *s}
			l.copy = slices.Clone(l.copy)
			all = append(all, l)
		}
		return false
	})
	return all
}

// Fork makes a space with a fork of every view ([View.Fork]), one after the other; of
// private copies in two views it may have states that never were at the same time.
// list returns the list that a view is on. On an error there is no new space.
func (s *Space) Fork(list func(*View) vm.Replacer) (*Space, error) {
	to := &Space{levels: s.levels, resolve: s.resolve, tryAll: s.tryAll, maxRetries: s.maxRetries}
	var done []*View
	for _, v := range s.Views() {
		child, err := v.Fork(list(v), to)
		if errors.Is(err, ErrClosed) {
			continue // it is no more, and what replaced it came too late
		}
		if err != nil {
			for _, c := range done {
				c.Close()
				swap(list(c), c, nil)
			}
			return nil, err
		}
		done = append(done, child)
	}
	return to, nil
}

// part says what a view is to be.
type part struct{ page, n, addr uint64 }

// part is a piece of the view, or more than it, at the address where it is.
func (v *View) part(page, n uint64) part { return part{page, n, v.addrOf(page)} }

// placed is a translation on its way from one view to another.
type placed struct {
	page  uint64
	level int
	slot
}

// takeLocked takes all translations out of the view.
func (v *View) takeLocked() []placed {
	var all []placed
	v.eachLocked(v.addr, v.n, func(base uint64, level int, s *slot) bool {
		all = append(all, placed{v.pageOf(base), level, *s})
		v.changes++
		return true
	})
	return all
}

// putAll installs those of the translations that fit, in a view that is empty.
func (v *View) putAll(all []placed) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range all {
		if v.Congruent(l.page, v.order(l.level)) && v.contains(l.page, 1) {
			v.putLocked(v.addrOf(l.page), l.level, l.slot)
			v.changes++
		}
	}
}

// replace puts views of the parts in v's place.
func (v *View) replace(list vm.Replacer, parts ...part) ([]*View, error) {
	_ = v.mm.Lock(nil) // cannot fail without a context
	defer v.mm.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	views, err := v.space.exchange(v, parts)
	if err != nil {
		return nil, err
	}
	listed := make([]vm.View, len(views))
	for i, w := range views {
		defer w.mm.Unlock()
		listed[i] = w
	}
	move := func() {
		failures := v.Failures()
		all := v.killLocked()
		for _, w := range views {
			w.putAll(all)
			w.inherit(failures)
		}
	}
	if !swap(list, v, move, listed...) {
		v.space.restore(v, views)
		return nil, ErrNotListed
	}
	return views, nil
}

// swap is list.Replace, or for no list only move.
func swap(list vm.Replacer, old *View, move func(), with ...vm.View) bool {
	if list != nil {
		return list.Replace(old, move, with...)
	}
	if move != nil {
		move()
	}
	return true
}

// inherit remembers the failures of pages that the view has now.
func (v *View) inherit(all []vm.Failure) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range all {
		if v.contains(f.Page, 1) {
			f.Addr = v.addrOf(f.Page) * pmem.PageSize
			v.failures = append(v.failures, f)
		}
	}
}

// exchange puts new views, with their mm held exclusively, in the place of v.
func (s *Space) exchange(v *View, parts []part) (views []*View, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(v)
	for _, p := range parts {
		w, err := s.mapLocked(v.handler, p.page, p.n, v.flags, p.addr)
		if err != nil {
			s.restoreLocked(v, views)
			return nil, err
		}
		w.mm.TryLock() // succeeds: it is new
		views = append(views, w)
	}
	return views, nil
}

// restore undoes exchange: the new views are closed, with mm held, and v is back.
func (s *Space) restore(v *View, views []*View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restoreLocked(v, views)
}

func (s *Space) restoreLocked(v *View, views []*View) {
	for _, w := range views {
		_ = w.killLocked()
		s.removeLocked(w)
	}
	i, _ := slices.BinarySearchFunc(s.views, v.addr, func(w *View, a uint64) int {
		if w.addr < a {
			return -1
		}
		return 1
	})
	s.views = slices.Insert(s.views, i, v)
	s.stats.views.Add(1)
}
