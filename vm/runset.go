package vm

import "slices"

// pageRun is n pages starting at page.
type pageRun struct{ page, n uint64 }

func (r pageRun) end() uint64 { return r.page + r.n }

// runSet is a set of pages as runs, ascending, no two of which touch. Page
// numbers are below 2^63.
type runSet []pageRun

// find returns the first run that ends at page or after it.
func (s runSet) find(page uint64) int {
	i, _ := slices.BinarySearchFunc(s, page, func(r pageRun, p uint64) int {
		if r.end() < p {
			return -1
		}
		return 1
	})
	return i
}

// add puts the n pages at page into the set.
func (s *runSet) add(page, n uint64) {
	if n == 0 {
		return
	}
	i := s.find(page)
	j, end := i, page+n
	for j < len(*s) && (*s)[j].page <= end {
		page, end = min(page, (*s)[j].page), max(end, (*s)[j].end())
		j++
	}
	*s = slices.Replace(*s, i, j, pageRun{page, end - page})
}

// take removes [page, end) from the set and returns what was in it.
func (s *runSet) take(page, end uint64) runSet {
	var out, keep runSet
	i := s.find(page)
	j := i
	for ; j < len(*s) && (*s)[j].page < end; j++ {
		r := (*s)[j]
		first, last := max(r.page, page), min(r.end(), end)
		if first >= last {
			keep = append(keep, r) // only touches
			continue
		}
		out = append(out, pageRun{first, last - first})
		if r.page < first {
			keep = append(keep, pageRun{r.page, first - r.page})
		}
		if last < r.end() {
			keep = append(keep, pageRun{last, r.end() - last})
		}
	}
	*s = slices.Replace(*s, i, j, keep...)
	return out
}

// gaps calls f for each run of [page, end) that is not in the set, ascending.
func (s runSet) gaps(page, end uint64, f func(page, n uint64)) {
	for _, r := range s[s.find(page):] {
		if r.page >= end {
			break
		}
		if r.page > page {
			f(page, r.page-page)
		}
		page = max(page, r.end())
	}
	if page < end {
		f(page, end-page)
	}
}
