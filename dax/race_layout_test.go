package dax_test

import (
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/vm"
	"godax/vm/sim"
)

// Truncate, punch and their like against faults, stores and writeback.

// accesses are the three kinds of access that faults come from.
var accesses = []string{"load", "store", "private store"}

// access makes a view for a kind of access, and an operation that accesses a byte.
func (s *stage) access(kind string) (*sim.View, func(b []byte, off int64) *sched.Op) {
	s.t.Helper()
	flags := sharedRW
	if kind == "private store" {
		flags = private
	}
	v := s.whole(flags)
	return v, func(b []byte, off int64) *sched.Op {
		s.t.Helper()
		if kind == "load" {
			return s.loads(kind, v, b, off)
		}
		return s.stores(kind, v, b, off)
	}
}

func (s *stage) punches(name string, off, n int64) *sched.Op {
	s.t.Helper()
	return s.op(name, func() error { return s.punch(ctx, off, n) })
}

func (s *stage) cuts(name string, size int64) *sched.Op {
	s.t.Helper()
	return s.op(name, func() error { return s.truncate(ctx, size) })
}

// A punch has unmapped its range, or also removed the entries, and not freed the blocks:
// a fault waits, and sees the hole. Blocks are free only when nothing refers to them.
//
// Guards I16, I17, T5, T6, T7, T13.
func TestSC7_PunchAndFault(t *testing.T) {
	test := func(s *stage, p hook.Point, kind string) {
		s.written()
		v, access := s.access(kind)
		load(s.t, v, pageSize, 1)
		block, _ := s.device(1)
		g := s.hold(p, "punch")
		punch := s.punches("punch", pageSize, s.run) // from one huge page into the next
		g.Wait()
		b := []byte{9}
		fault := access(b, pageSize)
		s.waits(fault)
		if s.isFree(block) {
			s.t.Error("the block is free already")
		}
		g.Open()
		s.done(punch, fault)
		switch kind {
		case "load":
			equal(s.t, "the load", b, []byte{0})
		case "store":
			equal(s.t, "the store", s.mustRead(pageSize, 2), []byte{9, 0})
		default:
			equal(s.t, "the copy", load(s.t, v, pageSize, 2), []byte{9, 0})
			equal(s.t, "the file", s.mustRead(pageSize, 2), []byte{0, 0})
		}
		equal(s.t, "the last page of the hole", s.mustRead(s.run, 2), []byte{0, 0})
	}
	for _, kind := range accesses {
		t.Run(kind, func(t *testing.T) {
			eachPoint(t, []hook.Point{hook.LayoutIdle, hook.LayoutRemoved}, func(s *stage, p hook.Point) { test(s, p, kind) })
			realOrder(t, func(s *stage) { test(s, hook.LayoutRemoved, kind) })
		})
	}
}

// A fault is under way and the page is truncated: the truncate waits, and takes the page
// away afterwards, private copies included.
//
// Guards I15, I16, I17, T6, T7, T83, T86.
func TestSC8_FaultAndTruncate(t *testing.T) {
	points := append([]hook.Point{hook.FaultChecked}, duringFault...)
	for _, kind := range accesses {
		for _, hole := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/hole %t", kind, hole), func(t *testing.T) {
				eachPoint(t, points, func(s *stage, p hook.Point) {
					switch {
					case kind == "private store" && (p == hook.EntryStored || p == hook.Installed):
						return // a copy has no such point: its entry is nobody else's business
					case !hole:
						s.written()
						if err := s.m.Invalidate(0, dax.ToEnd); err != nil { // or nobody is asked
							s.t.Fatal(err)
						}
					}
					v, access := s.access(kind)
					g := s.hold(p, kind)
					fault := access(make([]byte, 1), s.run)
					g.Wait()
					cut := s.cuts("truncate", 100)
					s.waits(cut)
					g.Open()
					s.servedOrGone(fault) // the access comes before the new end or after it
					s.done(cut)
					s.pastEnd("later", v.Load(ctx, make([]byte, 1), s.run))
					for _, l := range v.Translations() {
						if l.Page > 0 {
							s.t.Errorf("left: %+v", l)
						}
					}
					if pages, _ := s.m.Pages(); pages > 1 {
						s.t.Errorf("%d pages in the index", pages)
					}
				})
			})
		}
	}
}

