package dax_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"godax/dax"
	"godax/vm/sim"
)

// Parts of a file that are cut off, zeroed, taken out and put in, against entries of every
// kind. The file is three huge pages.

// cutState makes the file's content, and entries and translations of a kind.
type cutState func(w *world, v *sim.View) []byte

var cutStates = map[string]cutState{
	"absent": func(w *world, v *sim.View) []byte {
		b := fill(int(3*w.run), 4)
		w.mustWrite(b, 0)
		w.sync()
		w.forget()
		return b
	},
	"zero": func(w *world, v *sim.View) []byte {
		load(w.t, v, w.run, 1)
		return make([]byte, 3*w.run)
	},
	"small zero": func(w *world, v *sim.View) []byte {
		w.onePage = true
		load(w.t, v, 0, int(3*w.run))
		w.onePage = false
		return make([]byte, 3*w.run)
	},
	"clean": func(w *world, v *sim.View) []byte {
		b := fill(int(3*w.run), 1)
		w.mustWrite(b, 0)
		w.sync()
		load(w.t, v, 0, int(3*w.run))
		return b
	},
	"small clean": func(w *world, v *sim.View) []byte {
		w.onePage = true
		b := fill(int(3*w.run), 5)
		w.mustWrite(b, 0)
		w.sync()
		load(w.t, v, 0, int(3*w.run))
		return b
	},
	"dirty": func(w *world, v *sim.View) []byte {
		b := fill(int(3*w.run), 2)
		w.mustWrite(b, 0)
		w.sync()
		for i := range int64(3) {
			b[i*w.run+pageSize] = 0x66
			storeByte(w.t, v, 0x66, i*w.run+pageSize)
		}
		return b
	},
	"small dirty": func(w *world, v *sim.View) []byte {
		w.onePage = true
		b := fill(int(3*w.run), 6)
		w.mustWrite(b, 0)
		w.sync()
		for off := int64(0); off < 3*w.run; off += pageSize {
			b[off+9] = 0x67
			storeByte(w.t, v, 0x67, off+9)
		}
		return b
	},
}

// edges are the byte offsets at which ranges begin and end.
func (w *world) edges() (all []int64) {
	all = []int64{0, 1, pageSize - 1, pageSize, w.run - pageSize - 7, w.run - pageSize, w.run - 1, w.run,
		w.run + 1, w.run + pageSize, w.run + pageSize + 7, 2*w.run - 1, 2 * w.run, 2*w.run + pageSize}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(off int64) bool { return off < 0 })
}

// wholePages leaves those of the offsets that are of pages.
func wholePages(edges []int64) []int64 {
	return slices.DeleteFunc(edges, func(off int64) bool { return off%pageSize != 0 })
}

// cut does op for each range of a file in each state and verifies what it leaves: through
// read, through views, and on the medium after a writeback, so that what was dirty outside
// the range was not forgotten (K5). op changes want to what is to be left.
func cut(t *testing.T, edges func(w *world) []int64, op func(w *world, want []byte, from, to int64) ([]byte, error)) {
	t.Helper()
	i := 0 // of all ranges; each kind of world gets every n-th, all of them together get all
	for _, pmd := range smallOrders {
		every := map[bool]int{false: 3, true: 1}[pmd == 2]
		if raceEnabled || testing.Short() {
			every *= 4
		}
		for _, name := range slices.Sorted(maps.Keys(cutStates)) {
			state := cutStates[name]
			t.Run(fmt.Sprintf("order %d/%s", pmd, name), func(t *testing.T) {
				at := edges(newWorld(t, pmd, 1, dax.Config{}))
				for _, from := range at {
					for _, to := range append(at, 3*pageSize<<pmd) {
						if i++; to <= from || i%every != 0 {
							continue
						}
						w := newWorld(t, pmd, 8, dax.Config{AlwaysAsk: i%5 == 0})
						w.iomap = i%2 == 0
						w.sized(3 * w.run)
						cutOne(w, state, op, from, to)
						w.dev.Close()
					}
				}
			})
		}
	}
}

