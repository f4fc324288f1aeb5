package pmem

import "testing"

func TestCheckRun(t *testing.T) {
	d := &blank{id: 5, size: 100 * PageSize}
	bytes := func(pages, spare int) []byte { return make([]byte, pages*PageSize, pages*PageSize+spare) }
	for _, c := range []struct {
		name string
		n    uint64
		run  Run
		ok   bool
	}{
		{"all", 3, Run{MakePFN(5, 7), bytes(3, 0)}, true},
		{"short", 3, Run{MakePFN(5, 7), bytes(1, 0)}, true},
		{"empty", 3, Run{MakePFN(5, 7), nil}, false},
		{"longer than asked", 3, Run{MakePFN(5, 7), bytes(4, 0)}, false},
		{"other device", 3, Run{MakePFN(6, 7), bytes(3, 0)}, false},
		{"no device", 3, Run{PFN(7), bytes(3, 0)}, false},
		{"bits above a frame number", 3, Run{MakePFN(5, 7) | 1<<PFNBits, bytes(3, 0)}, false},
		{"other page", 3, Run{MakePFN(5, 8), bytes(3, 0)}, false},
		{"part of a page", 3, Run{MakePFN(5, 7), make([]byte, PageSize+1)}, false},
		{"bytes can grow", 3, Run{MakePFN(5, 7), bytes(3, 1)}, false},
	} {
		if err := CheckRun(d, 7, c.n, c.run); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %v", c.name, err, c.ok)
		}
	}
}