// A truncate, or a collapse, has published the new size and not unmapped: a fault past it
// waits and gets SIGBUS, one on the last kept page is served.
//
// Guards I15.
func TestSC9_SizePublished(t *testing.T) {
	for name, shrink := range map[string]func(s *stage) error{
		"truncate": func(s *stage) error { return s.truncate(ctx, s.run+100) },
		"collapse": func(s *stage) error {
			s.inode.Lock()
			defer s.inode.Unlock()
			return s.m.CollapseRange(ctx, 0, s.run-pageSize, func() error { s.shiftBlocks(s.n - 1); return nil })
		},
	} {
		for _, kind := range accesses {
			t.Run(name+"/"+kind, func(t *testing.T) {
				eachStage(t, func(s *stage) {
					data := s.written()
					v, access := s.access(kind)
					g := s.hold(hook.SizePublished, "shrink")
					shrinking := s.op("shrink", func() error { return shrink(s) })
					g.Wait()
					kept := byte(0x42)
					b := []byte{kept}
					past, last := access(make([]byte, 1), s.run+pageSize), access(b, s.run+50)
					s.waits(past, last)
					g.Open()
					s.done(shrinking, last)
					s.pastEnd("past the end", past.Err())
					if kind == "load" {
						want := data[s.run+50]
						if name == "collapse" {
							want = data[2*s.run-pageSize+50]
						}
						equal(s.t, "the last kept page", b, []byte{want})
					} else {
						equal(s.t, "the last kept page", load(s.t, v, s.run+50, 1), []byte{kept})
					}
					s.pastEnd("later", v.Load(ctx, make([]byte, 1), s.run+pageSize))
				})
			})
		}
	}
}

// shiftBlocks takes the first n pages out of the file's extent map.
func (f *file) shiftBlocks(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropLocked(0, n)
	moved := map[uint64]uint64{}
	for p, d := range f.blocks {
		moved[p-n] = d
	}
	f.blocks = moved
}

// Huge dirty entries are cut by a punch, and meanwhile the part that stays is stored to:
// the store waits, its page is dirty afterwards, and what was dirty before is not lost.
//
// Guards I33, I30, T14.
func TestSC31_PunchAndStoreToTheRest(t *testing.T) {
	for _, head := range []bool{true, false} { // which rest is stored to: the other one must not be forgotten
		t.Run(fmt.Sprintf("first page %t", head), func(t *testing.T) {
			eachPoint(t, []hook.Point{hook.LayoutIdle, hook.LayoutRemoved}, func(s *stage, p hook.Point) {
				data := s.written()
				v := s.whole(sharedRW)
				for _, off := range []int64{5, 2*s.run - 5} {
					store(s.t, v, []byte{^data[off]}, off)
					data[off] = ^data[off]
				}
				at := 2*s.run - 6
				if head {
					at = 6
				}
				g := s.hold(p, "punch")
				punch := s.punches("punch", pageSize, 2*s.run-2*pageSize) // all but the first and the last page
				g.Wait()
				late := s.stores("store", v, []byte{7}, at)
				if s.small {
					s.done(late) // the page has a translation of its own, which nobody takes away
				} else {
					s.waits(late)
				}
				data[at] = 7
				clear(data[pageSize : 2*s.run-pageSize])
				g.Open()
				s.done(punch, late)
				equal(s.t, "the file", s.reads(), data)
				s.sync()
				s.onMedium("the first page", 0, 0, data[:pageSize])
				s.onMedium("the last page", 2*s.n-1, 0, data[2*s.run-pageSize:])
			})
		})
	}
}

// The tag of a writeback under way survives the cutting of its entry.
//
// Guards I33, I30, T14.
func TestSC31_SF7_PunchUnderWriteback(t *testing.T) {
	for _, p := range []hook.Point{hook.WritebackTagged, hook.TowriteCleared, hook.Protected, hook.Flushed} {
		t.Run(fmt.Sprintf("HP%d", p), func(t *testing.T) {
			for _, order := range []uint{2, 3} { // what is cut has a part on each side
				t.Run(fmt.Sprintf("order %d", order), func(t *testing.T) {
					newStage(t, order, false).play(func(s *stage) {
						data := pattern(2*s.run, 1)
						s.mustWrite(data, 0) // two huge entries
						g := s.hold(p, "sync")
						sync := s.syncs("sync")
						g.Wait() // at the first entry; the second is tagged
						s.done(s.punches("punch", s.run+pageSize, pageSize))
						g.Open()
						s.done(sync)
						for _, page := range []uint64{0, s.n, s.n + 2, 2*s.n - 1} {
							s.onMedium(fmt.Sprintf("page %d", page), page, 0, data[page*pageSize:][:pageSize])
						}
					})
				})
			}
		})
	}
}

