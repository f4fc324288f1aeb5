package dax_test

import (
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	psim "godax/pmem/sim"
	"godax/vm"
)

// Writeback against stores and against other writebacks.

// written makes the whole file mapped, clean and durable, and returns its bytes.
func (s *stage) written() []byte {
	s.t.Helper()
	data := pattern(2*s.run, 1)
	s.mustWrite(data, 0)
	s.sync()
	return data
}

// isDirty fails the test unless the entry at the page has that state.
func (s *stage) isDirty(what string, page uint64, want bool) {
	s.t.Helper()
	if _, dirty, ok := s.entry(page); !ok || dirty != want {
		s.t.Errorf("%s: entry of page %d present %t, dirty %t, want %t", what, page, ok, dirty, want)
	}
}

// A store through a translation that a writeback is about to protect is flushed by it; a
// store after that waits for the entry, which is dirty again afterwards.
//
// Guards I31, I32, I30, T24, T25, T10.
func TestSC10_StoreBeforeAndAfterProtect(t *testing.T) {
	test := func(s *stage) {
		s.written()
		v := s.whole(sharedRW)
		store(s.t, v, []byte{1}, pageSize)
		before, after := s.hold(hook.TowriteCleared, "sync"), s.hold(hook.Protected, "sync")
		sync := s.syncs("sync")
		before.Wait()
		s.done(s.stores("store before", v, []byte{2}, pageSize+1))
		before.Open()
		after.Wait()
		late := s.stores("store after", v, []byte{3}, pageSize+2)
		s.waits(late)
		after.Open()
		s.done(sync, late)
		s.onMedium("stored before the flush", 1, 0, []byte{1, 2})
		s.isDirty("stored after the flush", 1, true)
		s.sync()
		s.onMedium("flushed again", 1, 0, []byte{1, 2, 3})
		s.isDirty("in the end", 1, false)
		if translation(s.t, v, 1).Write {
			s.t.Error("writable and clean")
		}
	}
	eachStage(t, test)
	realOrder(t, test)
}

// A store through a view waits for a writeback that has protected its page, or also
// flushed it; a write(2) need not. Either leaves the entry dirty.
//
// Guards I31, I32, I13, T24, T10.
func TestSC11_WritebackThenStore(t *testing.T) {
	eachPoint(t, []hook.Point{hook.Protected, hook.Flushed}, func(s *stage, p hook.Point) {
		s.written()
		v := s.whole(sharedRW)
		store(s.t, v, []byte{1}, pageSize)
		g := s.hold(p, "sync")
		sync := s.syncs("sync")
		g.Wait()
		late := s.stores("store", v, []byte{2}, pageSize+1)
		write := s.writes("write", []byte{3}, pageSize+2)
		s.waits(late)
		s.done(write)
		g.Open()
		s.done(sync, late)
		s.isDirty("stored after the flush", 1, true)
		s.sync()
		s.onMedium("flushed again", 1, 0, []byte{1, 2, 3})
	})
}

// A write(2) alone stores to an entry that a writeback has protected or flushed: the
// entry does not count as clean when the writeback is over.
//
// Guards I30, I32, T10, T24.
func TestSC11_WritebackThenWrite(t *testing.T) {
	eachPoint(t, []hook.Point{hook.TowriteCleared, hook.Protected, hook.Flushed}, func(s *stage, p hook.Point) {
		s.mustWrite(pattern(2*s.run, 1), 0)
		g := s.hold(p, "sync")
		sync := s.syncs("sync")
		g.Wait() // in the first entry
		write := s.writes("write", []byte{3}, 2)
		if !write.Done() {
			s.waits(write)
		}
		g.Open()
		s.done(sync, write)
		s.isDirty("written under the flush", 0, true)
		s.sync()
		s.onMedium("flushed again", 0, 2, []byte{3})
	})
}

// A store has made its translation writable, or is about to, and a writeback comes: the
// entry ends clean and protected or dirty and writable (K2), never mixed.
//
// Guards I13, I31, T24, T10.
func TestSC12_StoreThenWriteback(t *testing.T) {
	eachPoint(t, []hook.Point{hook.FaultChecked, hook.EntryStored, hook.DirtySet, hook.Installed}, func(s *stage, p hook.Point) {
		data := s.written()
		v := s.whole(sharedRW)
		load(s.t, v, pageSize, 1) // read-only: the store is a write-protect fault
		g := s.hold(p, "store")
		fault := s.stores("store", v, []byte{^data[pageSize]}, pageSize)
		g.Wait()
		sync := s.syncs("sync")
		switch p {
		case hook.FaultChecked, hook.EntryStored:
			s.done(sync) // nothing is dirty yet
		default:
			s.waits(sync)
		}
		g.Open()
		s.done(fault, sync)
		s.check()
		l := translation(s.t, v, 1)
		s.isDirty("afterwards", 1, l.Write)
		s.sync()
		s.onMedium("flushed again", 1, 0, []byte{^data[pageSize]})
	})
}

