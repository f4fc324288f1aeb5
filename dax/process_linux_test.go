package dax_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"godax/dax"
	"godax/vm"
)

// The same core over real mappings of this process.

func (f *file) process(page, n uint64, flags vm.Flags) *vm.ProcessView {
	f.t.Helper()
	v, err := vm.NewView(page, n, flags, vm.ViewOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.m.Attach(ctx, v, f); err != nil {
		v.Close()
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		f.m.Detach(v)
		v.Close()
	})
	return v
}

func needTracking(t *testing.T) {
	t.Helper()
	if s := vm.WriteTracking(); !strings.HasPrefix(s, "userfaultfd") {
		t.Skipf("this kernel keeps no track of writes: %s", s)
	}
}

func TestProcessCollectsExactly(t *testing.T) {
	needTracking(t)
	f, dev := newSimFile(t, 2048, dax.Config{})
	f.onePage = true // small entries: what is flushed is what was stored
	f.sized(1024 * pageSize)
	v := f.process(0, 1024, sharedRW)
	f.sync()
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 5 {
		want := map[uint64]bool{}
		for range 50 {
			p := r.Uint64N(1024)
			want[p] = true
			v.Bytes()[p*pageSize+uint64(round)] = byte(round + 1)
		}
		st, err := f.m.Writeback(ctx, 0, 1<<40)
		if err != nil || st.Collected != uint64(len(want)) {
			t.Errorf("round %d: %+v, %v; %d pages were stored to", round, st, err, len(want))
		}
		medium := dev.Durable()
		for p := range want {
			d, _ := f.device(p)
			if medium[d*pageSize+uint64(round)] != byte(round+1) {
				t.Errorf("round %d: page %d is not durable", round, p)
			}
		}
		if st := f.sync(); st.Collected != 0 || st.Pages != 0 {
			t.Errorf("round %d, again: %+v", round, st)
		}
		f.check()
	}
}

func TestProcessHoleFilled(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.sized(2 * run)
	ro, priv := f.process(0, 8, sharedRO), f.process(1, 7, private)
	part := f.process(6, 10, sharedRO) // past the end of the file
	if !bytes.Equal(ro.Bytes(), make([]byte, 2*run)) {
		t.Fatal("a hole is not zeros")
	}
	priv.Bytes()[4*pageSize] = 0x77 // file page 5
	b := fill(3*pageSize, 1)
	f.mustWrite(b, 4*pageSize)
	equal(t, "read-only", ro.Bytes()[4*pageSize:][:len(b)], b)
	if priv.Bytes()[4*pageSize] != 0x77 {
		t.Error("the private copy is gone")
	}
	equal(t, "private, not copied", priv.Bytes()[3*pageSize:4*pageSize], b[:pageSize])
	f.mustWrite([]byte{0x44}, 9*pageSize) // the file grows under the view
	if got := part.Bytes()[3*pageSize]; got != 0x44 {
		t.Errorf("after growth %#x", got)
	}
	err := part.Do(func() error { sink = part.Bytes()[5*pageSize]; return nil })
	var bus *vm.BusError
	if !errors.As(err, &bus) || bus.Page != 11 {
		t.Errorf("past the end: %v", err)
	}
	f.check()
	// A simulated view and a pin fill holes too.
	s := f.mapView(newSpace(), 0, 8, sharedRW)
	load(t, s, 0, 1)
	store(t, s, []byte{0x33}, pageSize)
	if got := ro.Bytes()[pageSize]; got != 0x33 {
		t.Errorf("store through another kind of view: %#x", got)
	}
	pin, err := f.m.Pin(ctx, 2*pageSize, 1, dax.PinWrite, f)
	if err != nil {
		t.Fatal(err)
	}
	pin.Slices()[0][0] = 0x22
	pin.Release()
	if got := ro.Bytes()[2*pageSize]; got != 0x22 {
		t.Errorf("store through a pin: %#x", got)
	}
	f.check()
}

