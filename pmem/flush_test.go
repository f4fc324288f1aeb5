package pmem

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestFlushers runs every way of this processor over ranges of every alignment.
// That the right lines leave the cache is not visible to a program; that no other
// memory is touched is.
func TestFlushers(t *testing.T) {
	fs := cpuFlushers()
	if len(fs) == 0 {
		if runtime.GOARCH == "amd64" {
			t.Fatal("every amd64 processor has CLFLUSH, none found")
		}
		t.Skip("this processor has no instruction to flush caches from a program")
	}
	for _, f := range fs {
		t.Run(f.name, func(t *testing.T) {
			if f.line < 16 || f.line > 2048 || f.line&(f.line-1) != 0 {
				t.Fatalf("line of %d bytes", f.line)
			}
			b := make([]byte, 3*flushChunk)
			for i := range b {
				b[i] = byte(i * 7)
			}
			want := bytes.Clone(b)
			for off := range 2 * f.line {
				for n := uintptr(1); n < 3*f.line; n += 13 {
					f.flush(&b[off], n, f.line)
				}
			}
			f.flush(&b[0], uintptr(len(b)), f.line)
			flushFence()
			if !bytes.Equal(b, want) {
				t.Error("memory changed")
			}
		})
	}
}

func TestFlushCPU(t *testing.T) {
	has := FlushInstruction() != ""
	for _, n := range []int{0, 1, 64, flushChunk - 1, flushChunk, flushChunk + 1, 3 * flushChunk} {
		if got := FlushCPU(make([]byte, n)); got != has {
			t.Errorf("FlushCPU of %d bytes = %v, want %v", n, got, has)
		}
	}
}

// TestFlushWhileStoring flushes memory that other goroutines store to.
func TestFlushWhileStoring(t *testing.T) {
	const workers, part = 4, 4096 + 32
	b := make([]byte, workers*part)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			mine := b[w*part:][:part]
			for range 2000 {
				i := rnd.IntN(part)
				mine[i] = byte(w + 1)
				FlushCPU(mine[i : i+rnd.IntN(part-i)+1])
			}
		})
	}
	wg.Wait()
	for i, got := range b {
		if want := byte(i/part + 1); got != 0 && got != want {
			t.Fatalf("byte %d is %d, want 0 or %d", i, got, want)
		}
	}
}

// BenchmarkFlush is the cost per line of stores that are flushed, against stores
// alone.
func BenchmarkFlush(b *testing.B) {
	const size = 1 << 20
	ways := append(cpuFlushers(), flusher{name: "store only", line: 64, flush: func(*byte, uintptr, uintptr) {}})
	for _, f := range ways {
		for _, n := range []int{int(f.line), PageSize, size} {
			b.Run(fmt.Sprintf("%s/%d", f.name, n), func(b *testing.B) {
				mem := make([]byte, size)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				off := 0
				for b.Loop() {
					for i := 0; i < n; i += int(f.line) {
						mem[off+i]++
					}
					f.flush(&mem[off], uintptr(n), f.line)
					flushFence()
					off = (off + n) % size
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n/int(f.line)), "ns/line")
			})
		}
	}
}
