package dax_test

import (
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/vm"
	"godax/vm/sim"
)

// Small accesses against huge ones.

// Stores to private copies choose small pages, loads in the same run choose huge ones,
// and the run is unmapped in between; each is held when it has chosen.
//
// Guards I19, I54, I20, T30.
func TestSC16_SmallAgainstHuge(t *testing.T) {
	const rounds = 500
	eachHuge(t, func(s *stage) {
		data := pattern(s.run, 1)
		s.mustWrite(data, 0)
		v := s.whole(private)
		for i := range rounds {
			storeFirst, unmap := i%2 == 0, i/2%2 == 0
			page := uint64(i) % s.n
			off := int64(page) * pageSize
			other := (off + pageSize) % s.run
			got := []byte{0}
			starts := []func() *sched.Op{
				func() *sched.Op { return s.stores("store", v, []byte{byte(i)}, off) },
				func() *sched.Op { return s.loads("load", v, got, other) },
			}
			held := "load"
			if storeFirst {
				held = "store"
			} else {
				starts[0], starts[1] = starts[1], starts[0]
			}
			g := sched.Hold(s.t, hook.OrderChosen, sched.Of(v), sched.By(held))
			first := starts[0]()
			g.Wait()
			s.done(starts[1]())
			if unmap {
				v.Unmap(0, s.n, false)
			}
			g.Open()
			s.done(first)
			if err := v.Check(); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			if got[0] != data[other] {
				t.Fatalf("round %d: page %d reads %#x, want %#x", i, other/pageSize, got[0], data[other])
			}
			if b := load(t, v, off, 1); b[0] != byte(i) {
				t.Fatalf("round %d: the copy of page %d reads %#x", i, page, b[0])
			}
			equal(t, "the file", s.mustRead(off, 1), data[off:][:1])
			v.Unmap(0, s.n, true)
		}
		if st := s.space[0].Stats(); st.Retries > 4*rounds {
			t.Errorf("%d retries in %d rounds", st.Retries, rounds)
		}
	})
}

// A huge fault holds a huge placeholder, and a small fault comes inside: it waits. What
// it does then depends on what the huge one made.
//
// Guards I6, I7, T12, T50.
func TestSC17_HugeFaultThenSmall(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(s *stage)
		huge  vm.Access
		small vm.Access
		order func(s *stage) uint // of the entry at the page in the end
	}{
		{"zero is downgraded", func(*stage) {}, vm.Load, vm.Store, func(*stage) uint { return 0 }},
		{"mapped is used", func(*stage) {}, vm.Store, vm.Store, func(s *stage) uint { return s.order }},
		{"mapped is loaded from", func(*stage) {}, vm.Store, vm.Load, func(s *stage) uint { return s.order }},
		{"unwritten is downgraded", func(s *stage) { s.prealloc(0, s.n) }, vm.Load, vm.Store, func(*stage) uint { return 0 }},
		{"placeholder is given up", func(s *stage) { s.set(func(f *file) { f.onePage = true }) }, vm.Load, vm.Store, func(*stage) uint { return 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachHuge(t, func(s *stage) {
				tt.setup(s)
				page := s.n - 1
				off := int64(page) * pageSize
				huge, small := s.whole(sharedRW), s.mapped(page, 1, sharedRW)
				access := func(name string, v *sim.View, a vm.Access, off int64) *sched.Op {
					if a == vm.Load {
						return s.loads(name, v, make([]byte, 1), off)
					}
					return s.stores(name, v, []byte{1}, off)
				}
				g := s.hold(hook.SlotLocked, "huge")
				first := access("huge", huge, tt.huge, 0)
				g.Wait()
				second := access("small", small, tt.small, off)
				s.waits(second)
				g.Open()
				s.done(first, second)
				if order, _, ok := s.entry(page); !ok || order != tt.order(s) {
					s.t.Errorf("order %d at page %d, want %d", order, page, tt.order(s))
				}
				want := []byte{0, 0}
				if tt.small == vm.Store {
					want[0] = 1
				}
				equal(s.t, "huge view", load(s.t, huge, off, 2), want)
			})
		})
	}
}

