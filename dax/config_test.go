package dax_test

import (
	"fmt"
	"slices"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// What Config changes: the file system asked at every fault, three sizes of pages, none
// but the smallest.

// traced is a file that notes what it is asked, in one line a call. Calls that an entry
// had the answer to are noted apart.
func traced(t *testing.T, c dax.Config) (f *file, calls, repeated *[]string) {
	calls, repeated = new([]string), new([]string)
	c.Trace = func(tr dax.Trace) {
		s := fmt.Sprintf("%d+%d order %d to %v: %v", tr.Page, tr.N, tr.Order, tr.Intent, tr.Err)
		for _, a := range tr.Answers {
			s += fmt.Sprintf(" [%d+%d %v %x %x]", a.Page, a.N, a.Kind, a.PFN.Page(), a.Attr)
		}
		if dax.Answered(f.m, tr.Page, tr.Intent) {
			*repeated = append(*repeated, s)
		} else {
			*calls = append(*calls, s)
		}
	}
	return newFile(t, 256, c), calls, repeated
}

// TestSH19_SB1_AskedAlways: the index is a cache of answers and nothing else. With the file
// system asked at every fault the same operations give the same data, no answer ever
// differs from the entry, and the questions are those that are asked anyway and those that
// an entry could have answered.
//
// Guards I24, I56, I57.
func TestSH19_SB1_AskedAlways(t *testing.T) {
	ops := thin(1500)
	for _, c := range []struct {
		name                    string
		iomap, scatter, onePage bool
		pmd, pud                uint
	}{
		{"bh", false, false, false, 2, 0}, {"iomap", true, false, false, 2, 0},
		{"scattered", true, true, false, 2, 0}, {"one page answers", false, false, true, 2, 0},
		{"small huge pages", true, false, false, 1, 0}, {"three orders", true, false, false, 1, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			play := func(seed uint64, ask bool) (calls, repeated []string) {
				f, called, again := traced(t, dax.Config{PMDOrder: c.pmd, PUDOrder: c.pud, AlwaysAsk: ask})
				f.iomap, f.scatter, f.onePage = c.iomap, c.scatter, c.onePage
				m := newModel(t, f, seed)
				m.space = sim.New(sim.Config{PMDOrder: c.pmd, PUDOrder: c.pud})
				m.run(ops)
				if n := f.m.Stats().Stale.Load(); n != 0 {
					t.Errorf("%d answers differed from the entries", n)
				}
				return *called, *again
			}
			for seed := range uint64(max(thin(3), 1)) {
				calls, repeated := play(seed, false)
				if len(calls) == 0 || len(repeated) > 0 {
					t.Fatalf("%d populates, %d of them for nothing: %q", len(calls), len(repeated), repeated[:min(3, len(repeated))])
				}
				all, repeated := play(seed, true)
				if len(repeated) == 0 {
					t.Error("asked always, nothing was asked again")
				}
				if !slices.Equal(calls, all) {
					i := 0
					for i < min(len(calls), len(all)) && calls[i] == all[i] {
						i++
					}
					t.Fatalf("%d and %d populates, from number %d on they differ:\n%q\nasked always:\n%q",
						len(calls), len(all), i, calls[i:min(i+3, len(calls))], all[i:min(i+3, len(all))])
				}
			}
		})
	}
}

// An extent map that changes behind the back of a mapping shows, asked always: the answer
// replaces the entry, also where a view has it mapped.
//
// Guards I12, I56.
func TestSH18_StaleAnswerReplaces(t *testing.T) {
	for _, pmd := range smallOrders {
		for _, store := range []bool{false, true} {
			w := newWorld(t, pmd, 16, dax.Config{AlwaysAsk: true})
			w.mustWrite(fill(int(w.run), 1), 0)
			w.sync()
			old, other := w.view(0, w.pages, sharedRO), w.view(0, w.pages, sharedRW)
			load(t, old, 0, 1)
			w.set(func(f *file) { // no removal protocol
				for p := range w.pages {
					f.blocks[p] += 8 * w.pages
				}
			})
			if store {
				storeByte(t, other, 0x55, 3)
			} else {
				load(t, other, 3, 1)
			}
			if n := w.m.Stats().Stale.Load(); n != 1 {
				t.Errorf("order %d, store %t: %d stale answers", pmd, store, n)
			}
			d, _ := w.device(0)
			for i, v := range []*sim.View{old, other} {
				load(t, v, 0, 1)
				if l := translation(t, v, 0); l.PFN.Page() != d {
					t.Errorf("order %d, store %t, view %d: frame %d, the block is %d", pmd, store, i, l.PFN.Page(), d)
				}
			}
			w.check()
		}
	}
}

func storeByte(t testing.TB, v *sim.View, b byte, off int64) {
	t.Helper()
	store(t, v, []byte{b}, off)
}

// TestSB1_SB8_NoHuge: a mapping whose huge faults all fall back, and one without huge zero
// pages, have the same data; no translation is huge, or none that is of a hole.
//
// Guards I18, I52, I53.
func TestSB1_SB8_NoHuge(t *testing.T) {
	for _, c := range []dax.Config{{NoHuge: true}, {NoHugeZero: true}, {NoHuge: true, NoHugeZero: true, AlwaysAsk: true}} {
		for _, pmd := range smallOrders {
			c.PMDOrder = pmd
			f := newFile(t, 256, c)
			m := newModel(t, f, 5)
			m.space = sim.New(sim.Config{PMDOrder: pmd})
			for range max(thin(400), 250) {
				m.step()
				for _, v := range m.views {
					for _, l := range v.Translations() {
						if l.Order > 0 && (c.NoHuge || l.Kind == vm.Zero) {
							t.Fatalf("NoHuge %t, NoHugeZero %t: %+v", c.NoHuge, c.NoHugeZero, l)
						}
					}
				}
			}
			m.run(1)
			n := fallbackCounts(f.m)
			if c.NoHuge != (n[13] > 0) || !c.NoHuge && n[11] == 0 {
				t.Errorf("NoHuge %t, NoHugeZero %t: fallbacks %v", c.NoHuge, c.NoHugeZero, n)
			}
		}
	}
}
