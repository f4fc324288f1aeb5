package blockfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/blockfs"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/pmem"
)

// pair is two files that share the four (or given number of) pages.
func (w *world) pair(b []byte) (f, other *blockfs.File) {
	w.t.Helper()
	f, other = w.file(b), w.fs.Create()
	w.ok(other.Reflink(ctx, 0, f, 0, int64(len(b))))
	return f, other
}

// A write(2) to part of a shared page, and a store through a view to another part, one
// after the other stopped at every point: the page is copied once, and both are in it.
//
// Guards H1, H2, I25, I27, I57, T59.
func TestSC28_CopyOnWriteBesideAStore(t *testing.T) {
	sched.Enabled(t)
	points := map[string][]hook.Point{
		"write": {hook.SlotLocked, hook.WriteAllocated, hook.WriteInvalidated, hook.WritePiece},
		"store": {hook.FaultChecked, hook.SlotLocked, hook.ExtentKnown, hook.EntryStored, hook.DirtySet, hook.Installed},
	}
	for who, list := range points {
		for _, point := range list {
			t.Run(fmt.Sprintf("%s stops at HP%d", who, point), func(t *testing.T) {
				eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
					want := pages(1, 8)
					f, other := w.pair(want)
					v := w.view(f, 0, 8, sharedRW)
					load(t, v, 0, 8*pageSize)
					taken := w.fs.Taken()
					ops := map[string]func() error{
						// Two pieces, so that there is a point between them.
						"write": func() error { _, err := f.Write(ctx, bytes.Repeat([]byte{'w'}, pageSize), pageSize/2); return err },
						"store": func() error { return v.Store(ctx, bytes.Repeat([]byte{'s'}, pageSize), pageSize*3/2) },
					}
					second := map[string]string{"write": "store", "store": "write"}[who]
					g := sched.Hold(t, point, sched.By(who), sched.Of(f.M))
					a := sched.Go(t, who, ops[who])
					if point == hook.WritePiece && !g.Arrived() {
						g.Open() // one huge entry: the write is one piece
						w.ok(a.Err())
					}
					if !g.Arrived() && point != hook.WritePiece {
						t.Fatal("nobody comes by")
					}
					b := sched.Go(t, second, ops[second])
					b.Done() // or asleep, or behind a
					g.Open()
					w.ok(errors.Join(a.Err(), b.Err()))
					copy(want[pageSize/2:], bytes.Repeat([]byte{'w'}, pageSize))
					copy(want[pageSize*3/2:], bytes.Repeat([]byte{'s'}, pageSize))
					w.holds("file", f, want)
					w.holds("other", other, pages(1, 8))
					for p := range uint64(3) {
						x, _ := f.Ext(p)
						y, _ := other.Ext(p)
						if x == y || w.fs.Refs(x.Block) != 1 {
							t.Errorf("page %d: block %v with %d references", p, x, w.fs.Refs(x.Block))
						}
					}
					if n := w.fs.Taken() - taken; n < 3 || n > 8 { // at least what is touched, at most a huge page
						t.Errorf("%d blocks for copies", n)
					}
				})
			})
		}
	}
}

