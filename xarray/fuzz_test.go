package xarray

import "testing"

// FuzzArray runs a program of four-byte instructions on an array and the model: what to do, order or mark, and a page.
func FuzzArray(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0})
	f.Add([]byte{0, 9, 0, 2, 0, 0, 0, 0, 2, 1, 3, 2, 4, 1, 0, 0, 1, 0, 3, 2})
	f.Add([]byte{0, 18, 7, 9, 0, 2, 60, 0, 2, 0, 61, 0, 4, 0, 0, 0, 0, 62, 0, 15})
	f.Fuzz(func(t *testing.T, program []byte) {
		const maxSteps = 300
		var p pair
		last := uint64(0) // the page before
		for step := 0; len(program) >= 4 && step < maxSteps; step++ {
			op, arg := program[0], uint(program[1])
			// A byte of detail, moved to where the other says.
			page := uint64(program[2]) << (program[3] & 63)
			if program[3]&64 != 0 {
				page += last
			}
			if program[3]&128 != 0 {
				page = ^page
			}
			program = program[4:]
			m := Mark(arg % nmarks)
			switch op % 7 {
			case 0:
				order := arg % (MaxOrder + 1)
				p.store(t, page&^span(order), order, uint64(step))
			case 1:
				p.erase(t, page)
			case 2:
				p.mark(page, m, true)
			case 3:
				p.mark(page, m, false)
			case 4:
				p.tag(t, min(last, page), max(last, page), m, Mark(arg/nmarks%nmarks))
			case 5:
				p.search(t, last, page)
			case 6:
				p.swap(t, page, uint64(step))
			}
			p.look(t, page)
			p.search(t, page, ^uint64(0))
			if err := p.a.Check(); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			last = page
		}
		p.all(t)
		for len(p.n) > 0 {
			p.erase(t, p.n[len(p.n)/2].first)
		}
		p.all(t)
	})
}
