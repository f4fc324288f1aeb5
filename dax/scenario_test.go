package dax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// Scenarios of one goroutine, named after the list in the documentation of the
// semantics. The PMD order is 2: four pages.

var ctx = context.Background()

const run = pmdPages * pageSize // bytes of a huge page

// eachCarrier runs a test over both carriers.
func eachCarrier(t *testing.T, test func(t *testing.T, f *file)) {
	for _, iomap := range []bool{false, true} {
		t.Run(map[bool]string{false: "bh", true: "iomap"}[iomap], func(t *testing.T) {
			f := newFile(t, 256, dax.Config{})
			f.iomap = iomap
			test(t, f)
			f.check()
		})
	}
}

func isBus(t *testing.T, what string, err, want error) {
	t.Helper()
	var bus *vm.BusError
	if !errors.As(err, &bus) || !errors.Is(err, want) {
		t.Fatalf("%s: %v, want a bus error of %v", what, err, want)
	}
}

func translation(t *testing.T, v *sim.View, page uint64) vm.Leaf {
	t.Helper()
	l, ok := v.Lookup(page)
	if !ok {
		t.Fatalf("page %d has no translation", page)
	}
	return l
}

func TestSB1_KindsAndAlignments(t *testing.T) {
	kinds := map[string]func(f *file){
		"hole":      func(f *file) {},
		"unwritten": func(f *file) { f.prealloc(0, 16) },
		"mapped":    func(f *file) { f.mustWrite(fill(8*pageSize, 1), 0) },
		"mixed": func(f *file) {
			f.mustWrite(fill(pageSize+100, 2), 50)
			f.prealloc(2, 1)
			f.mustWrite(fill(pageSize, 3), 4*pageSize)
			f.prealloc(5, 3)
		},
	}
	edges := []int{0, 1, 100, pageSize - 1, pageSize, pageSize + 1, 2*pageSize - 1, 2 * pageSize}
	for name, setup := range kinds {
		t.Run(name, func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, f *file) {
				f.sized(8 * pageSize)
				setup(f)
				shadow := f.mustRead(0, 8*pageSize)
				s := newSpace()
				rw, ro := f.mapView(s, 0, 8, sharedRW), f.mapView(s, 1, 6, sharedRO)
				if name != "mapped" && bytes.IndexByte(shadow, 0xee) >= 0 && name == "unwritten" {
					t.Fatal("bytes from before the allocation are seen")
				}
				seed := uint64(10)
				for _, from := range edges {
					for _, to := range edges {
						if to <= from {
							continue
						}
						seed++
						b := fill(to-from, seed)
						off := int64(from) + pageSize
						if seed%2 == 0 {
							f.mustWrite(b, off)
						} else {
							store(t, rw, b, off)
						}
						copy(shadow[off:], b)
						equal(t, "read", f.mustRead(off-1, len(b)+2), shadow[off-1:off+int64(len(b))+1])
						equal(t, "shared view", load(t, rw, off-1, len(b)+2), shadow[off-1:off+int64(len(b))+1])
						equal(t, "read-only view", load(t, ro, off, len(b)), b)
					}
				}
				equal(t, "all", f.mustRead(0, 8*pageSize), shadow)
			})
		})
	}
}

func TestSB2_EndOfFile(t *testing.T) {
	for _, size := range []int64{0, 1, pageSize - 1, pageSize, pageSize + 1, run - 1, run, run + 1, 2 * run} {
		for _, access := range []string{"load", "store", "private store"} {
			eachCarrier(t, func(t *testing.T, f *file) {
				f.sized(size)
				s := sim.New(sim.Config{PMDOrder: pmdOrder, TryAll: access == "load"})
				flags := sharedRW
				if access == "private store" {
					flags = private
				}
				v := f.mapView(s, 0, 12, flags)
				for page := int64(0); page < 12; page++ {
					var err error
					if b := []byte{1}; access == "load" {
						err = v.Load(ctx, b, page*pageSize)
					} else {
						err = v.Store(ctx, b, page*pageSize)
					}
					if inside := page*pageSize < size; inside && err != nil {
						t.Fatalf("size %d, %s of page %d: %v", size, access, page, err)
					} else if !inside {
						isBus(t, fmt.Sprintf("size %d, %s of page %d", size, access, page), err, dax.ErrBeyondEnd)
					}
				}
			})
		}
	}
}

