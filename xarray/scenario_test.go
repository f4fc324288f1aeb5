package xarray

import (
	"fmt"
	"slices"
	"testing"
)

// shape is a small world for enumeration: three runs of an order at base, and the pages of each that operations touch.
type shape struct {
	base   uint64
	order  uint
	inside []uint64 // pages of a run
}

func (s shape) String() string { return fmt.Sprintf("order%d/base%d", s.order, s.base) }

func (s shape) pages() (pages []uint64) {
	for run := range uint64(3) {
		for _, p := range s.inside {
			pages = append(pages, s.base+run<<s.order+p)
		}
	}
	return pages
}

// step is an operation on the world.
type step struct {
	name  string
	page  uint64
	order uint
}

func (s step) do(t testing.TB, p *pair) {
	switch s.name {
	case "insert":
		p.store(t, s.page, s.order, s.page<<1|uint64(len(p.n)&1))
	case "remove":
		p.erase(t, s.page)
	case "mark":
		p.mark(s.page, Mark0, true)
	case "clear":
		p.mark(s.page, Mark0, false)
	}
}

func (s shape) steps() (steps []step) {
	for i, page := range s.pages() {
		steps = append(steps, step{"insert", page, 0}, step{"remove", page, 0}, step{"mark", page, 0}, step{"clear", page, 0})
		if i%len(s.inside) == 0 {
			steps = append(steps, step{"insert", page &^ span(s.order), s.order})
		}
	}
	return steps
}

// key tells states of the model apart, values aside.
func (n naive) key() string {
	b := make([]byte, 0, 64)
	for _, r := range n {
		b = fmt.Appendf(b, "%d.%d.%v ", r.first, r.order, r.marks[Mark0])
	}
	return string(b)
}

// enumerate calls visit with every state of the world that a sequence of at most length-1 steps leads to, once, and does every
// step from it, after a sequence that leads there, comparing all. That amounts to all sequences of the length: two that
// lead to the same contents lead to the same tree, because Check allows just one for the contents.
func (s shape) enumerate(t *testing.T, length int, visit func(p *pair)) {
	steps := s.steps()
	seen := map[string]bool{"": true}
	ways := [][]step{nil}
	transitions := 0
	var at []step
	defer func() {
		if t.Failed() {
			t.Logf("after %v", at)
		}
	}()
	for depth := range length {
		var deeper [][]step
		for _, way := range ways {
			for i := range steps {
				var p pair
				at = append(slices.Clone(way), steps[i])
				for _, st := range at {
					st.do(t, &p)
				}
				transitions++
				p.all(t)
				if key := p.n.key(); !seen[key] {
					seen[key] = true
					visit(&p)
					if depth < length-1 {
						deeper = append(deeper, at)
					}
				}
			}
		}
		ways = deeper
	}
	t.Logf("%d states, %d transitions", len(seen), transitions)
}

// shapes have their runs within a leaf and across leaves and higher nodes.
func shapes() []shape {
	return []shape{
		{base: 508, order: 2, inside: []uint64{0, 1, 2, 3}},
		{base: 64 * 6, order: 6, inside: []uint64{0, 63}},
		{base: 128 * 2, order: 7, inside: []uint64{0, 100}},
		{base: 512 * 62, order: 9, inside: []uint64{0, 511}},
		{base: 0, order: 10, inside: []uint64{1, 512}},
		{base: 1 << 40, order: 18, inside: []uint64{0, 1<<18 - 1}},
	}
}

// TestSA1_AllSequences: sequences of insert small, insert huge, remove, mark and clear over three huge runs leave the
// contents, marks, counts and iteration of a naive model.
//
// Guards I1, I2, I5, T71.
func TestSA1_AllSequences(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.String(), func(t *testing.T) {
			length := 6
			if testing.Short() || len(s.inside) > 2 && raceEnabled {
				length = 4
			}
			s.enumerate(t, length, func(*pair) {})
		})
	}
}

