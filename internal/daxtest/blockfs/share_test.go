package blockfs_test

import (
	"bytes"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/blockfs"
	"godax/vm/sim"
)

// mixed makes a file of 12 pages (three huge ones), of which some are holes and some
// unwritten, and returns its bytes.
func (w *world) mixed() (*blockfs.File, []byte) {
	w.t.Helper()
	f, want := w.fs.Create(), pages(1, 12)
	w.ok(f.Truncate(ctx, 12*pageSize))
	for _, p := range []int64{0, 1, 2, 3, 5, 8, 9, 10, 11} {
		if p == 8 {
			w.ok(f.Allocate(ctx, 4*pageSize, 2*pageSize)) // 4 and 5 are unwritten
		}
		if p != 5 {
			w.write(f, want[p*pageSize:(p+1)*pageSize], p*pageSize)
		}
	}
	clear(want[4*pageSize : 8*pageSize]) // 6 and 7 are holes
	return f, want
}

// A pair of files share blocks of all kinds; stores through views of either, at every
// page, with and without old views and entries of both, reach that file only.
//
// Guards I27, I28, I56, T59.
func TestSB25_StoresToSharedPages(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		for _, mapped := range []bool{false, true} {
			for page := range int64(12) {
				a, want := w.mixed()
				other := slices.Clone(want)
				b := w.file(pages(99, 12)) // all of it is replaced
				va, vb := w.view(a, 0, 12, sharedRW), w.view(b, 0, 12, sharedRW)
				if mapped {
					store(t, va, []byte{1}, 0) // what it is already: a page with permission to store
					load(t, va, 0, 12*pageSize)
					store(t, vb, []byte{5}, page*pageSize)
				}
				w.ok(b.Reflink(ctx, 0, a, 0, 12*pageSize))
				if mapped {
					equal(t, "b after the reflink", load(t, vb, 0, 12*pageSize), want)
				}
				// A store to a, then one to b in the same page.
				copy(want[page*pageSize+17:], "to a")
				store(t, va, []byte("to a"), page*pageSize+17)
				w.holds("b, stored to a", b, other)
				copy(other[page*pageSize+100:], "to b")
				store(t, vb, []byte("to b"), page*pageSize+100)
				w.holds("a", a, want)
				w.holds("b", b, other)
				w.check()
				w.remove(a)
				w.holds("b alone", b, other)
				w.remove(b)
				if n := w.fs.Taken(); n != 0 {
					t.Fatalf("%d blocks are left", n)
				}
			}
		}
	})
}

// With pages of 2 MiB a store copies all of the huge page, once, and maps it huge.
//
// Guards I27, I28, I18, I57, T59.
func TestSB25_RealHugePages(t *testing.T) {
	w := newWorld(t, blockfs.Config{Stripe: 4096, Mapping: dax.Config{PMDOrder: dax.PMDOrder}}, 1)
	const size = pageSize << dax.PMDOrder
	want := bytes.Repeat(pages(1, 128), 8)
	f, other := w.pair(want)
	v := w.view(f, 0, 1024, sharedRW)
	load(t, v, 0, 2*size)
	before, calls := w.fs.Taken(), f.Calls()
	store(t, v, []byte("one store"), size+12345)
	if n, c := w.fs.Taken()-before, f.Calls()-calls; n != 512 || c != 1 {
		t.Errorf("%d blocks in %d calls", n, c)
	}
	for _, l := range v.Translations() {
		if l.Order != dax.PMDOrder {
			t.Errorf("translation %+v", l)
		}
	}
	w.holds("other", other, want)
	now := slices.Clone(want)
	copy(now[size+12345:], "one store")
	w.holds("file", f, now)
	w.ok(f.Unshare(ctx, 5, 1))
	if n := w.fs.Taken() - before; n != 513 {
		t.Errorf("%d blocks after unshare of a page", n)
	}
	w.holds("file", f, now)
}

