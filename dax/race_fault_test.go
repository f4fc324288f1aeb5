package dax_test

import (
	"fmt"
	"testing"

	"godax/internal/daxtest/sched"
	"godax/internal/hook"
)

// Faults against faults, and against write(2).

// duringFault are the points of a fault at which its slot is locked, HP2 to HP6.
var duringFault = []hook.Point{hook.SlotLocked, hook.ExtentKnown, hook.EntryStored, hook.DirtySet, hook.Installed}

// eachPoint runs a test for points, at all orders.
func eachPoint(t *testing.T, points []hook.Point, test func(s *stage, p hook.Point)) {
	t.Helper()
	for _, p := range points {
		t.Run(fmt.Sprintf("HP%d", p), func(t *testing.T) {
			eachStage(t, func(s *stage) { test(s, p) })
		})
	}
}

// Two stores to one hole through two views: one of them allocates, once, and nothing
// that was stored is wiped out.
//
// Guards I25, I57, I6, T1, T2, T3.
func TestSC1_TwoStores(t *testing.T) {
	test := func(s *stage, p hook.Point) {
		a, b := s.whole(sharedRW), s.whole(sharedRW)
		g := s.hold(p, "first")
		first := s.stores("first", a, []byte{1}, pageSize)
		g.Wait()
		second := s.stores("second", b, []byte{2}, pageSize+1)
		s.waits(second)
		g.Open()
		s.done(first, second)
		equal(s.t, "both", s.mustRead(pageSize, 2), []byte{1, 2})
		if n := s.populates(); n != 1 {
			s.t.Errorf("%d populates, want 1", n)
		}
		if n := len(s.blocks); n != 1<<s.entryOrder() {
			s.t.Errorf("%d blocks, want %d", n, 1<<s.entryOrder())
		}
	}
	eachPoint(t, duringFault, test)
	realOrder(t, func(s *stage) { test(s, hook.ExtentKnown) })
}

// As S-C1, but one of the views is for small pages only: the small store uses the huge
// entry that it waited for; the huge one falls back to a small entry.
//
// Guards I25, I57, I52, T12, T50.
func TestSC1_TwoStoresOfTwoOrders(t *testing.T) {
	for _, p := range duringFault {
		for _, hugeFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("HP%d/huge first %t", p, hugeFirst), func(t *testing.T) {
				eachHuge(t, func(s *stage) {
					a, b := s.whole(sharedRW), s.mapped(1, 1, sharedRW)
					if !hugeFirst {
						a, b = b, a
					}
					g := s.hold(p, "first")
					first := s.stores("first", a, []byte{1}, pageSize)
					g.Wait()
					second := s.stores("second", b, []byte{2}, pageSize+1)
					s.waits(second)
					g.Open()
					s.done(first, second)
					equal(s.t, "both", s.mustRead(pageSize, 2), []byte{1, 2})
					if n := s.populates(); n != 1 {
						s.t.Errorf("%d populates, want 1", n)
					}
				})
			})
		}
	}
}

// A load of a hole, and a store to it through the same view or another one: no zero page
// is left where there is storage.
//
// Guards I11, I12, I14, T10.
func TestSC2_LoadAndStore(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprintf("same view %t", same), func(t *testing.T) {
			eachPoint(t, duringFault, func(s *stage, p hook.Point) {
				a := s.whole(sharedRW)
				b := a
				if !same {
					b = s.mapped(1, 1, sharedRW)
				}
				g := s.hold(p, "load")
				got := []byte{0xaa}
				first := s.loads("load", a, got, pageSize)
				g.Wait()
				second := s.stores("store", b, []byte{2}, pageSize+1)
				s.waits(second)
				g.Open()
				s.done(first, second)
				s.noZeroes(1)
				equal(s.t, "what was loaded", got, []byte{0})
				equal(s.t, "the loader now", load(s.t, a, pageSize, 2), []byte{0, 2})
			})
		})
	}
}

// A load of a hole finds out that it is one, and a write(2) allocates: the write waits for
// the slot, and takes the zero page away that the load puts there.
//
// Guards I14, I24, T19, T20.
func TestSC3_LoadOfHoleAndWrite(t *testing.T) {
	test := func(s *stage, p hook.Point) {
		v := s.whole(sharedRO)
		for i, b := range [][]byte{pattern(pageSize, 3), pattern(s.run, 4), {5}} {
			off := int64(0)
			if len(b) < int(s.run) {
				off = pageSize
			}
			name := fmt.Sprint("load ", i)
			g := s.hold(p, name)
			first := s.loads(name, v, make([]byte, 1), pageSize)
			g.Wait()
			second := s.writes("write", b, off)
			s.waits(second)
			g.Open()
			s.done(first, second)
			s.noZeroes(1)
			equal(s.t, "the view", load(s.t, v, off, len(b)), b)
			equal(s.t, "the loader again", load(s.t, v, pageSize, 1), s.mustRead(pageSize, 1))
			if err := s.punch(ctx, 0, 2*s.run); err != nil {
				s.t.Fatal(err)
			}
		}
		s.mustWrite([]byte{9}, pageSize)
	}
	eachPoint(t, duringFault, test)
	realOrder(t, func(s *stage) { test(s, hook.ExtentKnown) })
}

