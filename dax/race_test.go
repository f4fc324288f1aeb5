package dax_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

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
