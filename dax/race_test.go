package dax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// Interleavings: one operation is parked at a place, another one runs, the first
// goes on. Both at the small order and, where it makes a difference, the huge one.

// place parks the next fault of the file at a named place.
func (f *file) place(name string) *gate {
	f.t.Helper()
	g := newGate()
	f.set(func(f *file) {
		switch name {
		case "HP2":
			f.onCall = func(*dax.Request) { g.stop() }
		case "HP3":
			f.answered = func(*dax.Request) { g.stop() }
		case "HP5":
			f.wrap = func(v vm.View) vm.View { return &hooked{View: v.(*sim.View), before: g.stop} }
		case "HP6":
			f.wrap = func(v vm.View) vm.View { return &hooked{View: v.(*sim.View), after: g.stop} }
		default:
			f.t.Fatalf("no place %s", name)
		}
	})
	return g
}

func eachOrder(t *testing.T, places []string, test func(t *testing.T, f *file, g *gate)) {
	for _, place := range places {
		for _, onePage := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/small %t", place, onePage), func(t *testing.T) {
				f := newFile(t, 64, dax.Config{})
				f.onePage = onePage
				f.sized(2 * run)
				test(t, f, f.place(place))
				f.check()
			})
		}
	}
}

func TestSC1_TwoStores(t *testing.T) {
	eachOrder(t, []string{"HP2", "HP3", "HP5", "HP6"}, func(t *testing.T, f *file, g *gate) {
		a, b := f.mapView(newSpace(), 0, 8, sharedRW), f.mapView(newSpace(), 0, 8, sharedRW)
		first := start(func() error { return a.Store(ctx, []byte{1}, pageSize) })
		<-g.at
		second := start(func() error { return b.Store(ctx, []byte{2}, pageSize+1) })
		until(t, "the second store waits", func() bool { return dax.Sleepers(f.m) == 1 })
		running(t, "the second store", second)
		close(g.open)
		if err := errors.Join(within(t, "first", first), within(t, "second", second)); err != nil {
			t.Fatal(err)
		}
		equal(t, "both", f.mustRead(pageSize, 2), []byte{1, 2})
		if !f.onePage && f.populates() != 1 {
			t.Errorf("%d populates, want 1", f.populates())
		}
	})
}

func TestSC2_LoadAndStore(t *testing.T) {
	eachOrder(t, []string{"HP2", "HP3", "HP5", "HP6"}, func(t *testing.T, f *file, g *gate) {
		a, b := f.mapView(newSpace(), 0, 8, sharedRO), f.mapView(newSpace(), 0, 8, sharedRW)
		first := start(func() error { return a.Load(ctx, make([]byte, 1), pageSize) })
		<-g.at
		second := start(func() error { return b.Store(ctx, []byte{2}, pageSize+1) })
		until(t, "the store waits", func() bool { return dax.Sleepers(f.m) == 1 })
		close(g.open)
		if err := errors.Join(within(t, "load", first), within(t, "store", second)); err != nil {
			t.Fatal(err)
		}
		equal(t, "the loader", load(t, a, pageSize, 2), []byte{0, 2})
	})
}

func TestSC3_LoadOfHoleAndWrite(t *testing.T) {
	eachOrder(t, []string{"HP2", "HP3", "HP5", "HP6"}, func(t *testing.T, f *file, g *gate) {
		v := f.mapView(newSpace(), 0, 8, sharedRO)
		first := start(func() error { return v.Load(ctx, make([]byte, 1), pageSize) })
		<-g.at
		b := fill(pageSize, 3)
		second := start(func() error { _, err := f.write(b, pageSize); return err })
		until(t, "the write waits", func() bool { return dax.Sleepers(f.m) == 1 })
		running(t, "the write", second)
		close(g.open)
		if err := errors.Join(within(t, "load", first), within(t, "write", second)); err != nil {
			t.Fatal(err)
		}
		equal(t, "the view", load(t, v, pageSize, pageSize), b)
	})
}

