package xarray

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// gib is the number of pages of a 1 GiB file.
const gib = 1 << 18

// dense returns an array with n pages in entries of an order.
func dense(n uint64, order uint) *Array {
	var a Array
	for i := uint64(0); i < n; i += 1 << order {
		a.Store(i, order, i)
	}
	return &a
}

// randomPages returns page numbers below n for benchmarks to go round in.
func randomPages(n uint64) []uint64 {
	r := rand.New(rand.NewPCG(3, 4))
	pages := make([]uint64, 1<<16)
	for i := range pages {
		pages[i] = r.Uint64N(n)
	}
	return pages
}

// BenchmarkLoad is the lookup in a 1 GiB file, in random and in rising order. The slice is the ceiling: one atomic load.
func BenchmarkLoad(b *testing.B) {
	pages := randomPages(gib)
	b.Run("slice/random", func(b *testing.B) {
		words := make([]atomic.Uint64, gib)
		for i := range words {
			words[i].Store(uint64(i))
		}
		var sum uint64
		i := 0
		for b.Loop() {
			sum += words[pages[i%len(pages)]].Load()
			i++
		}
	})
	for _, order := range []uint{0, 4, 9, 18} {
		a := dense(gib, order)
		perEntry := float64(a.Memory()) / float64(a.Len())
		run := func(name string, pages []uint64) {
			b.Run(fmt.Sprintf("order%d/%s", order, name), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					p := pages[i%len(pages)]
					if _, _, ok := a.Load(p); !ok {
						b.Fatal("no entry")
					}
					i++
				}
				b.ReportMetric(perEntry, "B/entry")
			})
		}
		run("random", pages)
		rising := make([]uint64, len(pages))
		for i := range rising {
			rising[i] = uint64(i)
		}
		run("rising", rising)
	}
}

// BenchmarkStore fills and empties 64 MiB: per entry.
func BenchmarkStore(b *testing.B) {
	const n = gib / 16
	for _, order := range []uint{0, 9} {
		per := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(uint64(n)>>order), "ns/entry")
		}
		b.Run(fmt.Sprintf("order%d/fill", order), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dense(n, order)
			}
			per(b)
		})
		b.Run(fmt.Sprintf("order%d/over", order), func(b *testing.B) {
			a := dense(n, order)
			for b.Loop() {
				for i := uint64(0); i < n; i += 1 << order {
					a.Store(i, order, i+1)
				}
			}
			per(b)
		})
		b.Run(fmt.Sprintf("order%d/fill+erase", order), func(b *testing.B) {
			for b.Loop() {
				a := dense(n, order)
				for i := uint64(0); i < n; i += 1 << order {
					a.Erase(i)
				}
			}
			per(b)
		})
	}
}

// BenchmarkSetMark makes random pages of a 1 GiB file dirty and clean again, and dirty ones dirty.
func BenchmarkSetMark(b *testing.B) {
	pages := randomPages(gib)
	a := dense(gib, 0)
	b.Run("set+clear", func(b *testing.B) {
		i := 0
		for b.Loop() {
			p := pages[i%len(pages)]
			a.SetMark(p, Mark0)
			a.ClearMark(p, Mark0)
			i++
		}
	})
	for _, p := range pages {
		a.SetMark(p, Mark0)
	}
	b.Run("again", func(b *testing.B) {
		i := 0
		for b.Loop() {
			a.SetMark(pages[i%len(pages)], Mark0)
			i++
		}
	})
}

// sparse returns a dense array of 1<<20 pages of which every k-th on average is marked, and how many are.
func sparse(k uint64) (a *Array, marked uint64) {
	const n = 1 << 20
	a = dense(n, 0)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range uint64(n) {
		if r.Uint64N(k) == 0 {
			a.SetMark(i, Mark0)
			marked++
		}
	}
	return a, marked
}

// BenchmarkNextMarked is a pass over the dirty ones of 1<<20 entries; also over all, and over none.
func BenchmarkNextMarked(b *testing.B) {
	for _, k := range []uint64{1, 10, 100, 10000} {
		b.Run(fmt.Sprintf("of%d", k), func(b *testing.B) {
			a, marked := sparse(k)
			b.ReportAllocs()
			for b.Loop() {
				var n uint64
				for from := uint64(0); ; n++ {
					first, _, _, ok := a.NextMarked(from, 1<<20-1, Mark0)
					if !ok {
						break
					}
					from = first + 1
				}
				if n != marked {
					b.Fatalf("met %d of %d", n, marked)
				}
			}
			pass := float64(b.Elapsed()) / float64(b.N)
			b.ReportMetric(pass/float64(marked), "ns/dirty")
			b.ReportMetric(pass/(1<<20/64), "ns/64")
		})
	}
}

// BenchmarkNext is a pass over 1<<20 entries.
func BenchmarkNext(b *testing.B) {
	a := dense(1<<20, 0)
	for b.Loop() {
		for from := uint64(0); ; {
			first, order, _, ok := a.Next(from, 1<<20-1)
			if !ok {
				break
			}
			from = first + 1<<order
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/(1<<20), "ns/entry")
}

// BenchmarkTagMarked copies the dirty mark of 1<<20 entries, one in a hundred of which has it.
func BenchmarkTagMarked(b *testing.B) {
	a, marked := sparse(100)
	for b.Loop() {
		a.TagMarked(0, 1<<20-1, Mark0, Mark1)
	}
	pass := float64(b.Elapsed()) / float64(b.N)
	b.ReportMetric(pass/float64(marked), "ns/dirty")
}
