package vm

import (
	"slices"
	"sync"

	"godax/internal/hook"
	"godax/internal/rwsem"
)

// Views is the list of all views of one file (the reverse mapping, Linux's
// i_mmap). The zero value is empty and ready.
//
// Locks: mu guards list. It comes after the entry lock and before the index lock
// in the lock order; the views' own page-table locks come inside it.
type Views struct {
	mu   rwsem.RW
	rank sync.Once // gives mu its rank, in debug builds
	list []View
}

func (vs *Views) lock() {
	vs.setRank()
	_ = vs.mu.Lock(nil) // cannot fail without a context
}

func (vs *Views) rlock() {
	vs.setRank()
	_ = vs.mu.RLock(nil)
}

func (vs *Views) setRank() {
	if hook.Enabled {
		vs.rank.Do(func() { vs.mu.SetRank(hook.Views) })
	}
}

// Add puts v on the list.
func (vs *Views) Add(v View) {
	vs.lock()
	defer vs.mu.Unlock()
	vs.list = append(vs.list, v)
}

// Remove takes v off the list. It reports whether v was on it.
func (vs *Views) Remove(v View) bool {
	vs.lock()
	defer vs.mu.Unlock()
	i := slices.Index(vs.list, v)
	if i < 0 {
		return false
	}
	vs.list = slices.Delete(vs.list, i, i+1)
	return true
}

// Replacer is a list on which views take the place of others: a [Views], or what has
// one (dax.Mapping).
type Replacer interface {
	// Replace puts the views with, none or more, in the place of old; old may be among
	// them. It calls move, if that is not nil, at a moment when nobody goes through the
	// list: what move takes out of old and puts into others is missed by no Unmap and
	// no Protect. If old is not on the list nothing is done, and Replace reports false.
	//
	// Locks: the caller holds the view's own lock for changes (mmap_lock). Takes
	// Views.mu exclusive; move may take page-table locks.
	Replace(old View, move func(), with ...View) bool
}

var _ Replacer = (*Views)(nil)

// Replace implements [Replacer].
func (vs *Views) Replace(old View, move func(), with ...View) bool {
	vs.lock()
	defer vs.mu.Unlock()
	i := slices.Index(vs.list, old)
	if i < 0 {
		return false
	}
	if move != nil {
		move()
	}
	vs.list = slices.Replace(vs.list, i, i+1, with...)
	return true
}

// Len is the number of views.
func (vs *Views) Len() int {
	vs.rlock()
	defer vs.mu.RUnlock()
	return len(vs.list)
}

// Each calls f for every view that overlaps the file pages [page, page+n), with
// the list locked for reading; f must not change the list. It stops when f
// returns false.
func (vs *Views) Each(page, n uint64, f func(View) bool) {
	vs.rlock()
	defer vs.mu.RUnlock()
	for _, v := range vs.list {
		if first, count := v.Bounds(); Overlap(first, count, page, n) && !f(v) {
			return
		}
	}
}

// Unmap takes the translations of [page, page+n) out of every view; see
// [View.Unmap].
func (vs *Views) Unmap(page, n uint64, copies bool) {
	vs.Each(page, n, func(v View) bool {
		v.Unmap(page, n, copies)
		return true
	})
}

// Protect write-protects and cleans [page, page+n) in every view; see
// [View.Protect].
func (vs *Views) Protect(page, n uint64) {
	vs.Each(page, n, func(v View) bool {
		v.Protect(page, n)
		return true
	})
}

// Overlap reports whether the runs of na pages at a and nb pages at b share a
// page. A run may reach up to the largest page number; sums that would wrap are
// taken as infinite.
func Overlap(a, na, b, nb uint64) bool {
	if na == 0 || nb == 0 {
		return false
	}
	if a <= b {
		return b-a < na
	}
	return a-b < nb
}