// S-C4 and S-C5: a write is parked between its allocation and its copy.
func TestSC4_SC5_WriteAndFault(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.sized(2 * run)
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	load(t, v, 0, 1) // a huge zero page
	g := newGate()
	n := 0
	dev.Hook(func(c psim.Call) {
		if c.Op == psim.OpDirectAccess {
			if n++; n == 2 { // the first is CreatePFNs
				g.stop()
			}
		}
	})
	write := start(func() error { _, err := f.write([]byte{7, 7}, 100); return err })
	<-g.at
	if got := load(t, v, 100, 1)[0]; got != 0 {
		t.Errorf("load before the copy: %d", got)
	}
	store(t, v, []byte{8}, 200)
	close(g.open)
	if err := within(t, "write", write); err != nil {
		t.Fatal(err)
	}
	equal(t, "the write", load(t, v, 99, 4), []byte{0, 7, 7, 0})
	equal(t, "the store", f.mustRead(199, 3), []byte{0, 8, 0})
	f.check()
}

func TestSC7_PunchAndFault(t *testing.T) {
	for _, store := range []bool{false, true} {
		f := newFile(t, 64, dax.Config{})
		f.mustWrite(fill(2*run, 1), 0)
		v := f.mapView(newSpace(), 0, 8, sharedRW)
		load(t, v, pageSize, 1)
		g := newGate()
		f.change = g.stop
		punch := start(func() error { return f.punch(ctx, pageSize, 2*pageSize) })
		<-g.at
		b := []byte{9}
		fault := start(func() error {
			if store {
				return v.Store(ctx, b, pageSize)
			}
			return v.Load(ctx, b, pageSize)
		})
		until(t, "the fault is asked", func() bool { return len(v.Translations()) <= 1 })
		running(t, "the fault", fault)
		close(g.open)
		if err := errors.Join(within(t, "punch", punch), within(t, "fault", fault)); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 2*pageSize)
		if store {
			want[0] = 9
		}
		equal(t, "afterwards", load(t, v, pageSize, 2*pageSize), want)
		f.check()
	}
}

func TestSC8_FaultAndTruncate(t *testing.T) {
	for _, access := range []string{"load", "store", "private"} {
		t.Run(access, func(t *testing.T) {
			eachOrder(t, []string{"HP2", "HP3", "HP5", "HP6"}, func(t *testing.T, f *file, g *gate) {
				flags := sharedRW
				if access == "private" {
					flags = private
				}
				v := f.mapView(newSpace(), 0, 8, flags)
				fault := start(func() error {
					if access == "load" {
						return v.Load(ctx, make([]byte, 1), run)
					}
					return v.Store(ctx, []byte{1}, run)
				})
				<-g.at
				cut := start(func() error { return f.truncate(ctx, 100) })
				until(t, "the truncate waits", func() bool { return dax.RemovalWaits(f.m) })
				running(t, "the truncate", cut)
				close(g.open)
				// The access may meet the new end, or come before it.
				if err := within(t, "fault", fault); err != nil {
					isBus(t, "fault", err, dax.ErrBeyondEnd)
				}
				if err := within(t, "truncate", cut); err != nil {
					t.Fatal(err)
				}
				isBus(t, "later", v.Load(ctx, make([]byte, 1), run), dax.ErrBeyondEnd)
				for _, l := range v.Translations() {
					if l.Page > 0 {
						t.Errorf("left: %+v", l)
					}
				}
				if pages, _ := f.m.Pages(); pages > 1 {
					t.Errorf("%d pages in the index", pages)
				}
			})
		})
	}
}

// S-C10 to S-C12: stores around the write protection of a writeback.
func TestSC10_SC11_WritebackAndStore(t *testing.T) {
	for _, place := range []string{"HP11", "HP12"} {
		t.Run(place, func(t *testing.T) {
			f, dev := newSimFile(t, 64, dax.Config{})
			f.mustWrite(fill(run, 1), 0)
			f.sync()
			s := newSpace()
			v, err := s.Map(f, 0, 4, sharedRW)
			if err != nil {
				t.Fatal(err)
			}
			h := &hooked{View: v}
			if err := f.m.Attach(ctx, h, f); err != nil {
				t.Fatal(err)
			}
			store(t, v, []byte{1}, 0)
			g := newGate()
			if place == "HP11" {
				h.protect = g.stop
			} else {
				dev.Hook(func(c psim.Call) {
					if c.Op == psim.OpFlush {
						g.stop()
					}
				})
			}
			sync := start(func() error { _, err := f.m.Writeback(ctx, 0, run); return err })
			<-g.at
			second := start(func() error { return v.Store(ctx, []byte{2}, 1) })
			if place == "HP11" { // the translation still allows it, and the flush is to come
				if err := within(t, "store", second); err != nil {
					t.Fatal(err)
				}
			} else {
				until(t, "the store waits", func() bool { return dax.Sleepers(f.m) == 1 })
				running(t, "the store", second)
			}
			close(g.open)
			if err := within(t, "writeback", sync); err != nil {
				t.Fatal(err)
			}
			if place == "HP12" {
				if err := within(t, "store", second); err != nil {
					t.Fatal(err)
				}
				if _, _, dirty := dax.Dirty(f.m, 0); !dirty {
					t.Error("a store after the flush left the entry clean")
				}
				f.sync()
			}
			d, _ := f.device(0)
			equal(t, "medium", dev.Durable()[d*pageSize:][:2], []byte{1, 2})
			f.check()
		})
	}
}