// The same with write(2), with parts of files at other places, and across the border
// between shared and other pages; a load that found the old block sees the new one.
//
// Guards I27, I28, I24, T59.
func TestSB25_WritesToSharedPages(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		for page := range int64(12) {
			for _, n := range []int64{100, pageSize, 3 * pageSize, 5*pageSize + 7} {
				a, want := w.mixed()
				b := w.file(pages(50, 12))
				other := pages(50, 12)
				w.ok(b.Reflink(ctx, 2*pageSize, a, pageSize, 9*pageSize)) // of another colour
				copy(other[2*pageSize:], want[pageSize:10*pageSize])
				va, vb := w.view(a, 0, 12, sharedRW), w.view(b, 0, 12, sharedRW)
				load(t, va, 0, 12*pageSize)
				load(t, vb, 0, 12*pageSize)
				off := page*pageSize + 30
				n := min(n, 12*pageSize-off)
				data := bytes.Repeat([]byte{200}, int(n))
				w.write(b, data, off)
				copy(other[off:], data)
				equal(t, "the old view of b", load(t, vb, 0, 12*pageSize), other)
				equal(t, "the old view of a", load(t, va, 0, 12*pageSize), want)
				w.holds("a", a, want)
				w.holds("b", b, other)
				w.check()
				w.remove(a, b)
			}
		}
	})
}

// Unshare copies whole pages of exactly the range that was asked for, however it is
// aligned; holes and unwritten pages stay what they are; views see the new blocks.
//
// Guards I27, I23, I28, T61, T62.
func TestSB26_Unshare(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		for _, r := range [][2]int64{
			{0, 12 * pageSize}, {pageSize + 5, 10}, {pageSize - 1, 2}, {2*pageSize + 7, 3 * pageSize},
			{5 * pageSize, 2 * pageSize}, {6 * pageSize, pageSize}, {9*pageSize + 1, 100 * pageSize}, {3, 0}, {20 * pageSize, 5},
		} {
			for _, mapped := range []bool{false, true} {
				a, want := w.mixed()
				b := w.fs.Create()
				w.ok(b.Reflink(ctx, 0, a, 0, 12*pageSize))
				v := w.view(b, 0, 12, sharedRW)
				if mapped {
					load(t, v, 0, 12*pageSize)
				}
				before := w.fs.Taken()
				w.ok(b.Unshare(ctx, r[0], r[1]))
				w.ok(b.Unshare(ctx, r[0], r[1])) // of what is not shared any more
				copied := 0
				for p := range int64(12) {
					x, okA := a.Ext(uint64(p))
					y, okB := b.Ext(uint64(p))
					inside := r[1] > 0 && (p+1)*pageSize > r[0] && p*pageSize < r[0]+r[1]
					switch {
					case okA != okB || x.Raw != y.Raw:
						t.Errorf("unshare %v: page %d was %+v %t, is %+v %t", r, p, x, okA, y, okB)
					case okA && !x.Raw && inside != (x != y):
						t.Errorf("unshare %v: page %d: %v, %v", r, p, x, y)
					}
					if x != y {
						copied++
					}
				}
				if got := w.fs.Taken() - before; got != copied {
					t.Errorf("unshare %v: %d blocks more for %d pages", r, got, copied)
				}
				// What was copied is DIRTY: the writeback that follows is to flush it.
				for e, err := range b.M.Entries(ctx, 0, 12, b) {
					w.ok(err)
					x, _ := a.Ext(e.Page)
					if y, _ := b.Ext(e.Page); e.Dirty != (x != y) {
						t.Errorf("unshare %v: %+v", r, e)
					}
				}
				w.holds("b", b, want)
				// Stores to a are not seen in b, in neither old nor new views.
				va := w.view(a, 0, 12, sharedRW)
				store(t, va, pages(77, 12), 0)
				equal(t, "the view of b", load(t, v, 0, 12*pageSize), want)
				w.holds("b", b, want)
				w.check()
				w.remove(a, b)
			}
		}
	})
}