// A second writeback of the same pages is over only after what it depends on is durable,
// wherever the first one is.
//
// Guards I32, I30, I34.
func TestSC13_SF12_TwoWritebacks(t *testing.T) {
	for _, p := range []hook.Point{hook.WritebackTagged, hook.TowriteCleared, hook.Protected, hook.Flushed} {
		t.Run(fmt.Sprintf("HP%d", p), func(t *testing.T) {
			eachStage(t, func(s *stage) {
				data := pattern(2*s.run, 1)
				s.mustWrite(data, 0)
				g := s.hold(p, "first")
				first := s.syncs("first")
				g.Wait()
				second := s.syncs("second")
				if p == hook.WritebackTagged {
					s.done(second) // nothing is locked: it flushes itself
				} else {
					s.waits(second)
					g.Open()
					s.done(second)
				}
				for page := range 2 * s.n {
					s.onMedium("when the second is over", page, 0, data[page*pageSize:][:pageSize])
				}
				g.Open()
				s.done(first)
			})
		})
	}
	t.Run("barrier", func(t *testing.T) {
		eachStage(t, func(s *stage) {
			data := pattern(2*s.run, 1)
			s.mustWrite(data, 0)
			open, at := make(chan struct{}), make(chan struct{})
			once := false
			s.dev.Hook(func(c psim.Call) {
				if c.Op == psim.OpBarrier && !once {
					once = true
					close(at)
					sched.Sleep(open)
				}
			})
			first := s.syncs("first")
			s.waits(first)
			<-at
			s.done(s.syncs("second"))
			for page := range 2 * s.n {
				s.onMedium("when the second is over", page, 0, data[page*pageSize:][:pageSize])
			}
			close(open)
			s.done(first)
		})
	})
}

// A huge entry is cleaned that views map whole, in part, and with one small page, all of
// them writable: every one is protected, and the next store through each is flushed by
// the next writeback.
//
// Guards I31, I30, T26, T25, T27.
func TestSC14_WritebackOfMixedOrders(t *testing.T) {
	test := func(s *stage) {
		data := s.written()
		last := s.n - 1
		whole, one := s.whole(sharedRW), s.mapped(last, 1, sharedRW)
		inside := s.mapped(last, s.n+1, sharedRW) // begins inside the entry
		off := int64(last) * pageSize
		views := []struct {
			name  string
			v     func([]byte, int64)
			flags func() vm.Leaf
			off   int64
		}{
			{"huge", func(b []byte, off int64) { store(s.t, whole, b, off) }, func() vm.Leaf { return translation(s.t, whole, last) }, 0},
			{"one page", func(b []byte, off int64) { store(s.t, one, b, off) }, func() vm.Leaf { return translation(s.t, one, last) }, off},
			{"begins inside", func(b []byte, off int64) { store(s.t, inside, b, off) }, func() vm.Leaf { return translation(s.t, inside, last) }, off + 1},
		}
		for _, v := range views {
			v.v([]byte{data[v.off] + 1}, v.off)
			data[v.off]++
			if l := v.flags(); !l.Write {
				s.t.Fatalf("%s: %+v, not writable", v.name, l)
			}
		}
		g := s.hold(hook.TowriteCleared, "sync")
		sync := s.syncs("sync")
		g.Wait()
		s.done(s.stores("small store at HP11", one, []byte{0x55}, off))
		data[off] = 0x55
		g.Open()
		s.done(sync)
		s.onMedium("after the first", last, 0, data[off:][:2])
		s.isDirty("after the first", last, false)
		for _, v := range views {
			if l := v.flags(); l.Write || l.Dirty {
				s.t.Errorf("%s: %+v after the writeback", v.name, l)
			}
			v.v([]byte{data[v.off] + 1}, v.off)
			data[v.off]++
			s.isDirty(v.name, 0, true)
			s.sync()
			s.onMedium(v.name, uint64(v.off)/pageSize, int(v.off)%pageSize, data[v.off:][:1])
		}
	}
	eachHuge(t, test)
	realOrder(t, test)
}

// A pin that is released while the writeback of its page runs: what was stored
// through it after the flush must not count as clean.
//
// Guards I31, I30.
func TestPinReleasedDuringFlush(t *testing.T) {
	eachPoint(t, []hook.Point{hook.TowriteCleared, hook.Protected, hook.Flushed}, func(s *stage, p hook.Point) {
		s.written()
		pin, err := s.m.Pin(ctx, pageSize, 4, dax.PinWrite, s.file)
		if err != nil {
			s.t.Fatal(err)
		}
		g := s.hold(p, "sync")
		sync := s.syncs("sync")
		g.Wait()
		pin.Slices()[0][0] = 0x66
		pin.Release()
		g.Open()
		s.done(sync)
		s.isDirty("a pin could store until the flush was under way", 1, true)
		s.sync()
		s.isDirty("the pin is gone", 1, false)
		s.onMedium("the transfer", 1, 0, []byte{0x66})
	})
}