// The copy on write of a fault fails, because the old block is on bad media: nothing that
// a later fault could use stays behind, no block is lost, and a write of the whole page
// still helps.
//
// Guards H2, I43, I45, I56.
func TestSC29_CopyFails(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		w.bad = true
		want := pages(1, 8)
		f, other := w.pair(want)
		v := w.view(f, 0, 8, sharedRW)
		e, _ := f.Ext(2)
		load(t, v, 0, 8*pageSize)
		taken := w.fs.Taken()
		w.ok(w.devs[e.Block.Dev].Poison(e.Block.Page, 1))
		for range 3 {
			isErr(t, v.Store(ctx, []byte{1}, 2*pageSize), pmem.ErrPoisoned)
		}
		isErr(t, v.Load(ctx, make([]byte, 1), 2*pageSize), pmem.ErrPoisoned)
		_, err := f.Write(ctx, []byte{1}, 2*pageSize+1)
		isErr(t, err, pmem.ErrPoisoned)
		isErr(t, f.Unshare(ctx, 2*pageSize, 1), pmem.ErrPoisoned)
		if n := w.fs.Taken(); n != taken {
			t.Errorf("%d blocks, %d before", n, taken)
		}
		w.check()
		// The pages beside it can be used.
		store(t, v, []byte{91}, pageSize)
		store(t, v, []byte{92}, 3*pageSize)
		want[pageSize], want[3*pageSize] = 91, 92
		w.write(f, bytes.Repeat([]byte{77}, pageSize), 2*pageSize)
		copy(want[2*pageSize:], bytes.Repeat([]byte{77}, pageSize))
		w.holds("file", f, want)
		_, err = other.Read(ctx, make([]byte, 1), 2*pageSize)
		isErr(t, err, pmem.ErrPoisoned)
	})
}

// A store through a view that had permission before meets a reflink or a dedupe of its
// page, at every point: it waits, and lands in a block of its own.
//
// Guards I27, I28, I55, I56, T59.
func TestSC30_RemapBesideAStore(t *testing.T) {
	sched.Enabled(t)
	for _, dedupe := range []bool{false, true} {
		for _, point := range []hook.Point{hook.LayoutIdle, hook.LayoutRemoved, hook.TowriteCleared, hook.Flushed, hook.ExtentKnown} {
			t.Run(fmt.Sprintf("dedupe=%t/HP%d", dedupe, point), func(t *testing.T) {
				eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
					want := pages(1, 8)
					f, g := w.file(want), w.file(want)
					vf, vg := w.view(f, 0, 8, sharedRW), w.view(g, 0, 8, sharedRW)
					store(t, vf, []byte{1}, 0)
					store(t, vg, []byte{1}, 0)
					// A reflink flushes f only.
					gated := g.M
					if !dedupe && (point == hook.TowriteCleared || point == hook.Flushed) {
						gated = f.M
					}
					gate := sched.Hold(t, point, sched.By("remap"), sched.Of(gated))
					remap := sched.Go(t, "remap", func() error {
						if !dedupe {
							return g.Reflink(ctx, 0, f, 0, 8*pageSize)
						}
						// ExtentKnown of dax: the comparison has to ask for pages that nobody has touched.
						same, err := g.Dedupe(ctx, 0, f, 0, 8*pageSize)
						if err == nil && !same {
							err = errors.New("not equal")
						}
						return err
					})
					if !gate.Arrived() {
						if point != hook.ExtentKnown {
							t.Fatal("the gate is not on the way")
						}
						gate.Open()
					}
					a := sched.Go(t, "store to f", func() error { return vf.Store(ctx, []byte{'f'}, 100) })
					b := sched.Go(t, "store to g", func() error { return vg.Store(ctx, []byte{'g'}, 100) })
					c := sched.Go(t, "write to g", func() error { _, err := g.Write(ctx, []byte{'w'}, 5*pageSize); return err })
					if gate.Arrived() && (!a.Blocked() || !b.Blocked() || !c.Blocked()) {
						t.Errorf("no wait: %v, %v, %v", a, b, c)
					}
					gate.Open()
					w.ok(errors.Join(remap.Err(), a.Err(), b.Err(), c.Err()))
					mine, other := slices.Clone(want), slices.Clone(want)
					mine[100] = 'f'
					other[5*pageSize] = 'w'
					other[100] = 'g'
					w.holds("f", f, mine)
					w.holds("g", g, other)
				})
			})
		}
	}
}

