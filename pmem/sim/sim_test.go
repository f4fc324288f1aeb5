//go:build linux

package sim_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"godax/pmem"
	"godax/pmem/sim"
)

func newDevice(t testing.TB, size int64) *sim.Device {
	t.Helper()
	d, err := sim.New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func mustBytes(t testing.TB, d *sim.Device, off, n int64) []byte {
	t.Helper()
	b, err := d.Bytes(off, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNewRefuses(t *testing.T) {
	for _, size := range []int64{0, -1} {
		if d, err := sim.New(size); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("New(%d) = %v, %v, want EINVAL", size, d, err)
		}
	}
}

// TestPartialPage: the bytes after the last whole page have no frame.
func TestPartialPage(t *testing.T) {
	const size = 2*pmem.PageSize + 100
	d := newDevice(t, size)
	if d.Size() != size || len(mustBytes(t, d, 0, size)) != size {
		t.Errorf("size %d, want %d", d.Size(), size)
	}
	if _, err := d.DirectAccess(2, 1, pmem.Normal); !errors.Is(err, pmem.ErrOutOfRange) {
		t.Errorf("partial page: %v, want %v", err, pmem.ErrOutOfRange)
	}
	if _, err := d.Bytes(size, 1); !errors.Is(err, pmem.ErrOutOfRange) {
		t.Errorf("byte after the end: %v, want %v", err, pmem.ErrOutOfRange)
	}
}

// TestMaxRun: answers are short, and together cover everything (A1).
func TestMaxRun(t *testing.T) {
	const pages = 10
	d := newDevice(t, pages*pmem.PageSize)
	for _, c := range []struct {
		max  uint64
		want []uint64
	}{
		{1, []uint64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{4, []uint64{4, 4, 2}},
		{pages, []uint64{pages}},
		{0, []uint64{pages}},
	} {
		d.SetMaxRun(c.max)
		var got []uint64
		for page := uint64(0); page < pages; {
			run, err := d.DirectAccess(page, pages-page, pmem.Normal)
			if err != nil {
				t.Fatal(err)
			}
			if err := pmem.CheckRun(d, page, pages-page, run); err != nil {
				t.Fatal(err)
			}
			got = append(got, run.Pages())
			page += run.Pages()
		}
		if len(got) != len(c.want) {
			t.Errorf("at most %d: runs %v, want %v", c.max, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("at most %d: runs %v, want %v", c.max, got, c.want)
				break
			}
		}
	}
}

// TestPoison: what touches a bad page fails in Normal mode and succeeds for
// recovery, until the page is declared good (A3).
func TestPoison(t *testing.T) {
	d := newDevice(t, 8*pmem.PageSize)
	copy(mustBytes(t, d, 0, d.Size()), bytes.Repeat([]byte{7}, int(d.Size())))
	if err := d.Flush(0, d.Size()); err != nil {
		t.Fatal(err)
	}
	if err := d.Poison(3, 2); err != nil {
		t.Fatal(err)
	}
	check := func(page, n uint64, want error) {
		t.Helper()
		if _, err := d.DirectAccess(page, n, pmem.Normal); !errors.Is(err, want) {
			t.Errorf("DirectAccess(%d, %d) = %v, want %v", page, n, err, want)
		}
		if _, err := d.Bytes(int64(page*pmem.PageSize), int64(n*pmem.PageSize)); !errors.Is(err, want) {
			t.Errorf("Bytes of %d pages at page %d = %v, want %v", n, page, err, want)
		}
		run, err := d.DirectAccess(page, n, pmem.RecoveryWrite)
		if err != nil || run.Pages() != n {
			t.Errorf("DirectAccess(%d, %d) for recovery = %d pages, %v", page, n, run.Pages(), err)
		}
	}
	check(0, 3, nil)
	check(2, 2, pmem.ErrPoisoned)
	check(3, 1, pmem.ErrPoisoned)
	check(4, 1, pmem.ErrPoisoned)
	check(4, 2, pmem.ErrPoisoned)
	check(5, 3, nil)
	check(0, 8, pmem.ErrPoisoned)
	if _, err := d.Bytes(3*pmem.PageSize-1, 1); err != nil {
		t.Errorf("last byte before the bad page: %v", err)
	}
	if _, err := d.Bytes(3*pmem.PageSize-1, 2); !errors.Is(err, pmem.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("first byte of the bad page: %v, want %v, EIO", err, pmem.ErrPoisoned)
	}
	if _, err := d.Bytes(3*pmem.PageSize, 0); err != nil {
		t.Errorf("no bytes on the bad page: %v", err)
	}

	run, err := d.DirectAccess(3, 1, pmem.RecoveryWrite)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Repeat([]byte{0xbd}, pmem.PageSize); !bytes.Equal(run.Bytes, want) {
		t.Error("contents of a bad page survived")
	}
	if got := d.Durable()[4*pmem.PageSize]; got != 0xbd {
		t.Errorf("byte of a bad page on the medium is %#x, want 0xbd", got)
	}
	clear(run.Bytes)
	if err := d.ClearPoison(3, 1); err != nil {
		t.Fatal(err)
	}
	if d.Poisoned(3) || !d.Poisoned(4) {
		t.Error("wrong page declared good")
	}
	check(3, 1, nil)
	check(4, 1, pmem.ErrPoisoned)

	for _, c := range []struct{ page, n uint64 }{{8, 1}, {7, 2}, {0, 0}, {1, ^uint64(0)}} {
		if err := d.Poison(c.page, c.n); !errors.Is(err, pmem.ErrOutOfRange) {
			t.Errorf("Poison(%d, %d) = %v, want %v", c.page, c.n, err, pmem.ErrOutOfRange)
		}
		if err := d.ClearPoison(c.page, c.n); !errors.Is(err, pmem.ErrOutOfRange) {
			t.Errorf("ClearPoison(%d, %d) = %v, want %v", c.page, c.n, err, pmem.ErrOutOfRange)
		}
	}
}

// TestRemove: everything fails, for ever, also what is out of range; old slices
// stay readable.
func TestRemove(t *testing.T) {
	d := newDevice(t, 2*pmem.PageSize)
	b := mustBytes(t, d, 0, 16)
	d.Remove()
	_, daErr := d.DirectAccess(0, 1, pmem.RecoveryWrite)
	_, farErr := d.DirectAccess(9, 1, pmem.Normal)
	_, bytesErr := d.Bytes(0, 1)
	for i, err := range []error{daErr, farErr, bytesErr, d.Flush(0, 1), d.Flush(-1, 1), d.Barrier(), d.ClearPoison(0, 1)} {
		if !errors.Is(err, pmem.ErrRemoved) {
			t.Errorf("call %d: %v, want %v", i, err, pmem.ErrRemoved)
		}
	}
	if got, ok := pmem.Lookup(pmem.MakePFN(d.ID(), 0)); !ok || got != pmem.Device(d) {
		t.Error("frames of a removed device have no owner")
	}
	b[0]++
}

func TestInject(t *testing.T) {
	wrong := errors.New("wrong")
	const size = 16 * pmem.PageSize
	call := func(d *sim.Device, op sim.Op, off, n int64) (err error) {
		switch op {
		case sim.OpDirectAccess:
			_, err = d.DirectAccess(uint64(off/pmem.PageSize), uint64(n/pmem.PageSize), pmem.Normal)
		case sim.OpBytes:
			_, err = d.Bytes(off, n)
		case sim.OpFlush:
			err = d.Flush(off, n)
		case sim.OpBarrier:
			err = d.Barrier()
		}
		return err
	}
	const page = pmem.PageSize
	for _, c := range []struct {
		name   string
		fault  sim.Fault
		op     sim.Op
		off, n int64
		want   string // one letter a call: x failed, . succeeded
	}{
		{"always", sim.Fault{Op: sim.OpFlush}, sim.OpFlush, 0, 1, "xxxx"},
		{"other kind", sim.Fault{Op: sim.OpFlush}, sim.OpBytes, 0, 1, "...."},
		{"two kinds", sim.Fault{Op: sim.OpFlush | sim.OpBytes}, sim.OpBytes, 0, 1, "xxxx"},
		{"third", sim.Fault{Op: sim.OpBarrier, Skip: 2, Times: 1}, sim.OpBarrier, 0, 0, "..x."},
		{"from the second on", sim.Fault{Op: sim.OpBarrier, Skip: 1}, sim.OpBarrier, 0, 0, ".xxx"},
		{"first two", sim.Fault{Op: sim.OpDirectAccess, Times: 2}, sim.OpDirectAccess, page, page, "xx.."},
		{"range hit at its end", sim.Fault{Op: sim.OpFlush, Off: 100, N: 10}, sim.OpFlush, 109, 1, "xxxx"},
		{"range hit at its start", sim.Fault{Op: sim.OpFlush, Off: 100, N: 10}, sim.OpFlush, 0, 101, "xxxx"},
		{"before the range", sim.Fault{Op: sim.OpFlush, Off: 100, N: 10}, sim.OpFlush, 0, 100, "...."},
		{"after the range", sim.Fault{Op: sim.OpFlush, Off: 100, N: 10}, sim.OpFlush, 110, 10, "...."},
		{"no bytes", sim.Fault{Op: sim.OpFlush, Off: 100, N: 10}, sim.OpFlush, 100, 0, "...."},
		{"page inside a run", sim.Fault{Op: sim.OpDirectAccess, Off: 5 * page, N: page}, sim.OpDirectAccess, 0, 8 * page, "xxxx"},
		{"page outside a run", sim.Fault{Op: sim.OpDirectAccess, Off: 5 * page, N: page}, sim.OpDirectAccess, 0, 5 * page, "...."},
		{"barrier has no range", sim.Fault{Op: sim.OpBarrier, Off: 5 * page, N: page}, sim.OpBarrier, 0, 0, "xxxx"},
	} {
		d := newDevice(t, size)
		c.fault.Err = wrong
		stop := d.Inject(c.fault)
		var got []byte
		for range c.want {
			switch err := call(d, c.op, c.off, c.n); {
			case err == nil:
				got = append(got, '.')
			case errors.Is(err, wrong):
				got = append(got, 'x')
			default:
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if string(got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		stop()
		if err := call(d, c.op, c.off, c.n); err != nil {
			t.Errorf("%s: %v after the end of the injection", c.name, err)
		}
	}
}

func TestCounts(t *testing.T) {
	d := newDevice(t, 4*pmem.PageSize)
	d.DirectAccess(0, 4, pmem.Normal)
	d.DirectAccess(0, 5, pmem.Normal) // out of range: not counted
	d.Bytes(1, 2)
	d.Bytes(1, 3)
	d.Flush(pmem.PageSize-10, 30)
	d.Flush(pmem.PageSize, pmem.PageSize)
	d.Flush(0, 0)
	d.Barrier()
	want := sim.Counts{DirectAccess: 1, Bytes: 2, Flush: 3, Barrier: 1, FlushedBytes: 30 + pmem.PageSize}
	if got := d.Counts(); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	for page, want := range []int64{10, 20 + pmem.PageSize, 0, 0} {
		if got := d.FlushedBytes(uint64(page)); got != want {
			t.Errorf("page %d: %d bytes flushed, want %d", page, got, want)
		}
	}
	d.ResetCounts()
	if got := d.Counts(); got != (sim.Counts{}) || d.FlushedBytes(0) != 0 {
		t.Errorf("counts %+v after reset", got)
	}
}

// TestHook: the hook sees every call before it has an effect, and may use the
// device.
func TestHook(t *testing.T) {
	d := newDevice(t, 2*pmem.PageSize)
	mustBytes(t, d, 0, 1)[0] = 9
	var got []sim.Call
	var pendingAtBarrier int
	d.Hook(func(c sim.Call) {
		got = append(got, c)
		if c.Op == sim.OpBarrier {
			_, pendingAtBarrier, _ = d.Lines(0, d.Size())
		}
	})
	d.Flush(0, 1)
	d.Barrier()
	d.DirectAccess(1, 1, pmem.Normal)
	d.Hook(nil)
	d.Barrier()
	want := []sim.Call{{sim.OpFlush, 0, 1}, {Op: sim.OpBarrier}, {sim.OpDirectAccess, pmem.PageSize, pmem.PageSize}}
	if len(got) != len(want) {
		t.Fatalf("calls %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("call %d is %v, want %v", i, got[i], want[i])
		}
	}
	if pendingAtBarrier != 1 {
		t.Errorf("%d lines pending before the barrier, want 1", pendingAtBarrier)
	}
}

// TestConcurrent makes every kind of call from several goroutines, while the
// device goes bad, is looked at and finally goes away.
func TestConcurrent(t *testing.T) {
	const pages = 16
	d := newDevice(t, pages*pmem.PageSize)
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(w, 7))
			for range 500 {
				page := rnd.Uint64N(pages)
				off, n := int64(page*pmem.PageSize), rnd.Int64N(pmem.PageSize)
				var err error
				switch rnd.IntN(8) {
				case 0:
					_, err = d.DirectAccess(page, 1, pmem.Normal)
				case 1:
					var b []byte
					if b, err = d.Bytes(off, n); err == nil {
						clear(b)
					}
				case 2:
					err = d.Flush(off, n)
				case 3:
					err = d.Barrier()
				case 4:
					err = d.Poison(page, 1)
				case 5:
					err = d.ClearPoison(page, 1)
				case 6:
					d.Crash(rnd)
				case 7:
					d.Evict(rnd)
				}
				if err != nil && !errors.Is(err, pmem.ErrPoisoned) && !errors.Is(err, pmem.ErrRemoved) {
					t.Error(err)
				}
			}
			d.Remove()
		})
	}
	wg.Wait()
	if err := d.Barrier(); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("Barrier: %v, want %v", err, pmem.ErrRemoved)
	}
}
