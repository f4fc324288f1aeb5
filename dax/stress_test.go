package dax_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// TestSD3_SD4_Stress runs goroutines that load, store, read, write, punch and pin, each
// on cells of its own, while others truncate behind them, put holes in and take ranges out
// there, sync, and make and drop views. Every 8-byte cell below the part that is truncated must hold what its
// owner put there last.
//
// Guards I10, I16, I17, I24, I25, I31, I33, I40, I55, T24, T26, T35.
func TestSD3_SD4_Stress(t *testing.T) {
	seed := firstSeed(t)
	for _, procs := range []int{1, 2, 8} {
		for _, onePage := range []bool{false, true} {
			t.Run(fmt.Sprintf("procs %d/small %t", procs, onePage), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				stress(t, onePage, length(150*time.Millisecond), seed)
			})
		}
	}
}

func stress(t *testing.T, onePage bool, length time.Duration, seed uint64) {
	const (
		owners = 4
		kept   = 6 * run // owned cells; behind them the file grows and shrinks
		cells  = kept / 8
	)
	f, _ := newSimFile(t, 64, dax.Config{})
	f.iomap, f.onePage = true, onePage
	f.sized(kept + run)
	s := newSpace()
	var views []*sim.View
	for _, v := range [][2]uint64{{0, 28}, {0, 24}, {1, 23}, {6, 9}} {
		views = append(views, f.mapView(s, v[0], v[1], sharedRW))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Pointer[string]
	fail := func(format string, args ...any) {
		msg := fmt.Sprintf(format, args...)
		failed.CompareAndSwap(nil, &msg)
		cancel()
	}
	loop := func(id uint64, step func(r *rand.Rand)) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, id))
			for ctx.Err() == nil {
				step(r)
			}
		})
	}
	// Cell c belongs to owner c%owners; only owners touch their cells.
	var values [owners][cells]uint64
	for o := range uint64(owners) {
		n := uint64(0)
		loop(o, func(r *rand.Rand) {
			c := r.Uint64N(cells/owners)*owners + o
			off := int64(c * 8)
			var b [8]byte
			v := views[r.IntN(len(views))]
			first, count := v.Bounds()
			seen := off/pageSize >= int64(first) && off/pageSize < int64(first+count)
			var err error
			switch op := r.IntN(4); {
			case op == 0 && seen:
				n++
				values[o][c] = n<<8 | o
				binary.LittleEndian.PutUint64(b[:], values[o][c])
				err = v.Store(nil, b[:], off)
			case op == 1:
				n++
				values[o][c] = n<<8 | o
				binary.LittleEndian.PutUint64(b[:], values[o][c])
				_, err = f.write(b[:], off)
			case op == 2 && seen:
				err = v.Load(nil, b[:], off)
				if got := binary.LittleEndian.Uint64(b[:]); err == nil && got != values[o][c] {
					fail("load of cell %d: %#x, want %#x", c, got, values[o][c])
				}
			default:
				_, err = f.read(b[:], off)
				if got := binary.LittleEndian.Uint64(b[:]); err == nil && got != values[o][c] {
					fail("read of cell %d: %#x, want %#x", c, got, values[o][c])
				}
			}
			if err != nil {
				fail("cell %d: %v", c, err)
			}
		})
	}
	loop(10, func(r *rand.Rand) { // the end moves, never below the cells
		if err := f.truncate(context.Background(), kept+r.Int64N(2*run)); err != nil {
			fail("truncate: %v", err)
		}
		if n := f.m.Size() - kept; n > 1 && r.IntN(2) == 0 {
			if err := f.punch(context.Background(), kept+r.Int64N(n), r.Int64N(run)); err != nil {
				fail("punch: %v", err)
			}
		}
		// A hole is put in, and taken out again, or what is there with it.
		if err := f.insert(context.Background(), kept+r.Int64N(2)*pageSize, pageSize); err != nil && f.m.Size() > kept+pageSize {
			fail("insert: %v", err)
		}
		if err := f.collapse(context.Background(), kept+r.Int64N(2)*pageSize, pageSize); err != nil && f.m.Size() > kept+2*pageSize {
			fail("collapse: %v", err)
		}
	})
	loop(11, func(r *rand.Rand) { // faults beyond the cells meet the end, or not
		var bus *vm.BusError
		if err := views[0].Store(nil, []byte{1}, kept+r.Int64N(run)); err != nil && !errors.As(err, &bus) {
			fail("store behind: %v", err)
		}
	})
	loop(12, func(r *rand.Rand) {
		if _, err := f.m.Writeback(nil, r.Int64N(kept), r.Int64N(kept)); err != nil {
			fail("writeback: %v", err)
		}
	})
	loop(13, func(r *rand.Rand) {
		pin, err := f.m.Pin(nil, r.Int64N(kept-8), 8, dax.PinFlags(r.IntN(2)), f)
		if err == nil {
			runtime.Gosched()
			pin.Release()
		} else if !errors.Is(err, dax.ErrNotMappable) {
			fail("pin: %v", err)
		}
	})
	loop(14, func(r *rand.Rand) {
		v, err := s.Map(f, r.Uint64N(20), 1+r.Uint64N(8), sharedRO)
		if err != nil {
			fail("map: %v", err)
			return
		}
		if err := f.m.Attach(nil, v, f); err != nil {
			fail("attach: %v", err)
		}
		page, _ := v.Bounds()
		var bus *vm.BusError
		if err := v.Load(nil, make([]byte, 1), int64(page)*pageSize); err != nil && !errors.As(err, &bus) {
			fail("load: %v", err)
		}
		if err := f.m.Detach(v); err != nil {
			fail("detach: %v", err)
		}
		v.Close()
	})
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
	cancel()
	done := start(func() error { wg.Wait(); return nil })
	if err := within(t, "the end of the stress", done); err != nil {
		t.Fatal(err)
	}
	if msg := failed.Load(); msg != nil {
		t.Fatal(*msg)
	}
	f.check()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	b := f.mustRead(0, kept)
	for c := range cells {
		if got, want := binary.LittleEndian.Uint64(b[c*8:]), values[c%owners][c]; got != want {
			t.Fatalf("cell %d: %#x, want %#x", c, got, want)
		}
	}
	for _, v := range views {
		f.m.Detach(v)
		v.Close()
	}
	if err := f.m.Evict(context.Background(), false); err != nil {
		t.Fatal(err)
	}
}