// A pin that only reads keeps its frames, though the file gets others by a store and the other
// file, which had them too, is gone: pinned pages are not shared.
//
// Guards I17, I40, T35.
func TestSC30_PinOfSharedPages(t *testing.T) {
	for _, via := range []string{"store", "write"} {
		t.Run(via, func(t *testing.T) {
			eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
				a, b := w.pair(pages(1, 8))
				v := w.view(a, 0, 8, sharedRW)
				load(t, v, 0, 8*pageSize)
				pin, err := a.Pin(ctx, pageSize+10, 2*pageSize, 0)
				w.ok(err)
				defer pin.Release()
				pinned := bytes.Join(pin.Slices(), nil)
				equal(t, "pinned", pinned, pages(1, 8)[pageSize+10:][:2*pageSize])
				if via == "store" {
					err = v.Store(ctx, []byte{99}, pageSize+20)
				} else {
					_, err = a.Write(ctx, []byte{99}, pageSize+20)
				}
				w.ok(err)
				pinned[10] = 99
				w.remove(b) // and what only b had is filled with rubbish
				equal(t, "pinned, the other file gone", bytes.Join(pin.Slices(), nil), pinned)
			})
		})
	}
}

// A pin stops a reflink, in either file; the wait can be ended, and then nothing has
// changed.
//
// Guards I40, T35.
func TestSC30_RemapWaitsForPins(t *testing.T) {
	sched.Enabled(t)
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		for _, inSource := range []bool{false, true} {
			f, g := w.file(pages(1, 8)), w.file(pages(21, 8))
			pinned := g
			if inSource {
				pinned = f
			}
			pin, err := pinned.Pin(ctx, 5*pageSize, 10, dax.PinWrite)
			w.ok(err)
			isErr(t, g.Reflink(dax.NoWait(ctx), 0, f, 0, 8*pageSize), dax.ErrWouldBlock)
			w.holds("unchanged", g, pages(21, 8))
			remap := sched.Go(t, "reflink", func() error { return g.Reflink(ctx, 0, f, 0, 8*pageSize) })
			if !remap.Blocked() {
				t.Error("the pin is not waited for")
			}
			copy(pin.Slices()[0], "through pin")
			pin.Release()
			w.ok(remap.Err())
			want := pages(1, 8)
			if inSource {
				copy(want[5*pageSize:], "through pi")
			}
			w.holds("g", g, want)
			w.remove(f, g)
		}
	})
}

