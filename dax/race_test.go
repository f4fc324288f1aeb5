package dax_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/vm"
)

// TestSG11_SG12_NoWaitAndInterrupt: beside a fault that has locked its entry, calls that must
// not sleep say so, and calls that wait for it can be interrupted.
//
// Guards I6, I7, T73.
func TestSG11_SG12_NoWaitAndInterrupt(t *testing.T) {
	sched.Enabled(t)
	f := newFile(t, 64, dax.Config{})
	f.sized(2 * run)
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	w := f.mapView(newSpace(), 0, 8, sharedRW)
	g := sched.Hold(t, hook.SlotLocked)
	first := sched.Go(t, "first", func() error { return v.Load(ctx, make([]byte, 1), 0) })
	g.Wait()
	for _, access := range []vm.Access{vm.Load, vm.Store} {
		isErr(t, f.m.Fault(&vm.Fault{View: w, Page: 0, Access: access, NoWait: true}, f), dax.ErrWouldBlock)
	}
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []*sched.Op
	for name, call := range map[string]func() error{
		"fault": func() error { return f.m.Fault(&vm.Fault{Ctx: short, View: w, Page: 1}, f) },
		"read":  func() error { _, err := f.m.ReadAt(short, make([]byte, 1), 0, f); return err },
		"pin":   func() error { _, err := f.m.Pin(short, 0, 1, 0, f); return err },
		"write": func() error { _, err := f.m.WriteAt(short, []byte{1}, 0, f); return err },
	} {
		op := sched.Go(t, name, call)
		if !op.Blocked() {
			t.Errorf("%v does not wait", op)
		}
		all = append(all, op)
	}
	cancel()
	for _, op := range all {
		if err := op.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", op, err)
		}
	}
	cut := sched.Go(t, "truncate", func() error { return f.truncate(ctx, 100) })
	if !cut.Blocked() {
		t.Errorf("%v does not wait", cut)
	}
	isErr(t, f.m.Fault(&vm.Fault{View: w, Page: 0, NoWait: true}, f), dax.ErrWouldBlock)
	g.Open()
	must(t, errors.Join(first.Err(), cut.Err()))
	f.check()
	isErr(t, f.m.Fault(&vm.Fault{View: w, Page: 0, Access: vm.Store, NoWait: true}, dax.PopulateFunc(func(r *dax.Request) error {
		if !r.NoWait {
			t.Error("the file system is not told")
		}
		return dax.ErrWouldBlock
	})), dax.ErrWouldBlock)
	f.check()
}

// TestSH11_OtherPagesGoOn: a question that is not answered holds up its own page only: others
// are stored to, and those stores are written back.
//
// Guards I7.
func TestSH11_OtherPagesGoOn(t *testing.T) {
	sched.Enabled(t)
	f := newFile(t, 64, dax.Config{})
	f.sized(3 * pageSize)
	f.onePage = true
	v := f.mapView(newSpace(), 0, 3, sharedRW)
	w := f.mapView(newSpace(), 0, 3, sharedRW)
	g := sched.Hold(t, hook.SlotLocked, sched.Page(1))
	first := sched.Go(t, "first", func() error { return v.Store(ctx, []byte{1}, pageSize) })
	g.Wait()
	others := sched.Go(t, "others", func() error {
		for page, b := range map[int64]byte{0: 2, 2: 3} {
			if err := w.Store(ctx, []byte{b}, page*pageSize); err != nil {
				return fmt.Errorf("page %d: %w", page, err)
			}
		}
		_, err := f.m.Writeback(ctx, 0, 1<<62)
		return err
	})
	if !others.Done() {
		t.Errorf("%v waits for another page", others)
	}
	g.Open()
	must(t, errors.Join(first.Err(), others.Err()))
	want := make([]byte, 3*pageSize)
	want[0], want[pageSize], want[2*pageSize] = 2, 1, 3
	equal(t, "read", f.mustRead(0, len(want)), want)
	f.check()
}
