package dax_test

import (
	"fmt"
	"testing"

	"godax/vm"
)

// BenchmarkWriteback cleans 1 GiB that a view of the process has stored to in some
// pages, evenly spread.
func BenchmarkWriteback(b *testing.B) {
	for _, dirty := range []int{0, 10, 1000, 100000} {
		b.Run(fmt.Sprint(dirty), func(b *testing.B) {
			f := bigFile(b, gib)
			v, err := vm.NewView(0, gib/pageSize, sharedRW, vm.ViewOptions{Prefault: true})
			if err != nil {
				b.Fatal(err)
			}
			defer v.Close()
			if err := f.m.Attach(ctx, v, f); err != nil {
				b.Fatal(err)
			}
			defer f.m.Detach(v)
			mem := v.Bytes()
			f.sync()
			var pages uint64
			for b.Loop() {
				b.StopTimer()
				for i := range dirty {
					mem[i*(gib/pageSize/dirty)*pageSize]++
				}
				b.StartTimer()
				st, err := f.m.Writeback(ctx, 0, gib)
				if err != nil {
					b.Fatal(err)
				}
				pages += st.Collected
			}
			if dirty > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*dirty), "ns/page")
				b.ReportMetric(float64(pages)/float64(b.N), "collected/op")
			}
		})
	}
}