func TestSC12_StoreAndWriteback(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.mustWrite(fill(run, 1), 0)
	f.sync()
	v := f.mapView(newSpace(), 0, 4, sharedRW)
	load(t, v, 0, 1)
	g := f.place("HP5")
	fault := start(func() error { return v.Store(ctx, []byte{1}, 0) })
	<-g.at
	sync := start(func() error { _, err := f.m.Writeback(ctx, 0, run); return err })
	until(t, "the writeback waits", func() bool { return dax.Sleepers(f.m) == 1 })
	running(t, "the writeback", sync)
	close(g.open)
	if err := errors.Join(within(t, "store", fault), within(t, "writeback", sync)); err != nil {
		t.Fatal(err)
	}
	f.check()
}

// S-C13 and S-F12: a second writeback of the same pages is over only after what it
// depends on is durable, wherever the first one is.
func TestSC13_SF12_TwoWritebacks(t *testing.T) {
	for _, at := range []psim.Op{psim.OpFlush, psim.OpBarrier} {
		f, dev := newSimFile(t, 64, dax.Config{})
		data := fill(run, 1)
		f.mustWrite(data, 0)
		g := newGate()
		dev.Hook(func(c psim.Call) {
			if c.Op == at {
				g.stop()
			}
		})
		first := start(func() error { _, err := f.m.Writeback(ctx, 0, run); return err })
		<-g.at
		second := start(func() error { _, err := f.m.Writeback(ctx, 0, run); return err })
		if at == psim.OpFlush {
			until(t, "the second waits", func() bool { return dax.Sleepers(f.m) == 1 })
			running(t, "the second writeback", second)
			close(g.open)
		}
		if err := within(t, "second", second); err != nil {
			t.Fatal(err)
		}
		d, _ := f.device(0)
		equal(t, "medium when the second is over", dev.Durable()[d*pageSize:][:run], data)
		if at == psim.OpBarrier {
			close(g.open)
		}
		if err := within(t, "first", first); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSC17_HugeFaultThenSmall(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.sized(2 * run)
	huge, small := f.mapView(newSpace(), 0, 8, sharedRO), f.mapView(newSpace(), 2, 1, sharedRW)
	g := f.place("HP2")
	first := start(func() error { return huge.Load(ctx, make([]byte, 1), 0) })
	<-g.at
	second := start(func() error { return small.Store(ctx, []byte{1}, 2*pageSize) })
	until(t, "the small fault waits", func() bool { return dax.Sleepers(f.m) == 1 })
	close(g.open)
	if err := errors.Join(within(t, "huge", first), within(t, "small", second)); err != nil {
		t.Fatal(err)
	}
	if order, ok, _ := dax.Dirty(f.m, 2); !ok || order != 0 {
		t.Errorf("order %d at the stored page, want 0", order)
	}
	equal(t, "huge view", load(t, huge, 2*pageSize, 2), []byte{1, 0})
	f.check()
}

func TestSC18_SmallFaultThenHuge(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.sized(2 * run)
	huge, small := f.mapView(newSpace(), 0, 8, sharedRO), f.mapView(newSpace(), 2, 1, sharedRW)
	g := f.place("HP2")
	first := start(func() error { return small.Store(ctx, []byte{1}, 2*pageSize) })
	<-g.at
	load(t, huge, 0, 1) // must not wait
	if got := f.m.Stats().Fallbacks[5].Load(); got != 1 {
		t.Errorf("%d fallbacks, want 1", got)
	}
	close(g.open)
	if err := within(t, "small", first); err != nil {
		t.Fatal(err)
	}
	f.check()
}

func TestSC19_SC20_SC21_Pins(t *testing.T) {
	ops := map[string]func(f *file, ctx context.Context) error{
		"truncate": func(f *file, ctx context.Context) error { return f.truncate(ctx, 100) },
		"punch":    func(f *file, ctx context.Context) error { return f.punch(ctx, pageSize, 2*pageSize) },
		"layout": func(f *file, ctx context.Context) error {
			return f.m.BreakLayout(ctx, 0, dax.ToEnd, func() error { return nil })
		},
		"evict": func(f *file, ctx context.Context) error { return f.m.Evict(ctx, false) },
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, 64, dax.Config{})
			data := fill(2*run, 1)
			f.mustWrite(data, 0)
			v := f.mapView(newSpace(), 0, 8, sharedRW)
			load(t, v, pageSize, 1)
			pin, err := f.m.Pin(ctx, pageSize+10, 20, dax.PinWrite, f)
			if err != nil {
				t.Fatal(err)
			}
			f.m.Detach(v) // unmapped is not idle
			v.Close()

			short, cancel := context.WithCancel(ctx)
			waiting := start(func() error { return op(f, short) })
			until(t, "the change waits for the pin", func() bool { return dax.PinWaits(f.m) })
			running(t, name, waiting)
			w := f.mapView(newSpace(), 0, 8, sharedRO)
			equal(t, "a load meanwhile", load(t, w, pageSize, 1), data[pageSize:][:1]) // nothing the pinner needs is held
			f.m.Detach(w)
			w.Close()
			cancel()
			if err := within(t, name, waiting); !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted: %v", err)
			}
			equal(t, "unchanged", f.mustRead(0, 2*run), data)

			waiting = start(func() error { return op(f, ctx) })
			until(t, "the change waits again", func() bool { return dax.PinWaits(f.m) })
			copy(pin.Slices()[0], "still mine")
			pin.Release()
			pin.Release()
			if err := within(t, name, waiting); err != nil {
				t.Fatal(err)
			}
			if views, pins := f.m.Busy(); pins != 0 {
				t.Errorf("%d views, %d pins", views, pins)
			}
			f.check()
		})
	}
}

