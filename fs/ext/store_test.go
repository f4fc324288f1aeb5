package ext

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// flushRecorder is a device that notes what is flushed.
type flushRecorder struct {
	pmem.Device
	flushed  []string
	barriers int
	fail     error
}

func (d *flushRecorder) Flush(off, n int64) error {
	if d.fail != nil {
		return d.fail
	}
	d.flushed = append(d.flushed, fmt.Sprintf("%d+%d", off, n))
	return nil
}

func (d *flushRecorder) Barrier() error { d.barriers++; return nil }

func newTestStore(t *testing.T, size int) (*store, *flushRecorder, []byte) {
	d := &flushRecorder{Device: daxtest.MemoryDevice(t, make([]byte, size))}
	return newStore(d, int64(size)), d, daxtest.DeviceBytes(t, d)
}

func TestStoreFlushesWhatChanged(t *testing.T) {
	st, d, _ := newTestStore(t, 32<<10)
	for _, err := range []error{
		st.put32(0, 1), st.put16(62, 1), st.put32(64, 1), // two lines side by side
		st.put16(4094, 7), st.write(4096, []byte{1}), // across pages
		st.write(9000, make([]byte, 4096)),
		st.zero(16384, 4096),
		st.publish32(24576+60, 9, 2),
		st.switchOver(put{30000, 2, 1}, put{31000, 4, 1}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "[0+128 4032+128 8960+4160 16384+4096 24576+128 29952+64 30976+64]"
	d.fail = errors.New("no power")
	if err := st.flush(); err != d.fail {
		t.Errorf("got %v, want %v", err, d.fail)
	}
	d.fail = nil
	if err := st.flush(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(d.flushed); got != want || d.barriers != 1 {
		t.Errorf("flushed %s, %d barriers, want %s, 1", got, d.barriers, want)
	}
	d.flushed = nil
	if err := st.flush(); err != nil || len(d.flushed) > 0 || st.pending() {
		t.Errorf("second flush: %v, %v", d.flushed, err)
	}
}

func TestStorePutsOnlyItsField(t *testing.T) {
	st, _, b := newTestStore(t, 4096)
	for i := range b {
		b[i] = 0xEE
	}
	want := bytes.Clone(b)
	for _, err := range []error{st.put16(10, 0x1234), st.put16(12, 0x5678), st.put32(16, 0x9abcdef0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	copy(want[10:], []byte{0x34, 0x12, 0x78, 0x56})
	copy(want[16:], []byte{0xf0, 0xde, 0xbc, 0x9a})
	if !bytes.Equal(b, want) {
		t.Errorf("got % x, want % x", b[:20], want[:20])
	}
}

func TestStoreBounds(t *testing.T) {
	st, _, _ := newTestStore(t, 8192)
	st.size = 6000 // the file system ends before the device
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, 6001}, {6000, 1}, {1 << 62, 1 << 62}, {5999, 2}} {
		if _, err := st.view(r[0], r[1]); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("view %d+%d: got %v, want ErrCorrupt", r[0], r[1], err)
		}
	}
	if b, err := st.view(5999, 1); err != nil || len(b) != 1 {
		t.Errorf("last byte: %v, %v", b, err)
	}
	hooked := 0
	st.hook = func(int64, int) { hooked++ }
	if err := st.switchOver(put{0, 4, 1}, put{6000, 4, 1}); err == nil {
		t.Error("switch-over past the end succeeded")
	}
	if b, _ := st.view(0, 4); b[0] != 0 || hooked != 0 {
		t.Error("a switch-over that fails has stored something")
	}
}

func TestBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	st, _, mem := newTestStore(t, 4096)
	want := make([]bool, 4096)
	for range 300 {
		from := r.Uint32N(4000)
		n := 1 + r.Uint32N(min(96, uint32(len(want))-from))
		set := r.IntN(2) == 0
		if err := st.putBits(64, from, n, set); err != nil {
			t.Fatal(err)
		}
		for i := from; i < from+n; i++ {
			want[i] = set
		}
		b := mem[64:]
		at := r.Uint32N(4096)
		to := at + r.Uint32N(4096-at)
		for _, set := range []bool{false, true} {
			w := at
			for w < to && want[w] != set {
				w++
			}
			if got := nextBit(b, at, to, set); got != w {
				t.Fatalf("nextBit(%d, %d, %v) = %d, want %d", at, to, set, got, w)
			}
		}
	}
}
