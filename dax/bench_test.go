package dax_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// bigFile is a file of n bytes, all of it in large entries, at the real PMD order.
func bigFile(tb testing.TB, n int64) *file {
	tb.Helper()
	f := newFile(tb, n/pageSize, dax.Config{PMDOrder: dax.PMDOrder})
	f.iomap = true
	f.m.SetSize(n)
	for p := range uint64(n / pageSize) {
		f.blocks[p] = p
		delete(f.free, p)
	}
	b, err := f.dev.Bytes(0, n)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(b); i += pageSize {
		b[i] = byte(i >> 12)
	}
	buf := make([]byte, 1)
	for off := int64(0); off < n; off += pageSize << dax.PMDOrder {
		if _, err := f.m.ReadAt(ctx, buf, off, f); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

const gib = 1 << 30

func BenchmarkFault(b *testing.B) {
	for _, order := range []uint{0, dax.PMDOrder} {
		b.Run(fmt.Sprintf("order%d", order), func(b *testing.B) {
			f := bigFile(b, 64<<20)
			v := mustMapView(b, f, 0, (64<<20)/pageSize)
			ft := vm.Fault{View: v, Order: order}
			b.ReportAllocs()
			for b.Loop() {
				ft.Page = (ft.Page + 1<<order) & (64<<20/pageSize - 1)
				if err := f.m.Fault(&ft, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func mustMapView(tb testing.TB, f *file, page, n uint64) *sim.View {
	tb.Helper()
	v, err := sim.New(sim.Config{}).Map(f, page, n, sharedRW)
	if err != nil {
		tb.Fatal(err)
	}
	if err := f.m.Attach(ctx, v, f); err != nil {
		tb.Fatal(err)
	}
	return v
}

// BenchmarkCopy4K compares random reads and overwrites of 4 KiB in 1 GiB with a
// bare copy from and to the same memory.
func BenchmarkCopy4K(b *testing.B) {
	f := bigFile(b, gib)
	mem, err := f.dev.Bytes(0, gib)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, pageSize)
	for _, bench := range []struct {
		name string
		op   func(off int64)
	}{
		{"read/copy", func(off int64) { copy(buf, mem[off:]) }},
		{"read/ReadAt", func(off int64) { f.m.ReadAt(ctx, buf, off, f) }},
		{"write/copy", func(off int64) { copy(mem[off:], buf) }},
		{"write/WriteAt", func(off int64) { f.m.WriteAt(ctx, buf, off, f) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			b.SetBytes(pageSize)
			b.ReportAllocs()
			for b.Loop() {
				bench.op(int64(r.Uint64N(gib/pageSize)) * pageSize)
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	f := bigFile(t, 64<<20)
	v := mustMapView(t, f, 0, (64<<20)/pageSize)
	buf := make([]byte, pageSize)
	ft := vm.Fault{View: v}
	for name, op := range map[string]func(){
		"ReadAt":  func() { f.m.ReadAt(ctx, buf, 12345, f) },
		"WriteAt": func() { f.m.WriteAt(ctx, buf, 12345, f) },
		"warm load fault": func() {
			ft.Page, ft.Access = 77, vm.Load
			if err := f.m.Fault(&ft, f); err != nil {
				t.Error(err)
			}
		},
		"warm store fault": func() {
			ft.Page, ft.Access = 78, vm.Store
			if err := f.m.Fault(&ft, f); err != nil {
				t.Error(err)
			}
		},
	} {
		if got := testing.AllocsPerRun(200, op); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