// A pin that is released while the writeback of its page runs: what was stored
// through it after the flush must not count as clean.
func TestPinReleasedDuringFlush(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.mustWrite(fill(run, 1), 0)
	pin, err := f.m.Pin(ctx, 0, 4, dax.PinWrite, f)
	if err != nil {
		t.Fatal(err)
	}
	done := false
	dev.Hook(func(c psim.Call) {
		if c.Op == psim.OpFlush && !done {
			done = true
			pin.Release()
		}
	})
	f.sync()
	if _, _, dirty := dax.Dirty(f.m, 0); !dirty {
		t.Error("clean although a pin could store until the flush was under way")
	}
	f.sync()
	if _, _, dirty := dax.Dirty(f.m, 0); dirty {
		t.Error("dirty although the pin is gone")
	}
}

// S-C31, S-F7: the tag of a writeback under way survives the cutting of its entry.
func TestSC31_PunchUnderWriteback(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	data := fill(2*run, 1)
	f.mustWrite(data, 0) // two huge entries
	g := newGate()
	dev.Hook(func(c psim.Call) {
		if c.Op == psim.OpFlush {
			g.stop()
		}
	})
	sync := start(func() error { _, err := f.m.Writeback(ctx, 0, 2*run); return err })
	<-g.at // at the first entry; the second is tagged
	if err := f.punch(ctx, run+pageSize, pageSize); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	if err := within(t, "writeback", sync); err != nil {
		t.Fatal(err)
	}
	medium := dev.Durable()
	for _, p := range []uint64{0, 4, 6, 7} {
		d, ok := f.device(p)
		if !ok {
			t.Fatalf("page %d has no block", p)
		}
		equal(t, fmt.Sprintf("page %d on the medium", p), medium[d*pageSize:][:pageSize], data[p*pageSize:][:pageSize])
	}
	f.check()
}