// TestSA2_IterationFromEveryStart: iteration from any page, one in the middle of a huge entry included, meets that entry once.
//
// Guards I10, T49, T71.
func TestSA2_IterationFromEveryStart(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.String(), func(t *testing.T) {
			pages := s.pages()
			end := s.base + 3<<s.order
			pages = append(pages, end-1, end)
			if s.base > 0 {
				pages = append(pages, s.base-1)
			}
			s.enumerate(t, 4, func(p *pair) {
				for _, from := range pages {
					for _, last := range pages {
						p.search(t, from, last)
					}
					for m := -1; m <= int(Mark0); m++ {
						got := collect(&p.a, from, end, m)
						var want []uint64
						for _, r := range p.n {
							if from <= r.last() && (m < 0 || r.marks[m]) {
								want = append(want, r.first)
							}
						}
						if !slices.Equal(got, want) {
							t.Fatalf("from %#x, mark %d: got %#x, want %#x; contents %s", from, m, got, want, p.n.key())
						}
					}
				}
			})
		})
	}
}

// TestSA3_TagPass: what a pass tags is the dirty set of its moment, whatever is made dirty or inserted while it is worked through.
//
// Guards I34.
func TestSA3_TagPass(t *testing.T) {
	const dirty, towrite = Mark0, Mark1
	tests := []struct {
		name        string
		order       uint
		first, last uint64
	}{
		{"all", 0, 0, ^uint64(0)},
		{"range", 0, 700, 2100},
		{"pairs, from the middle of one", 1, 701, 2100},
		{"order 5, ends in the middle of one", 5, 700, 2110},
		{"order 7", 7, 701, 2101},
		{"huge", 9, 1<<9 + 5, 20<<9 + 5},
		{"huge and more", 12, 1<<12 + 5, 20<<12 + 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pair
			size := uint64(1) << tt.order
			for i := range uint64(3000) >> min(tt.order, 7) {
				if i%5 != 0 {
					p.store(t, i*size, tt.order, i)
					p.mark(i*size, dirty, i%3 == 0)
				}
			}
			var want []uint64
			for _, r := range p.n {
				if r.first <= tt.last && tt.first <= r.last() && r.marks[dirty] {
					want = append(want, r.first)
				}
			}
			if len(want) < 3 {
				t.Fatalf("test finds %d dirty entries", len(want))
			}
			p.tag(t, tt.first, tt.last, dirty, towrite)
			p.all(t)

			var got []uint64
			for from := tt.first; ; {
				first, order, _, ok := p.a.NextMarked(from, tt.last, towrite)
				if !ok {
					break
				}
				got = append(got, first)
				p.mark(first, towrite, false)
				p.mark(first, dirty, false)
				// Others make this one dirty again, and the next and the one before, and insert one ahead and one behind.
				p.mark(first, dirty, true)
				p.mark(first+size, dirty, true)
				p.mark(first-size, dirty, true)
				for _, index := range []uint64{(first/size/5*5 + 5) * size, first / size / 5 * 5 * size} {
					p.store(t, index, tt.order, 1)
					p.mark(index, dirty, true)
				}
				if from = first + span(order) + 1; from == 0 || from > tt.last {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %d: %v\nwant %d: %v", len(got), got, len(want), want)
			}
			p.all(t)
			if first, _, _, ok := p.a.NextMarked(0, ^uint64(0), towrite); ok {
				t.Errorf("page %d still has the mark", first)
			}
		})
	}
}

// TestSA16_MarksAcrossStore: a store over an entry keeps its marks; a new entry has none, the same pages or not.
//
// Guards I33.
func TestSA16_MarksAcrossStore(t *testing.T) {
	for order := range uint(MaxOrder + 1) {
		for marks := range 1 << nmarks {
			index := 3 * (span(order) + 1) // wraps to some multiple for the largest orders
			var p pair
			p.store(t, index, order, 1)
			p.store(t, index^(span(order)+1), order, 2)
			for m := range Mark(nmarks) {
				p.mark(index+span(order)/2, m, marks>>m&1 != 0)
			}
			p.all(t)
			for value := range uint64(3) {
				p.store(t, index, order, value<<(ValueBits-2))
				p.all(t)
			}
			p.erase(t, index+span(order))
			p.all(t)
			p.store(t, index, order, 1)
			p.all(t)
			for m := range Mark(nmarks) {
				if p.a.Marked(index, m) {
					t.Errorf("order %d: new entry has mark %d", order, m)
				}
			}
		}
	}
}
