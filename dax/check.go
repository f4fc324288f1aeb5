package dax

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"godax/pmem"
	"godax/vm"
)

// CheckInvariants verifies what must always hold: the structure of the index (I1
// to I5), and against it the translations of every view that can be inspected
// (I11 to I13, I31). quiescent says that no operation is in flight: then no entry
// may be locked and nobody asleep either (I6, I7). It returns all violations.
//
// With operations in flight, entries that are locked are left out.
//
// Locks: takes the list of views, and mu.
func (m *Mapping) CheckInvariants(quiescent bool) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, violation(format, args...)) }
	m.views.Each(0, ToEnd, func(v vm.View) bool {
		if in, ok := v.(vm.Inspector); ok {
			m.checkView(in, bad)
		}
		return true
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkIndexLocked(bad)
	m.checkFramesLocked(bad)
	m.checkWaitersLocked(quiescent, bad)
	return errors.Join(errs...)
}

// violation is the error of a broken invariant.
func violation(format string, args ...any) error { return fmt.Errorf("dax: "+format, args...) }

// checkIndexLocked verifies the entries by themselves.
func (m *Mapping) checkIndexLocked(bad func(string, ...any)) {
	var sum, count, next uint64
	for {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			break
		}
		w := word(val)
		dirty, tagged := m.index.Marked(first, markDirty), m.index.Marked(first, markToWrite)
		if first < next || first != base(first, order) {
			bad("I1, I2: entry of order %d at page %d, after page %d", order, first, next)
		}
		if w.is(wMapped) && uint64(w.pfn())&(pages(order)-1) != 0 {
			bad("I2: page %d: frame %#x is not aligned to order %d", first, uint64(w.pfn()), order)
		}
		if !w.is(wMapped) && (dirty || tagged) {
			bad("I3, I4: page %d: marks on an entry without a frame", first)
		}
		if !w.is(wMapped) && w.pfn() != 0 || w.all(wMapped|wZero) {
			bad("page %d: entry %#x is of two kinds", first, val)
		}
		if w.all(wWrite|wShared) || w.is(wWrite) && m.cfg.ReadOnly {
			bad("P5: page %d: entry %#x allows stores", first, val)
		}
		if w.is(wWaiters) && !w.is(wLocked) {
			bad("L10: page %d: entry %#x is waited for and not locked", first, val)
		}
		sum, count = sum+pages(order), count+1
		if next = first + pages(order); next == 0 {
			break
		}
	}
	if got := m.index.Pages(); got != sum {
		bad("I5: the index counts %d pages, its entries have %d", got, sum)
	}
	if got := uint64(m.index.Len()); got != count {
		bad("I5: the index counts %d entries, it has %d", got, count)
	}
}

// checkFramesLocked verifies that no frame is used twice, unless the file system said so.
func (m *Mapping) checkFramesLocked(bad func(string, ...any)) {
	var owned []ownedRun
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			break
		}
		if w := word(val); w.is(wMapped) && !w.is(wShared) {
			owned = append(owned, ownedRun{w.pfn(), pages(order), first})
		}
		if next = first + pages(order); next == 0 {
			break
		}
	}
	slices.SortFunc(owned, func(a, b ownedRun) int { return cmp.Compare(a.pfn, b.pfn) })
	for i := 1; i < len(owned); i++ {
		if a, b := owned[i-1], owned[i]; uint64(b.pfn-a.pfn) < a.n {
			bad("P14: pages %d and %d have the same frame %#x, not said to be shared", a.page+uint64(b.pfn-a.pfn), b.page, uint64(b.pfn))
		}
	}
}

// ownedRun is the frames of an entry that no other may have.
type ownedRun struct {
	pfn     pmem.PFN
	n, page uint64
}

// checkWaitersLocked verifies that whoever sleeps waits for an entry that is there, and, if
// no operation is in flight, that nobody does either. The entry may be unlocked for a moment:
// when one of several waiters has been woken for it and did not run yet.
func (m *Mapping) checkWaitersLocked(quiescent bool, bad func(string, ...any)) {
	for next := uint64(0); quiescent; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			break
		}
		if word(val).is(wLocked) {
			bad("I6: page %d: locked by nobody", first)
		}
		if next = first + pages(order); next == 0 {
			break
		}
	}
	for key, queue := range m.waiters {
		if _, _, _, ok := m.index.Next(key, key); quiescent || !ok {
			bad("I7: %d asleep on page %d", len(queue), key)
		}
	}
}

// checkView compares a view's translations with the entries behind them. It is
// exact while no operation runs, or all that do are held still.
func (m *Mapping) checkView(v vm.Inspector, bad func(string, ...any)) {
	_, collects := v.(vm.Collector)
	for _, t := range v.Translations() {
		if t.Kind != vm.Frames && t.Kind != vm.Zero {
			continue
		}
		m.mu.Lock()
		first, order, val, ok := m.index.Next(t.Page, t.Page)
		dirty := ok && m.index.Marked(t.Page, markDirty)
		m.mu.Unlock()
		w := word(val)
		switch {
		case ok && w.is(wLocked):
		case !ok || first+pages(order) < t.Page+pages(t.Order):
			bad("I11: translation of order %d at page %d has no entry", t.Order, t.Page)
		case t.Kind == vm.Zero && !w.is(wZero):
			bad("I12: page %d: zero page mapped, entry %#x", t.Page, val)
		case t.Kind == vm.Frames && (!w.is(wMapped) || w.at(t.Page-first).pfn() != t.PFN):
			bad("I12: page %d: frame %#x mapped, entry %#x", t.Page, uint64(t.PFN), val)
		case t.Write && (!w.is(wWrite) || !dirty && !collects):
			bad("I13: page %d: stores are allowed, entry %#x, dirty %t", t.Page, val, dirty)
		case t.Dirty && !dirty && !collects:
			bad("I31: page %d: dirty translation of a clean entry", t.Page)
		}
	}
}
