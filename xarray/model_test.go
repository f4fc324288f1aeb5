package xarray

import (
	"slices"
	"testing"
)

// record is an entry of the naive model.
type record struct {
	first uint64
	order uint
	value uint64
	marks [nmarks]bool
}

func (r record) last() uint64 { return r.first + span(r.order) }

// naive is the model: a sorted list of entries, searched from its start.
type naive []record

func (n naive) at(index uint64) int {
	return slices.IndexFunc(n, func(r record) bool { return r.first <= index && index <= r.last() })
}

func (n naive) overlaps(index uint64, order uint) bool {
	return slices.ContainsFunc(n, func(r record) bool { return r.first <= index+span(order) && index <= r.last() })
}

// storable reports whether Store keeps its promise.
func (n naive) storable(index uint64, order uint) bool {
	i := n.at(index)
	return i >= 0 && n[i].first == index && n[i].order == order || !n.overlaps(index, order)
}

func (n *naive) store(index uint64, order uint, value uint64) {
	if i := n.at(index); i >= 0 {
		(*n)[i].value = value
		return
	}
	i := slices.IndexFunc(*n, func(r record) bool { return r.first > index })
	if i < 0 {
		i = len(*n)
	}
	*n = slices.Insert(*n, i, record{first: index, order: order, value: value})
}

func (n *naive) erase(index uint64) (r record, ok bool) {
	i := n.at(index)
	if i < 0 {
		return record{}, false
	}
	r = (*n)[i]
	*n = slices.Delete(*n, i, i+1)
	return r, true
}

func (n naive) mark(index uint64, m Mark, on bool) {
	if i := n.at(index); i >= 0 {
		n[i].marks[m] = on
	}
}

func (n naive) tag(first, last uint64, from, to Mark) (count uint64) {
	for i, r := range n {
		if first <= last && r.first <= last && first <= r.last() && r.marks[from] {
			n[i].marks[to] = true
			count++
		}
	}
	return count
}

// next is Next with m < 0, else NextMarked.
func (n naive) next(from, last uint64, m int) (record, bool) {
	for _, r := range n {
		if from <= last && r.first <= last && from <= r.last() && (m < 0 || r.marks[m]) {
			return r, true
		}
	}
	return record{}, false
}

// pair is an Array and its model, changed together.
type pair struct {
	a Array
	n naive
}

// store stores in both if the model allows it; otherwise it sees that the array panics.
func (p *pair) store(t testing.TB, index uint64, order uint, value uint64) {
	t.Helper()
	if p.n.storable(index, order) {
		p.a.Store(index, order, value)
		p.n.store(index, order, value)
		return
	}
	defer func() {
		if recover() == nil {
			t.Fatalf("Store(%#x, %d) over another entry did not panic", index, order)
		}
	}()
	p.a.Store(index, order, value)
}

func (p *pair) erase(t testing.TB, index uint64) {
	t.Helper()
	value, order, ok := p.a.Erase(index)
	want, wantOK := p.n.erase(index)
	if value != want.value || order != want.order || ok != wantOK {
		t.Fatalf("Erase(%#x) = %#x, %d, %v; want %#x, %d, %v", index, value, order, ok, want.value, want.order, wantOK)
	}
}

// swap changes the value of the entry that covers index, and sees that nothing changes if value, order or place are others.
func (p *pair) swap(t testing.TB, index uint64, value uint64) {
	t.Helper()
	i := p.n.at(index)
	if i < 0 {
		if p.a.CompareAndSwap(index, 0, 0, value) {
			t.Fatalf("CompareAndSwap(%#x) without an entry", index)
		}
		return
	}
	r := &p.n[i]
	if p.a.CompareAndSwap(r.first, r.order, r.value^1, value) {
		t.Fatalf("CompareAndSwap(%#x, %d) of another value", r.first, r.order)
	}
	for _, order := range []uint{r.order + 1, r.order - 1} {
		if order <= MaxOrder && r.first&span(order) == 0 && p.a.CompareAndSwap(r.first, order, r.value, value) {
			t.Fatalf("CompareAndSwap(%#x, %d) of an entry of order %d", r.first, order, r.order)
		}
	}
	var c Cursor
	switch {
	case index&1 == 0 && !p.a.CompareAndSwap(r.first, r.order, r.value, value):
		t.Fatalf("CompareAndSwap(%#x, %d, %#x) fails", r.first, r.order, r.value)
	case index&1 != 0 && (!c.Seek(&p.a, index) || c.CompareAndSwap(r.value^1, value) || !c.CompareAndSwap(r.value, value)):
		t.Fatalf("a cursor at %#x cannot change the entry at %#x", index, r.first)
	}
	r.value = value
}

