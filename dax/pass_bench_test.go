package dax

import (
	"fmt"
	"sync"
	"testing"

	"godax/pmem"
	"godax/vm"
	"godax/vm/sim"
)

// straight is a file system whose file page p is device page p, known without a question
// to anybody: what is measured with it is the core alone.
type straight struct {
	dev pmem.Device
	m   *Mapping
	one bool // answer for one page at a time
}

func newStraight(tb testing.TB, pages uint64, c Config) *straight {
	tb.Helper()
	dev, err := pmem.NewMemory(int64(pages)*pmem.PageSize, pmem.MemoryOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dev.Close() })
	s := &straight{dev: dev, m: NewMapping(c)}
	s.m.SetSize(int64(pages) * pmem.PageSize)
	return s
}

func (s *straight) PopulatePFNs(r *Request) error {
	first, n := r.First(), r.End()-r.First()
	if s.one {
		first, n = r.Page, 1
	}
	return r.Insert(first, pmem.MakePFN(s.dev.ID(), first), n, Writable)
}

// Fault implements vm.Handler.
func (s *straight) Fault(f *vm.Fault) error { return s.m.Fault(f, s) }

// mapAll maps the file in an address space of its own.
func (s *straight) mapAll(tb testing.TB) *sim.View {
	tb.Helper()
	v, err := sim.New(sim.Config{}).Map(s, 0, s.m.pageEnd(), vm.Read|vm.Write|vm.Shared)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	if err := s.m.Attach(nil, v, s); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.m.Detach(v) })
	return v
}

// BenchmarkPopulate is the way of a fault from nothing to a mapped page, all six steps:
// the file system is asked for each page, or for the run that DAX suggests.
func BenchmarkPopulate(b *testing.B) {
	const pages = 1 << 16
	for _, one := range []bool{true, false} {
		b.Run(map[bool]string{true: "page", false: "run"}[one], func(b *testing.B) {
			s := newStraight(b, pages, Config{NoHuge: true})
			s.one = one
			v := s.mapAll(b)
			ft := vm.Fault{View: v}
			b.ReportAllocs()
			for b.Loop() {
				if ft.Page++; ft.Page == pages {
					b.StopTimer()
					if err := s.m.Invalidate(0, pages); err != nil {
						b.Fatal(err)
					}
					ft.Page = 0
					b.StartTimer()
				}
				if err := s.m.Fault(&ft, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFaultParallel has goroutines fault pages of their own of one file, each in an
// address space of its own. ns/op is the time for one fault of each; perfect scaling
// keeps it the same.
func BenchmarkFaultParallel(b *testing.B) {
	const pages = 1 << 14
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			s := newStraight(b, pages, Config{NoHuge: true})
			s.one = true
			faults := make([]vm.Fault, workers)
			for w := range faults {
				faults[w].View = s.mapAll(b)
				for page := range uint64(pages) {
					faults[w].Page = page
					if err := s.m.Fault(&faults[w], s); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range faults {
				wg.Go(func() {
					f := &faults[w]
					part := uint64(pages / workers)
					for i := range uint64(b.N) {
						f.Page = uint64(w)*part + i%part
						if err := s.m.Fault(f, s); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N*workers)/b.Elapsed().Seconds(), "faults/s")
		})
	}
}

// BenchmarkWritebackPass is a writeback of a million entries of one page each, of which none is
// dirty, or one in a hundred: evenly spread, or in runs of 64.
func BenchmarkWritebackPass(b *testing.B) {
	const pages = 1 << 20
	for _, way := range []struct {
		name       string
		every, run uint64
	}{{"clean", pages, 0}, {"spread", 100, 1}, {"runs", 6400, 64}} {
		b.Run(way.name, func(b *testing.B) {
			s := newStraight(b, pages, Config{NoHuge: true})
			for p := range uint64(pages) {
				s.m.index.Store(p, 0, uint64(word(pmem.MakePFN(s.dev.ID(), p))|wMapped|wWrite))
			}
			var st WritebackStats
			for b.Loop() {
				b.StopTimer()
				for p := uint64(0); p < pages; p += way.every {
					for i := range min(way.run, pages-p) {
						s.m.index.SetMark(p+i, markDirty)
					}
				}
				b.StartTimer()
				var err error
				if st, err = s.m.Writeback(nil, 0, pages*pmem.PageSize); err != nil {
					b.Fatal(err)
				}
			}
			if st.Entries > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(uint64(b.N)*st.Entries), "ns/entry")
			}
		})
	}
}