func TestSB3_TailNeverBecomesData(t *testing.T) {
	grow := map[string]func(f *file, v *sim.View){
		"write":    func(f *file, v *sim.View) { f.mustWrite([]byte{7}, 2*pageSize+10) },
		"near":     func(f *file, v *sim.View) { f.mustWrite([]byte{7}, pageSize+300) },
		"truncate": func(f *file, v *sim.View) { f.sized(3 * pageSize) },
		"byte":     func(f *file, v *sim.View) { f.sized(pageSize + 101) },
	}
	for name, extend := range grow {
		for _, hole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/hole %t", name, hole), func(t *testing.T) {
				eachCarrier(t, func(t *testing.T, f *file) {
					f.sized(pageSize + 100)
					want := make([]byte, pageSize+100)
					if !hole {
						want = fill(pageSize+100, 1)
						f.mustWrite(want, 0)
					}
					v := f.mapView(newSpace(), 0, 4, sharedRW)
					equal(t, "the last page's rest", load(t, v, pageSize+100, pageSize-100), make([]byte, pageSize-100))
					store(t, v, fill(pageSize-100, 2), pageSize+100)
					extend(f, v)
					got := f.mustRead(0, int(f.m.Size()))
					for i := range got {
						w := byte(0)
						if i < len(want) {
							w = want[i]
						}
						if got[i] != w && got[i] != 7 {
							t.Fatalf("byte %d is %#x, want %#x", i, got[i], w)
						}
					}
				})
			})
		}
	}
}

func TestSB4_SB5_WriteUnderZeroPages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		loadAt []int64
		off, n int
	}{
		{"huge zero, small write", []int64{0}, pageSize, 10},
		{"huge zero, huge write", []int64{0}, 0, run},
		{"small zeros, huge write", []int64{0, pageSize, 3 * pageSize}, 0, run},
		{"small zeros, small write", []int64{pageSize, 2 * pageSize}, 2 * pageSize, pageSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, f *file) {
				f.onePage = tt.name[:5] == "small"
				f.sized(2 * run)
				v, w := f.mapView(newSpace(), 0, 8, sharedRO), f.mapView(newSpace(), 1, 7, sharedRW)
				for _, off := range tt.loadAt {
					equal(t, "hole", load(t, v, off, pageSize), make([]byte, pageSize))
					if off >= pageSize {
						load(t, w, off, 1)
					}
				}
				f.onePage = false
				b := fill(tt.n, 5)
				f.mustWrite(b, int64(tt.off))
				want := make([]byte, run)
				copy(want[tt.off:], b)
				equal(t, "view", load(t, v, 0, run), want)
				equal(t, "other view", load(t, w, pageSize, run-pageSize), want[pageSize:])
			})
		})
	}
}

func TestSB6_StoreIntoHugeHole(t *testing.T) {
	for _, small := range []bool{false, true} {
		eachCarrier(t, func(t *testing.T, f *file) {
			f.onePage = small
			f.sized(2 * run)
			v := f.mapView(newSpace(), 0, 8, sharedRW)
			load(t, v, 0, 1)
			store(t, v, []byte{9}, 2*pageSize+5)
			want := make([]byte, run)
			want[2*pageSize+5] = 9
			equal(t, "run", load(t, v, 0, run), want)
			blocks := 0
			for p := range uint64(8) {
				if _, ok := f.device(p); ok {
					blocks++
				}
			}
			if wantBlocks := map[bool]int{true: 1, false: pmdPages}[small]; blocks != wantBlocks {
				t.Errorf("one page at a time %t: %d blocks, want %d", small, blocks, wantBlocks)
			}
		})
	}
}