// A removal meets an entry that a writeback holds: it waits, comes back to that entry, and
// removes it with those behind it.
//
// Guards I10, I16, I9, T64, T65.
func TestSC22_RemovalComesBack(t *testing.T) {
	eachPoint(t, []hook.Point{hook.TowriteCleared, hook.Protected, hook.Flushed}, func(s *stage, p hook.Point) {
		s.mustWrite(pattern(2*s.run, 1), 0)
		g := s.hold(p, "sync")
		sync := s.syncs("sync")
		g.Wait() // in the first entry
		punch := s.punches("punch", 0, 2*s.run)
		s.waits(punch)
		g.Open()
		s.done(sync, punch)
		if pages, entries := s.m.Pages(); pages != 0 {
			s.t.Errorf("%d pages, %d entries left", pages, entries)
		}
		if len(s.blocks) != 0 {
			s.t.Errorf("%d blocks left", len(s.blocks))
		}
	})
}

// Invalidate meets a dirty entry, or one that is about to be: it is refused, the entry
// stays, and the next writeback flushes it.
//
// Guards I33, I30, I11, T17, T21, T22.
func TestSC35_InvalidateMeetsDirty(t *testing.T) {
	eachStage(t, func(s *stage) {
		s.written()
		v := s.whole(sharedRW)
		load(s.t, v, 0, 1)
		store(s.t, v, []byte{1}, s.run)
		isErr(s.t, s.m.Invalidate(0, dax.ToEnd), dax.ErrBusy)
		s.isDirty("after the refusal", s.n, true)
		if l := translation(s.t, v, s.n); !l.Write {
			s.t.Errorf("refused, and the translation is %+v", l)
		}
		if err := s.m.Invalidate(0, s.n); err != nil {
			s.t.Error(err)
		}
		s.sync()
		s.onMedium("flushed", s.n, 0, []byte{1})
		if err := s.m.Invalidate(0, dax.ToEnd); err != nil {
			s.t.Error(err)
		}
		if n := len(v.Translations()); n != 0 {
			s.t.Errorf("%d translations left", n)
		}
	})
	eachPoint(t, []hook.Point{hook.EntryStored, hook.DirtySet, hook.Installed}, func(s *stage, p hook.Point) {
		s.written()
		v := s.whole(sharedRW)
		g := s.hold(p, "store")
		late := s.stores("store", v, []byte{1}, s.run)
		g.Wait()
		invalidate := s.op("invalidate", func() error { return s.m.Invalidate(0, dax.ToEnd) })
		s.waits(invalidate)
		g.Open()
		s.done(late)
		isErr(s.t, invalidate.Err(), dax.ErrBusy)
		s.isDirty("after the refusal", s.n, true)
		s.sync()
		s.onMedium("flushed", s.n, 0, []byte{1})
	})
}

// Making room among cached pages meets one that is clean and mapped, or that a fault is
// about to map: it stays.
//
// Guards I11, T22.
func TestSC36_EvictionMeetsMapped(t *testing.T) {
	sched.Enabled(t)
	t.Run("mapped", func(t *testing.T) {
		c := newCached(t, 4, 1, 4)
		v := c.view(t, 4)
		for page := range int64(4) {
			load(t, v, page*pageSize, 1) // each above the limit, so that room is made
		}
		if n := c.m.Stats().Evicted.Load(); n != 0 {
			t.Errorf("%d pages given up under a view", n)
		}
		equal(t, "the view", load(t, v, 0, 4*pageSize), c.disk)
		c.unview(t, v)
	})
	for _, p := range duringFault {
		t.Run(fmt.Sprintf("HP%d", p), func(t *testing.T) {
			c := newCached(t, 4, 1, 4)
			c.readAll(t) // one page stays, clean
			v := c.view(t, 4)
			g := sched.Hold(t, p, sched.Of(c.m), sched.By("fault"))
			b := []byte{0}
			fault := sched.Go(t, "fault", func() error { return v.Load(ctx, b, 0) })
			g.Wait()
			read := sched.Go(t, "read", func() error {
				_, err := c.m.ReadAt(ctx, make([]byte, pageSize), 2*pageSize, c) // wants a frame
				return err
			})
			if err := read.Err(); err != nil {
				t.Fatal(err)
			}
			g.Open()
			if err := fault.Err(); err != nil {
				t.Fatal(err)
			}
			equal(t, "the load", b, c.disk[:1])
			equal(t, "the view", load(t, v, 0, 4*pageSize), c.disk)
			if err := errors.Join(c.m.CheckInvariants(true), v.Check()); err != nil {
				t.Error(err)
			}
			c.unview(t, v)
		})
	}
}

// view maps the file.
func (c *cachedFile) view(t *testing.T, n uint64) *sim.View {
	t.Helper()
	v, err := newSpace().Map(vm.HandlerFunc(func(f *vm.Fault) error { return c.m.Fault(f, c) }), 0, n, sharedRO)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.m.Attach(ctx, v, c); err != nil {
		t.Fatal(err)
	}
	return v
}

func (c *cachedFile) unview(t *testing.T, v *sim.View) {
	t.Helper()
	if err := c.m.Detach(v); err != nil {
		t.Fatal(err)
	}
	v.Close()
}
