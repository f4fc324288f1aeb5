package vm

import (
	"math/rand/v2"
	"slices"
	"testing"

	"godax/pmem"
)

// TestRunSet compares a run set with a plain array of pages.
func TestRunSet(t *testing.T) {
	const pages = 64
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		var s runSet
		var model [pages]bool
		for range 40 {
			page := r.Uint64N(pages)
			n := r.Uint64N(pages - page + 1)
			if r.IntN(2) == 0 {
				s.add(page, n)
				for p := page; p < page+n; p++ {
					model[p] = true
				}
			} else {
				var taken [pages]bool
				for _, x := range s.take(page, page+n) {
					for p := x.page; p < x.end(); p++ {
						taken[p] = true
					}
				}
				for p := range uint64(pages) {
					if want := model[p] && p >= page && p < page+n; taken[p] != want {
						t.Fatalf("round %d: take [%d, %d): page %d taken %v, want %v", round, page, page+n, p, taken[p], want)
					}
					model[p] = model[p] && !taken[p]
				}
			}
			var got, gap [pages]bool
			last := uint64(0)
			for i, x := range s {
				if x.n == 0 || i > 0 && x.page <= last {
					t.Fatalf("round %d: runs %v", round, s)
				}
				last = x.end()
				for p := x.page; p < x.end(); p++ {
					got[p] = true
				}
			}
			if got != model {
				t.Fatalf("round %d: set %v, want %v", round, s, model)
			}
			s.gaps(page, page+n, func(a, n uint64) {
				for p := a; p < a+n; p++ {
					gap[p] = true
				}
			})
			for p := range uint64(pages) {
				if want := !model[p] && p >= page && p < page+n; gap[p] != want {
					t.Fatalf("round %d: gaps of %v in [%d, %d): page %d is %v", round, s, page, page+n, p, gap[p])
				}
			}
		}
	}
}

// TestSegments compares a segment list with a plain array of pages.
func TestSegments(t *testing.T) {
	const pages = 64
	type cell struct {
		ok    bool
		kind  Kind
		write bool
		pfn   pmem.PFN
	}
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		var ss segments
		var model [pages]cell
		for range 30 {
			page := r.Uint64N(pages)
			n := 1 + r.Uint64N(pages-page)
			if r.IntN(3) == 0 {
				ss.cut(page, page+n)
				clear(model[page : page+n])
			} else {
				s := segment{page: page, n: n, kind: Kind(r.IntN(2)), write: r.IntN(2) == 0}
				if s.kind == Frames {
					s.pfn = pmem.PFN(1000 + r.Uint64N(3)*100 + page)
				}
				want := true
				for p := range n {
					c := cell{true, s.kind, s.write, s.pfn}
					if s.kind == Frames {
						c.pfn += pmem.PFN(p)
					}
					want = want && model[page+p] == c
				}
				if got := ss.has(s); got && !want {
					t.Fatalf("round %d: %+v has %+v", round, ss, s)
				}
				ss.put(s)
				if !ss.has(s) {
					t.Fatalf("round %d: put %+v: %+v has it not", round, s, ss)
				}
				for p := range n {
					model[page+p] = cell{true, s.kind, s.write, s.pfn}
					if s.kind == Frames {
						model[page+p].pfn += pmem.PFN(p)
					}
				}
			}
			var got [pages]cell
			ss.each(0, pages, func(s segment) {
				for p := range s.n {
					if got[s.page+p].ok {
						t.Fatalf("round %d: overlap in %+v", round, ss)
					}
					got[s.page+p] = cell{true, s.kind, s.write, s.pfn}
					if s.kind == Frames {
						got[s.page+p].pfn += pmem.PFN(p)
					}
				}
			})
			if got != model {
				t.Fatalf("round %d: %+v", round, ss)
			}
			if !slices.IsSortedFunc(ss, func(a, b segment) int { return int(a.page) - int(b.page) }) {
				t.Fatalf("round %d: not ascending: %+v", round, ss)
			}
		}
	}
}