func TestSB7_SmallViewInHugeEntry(t *testing.T) {
	eachCarrier(t, func(t *testing.T, f *file) {
		f.mustWrite(fill(2*run, 1), 0)
		f.sync()
		s := newSpace()
		huge, one := f.mapView(s, 0, 8, sharedRW), f.mapView(s, 2, 1, sharedRW)
		load(t, huge, 0, 1)
		store(t, one, []byte{0x55}, 2*pageSize+7)
		if order, _, dirty := dax.Dirty(f.m, 0); order != pmdOrder || !dirty {
			t.Errorf("order %d, dirty %t; want the whole huge entry dirty", order, dirty)
		}
		if got := load(t, huge, 2*pageSize+7, 1)[0]; got != 0x55 {
			t.Errorf("the other view has %#x", got)
		}
		if st := f.sync(); st.Pages != pmdPages {
			t.Errorf("%d pages flushed, want %d", st.Pages, pmdPages)
		}
		if l := translation(t, one, 2); l.Write {
			t.Error("the small translation is still writable after the flush of the huge entry")
		}
		f.check()
		store(t, one, []byte{0x56}, 2*pageSize+7)
		if st := f.sync(); st.Pages != pmdPages {
			t.Errorf("second store: %d pages flushed, want %d", st.Pages, pmdPages)
		}
	})
}

