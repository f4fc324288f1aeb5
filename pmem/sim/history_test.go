//go:build linux

package sim_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"godax/pmem"
	"godax/pmem/sim"
)

// crashes returns the contents that byte off has after many crashes.
func crashes(d *sim.Device, off int64) map[byte]bool {
	rnd := rand.New(rand.NewPCG(3, 4))
	got := make(map[byte]bool)
	for range 200 {
		got[d.Crash(rnd)[off]] = true
	}
	return got
}

// TestLineLife takes one line through its states and looks at what crashes leave.
func TestLineLife(t *testing.T) {
	const off = 5*sim.LineSize + 7
	d := newDevice(t, 4*pmem.PageSize)
	b := mustBytes(t, d, 0, d.Size())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name            string
		do              func()
		cached, pending int
		want            []byte // possible contents after a crash
	}{
		{"new", func() {}, 0, 0, []byte{0}},
		{"store", func() { b[off] = 1 }, 1, 0, []byte{0, 1}},
		{"flush elsewhere", func() { must(d.Flush(off+sim.LineSize, 1)) }, 1, 0, []byte{0, 1}},
		{"flush", func() { must(d.Flush(off, 1)) }, 0, 1, []byte{0, 1}},
		{"flush again", func() { must(d.Flush(off, 1)) }, 0, 1, []byte{0, 1}},
		{"store after flush", func() { b[off] = 2 }, 1, 1, []byte{0, 1, 2}},
		{"second flush", func() { must(d.Flush(0, d.Size())) }, 0, 1, []byte{0, 1, 2}},
		{"store after second flush", func() { b[off] = 3 }, 1, 1, []byte{0, 1, 2, 3}},
		{"barrier", func() { must(d.Barrier()) }, 1, 0, []byte{2, 3}},
		{"barrier without flush", func() { must(d.Barrier()) }, 1, 0, []byte{2, 3}},
		{"flush another byte of the line", func() { must(d.Flush(off-7, 1)) }, 0, 1, []byte{2, 3}},
		{"last barrier", func() { must(d.Barrier()) }, 0, 0, []byte{3}},
		{"store and back", func() { b[off] = 4; b[off] = 3 }, 0, 0, []byte{3}},
		{"flushed and back", func() { b[off] = 4; must(d.Flush(off, 1)); b[off] = 3 }, 1, 1, []byte{3, 4}},
		{"lost", func() { must(d.Poison(0, 1)) }, 0, 0, []byte{0xbd}},
	} {
		c.do()
		cached, pending, err := d.Lines(0, d.Size())
		if err != nil || cached != c.cached || pending != c.pending {
			t.Errorf("%s: %d lines cached, %d pending, error %v, want %d, %d", c.name, cached, pending, err, c.cached, c.pending)
		}
		got := crashes(d, off)
		for _, w := range c.want {
			if !got[w] {
				t.Errorf("%s: no crash leaves %d", c.name, w)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: crashes leave %v, want %v", c.name, got, c.want)
		}
		if got, want := d.Durable()[off], c.want[0]; got != want {
			t.Errorf("%s: durable is %d, want %d", c.name, got, want)
		}
	}
}

// TestFailedCalls: an injected failure leaves lines where they were.
func TestFailedCalls(t *testing.T) {
	wrong := errors.New("wrong")
	d := newDevice(t, pmem.PageSize)
	mustBytes(t, d, 0, 1)[0] = 1
	stop := d.Inject(sim.Fault{Op: sim.OpFlush | sim.OpBarrier, Err: wrong})
	if err := d.Flush(0, 1); err != wrong {
		t.Errorf("Flush: %v, want %v", err, wrong)
	}
	if cached, pending, _ := d.Lines(0, 64); cached != 1 || pending != 0 {
		t.Errorf("after a failed Flush: %d cached, %d pending, want 1, 0", cached, pending)
	}
	stop()
	if err := d.Flush(0, 1); err != nil {
		t.Error(err)
	}
	d.Inject(sim.Fault{Op: sim.OpBarrier, Times: 1, Err: wrong})
	if err := d.Barrier(); err != wrong {
		t.Errorf("Barrier: %v, want %v", err, wrong)
	}
	if d.Durable()[0] != 0 {
		t.Error("durable after a failed Barrier")
	}
	if err := d.Barrier(); err != nil {
		t.Error(err)
	}
	if d.Durable()[0] != 1 {
		t.Error("not durable after a Barrier")
	}
}