func cutOne(w *world, state cutState, op func(w *world, want []byte, from, to int64) ([]byte, error), from, to int64) {
	t := w.t
	t.Helper()
	v, ro := w.view(0, 6*w.pages, sharedRW), w.view(1, 2*w.pages, sharedRO)
	content := state(w, v)
	load(t, ro, pageSize, int(w.run))
	want, err := op(w, bytes.Clone(content), from, to)
	what := fmt.Sprintf("[%d, %d)", from, to)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	w.onePage = false
	w.end()
	if size := w.m.Size(); size != int64(len(want)) {
		t.Fatalf("%s: size %d, want %d", what, size, len(want))
	}
	equal(t, what+" read", w.mustRead(0, len(want)), want)
	equal(t, what+" view", load(t, v, 0, len(want)), want)
	if n := min(len(want)-pageSize, int(w.run)); n > 0 {
		equal(t, what+" read-only view", load(t, ro, pageSize, n), want[pageSize:][:n])
	}
	w.sync()
	medium := w.dev.Durable()
	for off := 0; off < len(want); off += pageSize {
		if d, ok := w.device(uint64(off) / pageSize); ok {
			page := want[off:min(off+pageSize, len(want))]
			equal(t, fmt.Sprintf("%s page %d on the medium", what, off/pageSize), medium[d*pageSize:][:len(page)], page)
		}
	}
	w.end()
	if st := w.sync(); st.Entries != 0 {
		t.Errorf("%s: second writeback: %+v", what, st)
	}
}

// TestSB20_Truncate: after a cut at any place the bytes behind it are zero when the file is
// long again, those before it are as they were, and durable after the next writeback.
//
// Guards I15, I16, I22, I33, T14.
func TestSB20_Truncate(t *testing.T) {
	cut(t, (*world).edges, func(w *world, want []byte, from, to int64) ([]byte, error) {
		clear(want[from:])
		if err := w.truncate(ctx, from); err != nil {
			return nil, err
		}
		w.end()
		return want[:to], w.truncate(ctx, to)
	})
}

// TestSB21_PunchHole: a hole punched at any alignment reads as zero, has no storage and no
// entry for its whole pages, and changes nothing else.
//
// Guards I16, I29, I33, T13, T14.
func TestSB21_PunchHole(t *testing.T) {
	cut(t, (*world).edges, func(w *world, want []byte, from, to int64) ([]byte, error) {
		clear(want[from:to])
		err := w.punch(ctx, from, to-from)
		for p := (from + pageSize - 1) / pageSize; p < to/pageSize; p++ {
			if _, ok := w.device(uint64(p)); ok {
				w.t.Errorf("[%d, %d): page %d has storage", from, to, p)
			}
			if _, ok, _ := dax.Dirty(w.m, uint64(p)); ok {
				w.t.Errorf("[%d, %d): page %d has an entry", from, to, p)
			}
		}
		return want, err
	})
}

// TestSB21_ZeroRange: zeroing changes exactly the bytes asked for, and no storage.
//
// Guards I29, T13.
func TestSB21_ZeroRange(t *testing.T) {
	cut(t, (*world).edges, func(w *world, want []byte, from, to int64) ([]byte, error) {
		clear(want[from:to])
		before := w.used()
		err := w.zero(from, to-from)
		if n := w.used(); n != before {
			w.t.Errorf("[%d, %d): %d blocks, %d before", from, to, n, before)
		}
		return want, err
	})
}

// TestSB21_Collapse: pages taken out of the file at any place; what was behind them follows
// on, clean or dirty, in every view, on the medium too.
//
// Guards I16, I29, I33, T13, T14.
func TestSB21_Collapse(t *testing.T) {
	cut(t, func(w *world) []int64 { return wholePages(w.edges()) }, func(w *world, want []byte, from, to int64) ([]byte, error) {
		if to == 3*w.run { // is not a collapse: one page is left
			to -= pageSize
			if from == to {
				return want, nil
			}
		}
		return slices.Delete(want, int(from), int(to)), w.collapse(ctx, from, to-from)
	})
}

// TestSB21_Insert: a hole put in at any place; what is behind it has moved.
//
// Guards I16, I29, I33, T13, T14.
func TestSB21_Insert(t *testing.T) {
	cut(t, func(w *world) []int64 { return wholePages(w.edges()) }, func(w *world, want []byte, from, to int64) ([]byte, error) {
		if from == 3*w.run {
			return want, nil
		}
		return slices.Insert(want, int(from), make([]byte, to-from)...), w.insert(ctx, from, to-from)
	})
}