func TestSB8_Fallbacks(t *testing.T) {
	tests := []struct {
		name   string
		reason int
		access vm.Access
		setup  func(f *file)
		view   func(f *file, s *sim.Space) *sim.View
		off    int64
	}{
		{"colour", 1, vm.Load, nil, func(f *file, s *sim.Space) *sim.View {
			v, err := s.MapAt(f, 0, 16, sharedRW, 1001)
			if err != nil {
				f.t.Fatal(err)
			}
			if err := f.m.Attach(ctx, v, f); err != nil {
				f.t.Fatal(err)
			}
			return v
		}, 0},
		{"private store", 2, vm.Store, nil, func(f *file, s *sim.Space) *sim.View { return f.mapView(s, 0, 16, private) }, 0},
		{"before the view", 3, vm.Load, nil, func(f *file, s *sim.Space) *sim.View { return f.mapView(s, 1, 15, sharedRW) }, pageSize},
		{"after the view", 3, vm.Store, nil, func(f *file, s *sim.Space) *sim.View { return f.mapView(s, 0, 3, sharedRW) }, 0},
		{"end of file", 4, vm.Load, func(f *file) { f.sized(run + pageSize) }, nil, run},
		{"small entry", 5, vm.Load, func(f *file) {
			f.sized(4 * run)
			f.onePage = true
			load(f.t, f.mapView(newSpace(), 11, 1, sharedRO), 11*pageSize, 1)
			f.onePage = false
		}, nil, 2 * run},
		{"short extent", 6, vm.Load, func(f *file) { f.sized(4 * run); f.onePage = true }, nil, 2 * run},
		{"scattered", 6, vm.Store, func(f *file) { f.scatter = true; f.sized(4 * run) }, nil, 2 * run},
		{"no space for all", 6, vm.Store, func(f *file) {
			f.sized(8 * run)
			f.set(func(f *file) {
				for p := range f.free {
					if p != 21 {
						delete(f.free, p)
					}
				}
			})
		}, func(f *file, s *sim.Space) *sim.View { return f.mapView(s, 16, 8, sharedRW) }, 21 * pageSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, f *file) {
				f.mustWrite(fill(2*run, 1), 0)
				if tt.setup != nil {
					tt.setup(f)
				}
				s := sim.New(sim.Config{PMDOrder: pmdOrder, TryAll: true})
				view := tt.view
				if view == nil {
					view = func(f *file, s *sim.Space) *sim.View { return f.mapView(s, 0, 16, sharedRW) }
				}
				v := view(f, s)
				st := f.m.Stats()
				before := st.Fallbacks[tt.reason].Load()
				want := byte(0)
				if tt.off < 2*run {
					want = fill(2*run, 1)[tt.off]
				}
				if tt.access == vm.Load {
					if got := load(t, v, tt.off, 1)[0]; got != want {
						t.Errorf("load gives %#x, want %#x", got, want)
					}
				} else {
					store(t, v, []byte{0x77}, tt.off)
					if got := load(t, v, tt.off, 1)[0]; got != 0x77 {
						t.Errorf("after the store %#x", got)
					}
				}
				if got := st.Fallbacks[tt.reason].Load() - before; got == 0 {
					var all []uint64
					for i := range st.Fallbacks {
						all = append(all, st.Fallbacks[i].Load())
					}
					t.Errorf("no fallback of reason F%d: %v", tt.reason, all)
				}
				if l := translation(t, v, uint64(tt.off)/pageSize); l.Order != 0 {
					t.Errorf("order %d at the address", l.Order)
				}
				if err := s.Check(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestSB9_Huge(t *testing.T) {
	eachCarrier(t, func(t *testing.T, f *file) {
		f.sized(4 * run)
		f.mustWrite(fill(run, 1), run)
		v := f.mapView(newSpace(), 0, 16, sharedRW)
		load(t, v, pageSize, 1)
		load(t, v, run+3*pageSize, 1)
		store(t, v, []byte{1}, 2*run+pageSize)
		for page, want := range map[uint64]vm.Leaf{
			0:  {Page: 0, Order: pmdOrder, Kind: vm.Zero},
			4:  {Page: 4, Order: pmdOrder, Kind: vm.Frames},
			10: {Page: 8, Order: pmdOrder, Kind: vm.Frames, Write: true, Dirty: true},
		} {
			got := translation(t, v, page)
			got.PFN = 0
			if got != want {
				t.Errorf("page %d: %+v, want %+v", page, got, want)
			}
		}
	})
}

func TestSB10_SB11_SB12_PrivateCopies(t *testing.T) {
	for name, disturb := range map[string]func(f *file){
		"nothing":         func(f *file) {},
		"punch":           func(f *file) { f.punch(ctx, pageSize, 2*pageSize) },
		"zero":            func(f *file) { f.zero(pageSize, 2*pageSize) },
		"truncate behind": func(f *file) { f.truncate(ctx, 3*pageSize) },
		"layout":          func(f *file) { f.m.BreakLayout(ctx, 0, dax.ToEnd, func() error { return nil }) },
		"write":           func(f *file) { f.mustWrite(fill(pageSize, 8), pageSize) },
	} {
		t.Run(name, func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, f *file) {
				f.sized(2 * run)
				data := fill(run, 1)
				f.mustWrite(data, 0)
				calls := len(f.blocks)
				v := f.mapView(newSpace(), 0, 8, private)
				load(t, v, 0, run)
				store(t, v, []byte{0x42}, pageSize+1)
				store(t, v, []byte{0x43}, run+5) // a hole
				if len(f.blocks) != calls {
					t.Error("a private store allocated")
				}
				want := bytes.Clone(data[pageSize : 2*pageSize])
				want[1] = 0x42
				equal(t, "file", f.mustRead(0, run), data)
				f.check()
				if _, _, dirty := dax.Dirty(f.m, 4); dirty {
					t.Error("a private store made the page dirty")
				}
				disturb(f)
				equal(t, "copy", load(t, v, pageSize, pageSize), want)
				equal(t, "neighbour", load(t, v, 0, pageSize), data[:pageSize])
				if name != "truncate behind" {
					if got := load(t, v, run+4, 3); !bytes.Equal(got, []byte{0, 0x43, 0}) {
						t.Errorf("copy of a hole: %v", got)
					}
				}
			})
		})
	}
	t.Run("truncated away", func(t *testing.T) {
		f := newFile(t, 64, dax.Config{})
		f.sized(run)
		v := f.mapView(newSpace(), 0, 4, private)
		store(t, v, []byte{1}, pageSize)
		f.sized(pageSize)
		isBus(t, "load", v.Load(ctx, make([]byte, 1), pageSize), dax.ErrBeyondEnd)
	})
}

func TestSB15_SB17_FlushesWholeEntriesOnce(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.mustWrite(fill(2*run, 1), 0)
	f.sync()
	count := func(what string, off, n int64, entries, pages uint64) {
		t.Helper()
		dev.ResetCounts()
		st, err := f.m.Writeback(ctx, off, n)
		if err != nil || st.Entries != entries || st.Pages != pages || dev.Counts().FlushedBytes != int64(pages)*pageSize {
			t.Errorf("%s: %+v, %v, %d bytes flushed; want %d entries, %d pages", what, st, err, dev.Counts().FlushedBytes, entries, pages)
		}
	}
	count("nothing dirty", 0, 2*run, 0, 0)
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	store(t, v, []byte{1}, 100)
	store(t, v, []byte{1}, run+100)
	count("middle of a huge entry", pageSize+5, 10, 1, pmdPages)
	count("again", 0, run, 0, 0)
	count("from the middle to the end", run+3*pageSize, math.MaxInt64, 1, pmdPages)
	store(t, v, []byte{1}, 0)
	store(t, v, []byte{1}, run)
	count("across the border", run-1, 2, 2, 2*pmdPages)
	store(t, v, []byte{1}, 0)
	count("behind", run, run, 0, 0)
	count("no bytes", 0, 0, 0, 0)
	count("all", 0, math.MaxInt64, 1, pmdPages)
	f.mustWrite([]byte{1}, 2*run+pageSize)
	count("small entry", 0, math.MaxInt64, 1, 1)
	if _, err := f.m.Writeback(ctx, -1, 5); err == nil {
		t.Error("negative offset accepted")
	}
}

func TestSB16_StoreSyncStoreSync(t *testing.T) {
	for _, onePage := range []bool{false, true} {
		f, dev := newSimFile(t, 64, dax.Config{})
		f.onePage = onePage
		f.sized(run)
		v := f.mapView(newSpace(), 0, 4, sharedRW)
		for i := range byte(3) {
			store(t, v, []byte{i + 1}, 8)
			if st := f.sync(); st.Entries != 1 {
				t.Fatalf("store %d: %+v, want one entry", i, st)
			}
			d, _ := f.device(0)
			if got := dev.Durable()[d*pageSize+8]; got != i+1 {
				t.Fatalf("store %d: %d is durable", i, got)
			}
			if translation(t, v, 0).Write {
				t.Fatal("writable after the flush")
			}
			f.check()
		}
		if calls := f.populates(); calls != 1 {
			t.Errorf("%d populates, want 1", calls)
		}
	}
}

func TestSB18_NothingToDo(t *testing.T) {
	eachCarrier(t, func(t *testing.T, f *file) {
		f.mustWrite(fill(2*pageSize, 1), 0)
		calls := f.populates()
		if n, err := f.read(nil, 5); n != 0 || err != nil {
			t.Errorf("read: %d, %v", n, err)
		}
		if n, err := f.read(nil, 1<<40); n != 0 || err != nil {
			t.Errorf("read past the end: %d, %v", n, err)
		}
		if n, err := f.write(nil, 1<<40); n != 0 || err != nil || f.m.Size() != 2*pageSize {
			t.Errorf("write: %d, %v, size %d", n, err, f.m.Size())
		}
		if err := errors.Join(f.zero(5, 0), f.zero(1<<50, 5), f.punch(ctx, 5, 0), f.punch(ctx, 1<<50, 5), f.truncate(ctx, 2*pageSize), f.m.Invalidate(3, 0)); err != nil {
			t.Error(err)
		}
		if _, err := f.read(make([]byte, 1), 2*pageSize); err != io.EOF {
			t.Errorf("read at the end: %v", err)
		}
		if f.populates() != calls {
			t.Errorf("%d populates", f.populates()-calls)
		}
		equal(t, "data", f.mustRead(0, 2*pageSize), fill(2*pageSize, 1))
	})
}

func TestSB20_SB21_Cuts(t *testing.T) {
	const size = 3 * run
	cuts := []int64{0, 1, pageSize - 1, pageSize, run - pageSize, run - 1, run, run + 1, run + pageSize, run + pageSize + 7, 2*run - 1, 2 * run}
	states := map[string]func(f *file, v *sim.View) []byte{
		"zero": func(f *file, v *sim.View) []byte { load(f.t, v, run, 1); return make([]byte, size) },
		"clean": func(f *file, v *sim.View) []byte {
			b := fill(size, 1)
			f.mustWrite(b, 0)
			f.sync()
			load(f.t, v, run, 1)
			return b
		},
		"dirty": func(f *file, v *sim.View) []byte {
			b := fill(size, 2)
			f.mustWrite(b, 0)
			f.sync()
			for i := range 3 {
				store(f.t, v, b[i*run+pageSize:][:1], int64(i)*run+pageSize)
			}
			return b
		},
	}
	ops := map[string]func(f *file, want []byte, from, to int64) error{
		"truncate": func(f *file, want []byte, from, to int64) error {
			clear(want[from:])
			if err := f.truncate(ctx, from); err != nil {
				return err
			}
			f.check()
			return f.truncate(ctx, size)
		},
		"punch": func(f *file, want []byte, from, to int64) error {
			clear(want[from:to])
			return f.punch(ctx, from, to-from)
		},
		"zero": func(f *file, want []byte, from, to int64) error {
			clear(want[from:to])
			return f.zero(from, to-from)
		},
	}
	for opName, op := range ops {
		for stateName, state := range states {
			t.Run(opName+"/"+stateName, func(t *testing.T) {
				for _, from := range cuts {
					for _, to := range append(cuts, size) {
						if to < from || opName == "truncate" && to != from {
							continue
						}
						f, dev := newSimFile(t, 32, dax.Config{})
						f.sized(size)
						s := newSpace()
						v := f.mapView(s, 0, 3*pmdPages, sharedRW)
						want := bytes.Clone(state(f, v))
						if err := op(f, want, from, to); err != nil {
							t.Fatal(err)
						}
						f.check()
						equal(t, fmt.Sprintf("[%d, %d) read", from, to), f.mustRead(0, size), want)
						equal(t, "view", load(t, v, 0, size), want)
						f.sync()
						// What is left is durable: the dirty part outside the cut was not forgotten.
						medium := dev.Durable()
						for p := range uint64(3 * pmdPages) {
							if d, ok := f.device(p); ok {
								equal(t, fmt.Sprintf("[%d, %d) page %d on the medium", from, to, p), medium[d*pageSize:][:pageSize], want[p*pageSize:][:pageSize])
							}
						}
						v.Close()
						f.m.Detach(v)
						dev.Close()
					}
				}
			})
		}
	}
}

func TestSB28_SG6_FlushErrors(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.onePage = true
	f.mustWrite(fill(8*pageSize, 1), 0)
	f.sync()
	seen := [3]uint64{f.m.WritebackErrors(), f.m.WritebackErrors(), f.m.WritebackErrors()}
	for p := range int64(8) {
		f.mustWrite([]byte{1}, p*pageSize)
	}
	d, _ := f.device(5)
	stop := dev.Inject(psimFlushFault(int64(d) * pageSize))
	st, err := f.m.Writeback(ctx, 0, 8*pageSize)
	isErr(t, err, syscall.EIO)
	if st.Pages >= 8 {
		t.Errorf("%d pages flushed", st.Pages)
	}
	for p := range uint64(8) {
		order, ok, dirty := dax.Dirty(f.m, p)
		if failed := p>>order == 5>>order; !ok || dirty != failed {
			t.Errorf("page %d: dirty %t, flush failed %t", p, dirty, failed)
		}
	}
	stop()
	for i := range seen {
		if err := f.m.WritebackError(&seen[i]); !errors.Is(err, syscall.EIO) {
			t.Errorf("open file %d: %v, want EIO", i, err)
		}
		if err := f.m.WritebackError(&seen[i]); err != nil {
			t.Errorf("open file %d, second time: %v", i, err)
		}
	}
	late := f.m.WritebackErrors()
	if err := f.m.WritebackError(&late); err != nil {
		t.Errorf("opened after the error: %v", err)
	}
	if st := f.sync(); st.Entries != 1 {
		t.Errorf("next writeback: %+v, want the one entry", st)
	}
	f.check()
}

// A barrier that fails leaves nothing that counts as durable.
func TestBarrierError(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.mustWrite(fill(3*pageSize, 1), 0)
	stop := dev.Inject(psimBarrierFault())
	_, err := f.m.Writeback(ctx, 0, 3*pageSize)
	isErr(t, err, syscall.EIO)
	stop()
	if st := f.sync(); st.Pages < 3 {
		t.Errorf("after a failed barrier %d pages were flushed again, want all 3", st.Pages)
	}
	d, _ := f.device(1)
	equal(t, "medium", dev.Durable()[d*pageSize:][:pageSize], f.mustRead(pageSize, pageSize))
}

func TestSB29_Evict(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.sized(4 * run)
	f.mustWrite(fill(run, 1), 0)
	v := f.mapView(newSpace(), 0, 16, sharedRW)
	load(t, v, 2*run, 1)
	store(t, v, []byte{5}, run+5)
	if err := f.m.Evict(ctx, false); !errors.Is(err, dax.ErrBusy) {
		t.Fatalf("evict with a view: %v", err)
	}
	f.m.Detach(v)
	v.Close()
	if err := f.m.Evict(ctx, false); err != nil {
		t.Fatal(err)
	}
	if pages, entries := f.m.Pages(); pages != 0 || entries != 0 {
		t.Errorf("%d pages, %d entries left", pages, entries)
	}
	d, _ := f.device(5 - 1)
	if got := dev.Durable()[d*pageSize+5]; got != 5 {
		t.Errorf("%d is durable, want 5", got)
	}
	f.check()
	if _, err := f.read(make([]byte, 1), 0); !errors.Is(err, dax.ErrGone) {
		t.Errorf("read afterwards: %v", err)
	}
	if err := f.m.Attach(ctx, v, f); !errors.Is(err, dax.ErrGone) {
		t.Errorf("attach afterwards: %v", err)
	}
	if _, err := f.m.Pin(ctx, 0, 1, 0, f); !errors.Is(err, dax.ErrGone) {
		t.Errorf("pin afterwards: %v", err)
	}
}

// Row 7: a store to shared storage gets storage of its own, and every view follows.
// Buffer heads have no word for shared storage.
func TestCopyOnWrite(t *testing.T) {
	eachCarrier(t, func(t *testing.T, f *file) {
		if !f.iomap {
			return
		}
		data := fill(2*run, 1)
		f.mustWrite(data, 0)
		f.sync()
		f.share(0, 8)
		if err := f.m.Invalidate(0, dax.ToEnd); err != nil {
			t.Fatal(err)
		}
		old, _ := f.device(2)
		s := newSpace()
		a, b, ro := f.mapView(s, 0, 8, sharedRW), f.mapView(s, 1, 2, sharedRW), f.mapView(s, 0, 8, sharedRO)
		for _, v := range []*sim.View{a, ro} {
			equal(t, "before", load(t, v, 0, 2*run), data)
		}
		store(t, b, []byte{0x99}, 2*pageSize+3)
		f.mustWrite([]byte{0x98}, run+1)
		data[2*pageSize+3], data[run+1] = 0x99, 0x98
		for _, v := range []*sim.View{a, ro} {
			equal(t, "after", load(t, v, 0, 2*run), data)
		}
		oldBytes, _ := f.dev.Bytes(int64(old)*pageSize, pageSize)
		equal(t, "the other file's block", oldBytes, fill(2*run, 1)[2*pageSize:3*pageSize])
	})
}

// Numbers at the ends of int64.
func TestSB32_Extremes(t *testing.T) {
	f := newFile(t, 16, dax.Config{})
	const huge = math.MaxInt64
	isErr(t, f.truncate(ctx, huge-pageSize+1), syscall.EFBIG)
	for _, size := range []int64{huge - pageSize, huge - pageSize - 1, huge - 2*pageSize + 1, 1<<62 + 1, 5} {
		f.sized(size)
		b := make([]byte, 10)
		n, err := f.read(b, size-5)
		if n != 5 || err != io.EOF {
			t.Fatalf("size %d: read %d, %v", size, n, err)
		}
		if err := f.punch(ctx, size-3, huge); err != nil {
			t.Fatal(err)
		}
		if err := f.zero(size-3, huge); err != nil {
			t.Fatal(err)
		}
		if _, err := f.m.Writeback(ctx, 3, huge); err != nil {
			t.Fatal(err)
		}
		for e, err := range f.m.Entries(ctx, uint64(size-1)/pageSize, dax.ToEnd, f) {
			if err != nil || e.Kind != dax.Hole || e.N != 1 {
				t.Fatalf("entry %+v, %v", e, err)
			}
		}
		v := f.mapView(newSpace(), uint64(size-1)/pageSize, 1, sharedRO)
		load(t, v, (size-1)/pageSize*pageSize, 1)
		f.m.Detach(v)
		v.Close()
		f.check()
	}
	if _, err := f.write([]byte{1}, huge-5); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("write at the end of the world: %v", err)
	}
	for name, err := range map[string]error{
		"truncate": f.truncate(ctx, -1), "punch": f.punch(ctx, -1, 5), "punch length": f.punch(ctx, 1, -5), "zero": f.zero(-1, 1),
	} {
		if !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s of a negative: %v", name, err)
		}
	}
}
