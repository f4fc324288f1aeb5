package sim

import (
	"errors"
	"fmt"

	"godax/vm"
)

// Leaf is one translation of a view.
type Leaf = vm.Leaf

var _ vm.Inspector = (*View)(nil)

// Translations returns all translations, ascending by page: one instant's truth.
func (v *View) Translations() []Leaf {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.leavesLocked(v.addr, v.n)
}

// Lookup returns the translation of a page, if there is one.
func (v *View) Lookup(page uint64) (Leaf, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.contains(page, 1) {
		return Leaf{}, false
	}
	for _, l := range v.leavesLocked(v.addrOf(page), 1) {
		return l, true
	}
	return Leaf{}, false
}

// leafLocked describes the leaf at an address or around it.
func (v *View) leafLocked(addr uint64, s *slot, level int) Leaf {
	order := v.order(level)
	return Leaf{Page: v.pageOf(addr &^ (1<<order - 1)), Order: order, Kind: s.kind, PFN: s.pfn, Write: s.write, Dirty: s.dirty}
}

func (v *View) leavesLocked(addr, n uint64) []Leaf {
	var all []Leaf
	v.eachLocked(addr, n, func(base uint64, level int, s *slot) bool {
		all = append(all, v.leafLocked(base, s, level))
		return false
	})
	return all
}

// Check verifies what must always hold inside one view: translations do not
// overlap (I19), lie inside the view, have one colour in file, address space and
// storage, allow stores only where the view does (I21), no table is empty or
// miscounted, and tables, private copies and the tables laid by for huge translations
// (T56) are as many as were counted.
func (v *View) Check() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	bad := func(page uint64, format string, args ...any) {
		errs = append(errs, fmt.Errorf("sim: page %d: %s", page, fmt.Sprintf(format, args...)))
	}
	next := uint64(0)
	var have alive
	for _, l := range v.leavesLocked(0, 2*maxPages) {
		size := uint64(1) << l.Order
		switch {
		case l.Page < next:
			bad(l.Page, "overlaps the translation before it")
		case !v.Congruent(l.Page, l.Order):
			bad(l.Page, "order %d outside the view or of another colour", l.Order)
		case l.Kind == vm.Frames && uint64(l.PFN)%size != 0:
			bad(l.Page, "order %d, frame %#x is not aligned", l.Order, uint64(l.PFN))
		case l.Write && l.Kind != vm.Private && (l.Kind != vm.Frames || !v.flags.SharedWrite()):
			bad(l.Page, "writable: kind %d, view flags %#x", l.Kind, v.flags)
		case l.Kind == vm.Private && (l.Order != 0 || v.flags&vm.Shared != 0):
			bad(l.Page, "private copy of order %d, view flags %#x", l.Order, v.flags)
		}
		next = l.Page + size
		if l.Order > 0 {
			have.deposits++
		}
		if l.Kind == vm.Private {
			have.copies++
		}
	}
	for key, s := range v.roots {
		if err := v.checkTable(s, v.top(), &have); err != nil {
			errs = append(errs, fmt.Errorf("sim: root %#x: %w", key, err))
		}
	}
	if have != v.alive {
		errs = append(errs, fmt.Errorf("sim: view at page %d has %+v, counted %+v", v.page, have, v.alive))
	}
	return errors.Join(errs...)
}

// checkTable verifies the structure below a slot that must not be empty, and counts the
// tables.
func (v *View) checkTable(s *slot, level int, have *alive) error {
	switch {
	case s.state == empty:
		return errors.New("empty root slot")
	case s.state == leaf && s.table != nil, s.state == branch && s.table == nil:
		return fmt.Errorf("level %d: leaf and table are mixed up", level)
	case s.state == leaf:
		return nil
	}
	have.tables++
	used := 0
	for i := range s.table.slots {
		below := &s.table.slots[i]
		if below.state == empty {
			continue
		}
		used++
		if err := v.checkTable(below, level-1, have); err != nil {
			return err
		}
	}
	if used == 0 || used != s.table.used {
		return fmt.Errorf("level %d: table with %d slots in use counts %d", level, used, s.table.used)
	}
	return nil
}