// A small fault holds a page, and a huge one comes to the run: it falls back at once, for
// any page of the run, and the small fault that follows waits only if it is for the same
// page.
//
// Guards I7, I52, I53, T50, T44.
func TestSC18_SmallFaultThenHuge(t *testing.T) {
	eachHuge(t, func(s *stage) {
		for page := range s.n {
			off := int64(page) * pageSize
			huge, small := s.whole(sharedRW), s.mapped(page, 1, sharedRW)
			name := fmt.Sprint("small ", page)
			g := s.hold(hook.SlotLocked, name)
			first := s.stores(name, small, []byte{1}, off)
			g.Wait()
			before := s.m.Stats().Fallbacks[5].Load()
			other := (off + pageSize) % s.run
			s.done(s.loads("huge, other page", huge, make([]byte, 1), other))
			if got := s.m.Stats().Fallbacks[5].Load() - before; got != 1 {
				s.t.Errorf("page %d: %d fallbacks, want 1", page, got)
			}
			if l := translation(s.t, huge, uint64(other)/pageSize); l.Order != 0 {
				s.t.Errorf("page %d: %+v after a fallback", page, l)
			}
			same := s.loads("huge, same page", huge, make([]byte, 1), off)
			s.waits(same)
			g.Open()
			s.done(first, same)
			s.unmapped(huge)
			s.unmapped(small)
			if err := s.punch(ctx, 0, 2*s.run); err != nil {
				s.t.Fatal(err)
			}
		}
	})
}

// entry returns what the index has at a page.
func (s *stage) entry(page uint64) (order uint, dirty, ok bool) {
	order, ok, dirty = dax.Dirty(s.m, page)
	return order, dirty, ok
}

// Two faults on different pages are answered with runs that reach over each other's
// page, at any two points: neither waits, and each gets its page.
//
// Guards I55, I57.
func TestSC34_OverlappingRuns(t *testing.T) {
	for _, p := range []hook.Point{hook.SlotLocked, hook.ExtentKnown} {
		for _, q := range []hook.Point{hook.SlotLocked, hook.ExtentKnown, hook.Installed} {
			for _, firstOpened := range []bool{true, false} {
				t.Run(fmt.Sprintf("HP%d HP%d/first %t", p, q, firstOpened), func(t *testing.T) {
					eachStage(t, func(s *stage) {
						s.onePage = false // runs as wide as the hint; the views keep their order
						a, b := s.whole(sharedRO), s.whole(sharedRO)
						gates := []*sched.Gate{s.hold(p, "first"), s.hold(q, "second")}
						first := s.loads("first", a, make([]byte, 1), 0)
						gates[0].Wait()
						second := s.loads("second", b, make([]byte, 1), s.run+pageSize)
						gates[1].Wait()
						if !firstOpened {
							gates[0], gates[1] = gates[1], gates[0]
						}
						gates[0].Open()
						gates[1].Open()
						s.done(first, second)
						if n := s.populates(); n != 2 {
							s.t.Errorf("%d populates, want 2", n)
						}
					})
				})
			}
		}
	}
}

// The run of a fault reaches over a page that another one has just given storage.
//
// Guards I56, I14.
func TestSC34_RunMeetsStorage(t *testing.T) {
	eachStage(t, func(s *stage) {
		s.onePage = false
		a, b := s.whole(sharedRO), s.mapped(s.n+1, 1, sharedRW)
		g := s.hold(hook.ExtentKnown, "load")
		first := s.loads("load", a, make([]byte, 1), 0) // a hole, to the end of the file
		g.Wait()
		s.done(s.stores("store", b, []byte{7}, s.run+pageSize))
		g.Open()
		s.done(first)
		got := []byte{0}
		if err := a.Load(ctx, got, s.run+pageSize); err != nil {
			s.t.Fatal(err)
		}
		equal(s.t, "the store", got, []byte{7})
	})
}