// TestEvict: a line written back by itself has the contents of then, whatever is
// stored later.
func TestEvict(t *testing.T) {
	d := newDevice(t, 64*pmem.PageSize)
	b := mustBytes(t, d, 0, d.Size())
	for i := range b {
		b[i] = 1
	}
	d.Evict(rand.New(rand.NewPCG(5, 6)))
	for i := range b {
		b[i] = 2
	}
	durable := d.Durable()
	lines := len(durable) / sim.LineSize
	evicted := bytes.Count(durable, bytes.Repeat([]byte{1}, sim.LineSize))
	if evicted+bytes.Count(durable, make([]byte, sim.LineSize)) != lines {
		t.Error("a line is on the medium in parts")
	}
	if evicted < lines/3 || evicted > lines*2/3 {
		t.Errorf("%d of %d lines evicted", evicted, lines)
	}
}

// TestCrashModel runs random stores, flushes and barriers against a model that
// keeps, for every byte, the set of values that it may have after a crash.
func TestCrashModel(t *testing.T) {
	const size = 3*pmem.PageSize + 40 // the last line is partial
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		d := newDevice(t, size)
		b := mustBytes(t, d, 0, size)

		// By line: contents it may have on the medium; the last one flushed.
		lines := (size + sim.LineSize - 1) / sim.LineSize
		may := make([]map[string]bool, lines)
		flushed := make([]string, lines)
		now := func(i int) string { return string(b[i*sim.LineSize : min((i+1)*sim.LineSize, size)]) }
		for i := range may {
			may[i], flushed[i] = map[string]bool{now(i): true}, now(i)
		}
		for step := range 400 {
			off := rnd.Int64N(size)
			n := min(rnd.Int64N(300)+1, size-off)
			switch rnd.IntN(8) {
			case 0, 1, 2, 3:
				for i := range b[off : off+n] {
					b[off+int64(i)] = byte(rnd.Uint32())
				}
			case 4, 5, 6:
				if err := d.Flush(off, n); err != nil {
					t.Fatal(err)
				}
				for i := int(off / sim.LineSize); i <= int((off+n-1)/sim.LineSize); i++ {
					may[i][now(i)], flushed[i] = true, now(i)
				}
			case 7:
				if err := d.Barrier(); err != nil {
					t.Fatal(err)
				}
				for i := range may {
					may[i] = map[string]bool{flushed[i]: true}
				}
			}
			image := d.Crash(rnd)
			for i := range lines {
				got := string(image[i*sim.LineSize : min((i+1)*sim.LineSize, size)])
				if !may[i][got] && got != now(i) {
					t.Fatalf("seed %d, step %d: line %d has contents it cannot have", seed, step, i)
				}
			}
		}
		next, err := sim.FromImage(d.Crash(rnd))
		if err != nil {
			t.Fatal(err)
		}
		if cached, pending, _ := next.Lines(0, size); cached != 0 || pending != 0 {
			t.Errorf("a new device has %d lines cached, %d pending", cached, pending)
		}
		if !bytes.Equal(next.Durable(), mustBytes(t, next, 0, size)) {
			t.Error("a new device is not durable")
		}
		next.Close()
	}
}

// TestCrashRepeats: the same seed gives the same image.
func TestCrashRepeats(t *testing.T) {
	d := newDevice(t, 8*pmem.PageSize)
	b := mustBytes(t, d, 0, d.Size())
	for i := range b {
		b[i] = byte(i)
	}
	if err := d.Flush(0, d.Size()/2); err != nil {
		t.Fatal(err)
	}
	first := d.Crash(rand.New(rand.NewPCG(1, 1)))
	if !bytes.Equal(first, d.Crash(rand.New(rand.NewPCG(1, 1)))) {
		t.Error("same seed, different image")
	}
	if bytes.Equal(first, d.Crash(rand.New(rand.NewPCG(1, 2)))) {
		t.Error("different seed, same image")
	}
}

// TestClosedHistory: looking at the history of a closed device is harmless.
func TestClosedHistory(t *testing.T) {
	d := newDevice(t, pmem.PageSize)
	mustBytes(t, d, 0, 1)[0] = 1
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := d.Crash(rand.New(rand.NewPCG(1, 1)))[0]; got != 0 {
		t.Errorf("byte is %d, want 0", got)
	}
	if err := d.Poison(0, 1); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("Poison: %v, want %v", err, pmem.ErrRemoved)
	}
	d.Evict(rand.New(rand.NewPCG(1, 1)))
}