func (p *pair) mark(index uint64, m Mark, on bool) {
	if on {
		p.a.SetMark(index, m)
	} else if index&1 == 0 {
		p.a.ClearMark(index, m)
	} else {
		// A cursor comes back from wherever the tree has gone meanwhile.
		var c Cursor
		if c.Seek(&p.a, index) {
			far := ^index
			if p.n.at(far) < 0 {
				p.a.Store(far, 0, 1)
				p.a.Erase(far)
			}
			if !c.Again() {
				panic("the entry is gone")
			}
			c.ClearMark(m)
		}
	}
	p.n.mark(index, m, on)
}

func (p *pair) tag(t testing.TB, first, last uint64, from, to Mark) {
	t.Helper()
	if got, want := p.a.TagMarked(first, last, from, to), p.n.tag(first, last, from, to); got != want {
		t.Fatalf("TagMarked(%#x, %#x, %d, %d) = %d, want %d", first, last, from, to, got, want)
	}
}

// look compares what the two say of one page.
func (p *pair) look(t testing.TB, index uint64) {
	t.Helper()
	var want record
	i := p.n.at(index)
	if i >= 0 {
		want = p.n[i]
	}
	value, order, ok := p.a.Load(index)
	if value != want.value || order != want.order || ok != (i >= 0) {
		t.Fatalf("Load(%#x) = %#x, %d, %v; want %#x, %d, %v", index, value, order, ok, want.value, want.order, i >= 0)
	}
	for m := range Mark(nmarks) {
		if got := p.a.Marked(index, m); got != want.marks[m] {
			t.Fatalf("Marked(%#x, %d) = %v", index, m, got)
		}
	}
}

// search compares all searches of one range.
func (p *pair) search(t testing.TB, from, last uint64) {
	t.Helper()
	for m := -1; m < nmarks; m++ {
		var first, value uint64
		var order uint
		var ok bool
		if m < 0 {
			first, order, value, ok = p.a.Next(from, last)
		} else {
			first, order, value, ok = p.a.NextMarked(from, last, Mark(m))
		}
		want, wantOK := p.n.next(from, last, m)
		if first != want.first || order != want.order || value != want.value || ok != wantOK {
			t.Fatalf("next of %#x to %#x, mark %d: %#x, %d, %#x, %v; want %#x, %d, %#x, %v", from, last, m,
				first, order, value, ok, want.first, want.order, want.value, wantOK)
		}
	}
}

// all compares everything, by iteration over all pages, once for every mark, and the counts.
func (p *pair) all(t testing.TB) {
	t.Helper()
	if err := p.a.Check(); err != nil {
		t.Fatal(err)
	}
	var pages uint64
	for _, r := range p.n {
		pages += span(r.order) + 1
	}
	if got, want := p.a.Len(), uint64(len(p.n)); got != want {
		t.Fatalf("Len() = %d, want %d", got, want)
	}
	if got := p.a.Pages(); got != pages {
		t.Fatalf("Pages() = %d, want %d", got, pages)
	}
	if len(p.n) == 0 && p.a.Memory() != 0 {
		t.Fatalf("Memory() = %d in an empty array", p.a.Memory())
	}
	for m := -1; m < nmarks; m++ {
		got := collect(&p.a, 0, ^uint64(0), m)
		var want []uint64
		for _, r := range p.n {
			if m < 0 || r.marks[m] {
				want = append(want, r.first)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("entries with mark %d: %#x, want %#x", m, got, want)
		}
	}
	for _, r := range p.n {
		p.look(t, r.first)
		p.look(t, r.last())
	}
}

// collect returns the first pages of the entries of a range, met one after another: all with m < 0, else those with the mark.
func collect(a *Array, from, last uint64, m int) (firsts []uint64) {
	for {
		var first uint64
		var order uint
		var ok bool
		if m < 0 {
			first, order, _, ok = a.Next(from, last)
		} else {
			first, order, _, ok = a.NextMarked(from, last, Mark(m))
		}
		if !ok {
			return firsts
		}
		firsts = append(firsts, first)
		end := first + span(order)
		if end >= last {
			return firsts
		}
		from = end + 1
	}
}