func TestProcessPunchAndTruncate(t *testing.T) {
	for _, tracked := range []bool{true, false} {
		f, dev := newSimFile(t, 64, dax.Config{})
		data := fill(3*run, 1)
		f.mustWrite(data, 0)
		f.sync()
		v, err := vm.NewView(0, 12, sharedRW, vm.ViewOptions{NoTracking: !tracked})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.m.Attach(ctx, v, f); err != nil {
			t.Fatal(err)
		}
		ro := f.process(0, 12, sharedRO)
		b := v.Bytes()
		// Stores into entries that the operations cut: the rest must stay dirty.
		b[0], b[run-1], b[2*run] = 1, 2, 3
		data[0], data[run-1], data[2*run] = 1, 2, 3
		if err := f.punch(ctx, pageSize, 2*pageSize); err != nil {
			t.Fatal(err)
		}
		clear(data[pageSize : 3*pageSize])
		equal(t, "after the punch", b, data)
		equal(t, "read-only view", ro.Bytes(), data)
		if err := f.truncate(ctx, 2*run+pageSize+50); err != nil {
			t.Fatal(err)
		}
		end := 2*run + pageSize + 50
		equal(t, "after the truncate", b[:end], data[:end])
		err = v.Do(func() error { b[2*run+2*pageSize] = 1; return nil })
		var bus *vm.BusError
		if !errors.As(err, &bus) {
			t.Errorf("store past the end: %v", err)
		}
		f.sync()
		medium := dev.Durable()
		for _, p := range []uint64{0, 3, 8} {
			d, _ := f.device(p)
			equal(t, "medium", medium[d*pageSize:][:pageSize], data[p*pageSize:][:pageSize])
		}
		f.sized(3 * run)
		clear(data[end:])
		equal(t, "grown again", b, data)
		f.check()

		b[5*pageSize] = 0x5a // Detach collects
		if err := f.m.Detach(v); err != nil {
			t.Fatal(err)
		}
		v.Close()
		if _, _, dirty := dax.Dirty(f.m, 5); !dirty {
			t.Error("what was stored before Detach is not dirty")
		}
		f.sync()
		d, _ := f.device(5)
		if got := dev.Durable()[d*pageSize]; got != 0x5a {
			t.Errorf("%#x is durable", got)
		}
	}
}

// A layout change that waits for a pin and is interrupted has changed nothing:
// stores made during the wait are there.
func TestProcessStoresDuringWait(t *testing.T) {
	f := newFile(t, 64, dax.Config{})
	f.mustWrite(fill(2*run, 1), 0)
	v := f.process(0, 8, sharedRW)
	pin, err := f.m.Pin(ctx, pageSize, 5, 0, f)
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Release()
	short, cancel := context.WithCancel(ctx)
	punch := start(func() error { return f.punch(short, 0, run) })
	until(t, "the punch waits", func() bool { return dax.PinWaits(f.m) })
	v.Bytes()[2*pageSize] = 0x66
	cancel()
	if err := within(t, "punch", punch); err == nil {
		t.Fatal("the punch went through")
	}
	if got := f.mustRead(2*pageSize, 1)[0]; got != 0x66 || v.Bytes()[2*pageSize] != 0x66 {
		t.Errorf("%#x in the file, %#x in the view", got, v.Bytes()[2*pageSize])
	}
}

func TestProcessPoison(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	data := fill(2*run, 1)
	f.mustWrite(data, 0)
	d, _ := f.device(2)
	dev.Poison(d, 1)
	v := f.process(0, 8, sharedRO)
	equal(t, "pages after it", v.Bytes()[3*pageSize:], data[3*pageSize:])
	var bus *vm.BusError
	if err := v.Do(func() error { sink = v.Bytes()[2*pageSize]; return nil }); !errors.As(err, &bus) || bus.Page != 2 {
		t.Errorf("bad page: %v", err)
	}
	b := fill(pageSize, 4)
	f.mustWrite(b, 2*pageSize)
	equal(t, "overwritten whole", v.Bytes()[2*pageSize:3*pageSize], b)
}

func TestProcessNoSpace(t *testing.T) {
	f := newFile(t, 4, dax.Config{})
	f.sized(8 * pageSize)
	v, err := vm.NewView(0, 8, sharedRW, vm.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	isErr(t, f.m.Attach(ctx, v, f), syscall.ENOSPC)
	if views, _ := f.m.Busy(); views != 0 {
		t.Errorf("%d views", views)
	}
	f.check()
}

var sink byte // keeps loads from being left out
