package pmem

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
)

// TestDroppers runs every way to drop lines over ranges of every alignment: stores that
// were not written back must not be lost, and no other memory is touched.
func TestDroppers(t *testing.T) {
	ds := cpuDroppers()
	if len(ds) == 0 {
		if runtime.GOARCH == "amd64" {
			t.Fatal("every amd64 processor has CLFLUSH, none found")
		}
		t.Skip("this processor has no instruction to drop cache lines from a program")
	}
	for _, f := range ds {
		t.Run(f.name, func(t *testing.T) {
			b := make([]byte, flushChunk)
			want := make([]byte, len(b))
			for off := range 2 * f.line {
				for n := uintptr(1); n < 3*f.line; n += 13 {
					b[off+n], want[off+n] = byte(n), byte(n)
					f.flush(&b[off], n, f.line)
				}
			}
			dropFence()
			if !bytes.Equal(b, want) {
				t.Error("memory changed")
			}
		})
	}
}

func TestDropCPU(t *testing.T) {
	has := DropInstruction() != ""
	if DropInstruction() == "clwb" {
		t.Error("clwb keeps the line")
	}
	for _, n := range []int{0, 1, 64, flushChunk + 1, 3 * flushChunk} {
		if got := DropCPU(make([]byte, n)); got != has {
			t.Errorf("DropCPU of %d bytes = %v, want %v", n, got, has)
		}
	}
}

// TestInvalidate: on memory of this host it does nothing but look at the range; on memory
// that others may have it keeps what was stored.
func TestInvalidate(t *testing.T) {
	dev, err := NewMemory(4*PageSize, MemoryOptions{})
	if err != nil {
		t.Skip(err)
	}
	defer dev.Close()
	in, ok := dev.(Invalidator)
	if !ok {
		t.Fatal("a mapped device is no Invalidator")
	}
	if err := in.Invalidate(10, 4*PageSize-10); err != nil {
		t.Error(err)
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {1, 4 * PageSize}, {5 * PageSize, 1}} {
		if err := in.Invalidate(r[0], r[1]); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("%d bytes at %d: %v", r[1], r[0], err)
		}
	}
}