// S-C34: runs that overlap each other's pages.
func TestSC34_OverlappingRuns(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.sized(3 * pageSize)
	a, b := f.mapView(newSpace(), 0, 3, sharedRO), f.mapView(newSpace(), 0, 3, sharedRO)
	g := newGate()
	f.answered = func(r *dax.Request) {
		if r.Page == 0 {
			g.stop()
		}
	}
	first := start(func() error { return a.Load(ctx, make([]byte, 1), 0) })
	<-g.at
	load(t, b, 2*pageSize, 1) // inside the first one's run, and must not wait
	close(g.open)
	if err := within(t, "first", first); err != nil {
		t.Fatal(err)
	}
	f.check()
}

func TestSC35_InvalidateMeetsDirty(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.mustWrite(fill(2*run, 1), 0)
	f.sync()
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	store(t, v, []byte{1}, run)
	isErr(t, f.m.Invalidate(0, dax.ToEnd), dax.ErrBusy)
	if _, ok, dirty := dax.Dirty(f.m, 4); !ok || !dirty {
		t.Errorf("present %t, dirty %t", ok, dirty)
	}
	if err := f.m.Invalidate(0, 4); err != nil {
		t.Error(err)
	}
	f.sync()
	if err := f.m.Invalidate(0, dax.ToEnd); err != nil {
		t.Error(err)
	}
	if n := len(v.Translations()); n != 0 {
		t.Errorf("%d translations left", n)
	}
	f.check()
}

// S-G11 and S-G12: calls that must not sleep, and calls that are interrupted.
func TestSG11_SG12_NoWaitAndInterrupt(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.sized(2 * run)
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	g := f.place("HP2")
	first := start(func() error { return v.Load(ctx, make([]byte, 1), 0) })
	<-g.at
	w := f.mapView(newSpace(), 0, 8, sharedRW)
	for _, access := range []vm.Access{vm.Load, vm.Store} {
		isErr(t, f.m.Fault(&vm.Fault{View: w, Page: 0, Access: access, NoWait: true}, f), dax.ErrWouldBlock)
	}
	short, cancel := context.WithCancel(ctx)
	var all []chan error
	all = append(all, start(func() error { return f.m.Fault(&vm.Fault{Ctx: short, View: w, Page: 1}, f) }))
	all = append(all, start(func() error { _, err := f.m.ReadAt(short, make([]byte, 1), 0, f); return err }))
	all = append(all, start(func() error { _, err := f.m.Pin(short, 0, 1, 0, f); return err }))
	all = append(all, start(func() error { _, err := f.m.WriteAt(short, []byte{1}, 0, f); return err }))
	until(t, "all wait", func() bool { return dax.Sleepers(f.m) == len(all) })
	cancel()
	for i, done := range all {
		if err := within(t, "interrupted call", done); !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	cut := start(func() error { return f.truncate(ctx, 100) })
	until(t, "a truncate waits", func() bool { return dax.RemovalWaits(f.m) })
	isErr(t, f.m.Fault(&vm.Fault{View: w, Page: 0, NoWait: true}, f), dax.ErrWouldBlock)
	close(g.open)
	if err := errors.Join(within(t, "first", first), within(t, "truncate", cut)); err != nil {
		t.Fatal(err)
	}
	f.check()
	isErr(t, f.m.Fault(&vm.Fault{View: w, Page: 0, Access: vm.Store, NoWait: true}, dax.PopulateFunc(func(r *dax.Request) error {
		if !r.NoWait {
			t.Error("the file system is not told")
		}
		return dax.ErrWouldBlock
	})), dax.ErrWouldBlock)
	f.check()
}

// S-H11: a populate that never ends holds up its own page only.
func TestSH11_OtherPagesGoOn(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.sized(3 * pageSize)
	f.onePage = true
	v := f.mapView(newSpace(), 0, 3, sharedRW)
	g := f.place("HP2")
	first := start(func() error { return v.Store(ctx, []byte{1}, pageSize) })
	<-g.at
	w := f.mapView(newSpace(), 0, 3, sharedRW)
	store(t, w, []byte{2}, 0)
	store(t, w, []byte{3}, 2*pageSize)
	f.sync()
	close(g.open)
	if err := within(t, "first", first); err != nil {
		t.Fatal(err)
	}
	if got := f.mustRead(0, 3*pageSize); got[0] != 2 || got[pageSize] != 1 || got[2*pageSize] != 3 {
		t.Error("stores are missing")
	}
	f.check()
	if !bytes.Equal(f.mustRead(pageSize, 2), []byte{1, 0}) {
		t.Error("wrong bytes")
	}
}