// Dedupe compares holes, unwritten and written pages by what they read as, allocates
// nothing, and changes nothing if the ranges differ.
//
// Guards I22, I27, I28.
func TestSB27_Dedupe(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		for page := int64(-1); page < 12; page++ { // where they differ
			a, want := w.mixed()
			other := slices.Clone(want)
			b := w.fs.Create()
			w.ok(b.Truncate(ctx, 12*pageSize))
			w.ok(b.Allocate(ctx, 6*pageSize, pageSize)) // unwritten where a has a hole
			for p := range int64(12) {
				if p != 6 && p != 7 { // written zeros where a is unwritten
					w.write(b, want[p*pageSize:(p+1)*pageSize], p*pageSize)
				}
			}
			va, vb := w.view(a, 0, 12, sharedRW), w.view(b, 0, 12, sharedRW)
			if page >= 0 {
				other[(page+1)*pageSize-1] ^= 0x80
				store(t, vb, other[page*pageSize:(page+1)*pageSize], page*pageSize)
			} else {
				store(t, vb, other[:pageSize], 0)
			}
			load(t, va, 0, 12*pageSize)
			before := w.fs.Taken()
			equalRanges, err := b.Dedupe(ctx, 0, a, 0, 12*pageSize)
			w.ok(err)
			if equalRanges != (page < 0) {
				t.Errorf("equal: %t, they differ in page %d", equalRanges, page)
			}
			if n := w.fs.Taken(); n > before {
				t.Errorf("%d blocks became %d", before, n)
			}
			w.ok(w.fs.Commit())
			if n := w.fs.Taken(); page < 0 && n != 10 { // of a, with two unwritten ones
				t.Errorf("%d blocks after a dedupe", n)
			}
			w.holds("a", a, want)
			w.holds("b", b, other)
			store(t, va, []byte{1, 2, 3}, 5)
			copy(want[5:], []byte{1, 2, 3})
			w.holds("a", a, want)
			w.holds("b", b, other)
			w.remove(a, b)
		}
	})
}

// Parts of a page are written, by write(2) and through a view, where its bytes come from a
// hole, from unwritten storage, or from a block that another file has: around them are
// zeros, or the block's bytes, and never what the new block held.
//
// Guards I23, I27, T60.
func TestSB31_PartOfASharedPage(t *testing.T) {
	for _, source := range []string{"hole", "unwritten", "shared unwritten", "shared"} {
		for _, view := range []bool{false, true} {
			for _, at := range []int64{0, 1000, pageSize - 9} {
				t.Run(fmt.Sprintf("%s/view=%t/%d", source, view, at), func(t *testing.T) {
					eachOrder(t, blockfs.Config{SourceHoles: true}, func(t *testing.T, w *world) {
						// All blocks hold what must not be seen.
						junk := w.file(bytes.Repeat([]byte{0x66}, 60*pageSize))
						w.ok(w.fs.Remove(ctx, junk))
						w.ok(w.fs.Commit())
						f, g := w.fs.Create(), w.fs.Create()
						want := make([]byte, 4*pageSize)
						switch source {
						case "hole":
							w.ok(f.Truncate(ctx, 4*pageSize))
						case "unwritten", "shared unwritten":
							w.ok(f.Allocate(ctx, 0, 4*pageSize))
						case "shared":
							want = pages(1, 4)
							w.write(f, want, 0)
						}
						if source == "shared" || source == "shared unwritten" {
							w.ok(g.Reflink(ctx, 0, f, 0, 4*pageSize))
						}
						other := slices.Clone(want)
						off := pageSize + at
						copy(want[off:], "123456789")
						if view {
							store(t, w.view(f, 0, 4, sharedRW), []byte("123456789"), off)
						} else {
							w.write(f, []byte("123456789"), off)
						}
						w.holds("f", f, want)
						if g.M.Size() > 0 {
							w.holds("g", g, other)
						}
					})
				})
			}
		}
	}
}

