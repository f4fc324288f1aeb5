package dax_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// TestSA15_NoFrames: without a frame for a cached page, at each of the allocations of an
// answer, the error is that there is no memory, at the order that was asked for: it is no
// fallback. No lock and no frame is lost, and a second try, with memory, succeeds.
//
// (Index nodes are the collector's memory: to be without is the end of the process, not an
// error, and no lock is dropped for them; T76 cannot be.)
//
// Guards I47, L12.
func TestSA15_NoFrames(t *testing.T) {
	for _, pmd := range smallOrders {
		n := uint64(1) << pmd
		for _, store := range []bool{false, true} {
			for max := uint64(1); max < n+2; max++ {
				t.Run(fmt.Sprintf("order %d/store %t/%d frames", pmd, store, max), func(t *testing.T) {
					noFrames(t, pmd, max, store)
				})
			}
		}
	}
}

func noFrames(t *testing.T, pmd uint, max uint64, store bool) {
	frames, err := dax.NewFrames(int64(max)*pageSize, int64(max)*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(1) << pmd
	m := dax.NewMapping(dax.Config{PMDOrder: pmd, Frames: frames, Host: discards{}})
	other := dax.NewMapping(dax.Config{PMDOrder: pmd, Frames: frames, Host: discards{}})
	for _, m := range []*dax.Mapping{m, other} {
		m.SetSize(int64(n) * pageSize)
	}
	// All or nothing, the pages before the one asked for as well.
	p := dax.PopulateFunc(func(r *dax.Request) error {
		if r.Held {
			return nil // there is nothing to allocate
		}
		for page := r.First(); page < r.End(); page++ {
			if err := r.InsertCached(page, func(b []byte) error { b[0] = byte(page) + 1; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	one := dax.PopulateFunc(func(r *dax.Request) error {
		return r.InsertCached(r.Page, func(b []byte) error { b[0] = byte(r.Page) + 1; return nil })
	})
	// One frame is somebody else's, and dirty, so that it is not given up.
	if _, err := other.WriteAt(ctx, []byte{1}, 0, one); err != nil {
		t.Fatal(err)
	}
	v, err := sim.New(sim.Config{PMDOrder: pmd}).Map(vm.HandlerFunc(func(ft *vm.Fault) error { return m.Fault(ft, p) }), 0, n, sharedRW)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Attach(ctx, v, p); err != nil {
		t.Fatal(err)
	}
	access := func() error {
		if store {
			return v.Store(ctx, []byte{7}, 1)
		}
		return v.Load(ctx, make([]byte, 1), 1)
	}
	short := max < n+1
	if err := access(); short != errors.Is(err, syscall.ENOMEM) || !short && err != nil {
		t.Fatalf("%v, out of memory %t", err, short)
	}
	if err := m.CheckInvariants(true); err != nil {
		t.Fatal(err)
	}
	if pages, _ := m.Pages(); short && (pages != 0 || frames.InUse() != 1) {
		t.Errorf("%d pages in the index, %d frames in use", pages, frames.InUse())
	}
	counts := fallbackCounts(m)
	if short && counts != [15]uint64{} {
		t.Errorf("fallbacks: %v", counts)
	}
	// The other file gives its frame back.
	if err := other.Evict(ctx, true); err != nil {
		t.Fatal(err)
	}
	if max >= n {
		if err := access(); err != nil {
			t.Errorf("second try: %v", err)
		}
		if got := load(t, v, 0, 1)[0]; got != 1 {
			t.Errorf("byte %d", got)
		}
	}
	m.Detach(v)
	v.Close()
	if err := m.Evict(ctx, true); err != nil {
		t.Fatal(err)
	}
	if err := frames.Close(); err != nil {
		t.Error(err)
	}
}

// discards is an inode whose cached pages need not be written back.
type discards struct{}

func (discards) WriteCached(uint64, []byte) error { return nil }
