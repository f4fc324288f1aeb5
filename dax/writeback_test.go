package dax_test

import (
	"errors"
	"fmt"
	"math"
	"syscall"
	"testing"

	"godax/dax"
)

// Writeback of one goroutine.

// TestSB15_SB17_FlushesWholeEntriesOnce: a writeback flushes every dirty entry that its
// range touches, whole, wherever in it the range starts and ends, once; a second one
// flushes nothing. The bytes are counted on the device, page by page.
//
// Guards I30, I34, T23, T27, T28, T49.
func TestSB15_SB17_FlushesWholeEntriesOnce(t *testing.T) {
	eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
		run := w.run
		w.mustWrite(fill(int(2*run), 1), 0)
		w.sync()
		v := w.view(0, 2*w.pages, sharedRW)
		count := func(what string, off, n int64, entries uint64, pages ...uint64) {
			t.Helper()
			w.dev.ResetCounts()
			st, err := w.m.Writeback(ctx, off, n)
			if err != nil || st.Entries != entries || st.Pages != uint64(len(pages)) || w.dev.Counts().FlushedBytes != int64(len(pages))*pageSize {
				t.Errorf("%s: %+v, %v, %d bytes flushed; want %d entries, %d pages", what, st, err, w.dev.Counts().FlushedBytes, entries, len(pages))
			}
			for _, p := range pages {
				d, _ := w.device(p)
				if got := w.dev.FlushedBytes(d); got != pageSize {
					t.Errorf("%s: %d bytes of page %d flushed", what, got, p)
				}
			}
			if entries == 0 && w.dev.Counts().Barrier != 0 {
				t.Errorf("%s: a barrier for nothing", what)
			}
		}
		pages := func(first, n uint64) (all []uint64) {
			for p := first; p < first+n; p++ {
				all = append(all, p)
			}
			return all
		}
		first, second, both := pages(0, w.pages), pages(w.pages, w.pages), pages(0, 2*w.pages)
		count("nothing dirty", 0, 2*run, 0)
		storeByte(t, v, 1, 100)
		storeByte(t, v, 1, run+100)
		count("middle of a huge entry", run-pageSize+5, 10, 1, first...)
		count("again", 0, run, 0)
		count("from the last page to the end", 2*run-1, math.MaxInt64, 1, second...)
		storeByte(t, v, 1, 0)
		storeByte(t, v, 1, run)
		count("across the border", run-1, 2, 2, both...)
		storeByte(t, v, 1, 0)
		count("behind", run, run, 0)
		count("no bytes", 0, 0, 0)
		count("all", 0, math.MaxInt64, 1, first...)
		count("all again", 0, math.MaxInt64, 0)
		w.mustWrite([]byte{1}, 2*run+pageSize)
		count("small entry", 0, math.MaxInt64, 1, 2*w.pages+1)
		for _, p := range first {
			storeByte(t, v, 2, int64(p)*pageSize)
			count(fmt.Sprint("first byte of page ", p), int64(p)*pageSize, 1, 1, first...)
			if p > 8 {
				break
			}
		}
		if _, err := w.m.Writeback(ctx, -1, 5); err == nil {
			t.Error("negative offset accepted")
		}
		if _, err := w.m.Writeback(ctx, 1, -5); err == nil {
			t.Error("negative length accepted")
		}
	})
}

// TestSB16_StoreSyncStoreSync: the store after a writeback faults, because the page is
// write-protected, and the next writeback flushes it.
//
// Guards I31, T23, T25.
func TestSB16_StoreSyncStoreSync(t *testing.T) {
	for _, onePage := range []bool{false, true} {
		t.Run(fmt.Sprintf("small %t", onePage), func(t *testing.T) {
			eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
				w.onePage = onePage
				w.sized(w.run)
				s := w.space()
				v, other := w.mapView(s, 0, w.pages, sharedRW), w.mapView(s, 0, 1, sharedRW)
				for i := range byte(4) {
					if i%2 == 1 {
						storeByte(t, other, i+1, 8)
					} else {
						storeByte(t, v, i+1, 8)
					}
					if st := w.sync(); st.Entries != 1 {
						t.Fatalf("store %d: %+v, want one entry", i, st)
					}
					d, _ := w.device(0)
					if got := w.dev.Durable()[d*pageSize+8]; got != i+1 {
						t.Fatalf("store %d: %d is durable", i, got)
					}
					if l := translation(t, v, 0); l.Write || l.Dirty {
						t.Fatalf("after the flush: %+v", l)
					}
					w.check()
				}
				if calls := w.populates(); !onePage && !t.Failed() && w.m.Stats().Populates.Load() != uint64(calls) {
					t.Errorf("%d populates, %d counted", calls, w.m.Stats().Populates.Load())
				}
			})
		})
	}
}

