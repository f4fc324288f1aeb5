package logfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/logfs"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize = logfs.PageSize

	sharedRW = vm.Read | vm.Write | vm.Shared
	sharedRO = vm.Read | vm.Shared
)

var ctx = context.Background()

func TestMain(m *testing.M) { os.Exit(sched.Main(m)) }

func newFile(t testing.TB, c dax.Config) (*logfs.File, func(flags vm.Flags) *sim.View) {
	t.Helper()
	dev, err := psim.New(128 * pageSize)
	ok(t, err)
	t.Cleanup(func() { dev.Close() })
	c.PMDOrder = 2
	f := logfs.New(dev, c)
	space := sim.New(sim.Config{PMDOrder: 2})
	return f, func(flags vm.Flags) *sim.View {
		v, err := f.Map(ctx, space, 0, 16, flags)
		ok(t, err)
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shows verifies what a view and a read say.
func shows(t testing.TB, what string, f *logfs.File, v *sim.View, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	ok(t, v.Load(ctx, got, 0))
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: the view shows something else", what)
	}
	_, err := f.Read(ctx, got, 0)
	ok(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: read gives something else", what)
	}
	ok(t, f.Check())
}

// Data moves with every write, with the first store after an fsync, and when the log is
// cleaned; a view that was there before shows what is right each time, and nobody sees what
// becomes of the pages that were left.
//
// Guards I17, I24, I28, I56, P2, P10, T82.
func TestSH15_DataMoves(t *testing.T) {
	for _, huge := range []bool{false, true} {
		f, view := newFile(t, dax.Config{NoHuge: !huge})
		want := bytes.Repeat([]byte("log!"), 8*pageSize/4)
		n, err := f.Write(ctx, want, 0)
		if n != len(want) || err != nil {
			t.Fatal(n, err)
		}
		v, r := view(sharedRW), view(sharedRO)
		shows(t, "written", f, v, want)
		for i := range 40 {
			page := int64(i % 8)
			before, _ := f.At(uint64(page))
			moved, what := true, ""
			b := []byte(fmt.Sprint("round ", i))
			switch i % 5 {
			case 0, 1:
				what = "write"
				copy(want[page*pageSize+5:], b)
				_, err = f.Write(ctx, b, page*pageSize+5)
			case 2:
				what, moved = "store", false // whether it moves depends on the last fsync
				copy(want[page*pageSize+90:], b)
				err = v.Store(ctx, b, page*pageSize+90)
			case 3:
				what = "clean"
				err = f.Clean(ctx, 0, 8)
			case 4:
				ok(t, f.Fsync(ctx))
				what = "store after an fsync"
				copy(want[page*pageSize+90:], b)
				err = v.Store(ctx, b, page*pageSize+90)
			}
			ok(t, err)
			if after, _ := f.At(uint64(page)); moved && after == before {
				t.Errorf("%s: page %d has not moved", what, page)
			}
			shows(t, what, f, v, want)
			shows(t, what, f, r, want)
		}
		if f.Moves() < 40 {
			t.Errorf("%d moves", f.Moves())
		}
	}
}

// A fault is stopped at every point while the page is to be moved: the move waits for it,
// and what it made goes with the move.
//
// Guards I17, I24, I25, I55, P2, P10, T5, T7.
func TestSH15_MoveBesideAFault(t *testing.T) {
	sched.Enabled(t)
	for _, access := range []string{"load", "store"} {
		for _, p := range []hook.Point{hook.FaultChecked, hook.SlotLocked, hook.ExtentKnown, hook.EntryStored, hook.DirtySet, hook.Installed} {
			for _, how := range []string{"write", "clean"} {
				t.Run(fmt.Sprintf("%s at HP%d, %s", access, p, how), func(t *testing.T) {
					f, view := newFile(t, dax.Config{})
					want := bytes.Repeat([]byte{7}, 8*pageSize)
					_, err := f.Write(ctx, want, 0)
					ok(t, err)
					v := view(sharedRW)
					g := sched.Hold(t, p, sched.By(access), sched.Page(2))
					a := sched.Go(t, access, func() error {
						if access == "load" {
							return v.Load(ctx, make([]byte, 1), 2*pageSize)
						}
						return v.Store(ctx, []byte{8}, 2*pageSize)
					})
					g.Wait()
					b := sched.Go(t, how, func() error {
						if how == "clean" {
							return f.Clean(ctx, 0, 8)
						}
						_, err := f.Write(ctx, []byte{9}, 2*pageSize+1)
						return err
					})
					if !b.Blocked() {
						t.Errorf("the move does not wait: %v", b)
					}
					g.Open()
					ok(t, errors.Join(a.Err(), b.Err()))
					if access == "store" {
						want[2*pageSize] = 8
					}
					if how == "write" {
						want[2*pageSize+1] = 9
					}
					shows(t, "in the end", f, v, want)
				})
			}
		}
	}
}

// A pinned page is not moved before it is released, and what was stored through the pin
// moves with it.
//
// Guards I17, I40, T35, P2.
func TestSH15_PinnedPagesStay(t *testing.T) {
	sched.Enabled(t)
	f, view := newFile(t, dax.Config{})
	want := bytes.Repeat([]byte{7}, 8*pageSize)
	_, err := f.Write(ctx, want, 0)
	ok(t, err)
	v := view(sharedRW)
	pin, err := f.M.Pin(ctx, 3*pageSize, 4, dax.PinWrite, f)
	ok(t, err)
	clean := sched.Go(t, "clean", func() error { return f.Clean(ctx, 0, 8) })
	if !clean.Blocked() {
		t.Error("a pinned page is moved")
	}
	copy(pin.Slices()[0], "pin!")
	pin.Release()
	ok(t, clean.Err())
	copy(want[3*pageSize:], "pin!")
	shows(t, "moved", f, v, want)
}