// A write(2) has allocated a block in a hole that a view has zero pages of. A fault before
// its slot is unlocked waits; one after maps the new block, which is zeroed.
//
// Guards I14, I23, T16, T79, T9.
func TestSC4_WriteAllocatedAndLoad(t *testing.T) {
	for _, p := range []hook.Point{hook.WriteAllocated, hook.WriteInvalidated} {
		test := func(s *stage) {
			v, w := s.whole(sharedRO), s.whole(sharedRO)
			load(s.t, v, pageSize, 1) // a zero page
			g := s.hold(p, "write")
			write := s.writes("write", []byte{7, 7}, pageSize+100)
			g.Wait()
			got := []byte{0xaa, 0xaa}
			first := s.loads("seen before", v, got[:1], pageSize+100)
			second := s.loads("not seen before", w, got[1:], pageSize+100)
			switch {
			case p == hook.WriteAllocated && s.small:
				s.done(first) // the zero page is still there, and still true
				s.waits(second)
			case p == hook.WriteAllocated:
				s.waits(first, second) // the huge zero page went when the write took its slot
			default:
				s.done(first, second)
				s.noZeroes(1)
			}
			g.Open()
			s.done(write, first, second)
			if p == hook.WriteInvalidated {
				equal(s.t, "loads before the copy", got, []byte{0, 0})
			}
			s.noZeroes(1)
			for _, v := range s.views {
				equal(s.t, "the write", load(s.t, v, pageSize+99, 4), []byte{0, 7, 7, 0})
			}
		}
		t.Run(fmt.Sprintf("HP%d", p), func(t *testing.T) {
			eachStage(t, test)
			realOrder(t, test)
		})
	}
}

// A write(2) is about to copy, or has copied a part, and a view stores other bytes to its
// first and last page.
//
// Guards I25, T4.
func TestSC5_WriteCopiesAndStore(t *testing.T) {
	eachPoint(t, []hook.Point{hook.WriteInvalidated, hook.WritePiece}, func(s *stage, p hook.Point) {
		v := s.whole(sharedRW)
		b := pattern(s.run-50, 1) // from the middle of page 1 to that of the second run's
		const off = pageSize + 100
		end := off + int64(len(b))
		g := s.hold(p, "write")
		write := s.writes("write", b, off)
		g.Wait()
		s.done(s.stores("before its bytes", v, []byte{8}, off-1), s.stores("behind its bytes", v, []byte{9}, end))
		g.Open()
		s.done(write)
		want := append(append([]byte{0, 8}, b...), 9, 0)
		equal(s.t, "the file", s.mustRead(off-2, len(want)), want)
	})
}

// A zero page is mapped; a store upgrades it and a write(2) allocates at the same time, in
// every order of their points.
//
// Guards I54, I25, I14, T53.
func TestSC6_UpgradeAndWrite(t *testing.T) {
	for _, wp := range []hook.Point{hook.WriteAllocated, hook.WriteInvalidated} {
		for _, fp := range []hook.Point{hook.ExtentKnown, hook.EntryStored, hook.DirtySet} {
			for _, writeFirst := range []bool{true, false} {
				for _, openFirst := range []bool{true, false} {
					t.Run(fmt.Sprintf("HP%d HP%d/write first %t/opened first %t", wp, fp, writeFirst, openFirst), func(t *testing.T) {
						eachStage(t, func(s *stage) { upgradeAndWrite(s, wp, fp, writeFirst, openFirst) })
					})
				}
			}
		}
	}
}

// upgradeAndWrite starts both, and opens their gates in the order in which they began or
// in the other one, if both are held.
func upgradeAndWrite(s *stage, wp, fp hook.Point, writeFirst, openFirst bool) {
	v, ro := s.whole(sharedRW), s.whole(sharedRO)
	load(s.t, v, pageSize, 1)
	load(s.t, ro, pageSize, 1)
	gates := []*sched.Gate{s.hold(wp, "write"), s.hold(fp, "store")}
	starts := []func() *sched.Op{
		func() *sched.Op { return s.writes("write", []byte{1}, pageSize) },
		func() *sched.Op { return s.stores("store", v, []byte{2}, pageSize+1) },
	}
	if !writeFirst {
		gates[0], gates[1], starts[0], starts[1] = gates[1], gates[0], starts[1], starts[0]
	}
	first := starts[0]()
	gates[0].Wait()
	second := starts[1]()
	if gates[1].Arrived() && !openFirst {
		gates[0], gates[1] = gates[1], gates[0]
	}
	gates[0].Open()
	if gates[1].Arrived() { // else what it is about was done already
		gates[1].Open()
	}
	s.done(first, second)
	gates[1].Open()
	s.noZeroes(1)
	for _, v := range []func() []byte{
		func() []byte { return s.mustRead(pageSize, 3) },
		func() []byte { return load(s.t, v, pageSize, 3) },
		func() []byte { return load(s.t, ro, pageSize, 3) },
	} {
		equal(s.t, "both", v(), []byte{1, 2, 0})
	}
}
