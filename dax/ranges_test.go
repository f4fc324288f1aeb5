package dax_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"syscall"
	"testing"

	"godax/dax"
	"godax/pmem"
)

// Ranges of nothing, of all there is, and those at the ends of what numbers can say.

// TestSB18_NothingToDo: calls about no bytes return at once and change nothing.
//
// Guards I29, I54, T58, T63.
func TestSB18_NothingToDo(t *testing.T) {
	eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
		const size = 2*pageSize + 100 // zeroing what is behind would show in the view
		data := fill(3*pageSize, 1)
		w.mustWrite(data[:size], 0)
		v := w.view(0, 4, sharedRW)
		store(t, v, data[size:], size)
		w.sync()
		calls := w.populates()
		none := func([]byte) (int, error) { t.Error("called for no bytes"); return 0, nil }
		for _, off := range []int64{0, 5, pageSize, size, size + 5, 1 << 40} {
			for name, do := range map[string]func() (int64, error){
				"read":       func() (int64, error) { n, err := w.read(nil, off); return int64(n), err },
				"write":      func() (int64, error) { n, err := w.write(nil, off); return int64(n), err },
				"read to":    func() (int64, error) { return w.m.ReadTo(ctx, off, 0, w, none) },
				"write from": func() (int64, error) { return w.m.WriteFrom(ctx, off, 0, w, none) },
				"zero":       func() (int64, error) { return 0, w.zero(off, 0) },
				"punch":      func() (int64, error) { return 0, w.punch(ctx, off, 0) },
				"unshare":    func() (int64, error) { return 0, w.m.Unshare(ctx, off, 0, w) },
				"writeback":  func() (int64, error) { st, err := w.m.Writeback(ctx, off, 0); return int64(st.Pages), err },
				"invalidate": func() (int64, error) {
					return 0, w.m.Invalidate(uint64(off)/pageSize, 0)
				},
				"layout": func() (int64, error) {
					return 0, w.m.BreakLayout(ctx, uint64(off)/pageSize, 0, func() error { return nil })
				},
				"entries": func() (int64, error) {
					for range w.m.Entries(ctx, uint64(off)/pageSize, 0, w) {
						return 1, nil
					}
					return 0, nil
				},
				"memory failure": func() (int64, error) {
					return int64(w.m.MemoryFailure(pmem.MakePFN(w.dev.ID(), uint64(off)/pageSize), 0)), nil
				},
			} {
				if n, err := do(); n != 0 || err != nil {
					t.Errorf("%s at %d: %d, %v", name, off, n, err)
				}
			}
			for name, err := range map[string]error{
				"collapse": w.collapse(ctx, off, 0), "insert": w.insert(ctx, off, 0),
			} {
				if !errors.Is(err, syscall.EINVAL) {
					t.Errorf("%s at %d: %v", name, off, err)
				}
			}
			_, err := w.m.Pin(ctx, off, 0, 0, w)
			isErr(t, err, syscall.EINVAL)
		}
		if err := errors.Join(w.zero(1<<50, 5), w.punch(ctx, 1<<50, 5)); err != nil {
			t.Error(err)
		}
		if _, err := w.read(make([]byte, 1), size); err != io.EOF {
			t.Errorf("read at the end: %v", err)
		}
		if n := w.populates() - calls; n > 0 {
			t.Errorf("%d populates", n)
		}
		if st := w.sync(); st.Entries != 0 {
			t.Errorf("something got dirty: %+v", st)
		}
		equal(t, "data", w.mustRead(0, size), data[:size])
		equal(t, "view, past the end too", load(t, v, 0, len(data)), data)
		// To an aligned size: nothing is zeroed.
		w.sized(2 * pageSize)
		equal(t, "cut", w.mustRead(0, 2*pageSize), data[:2*pageSize])
		w.sync()
		w.sized(2 * pageSize)
		if st := w.sync(); st.Entries != 0 {
			t.Errorf("a cut to the same size wrote: %+v", st)
		}
	})
}

// byteRange is one for a call about bytes, and the pages it is about, of a file of 8.
type byteRange struct {
	off, n      int64
	first, last int // first > last is none
}