// TestSB28_SG6_FlushErrors: an error of a flush, once, that a writeback of nobody's file
// meets, is reported once by each of three open files; the entry stays dirty and the next
// writeback flushes it.
//
// Guards I35, T33.
func TestSB28_SG6_FlushErrors(t *testing.T) {
	for _, huge := range []bool{false, true} {
		t.Run(fmt.Sprintf("huge %t", huge), func(t *testing.T) {
			eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
				flushErrors(w, huge)
			})
		})
	}
}

func flushErrors(w *world, huge bool) {
	t := w.t
	t.Helper()
	n := int64(4 * w.pages)
	w.onePage = !huge
	w.mustWrite(fill(int(n)*pageSize, 1), 0)
	w.sync()
	seen := [3]uint64{w.m.WritebackErrors(), w.m.WritebackErrors(), w.m.WritebackErrors()}
	for p := range n {
		w.mustWrite([]byte{1}, p*pageSize)
	}
	bad := 2*w.pages + 1
	d, _ := w.device(bad)
	stop := w.dev.Inject(psimFlushFault(int64(d) * pageSize))
	_, err := w.m.Writeback(ctx, 0, n*pageSize) // sync(2), say
	isErr(t, err, syscall.EIO)
	dirty := uint64(0)
	for p := range uint64(n) {
		order, ok, d := dax.Dirty(w.m, p)
		if failed := p>>order == bad>>order; !ok || d != failed {
			t.Errorf("page %d: dirty %t, flush failed %t", p, d, failed)
		}
		if d {
			dirty++
		}
	}
	if want := map[bool]uint64{false: 1, true: w.pages}[huge]; dirty != want {
		t.Errorf("%d pages are dirty, want %d", dirty, want)
	}
	stop()
	for i := range seen {
		if err := w.m.WritebackError(&seen[i]); !errors.Is(err, syscall.EIO) {
			t.Errorf("open file %d: %v, want EIO", i, err)
		}
		if err := w.m.WritebackError(&seen[i]); err != nil {
			t.Errorf("open file %d, second time: %v", i, err)
		}
	}
	late := w.m.WritebackErrors()
	if err := w.m.WritebackError(&late); err != nil {
		t.Errorf("opened after the error: %v", err)
	}
	if st := w.sync(); st.Entries != 1 || st.Pages != dirty {
		t.Errorf("next writeback: %+v, want the one entry", st)
	}
	for i := range seen {
		if err := w.m.WritebackError(&seen[i]); err != nil {
			t.Errorf("open file %d, after a good writeback: %v", i, err)
		}
	}
	for p := range uint64(n) {
		d, _ := w.device(p)
		if w.dev.Durable()[d*pageSize] != 1 {
			t.Errorf("page %d is not durable", p)
		}
	}
}

// A barrier that fails leaves nothing that counts as durable.
//
// Guards I30, I35.
func TestSB28_BarrierError(t *testing.T) {
	eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
		w.mustWrite(fill(3*pageSize, 1), 0)
		stop := w.dev.Inject(psimBarrierFault())
		_, err := w.m.Writeback(ctx, 0, 3*pageSize)
		isErr(t, err, syscall.EIO)
		stop()
		if st := w.sync(); st.Pages < 3 {
			t.Errorf("after a failed barrier %d pages were flushed again, want all 3", st.Pages)
		}
		d, _ := w.device(1)
		equal(t, "medium", w.dev.Durable()[d*pageSize:][:pageSize], w.mustRead(pageSize, pageSize))
	})
}
