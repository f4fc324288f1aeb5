package dax_test

import (
	"fmt"
	"testing"

	"godax/internal/hook"
	"godax/pmem"
	"godax/vm/sim"
)

// Memory that went bad, against everything that takes the page away.

// pfn is the frame of a page.
func (s *stage) pfn(page uint64) pmem.PFN {
	s.t.Helper()
	d, ok := s.device(page)
	if !ok {
		s.t.Fatalf("page %d has no block", page)
	}
	return pmem.MakePFN(s.dev.ID(), d)
}

// The users of a bad page have been looked up, and nothing is locked; then the page is
// taken away, or its huge entry cut, or the mapping evicted. Who still maps the page is
// told, and nobody else.
//
// Guards I9, I43, I44, I6, T47, T42.
func TestSC27_FailureAndChange(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *stage) error
		told   bool // whoever maps the page then
		gone   bool // the mapping
	}{
		{"nothing", func(s *stage) error { return nil }, true, false},
		{"truncate", func(s *stage) error { return s.truncate(ctx, 0) }, false, false},
		{"punch", func(s *stage) error { return s.punch(ctx, pageSize, pageSize) }, false, false},
		{"entry cut", func(s *stage) error { return s.punch(ctx, 0, pageSize) }, true, false},
		{"moved", func(s *stage) error {
			return s.m.CollapseRange(ctx, 0, pageSize, func() error { s.shiftBlocks(1); return nil })
		}, false, false},
		{"other block", func(s *stage) error {
			if err := s.punch(ctx, pageSize, pageSize); err != nil {
				return err
			}
			s.set(func(f *file) { f.scatter = true })
			_, err := s.write([]byte{1}, pageSize)
			return err
		}, false, false},
		{"evict", func(s *stage) error {
			for len(s.views) > 0 {
				s.unmapped(s.views[0])
			}
			return s.m.Evict(ctx, false)
		}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachOne(t, func(t *testing.T, s *stage) {
				s.written()
				pfn := s.pfn(1)
				views := map[string]*sim.View{"whole": s.whole(sharedRW), "one page": s.mapped(1, 1, sharedRO)}
				for _, v := range views {
					load(t, v, pageSize, 1)
				}
				g := s.hold(hook.PoisonFound, "failure")
				found := 0
				failure := s.op("failure", func() error { found = s.m.MemoryFailure(pfn, 1); return nil })
				g.Wait()
				s.done(s.op("change", func() error { return tt.change(s) }))
				if !tt.gone {
					for name, v := range views { // mapped again, as it is now
						if err := v.Load(ctx, make([]byte, 1), pageSize); err != nil && tt.name != "truncate" {
							t.Errorf("%s: %v", name, err)
						}
					}
				}
				g.Open()
				s.done(failure)
				if found != 1 {
					t.Errorf("found %d pages, want 1", found)
				}
				for name, v := range views {
					got := v.Failures()
					if (len(got) == 1) != tt.told || len(got) > 1 {
						t.Errorf("%s: told %+v, want something: %t", name, got, tt.told)
					}
					if l, ok := v.Lookup(1); ok && tt.told {
						t.Errorf("%s: still mapped: %+v", name, l)
					}
				}
				if tt.gone {
					s.check()
				} else {
					s.finish()
				}
			})
		})
	}
}

// A fault holds the page's slot: the failure waits, without standing in the way of the
// store that waits behind it, and whoever has mapped the page then is told.
//
// Guards I7, I44, T48.
func TestSC27_FailureWaits(t *testing.T) {
	eachPoint(t, duringFault[2:], func(s *stage, p hook.Point) {
		s.written()
		v, w := s.whole(sharedRW), s.whole(sharedRW)
		g := s.hold(p, "fault")
		fault := s.loads("fault", v, make([]byte, 1), pageSize)
		g.Wait()
		failure := s.op("failure", func() error { s.m.MemoryFailure(s.pfn(1), 1); return nil })
		s.waits(failure)
		late := s.stores("store", w, []byte{1}, pageSize)
		s.waits(late)
		g.Open()
		s.done(fault, failure, late)
		if got := v.Failures(); len(got) != 1 || got[0].Page != 1 || got[0].Order != s.entryOrder() {
			s.t.Errorf("told %+v", got) // the fault had mapped it when it gave the slot back
		}
	})
}

// A writeback holds the entry: the failure waits, and comes to it afterwards.
//
// Guards I9, I10, T47.
func TestSC27_FailureUnderWriteback(t *testing.T) {
	eachPoint(t, []hook.Point{hook.TowriteCleared, hook.Protected, hook.Flushed}, func(s *stage, p hook.Point) {
		s.written()
		v := s.whole(sharedRW)
		store(s.t, v, []byte{1}, pageSize)
		g := s.hold(p, "sync")
		sync := s.syncs("sync")
		g.Wait()
		failure := s.op("failure", func() error { s.m.MemoryFailure(s.pfn(1), 1); return nil })
		s.waits(failure)
		g.Open()
		s.done(sync, failure)
		if got := v.Failures(); len(got) != 1 || got[0].Page != 1 || got[0].Order != s.entryOrder() {
			s.t.Errorf("told %+v", got)
		}
		s.isDirty("flushed", 1, false)
	})
}

// eachOne is eachStage for tests that end with the checkers themselves, or cannot.
func eachOne(t *testing.T, test func(t *testing.T, s *stage)) {
	t.Helper()
	t.Run("small", func(t *testing.T) { test(t, newStage(t, pmdOrder, true)) })
	for _, order := range []uint{1, 2, 3} {
		t.Run(fmt.Sprintf("order %d", order), func(t *testing.T) { test(t, newStage(t, order, false)) })
	}
}