var byteRanges = []byteRange{
	{0, 1, 0, 0}, {0, pageSize, 0, 0}, {0, pageSize + 1, 0, 1}, {0, 8 * pageSize, 0, 7}, {0, math.MaxInt64, 0, 7},
	{3 * pageSize, 1, 3, 3}, {4*pageSize - 1, 1, 3, 3}, {4*pageSize - 1, 2, 3, 4}, {3 * pageSize, pageSize, 3, 3},
	{7 * pageSize, pageSize, 7, 7}, {8*pageSize - 1, 1, 7, 7}, {8*pageSize - 1, math.MaxInt64, 7, 7}, {1, math.MaxInt64, 0, 7},
	{pageSize, math.MaxInt64, 1, 7}, {pageSize, math.MaxInt64 - pageSize, 1, 7}, {8 * pageSize, 1, 1, 0}, {8 * pageSize, math.MaxInt64, 1, 0},
	{math.MaxInt64, 1, 1, 0}, {math.MaxInt64, math.MaxInt64, 1, 0}, {math.MaxInt64 - pageSize, math.MaxInt64, 1, 0},
}

// pageRange is one for a call about pages.
type pageRange struct {
	page, n     uint64
	first, last int
}

var pageRanges = []pageRange{
	{0, 1, 0, 0}, {0, 2, 0, 1}, {0, 8, 0, 7}, {0, dax.ToEnd, 0, 7}, {0, 0, 1, 0}, {3, 0, 1, 0}, {3, 1, 3, 3}, {7, 1, 7, 7}, {7, 2, 7, 7},
	{1, dax.ToEnd, 1, 7}, {7, dax.ToEnd, 7, 7}, {8, 1, 1, 0}, {8, dax.ToEnd, 1, 0}, {dax.ToEnd, 1, 1, 0}, {dax.ToEnd, dax.ToEnd, 1, 0},
	{dax.ToEnd - 1, 5, 1, 0}, {5, dax.ToEnd - 5, 5, 7},
}

// eightPages is a file with an entry for each of 8 pages, dirty or clean, all mapped by a
// view.
func eightPages(t *testing.T, dirty bool) *world {
	w := newWorld(t, 2, 8, dax.Config{NoHuge: true})
	w.onePage = true
	w.mustWrite(fill(8*pageSize, 1), 0)
	w.sync()
	v := w.view(0, 8, sharedRW)
	for p := range int64(8) {
		if load(t, v, p*pageSize, 1); dirty {
			store(t, v, fill(1, uint64(p)), p*pageSize+1)
		}
	}
	return w
}

// entries tells for each page whether it has an entry, and whether that is dirty.
func (w *world) entries() (present, dirty [8]bool) {
	for p := range present {
		_, present[p], dirty[p] = dax.Dirty(w.m, uint64(p))
	}
	return present, dirty
}

// except is what all pages but those of a range have.
func except(first, last int) (all [8]bool) {
	for p := range all {
		all[p] = p < first || p > last
	}
	return all
}

// TestSB32_ByteRanges: calls about bytes that begin and end at 0, in the same page, at the
// end of the file and at infinity are about exactly those pages.
//
// Guards I16, I29, T49, T63, T69.
func TestSB32_ByteRanges(t *testing.T) {
	for _, r := range byteRanges {
		t.Run(fmt.Sprintf("%d+%d", r.off, r.n), func(t *testing.T) {
			w := eightPages(t, true)
			st, err := w.m.Writeback(ctx, r.off, r.n)
			_, dirty := w.entries()
			if err != nil || dirty != except(r.first, r.last) || int(st.Entries) != r.last-r.first+1 {
				t.Errorf("writeback: %+v, %v, dirty afterwards: %v", st, err, dirty)
			}
			w.end()

			for name, do := range map[string]func(w *world) error{
				"punch": func(w *world) error { return w.punch(ctx, r.off, r.n) },
				"zero":  func(w *world) error { return w.zero(r.off, r.n) },
			} {
				w := eightPages(t, true)
				want := w.mustRead(0, 8*pageSize)
				from := min(r.off, 8*pageSize)
				clear(want[from : from+min(r.n, 8*pageSize-from)])
				if err := do(w); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				equal(t, name, w.mustRead(0, 8*pageSize), want)
				w.end()
			}
			if size := r.off; size <= math.MaxInt64-pageSize {
				w := eightPages(t, true)
				want := w.mustRead(0, 8*pageSize)
				w.sized(size)
				present, _ := w.entries()
				if end := int((size + pageSize - 1) / pageSize); present != except(end, 8) {
					t.Errorf("truncate to %d: entries %v", size, present)
				}
				equal(t, "truncate", w.mustRead(0, int(min(size, 8*pageSize))), want[:min(size, 8*pageSize)])
				w.end()
			}
		})
	}
}