// Two reflinks of one pair of files against each other's direction end.
//
// Guards I55.
func TestSC30_RemapsInBothDirections(t *testing.T) {
	sched.Enabled(t)
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		f, g := w.file(pages(1, 8)), w.file(pages(21, 8))
		vf, vg := w.view(f, 0, 8, sharedRW), w.view(g, 0, 8, sharedRW)
		var ops []*sched.Op
		for i := range 4 {
			a, b := f, g
			if i%2 == 1 {
				a, b = g, f
			}
			ops = append(ops, sched.Go(t, fmt.Sprint("remap ", i), func() error {
				for range 30 {
					if err := a.Reflink(ctx, 0, b, 4*pageSize, 4*pageSize); err != nil {
						return err
					}
				}
				return nil
			}), sched.Go(t, fmt.Sprint("store ", i), func() error {
				for j := range 30 {
					if err := errors.Join(vf.Store(ctx, []byte{byte(j)}, 6*pageSize), vg.Store(ctx, []byte{byte(j)}, pageSize)); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		for _, o := range ops {
			w.ok(o.Err())
		}
	})
}

// A copy on write reaches no further than the slot that is locked: a load of the next page
// that has asked already would put the old block into the index after it.
//
// Guards I56, I27, P9.
func TestSC34_CopyBesideALoad(t *testing.T) {
	sched.Enabled(t)
	w := newWorld(t, blockfs.Config{Scatter: true, Mapping: dax.Config{NoHuge: true}}, 1)
	f, other := w.pair(pages(1, 8))
	v := w.view(f, 0, 8, sharedRO)
	g := sched.Hold(t, hook.SlotLocked, sched.By("write"), sched.Page(0))
	a := sched.Go(t, "write", func() error { _, err := f.Write(ctx, pages(50, 1)[:3000], 2000); return err })
	g.Wait()
	h := sched.Hold(t, hook.ExtentKnown, sched.By("load"), sched.Page(1))
	b := sched.Go(t, "load", func() error { return v.Load(ctx, make([]byte, 1), pageSize) })
	h.Wait()
	g.Open()
	if !a.Blocked() { // behind page 1, which the load has locked
		t.Errorf("the write does not wait: %v", a)
	}
	h.Open()
	w.ok(errors.Join(a.Err(), b.Err()))
	// The other file now has block and page alone, and stores to it.
	store(t, w.view(other, 0, 8, sharedRW), pages(90, 2), 0)
	want := pages(1, 8)
	copy(want[2000:5000], pages(50, 1))
	equal(t, "the view", load(t, v, 0, 8*pageSize), want)
	w.holds("file", f, want)
}

// Bad media under a huge page: every view is told of all bad pages of it, with the size of
// what it has lost, whoever shares them.
//
// Guards I43, I44, T41, T42, T80.
func TestT80_PoisonInSharedBlocks(t *testing.T) {
	for _, n := range []uint64{1, 2} {
		w := newWorld(t, blockfs.Config{}, 1)
		w.bad = true
		f, other := w.pair(pages(1, 8))
		third := w.file(pages(1, 8))
		huge, small := w.view(f, 0, 8, sharedRO), w.view(other, 1, 3, sharedRO)
		beside := w.view(third, 0, 8, sharedRO)
		cow := w.view(f, 0, 8, private)
		load(t, huge, 0, 8*pageSize)
		store(t, cow, []byte{1}, pageSize)
		load(t, small, pageSize, 3*pageSize)
		load(t, beside, 0, 8*pageSize)
		e, _ := f.Ext(1)
		if got := w.fs.Owners(e.Block); len(got) != 2 || got[0].Page != 1 || got[1].Page != 1 {
			t.Errorf("owners %v", got)
		}
		w.ok(w.devs[0].Poison(e.Block.Page, n))
		if got := huge.Failures(); len(got) != 1 || got[0].Page != 1 || got[0].N != n || got[0].Order != 2 {
			t.Errorf("the huge view was told %+v", got)
		}
		got := small.Failures()
		total := uint64(0)
		for _, g := range got {
			if g.Order != 0 || g.Page != 1+total {
				t.Errorf("the small view was told %+v", got)
			}
			total += g.N
		}
		if total != n {
			t.Errorf("the small view was told %+v of %d pages", got, n)
		}
		if len(beside.Failures())+len(cow.Failures()) != 0 {
			t.Errorf("told in vain: %v, %v", beside.Failures(), cow.Failures())
		}
		isErr(t, small.Load(ctx, make([]byte, 1), pageSize), pmem.ErrPoisoned)
		equal(t, "beside", load(t, huge, 3*pageSize, pageSize), pages(4, 1))
		equal(t, "private copy", load(t, cow, pageSize, 1), []byte{1})
	}
}

// What a change that fails had marked for removal is durable all the same once fsync says
// so: no mark of a store is lost without its bytes.
//
// Guards I33, I30.
func TestSC35_ChangeFails(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		f := w.file(pages(1, 8))
		w.ok(f.Fsync(ctx, 0, 1<<62))
		v := w.view(f, 0, 8, sharedRW)
		store(t, v, pages(60, 3), pageSize)
		isErr(t, f.M.PunchHole(ctx, 0, 6*pageSize, f, func() error { return syscall.EIO }), syscall.EIO)
		isErr(t, f.M.BreakLayout(ctx, 2, 1, func() error { return syscall.EIO }), syscall.EIO)
		want := pages(1, 8)
		copy(want[pageSize:], pages(60, 3))
		w.holds("nothing has changed", f, want)
		w.ok(f.Fsync(ctx, 0, 1<<62))
		w.durable("file", f, want)
	})
}