// What was stored to the source of a reflink before it is durable after an fsync of either
// file, though the entries that said DIRTY are gone.
//
// Guards I30, I33, T17.
func TestSB25_DirtySource(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		a, b := w.file(pages(1, 8)), w.fs.Create()
		w.ok(w.fs.Sync(ctx))
		v := w.view(a, 0, 8, sharedRW)
		store(t, v, pages(50, 2), pageSize)
		want := pages(1, 8)
		copy(want[pageSize:], pages(50, 2))
		w.ok(b.Reflink(ctx, 0, a, 0, 8*pageSize))
		w.ok(b.Fsync(ctx, 0, 1<<62))
		w.durable("b", b, want)
		w.durable("a", a, want)
	})
}

// Exchange gives each file the other's bytes, dirty ones included, and they are durable.
//
// Guards I29, I33, I56.
func TestExchange(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		a, want := w.mixed()
		b, other := w.file(pages(100, 12)), pages(100, 12)
		va, vb := w.view(a, 0, 12, sharedRW), w.view(b, 0, 12, sharedRW)
		store(t, va, []byte{11}, 2*pageSize)
		store(t, vb, []byte{12}, 8*pageSize+1)
		want[2*pageSize], other[8*pageSize+1] = 11, 12
		w.ok(a.Exchange(ctx, pageSize, b, 3*pageSize, 7*pageSize))
		tmp := slices.Clone(want[pageSize : 8*pageSize])
		copy(want[pageSize:], other[3*pageSize:10*pageSize])
		copy(other[3*pageSize:], tmp)
		w.holds("a", a, want)
		w.holds("b", b, other)
		w.ok(w.fs.Sync(ctx))
		w.durable("a", a, want)
		w.durable("b", b, other)
		isErr(t, a.Exchange(ctx, 0, a, pageSize, 2*pageSize), syscall.EINVAL)
	})
}

// A huge page of shared blocks, one of which the other file gives up: a store to that page
// alone gets permission, with the frame that it has, and the entry is cut. Nothing is left of
// the huge translation; the rest of the page stays shared.
//
// Guards I11, I12, I27, I28, T54, T59.
func TestSB25_SharedInPart(t *testing.T) {
	for name, change := range map[string]func(f *blockfs.File, v *sim.View, b []byte, off int64) error{
		"store": func(_ *blockfs.File, v *sim.View, b []byte, off int64) error { return v.Store(ctx, b, off) },
		"write": func(f *blockfs.File, _ *sim.View, b []byte, off int64) error {
			_, err := f.Write(ctx, b, off)
			return err
		},
		"zero": func(f *blockfs.File, _ *sim.View, b []byte, off int64) error {
			clear(b)
			return f.Zero(ctx, off, int64(len(b)))
		},
		"pin": func(f *blockfs.File, _ *sim.View, b []byte, off int64) error {
			pin, err := f.Pin(ctx, off, int64(len(b)), dax.PinWrite)
			if err == nil {
				copy(pin.Slices()[0], b)
				pin.Release()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
				a, b := w.file(pages(1, 8)), w.fs.Create()
				w.ok(b.Reflink(ctx, 0, a, 0, 8*pageSize))
				want, other := pages(1, 8), pages(1, 8)
				v, other0 := w.view(a, 0, 8, sharedRW), w.view(a, 0, 8, private)
				load(t, v, 0, 8*pageSize)
				load(t, other0, 0, 8*pageSize)
				w.ok(b.Punch(ctx, pageSize, pageSize))
				clear(other[pageSize : 2*pageSize])
				data := []byte{1, 2, 3}
				w.ok(change(a, v, data, pageSize+5))
				copy(want[pageSize+5:], data)
				w.check()
				equal(t, "the private view", load(t, other0, 0, 8*pageSize), want)
				w.holds("a", a, want)
				w.holds("b", b, other)
				store(t, v, []byte{9}, 7)
				want[7] = 9
				w.holds("a", a, want)
				w.holds("b", b, other)
			})
		})
	}
}
