package xarray

import (
	"math/rand/v2"
	"testing"
)

// TestModel does random operations on arrays of several shapes and compares all with the model.
func TestModel(t *testing.T) {
	const steps = 3000
	seeds := uint64(40)
	if raceEnabled || testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		var p pair
		// Pages are taken from a few neighbourhoods, so that entries meet.
		var near [4]uint64
		for i := range near {
			near[i] = r.Uint64() >> r.UintN(64)
		}
		wide := r.UintN(30)
		maxOrder := r.UintN(24)
		page := func() uint64 { return near[r.IntN(len(near))] ^ r.Uint64N(1<<wide) }
		for step := range steps {
			switch op := r.IntN(10); {
			case op < 4:
				order := r.UintN(maxOrder + 1)
				p.store(t, page()&^span(order), order, r.Uint64N(1<<ValueBits))
			case op < 6:
				p.erase(t, page())
			case op < 7:
				p.swap(t, page(), r.Uint64N(1<<ValueBits))
			case op < 8:
				p.mark(page(), Mark(r.IntN(nmarks)), r.IntN(3) > 0)
			case op < 9:
				p.tag(t, page(), page(), Mark(r.IntN(nmarks)), Mark(r.IntN(nmarks)))
			default:
				// Let it become empty now and then.
				if len(p.n) > 0 && r.IntN(4) == 0 {
					p.erase(t, p.n[r.IntN(len(p.n))].first)
				}
			}
			p.look(t, page())
			p.search(t, page(), page())
			if step%50 == 0 {
				p.all(t)
			}
		}
		p.all(t)
		for len(p.n) > 0 {
			p.erase(t, p.n[r.IntN(len(p.n))].first)
		}
		p.all(t)
	}
}