// TestSB32_RemapOfAll: two ranges of one file that cover all page numbers are all of it, not
// nothing.
//
// Guards I40, T69.
func TestSB32_RemapOfAll(t *testing.T) {
	w := eightPages(t, false)
	remap := func() error {
		a, b := dax.Range{Mapping: w.m, Page: 1, N: dax.ToEnd}, dax.Range{Mapping: w.m, N: 1}
		return dax.Remap(dax.NoWait(ctx), a, b, false, func() error { return nil })
	}
	pin, err := w.m.Pin(ctx, 5*pageSize, 1, 0, w)
	if err != nil {
		t.Fatal(err)
	}
	isErr(t, remap(), dax.ErrWouldBlock)
	pin.Release()
	if err := remap(); err != nil {
		t.Error(err)
	}
	w.end()
}

// TestSB32_PageRanges is the same for calls about pages; what is outside the range keeps
// entry and translation, and a pin at any page of the range is waited for.
//
// Guards I16, I40, T69.
func TestSB32_PageRanges(t *testing.T) {
	calls := map[string]func(ctx context.Context, w *world, r pageRange) error{
		"layout": func(ctx context.Context, w *world, r pageRange) error {
			return w.m.BreakLayout(ctx, r.page, r.n, func() error { return nil })
		},
		"invalidate": func(ctx context.Context, w *world, r pageRange) error { return w.m.Invalidate(r.page, r.n) },
		"remap": func(ctx context.Context, w *world, r pageRange) error {
			at := dax.Range{Mapping: w.m, Page: r.page, N: r.n}
			return dax.Remap(ctx, at, dax.Range{Mapping: w.m, Page: r.page}, false, func() error { return nil })
		},
	}
	for name, call := range calls {
		for _, r := range pageRanges {
			t.Run(fmt.Sprintf("%s/%d+%#x", name, r.page, r.n), func(t *testing.T) {
				w := eightPages(t, false)
				if err := call(ctx, w, r); err != nil {
					t.Fatal(err)
				}
				present, _ := w.entries()
				if want := except(r.first, r.last); present != want {
					t.Errorf("entries %v, want %v", present, want)
				}
				w.end()

				w = eightPages(t, false)
				for p := range 8 {
					pin, err := w.m.Pin(ctx, int64(p)*pageSize+1, 1, 0, w)
					if err != nil {
						t.Fatal(err)
					}
					err = call(dax.NoWait(ctx), w, r)
					if inside := p >= r.first && p <= r.last; inside && !errors.Is(err, dax.ErrWouldBlock) && !errors.Is(err, dax.ErrBusy) || !inside && err != nil {
						t.Errorf("page %d is pinned: %v", p, err)
					}
					pin.Release()
					w.end()
				}
			})
		}
	}
	var got []dax.Entry
	for _, r := range pageRanges {
		w := eightPages(t, false)
		got = slices.Delete(got, 0, len(got))
		for e, err := range w.m.Entries(ctx, r.page, r.n, w) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		want := r.last - r.first + 1
		if want == 0 != (len(got) == 0) || want > 0 && (len(got) != 1 || got[0].Page != uint64(r.first) || got[0].N != uint64(want)) {
			t.Errorf("entries of %d+%#x: %+v, want %d to %d", r.page, r.n, got, r.first, r.last)
		}
	}
}

// TestSB32_Extremes: files and offsets at the end of int64.
//
// Guards I15, I16, T63, T69.
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
	f.sized(8 * pageSize)
	for name, tt := range map[string]struct{ err, want error }{
		"truncate":                {f.truncate(ctx, -1), syscall.EINVAL},
		"punch":                   {f.punch(ctx, -1, 5), syscall.EINVAL},
		"punch length":            {f.punch(ctx, 1, -5), syscall.EINVAL},
		"zero":                    {f.zero(-1, 1), syscall.EINVAL},
		"unshare":                 {f.m.Unshare(ctx, -1, 1, f), syscall.EINVAL},
		"collapse":                {f.collapse(ctx, -pageSize, pageSize), syscall.EINVAL},
		"collapse to the end":     {f.collapse(ctx, pageSize, 7*pageSize), syscall.EINVAL},
		"collapse to infinity":    {f.collapse(ctx, pageSize, huge-pageSize+1), syscall.EINVAL},
		"collapse of a part":      {f.collapse(ctx, 1, pageSize), syscall.EINVAL},
		"collapse behind":         {f.collapse(ctx, 8*pageSize, pageSize), syscall.EINVAL},
		"insert":                  {f.insert(ctx, -pageSize, pageSize), syscall.EINVAL},
		"insert at the end":       {f.insert(ctx, 8*pageSize, pageSize), syscall.EINVAL},
		"insert of a part":        {f.insert(ctx, pageSize, pageSize+1), syscall.EINVAL},
		"insert too much":         {f.insert(ctx, pageSize, huge-pageSize+1), syscall.EFBIG},
		"insert almost too much ": {f.insert(ctx, pageSize, huge-8*pageSize+1-pageSize), syscall.EFBIG},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
	f.check()
}
