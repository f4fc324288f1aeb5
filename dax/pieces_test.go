package dax_test

import (
	"bytes"
	"slices"
	"testing"
	"unsafe"

	"godax/dax"
)

// TestReadPieces: the pieces are the file's bytes, those of direct pages in the device itself,
// those of cached pages in the caller's buffer.
func TestReadPieces(t *testing.T) {
	f := newFile(t, 16, dax.Config{})
	want := fill(3*pageSize, 1)
	f.mustWrite(want, 0)
	f.mustWrite([]byte("end"), 6*pageSize) // after a hole
	want = slices.Concat(want, make([]byte, 3*pageSize), []byte("end"))
	c := newCached(t, 4, 4, 4)
	for name, tt := range map[string]struct {
		m      *dax.Mapping
		p      dax.Populator
		want   []byte
		inside bool // in the buffer
	}{
		"direct": {f.m, f, want, false},
		"cached": {c.m, c, c.disk, true},
	} {
		for _, off := range []int64{0, 1, 100, pageSize - 1, 2*pageSize + 7, int64(len(tt.want)) - 1, int64(len(tt.want)), 1 << 40} {
			b := make([]byte, 8*pageSize)
			pieces, n, err := tt.m.ReadPieces(ctx, b, off, tt.p, nil)
			rest := tt.want[min(off, int64(len(tt.want))):]
			if got := bytes.Join(pieces, nil); err != nil || n != len(rest) || !bytes.Equal(got, rest) {
				t.Errorf("%s at %d: %d bytes of %d, %v", name, off, n, len(rest), err)
			}
			at := 0
			for _, p := range pieces {
				if got := unsafe.SliceData(p) == &b[at]; got != tt.inside {
					t.Errorf("%s at %d: piece at %d lies in the buffer: %v", name, off, at, got)
				}
				at += len(p)
			}
		}
		if _, _, err := tt.m.ReadPieces(ctx, make([]byte, 1), -1, tt.p, nil); err == nil {
			t.Errorf("%s: a negative offset works", name)
		}
	}
	pieces := make([][]byte, 0, 8)
	b := make([]byte, pageSize)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := f.m.ReadPieces(ctx, b, 0, f, pieces); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
