//go:build unix

package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"godax/pmem"
	"godax/vm"
)

const ps = pmem.PageSize

// file is the smallest file system that can serve faults: page p of the file is
// frame base+p, unless it is a hole.
type file struct {
	order uint // largest order that it answers
	base  pmem.PFN
	views vm.Views

	mu     sync.Mutex
	mem    [][]byte // by page
	holes  map[uint64]bool
	dirty  map[uint64]bool // by page of a small or huge run's first
	before func(*vm.Fault) error
}

func newFile(pages int, order uint) *file {
	f := &file{order: order, base: 1 << 20, holes: map[uint64]bool{}, dirty: map[uint64]bool{}}
	for b := range slices.Chunk(mmap(pages*ps), ps) {
		f.mem = append(f.mem, b)
	}
	return f
}

// mmap returns memory that the race detector does not watch, as a device's.
func mmap(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return b
}

func (f *file) resolve(pfn pmem.PFN) ([]byte, error) {
	if i := int(pfn - f.base); pfn >= f.base && i < len(f.mem) {
		return f.mem[i], nil
	}
	return nil, errors.New("no such frame")
}

func (f *file) Fault(ft *vm.Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil {
		if err := f.before(ft); err != nil {
			return err
		}
	}
	n := uint64(1) << ft.Order
	first := ft.Page &^ (n - 1)
	if ft.Page >= uint64(len(f.mem)) {
		return errors.New("past the end")
	}
	private := ft.Access == vm.Store && ft.View.Flags()&vm.Shared == 0
	if ft.Order > 0 && (ft.Order > f.order || first+n > uint64(len(f.mem)) || private || !ft.View.Congruent(ft.Page, ft.Order)) {
		return vm.ErrFallback
	}
	holes := 0
	for p := first; p < first+n; p++ {
		if f.holes[p] {
			holes++
		}
	}
	if private {
		if holes == 0 {
			copy(ft.CowPage, f.mem[ft.Page])
		}
		return ft.View.Install(vm.Translation{Page: ft.Page, N: 1, Kind: vm.Private, Copy: ft.CowPage})
	}
	write := ft.Access != vm.Load
	if holes > 0 && !write {
		if holes != int(n) {
			return vm.ErrFallback
		}
		return ft.View.Install(vm.Translation{Page: first, N: n, Kind: vm.Zero})
	}
	if holes > 0 {
		f.views.Unmap(first, n, false)
		for p := first; p < first+n; p++ {
			delete(f.holes, p)
		}
		ft.Major = true
	}
	if write {
		f.dirty[first] = true
	}
	return ft.View.Install(vm.Translation{Page: first, N: n, Kind: vm.Frames, PFN: f.base + pmem.PFN(first), Write: write})
}

func mustMap(t testing.TB, s *Space, f *file, page, n uint64, flags vm.Flags) *View {
	t.Helper()
	v, err := s.Map(f, page, n, flags)
	if err != nil {
		t.Fatal(err)
	}
	f.views.Add(v)
	t.Cleanup(func() {
		if err := v.Check(); err != nil {
			t.Error(err)
		}
		f.views.Remove(v)
		v.Close()
		if got := len(v.Translations()); got != 0 {
			t.Errorf("closed view has %d translations", got)
		}
	})
	return v
}

func load(t testing.TB, v *View, off int64, n int) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xaa}, n)
	if err := v.Load(context.Background(), b, off); err != nil {
		t.Fatalf("load %d bytes at %d: %v", n, off, err)
	}
	return b
}

func store(t testing.TB, v *View, off int64, b []byte) {
	t.Helper()
	if err := v.Store(context.Background(), b, off); err != nil {
		t.Fatalf("store %d bytes at %d: %v", len(b), off, err)
	}
}

const rws = vm.Read | vm.Write | vm.Shared

func TestOrders(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		t.Run(fmt.Sprint(pmd), func(t *testing.T) {
			n := uint64(1) << pmd
			f := newFile(int(2*n+1), pmd)
			s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
			v := mustMap(t, s, f, 0, 2*n+1, rws)
			load(t, v, 0, 1)
			store(t, v, int64(n+1)*ps, []byte{7})
			load(t, v, int64(2*n)*ps, 1)
			want := []Leaf{
				{Page: 0, Order: pmd, PFN: f.base},
				{Page: n, Order: pmd, PFN: f.base + pmem.PFN(n), Write: true, Dirty: true},
				{Page: 2 * n, PFN: f.base + pmem.PFN(2*n)},
			}
			if got := v.Translations(); !slices.Equal(got, want) {
				t.Errorf("translations %+v, want %+v", got, want)
			}
			if got := f.mem[n+1][0]; got != 7 {
				t.Errorf("file has %d, want 7", got)
			}
			// The store to the first run upgrades in place, at the huge order.
			store(t, v, 0, []byte{9})
			wantFaults := map[FaultKind]uint64{{vm.Load, pmd}: 1, {vm.Store, pmd}: 1, {vm.MkWrite, pmd}: 1, {vm.Load, 0}: 1}
			if got := s.Stats().Faults; !maps.Equal(got, wantFaults) {
				t.Errorf("faults %v, want %v", got, wantFaults)
			}
			v.Protect(n+1, 1)
			if l, _ := v.Lookup(n); l.Write || l.Dirty {
				t.Errorf("after Protect: %+v", l)
			}
			v.Unmap(n-1, 1, false)
			if l, ok := v.Lookup(0); ok {
				t.Errorf("huge translation left after Unmap of its last page: %+v", l)
			}
		})
	}
}

func TestThreeLevels(t *testing.T) {
	f := newFile(64, 4)
	s := New(Config{PMDOrder: 2, PUDOrder: 4, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 64, rws)
	load(t, v, 5*ps, 1)
	if l, _ := v.Lookup(15); l.Order != 4 {
		t.Errorf("got %+v, want order 4", l)
	}
	f.order = 2
	store(t, v, 5*ps, []byte{1}) // MkWrite at 4 falls back, the huge one goes, Store at 2
	if l, _ := v.Lookup(5); l.Order != 2 || !l.Write {
		t.Errorf("got %+v, want writable order 2", l)
	}
	if l, ok := v.Lookup(0); ok {
		t.Errorf("split left %+v", l)
	}
	st := s.Stats()
	if st.Fallbacks != 1 || st.Splits != 1 || st.Tables != 1 {
		t.Errorf("fallbacks %d, splits %d, tables %d; want 1 each", st.Fallbacks, st.Splits, st.Tables)
	}
	v.Unmap(0, 64, false)
	if got := s.Stats().Tables; got != 0 {
		t.Errorf("%d tables left", got)
	}
}

func TestColour(t *testing.T) {
	f := newFile(16, 2)
	for _, tryAll := range []bool{false, true} {
		s := New(Config{PMDOrder: 2, Resolve: f.resolve, TryAll: tryAll})
		v, err := s.MapAt(f, 0, 16, rws, 101)
		if err != nil {
			t.Fatal(err)
		}
		load(t, v, 4*ps, 1)
		if l, _ := v.Lookup(4); l.Order != 0 {
			t.Errorf("wrong colour mapped at order %d", l.Order)
		}
		want := uint64(0)
		if tryAll {
			want = 1
		}
		if got := s.Stats().Fallbacks; got != want {
			t.Errorf("TryAll %v: %d fallbacks, want %d", tryAll, got, want)
		}
		if _, err := s.MapAt(f, 0, 1, rws, 116); err == nil {
			t.Error("overlapping view accepted")
		}
		if w, err := s.MapAt(f, 0, 1, rws, 117); err != nil {
			t.Error(err)
		} else {
			w.Close()
		}
		v.Close()
	}
}

func TestZero(t *testing.T) {
	f := newFile(8, 2)
	for p := range uint64(7) {
		f.holes[p] = true
	}
	for i := range f.mem {
		f.mem[i][0] = byte(i) // a hole must not show it
	}
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 8, rws)
	w := mustMap(t, s, f, 0, 8, vm.Read|vm.Shared)
	for _, x := range []*View{v, w} {
		if b := load(t, x, 2*ps, 1); b[0] != 0 {
			t.Errorf("hole reads %d", b[0])
		}
		if b := load(t, x, 5*ps, 1); b[0] != 0 {
			t.Errorf("hole reads %d", b[0])
		}
		if l, _ := x.Lookup(0); l.Kind != vm.Zero || l.Order != 2 {
			t.Errorf("got %+v, want huge zero", l)
		}
		if l, _ := x.Lookup(5); l.Kind != vm.Zero || l.Order != 0 {
			t.Errorf("got %+v, want small zero", l)
		}
	}
	f.mem[2][0] = 0
	store(t, v, 2*ps+1, []byte{42})
	if b := load(t, w, 2*ps, 2); !bytes.Equal(b, []byte{0, 42}) {
		t.Errorf("other view reads %v", b)
	}
	if got := s.Stats(); got.Major != 1 || got.Faults[FaultKind{vm.MkWrite, 2}] != 1 {
		t.Errorf("stats %+v: want one major fault, one huge MkWrite", got)
	}
}

func TestPrivate(t *testing.T) {
	f := newFile(8, 2)
	f.mem[1][0], f.mem[2][0] = 11, 12
	f.holes[7] = true
	for _, tryAll := range []bool{false, true} {
		s := New(Config{PMDOrder: 2, Resolve: f.resolve, TryAll: tryAll})
		v := mustMap(t, s, f, 0, 8, vm.Read|vm.Write)
		load(t, v, 0, 1)
		store(t, v, ps+1, []byte{99})
		store(t, v, 7*ps, []byte{98})
		if b := load(t, v, ps, 2); !bytes.Equal(b, []byte{11, 99}) {
			t.Errorf("private copy reads %v", b)
		}
		if b := load(t, v, 2*ps, 1); b[0] != 12 {
			t.Errorf("neighbour reads %d", b[0])
		}
		if f.mem[1][1] != 0 || f.mem[7][0] != 0 || !f.holes[7] {
			t.Error("private store reached the file")
		}
		if got := s.Stats().Splits; got != 1 {
			t.Errorf("%d splits, want 1", got)
		}
		v.Unmap(0, 8, false)
		if l, ok := v.Lookup(2); ok {
			t.Errorf("left after Unmap: %+v", l)
		}
		if b := load(t, v, ps, 2); !bytes.Equal(b, []byte{11, 99}) {
			t.Errorf("private copy reads %v after Unmap", b)
		}
		v.Unmap(0, 8, true)
		if b := load(t, v, ps, 2); !bytes.Equal(b, []byte{11, 0}) {
			t.Errorf("after truncation reads %v", b)
		}
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	f := newFile(4, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve, MaxRetries: 50})
	v := mustMap(t, s, f, 0, 6, vm.Read|vm.Shared)
	b := make([]byte, 1)
	var bus *vm.BusError
	if err := v.Load(ctx, b, 4*ps); !errors.As(err, &bus) || bus.Page != 4 {
		t.Errorf("past the end: %v", err)
	}
	for name, err := range map[string]error{
		"store to read-only view": v.Store(ctx, b, 0),
		"past the view":           v.Load(ctx, b, 6*ps),
		"negative":                v.Load(ctx, b, -1),
	} {
		if !errors.Is(err, ErrSegv) {
			t.Errorf("%s: %v, want ErrSegv", name, err)
		}
	}
	f.before = func(*vm.Fault) error { return vm.ErrRetry }
	if err := v.Load(ctx, b, 0); !errors.Is(err, ErrNoProgress) {
		t.Errorf("endless retry: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := v.Load(cancelled, b, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	f.before = func(*vm.Fault) error { return vm.ErrFallback }
	if err := v.Load(ctx, b, 0); !errors.Is(err, vm.ErrFallback) {
		t.Errorf("fallback at order 0: %v", err)
	}
	f.before = nil
	v.Close()
	if err := v.Load(ctx, b, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestInstall(t *testing.T) {
	f := newFile(8, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	page := make([]byte, ps)
	fr := func(page, n uint64, pfn pmem.PFN, write bool) vm.Translation {
		return vm.Translation{Page: page, N: n, Kind: vm.Frames, PFN: pfn, Write: write}
	}
	zero := func(page, n uint64) vm.Translation { return vm.Translation{Page: page, N: n, Kind: vm.Zero} }
	cow := vm.Translation{Page: 1, N: 1, Kind: vm.Private, Copy: page}
	for _, tt := range []struct {
		name  string
		flags vm.Flags
		seq   []vm.Translation // all but the last must succeed
		want  error
	}{
		{"same frame", rws, []vm.Translation{fr(1, 1, 9, false), fr(1, 1, 9, false)}, nil},
		{"upgrade", rws, []vm.Translation{fr(1, 1, 9, false), fr(1, 1, 9, true)}, nil},
		{"no downgrade", rws, []vm.Translation{fr(1, 1, 9, true), fr(1, 1, 9, false)}, nil},
		{"another frame", rws, []vm.Translation{fr(1, 1, 9, false), fr(1, 1, 10, true)}, ErrConflict},
		{"zero meets writable", rws, []vm.Translation{zero(1, 1), fr(1, 1, 9, true)}, vm.ErrRetry},
		{"frame meets zero", rws, []vm.Translation{fr(1, 1, 9, true), zero(1, 1)}, ErrConflict},
		{"table meets huge", rws, []vm.Translation{fr(1, 1, 9, true), fr(0, 4, 8, true)}, vm.ErrRetry},
		{"huge meets small", rws, []vm.Translation{fr(0, 4, 8, true), fr(1, 1, 9, true)}, vm.ErrRetry},
		{"huge zero meets huge", rws, []vm.Translation{zero(4, 4), fr(4, 4, 8, true)}, vm.ErrRetry},
		{"unaligned", rws, []vm.Translation{fr(1, 4, 8, true)}, ErrConflict},
		{"unaligned frame", rws, []vm.Translation{fr(0, 4, 9, true)}, ErrConflict},
		{"no such order", rws, []vm.Translation{fr(0, 2, 8, true)}, ErrConflict},
		{"outside", rws, []vm.Translation{fr(8, 4, 8, true)}, ErrConflict},
		{"writable in read-only view", vm.Read | vm.Shared, []vm.Translation{fr(0, 1, 8, true)}, ErrConflict},
		{"writable in private view", vm.Read | vm.Write, []vm.Translation{fr(0, 1, 8, true)}, ErrConflict},
		{"copy in shared view", rws, []vm.Translation{cow}, ErrConflict},
		{"second copy", vm.Read | vm.Write, []vm.Translation{cow, cow}, vm.ErrRetry},
		{"copy over zero", vm.Read | vm.Write, []vm.Translation{zero(1, 1), cow}, nil},
		{"copy over frame", vm.Read | vm.Write, []vm.Translation{fr(1, 1, 9, false), cow}, nil},
		{"frame over copy", vm.Read | vm.Write, []vm.Translation{cow, fr(1, 1, 9, false)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := mustMap(t, s, f, 0, 10, tt.flags)
			for i, tr := range tt.seq {
				want := error(nil)
				if i == len(tt.seq)-1 {
					want = tt.want
				}
				if err := v.Install(tr); !errors.Is(err, want) {
					t.Fatalf("install %d: %v, want %v", i, err, want)
				}
			}
			if l, ok := v.Lookup(1); ok && (tt.name == "frame over copy") != (l.Kind == vm.Private) && tt.flags == vm.Read|vm.Write && tt.want == nil && tt.seq[1].Kind != vm.Private {
				t.Errorf("ended as %+v", l)
			}
		})
	}
}

func TestGone(t *testing.T) {
	f := newFile(4, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 4, rws)
	if err := v.Install(vm.Translation{Page: 1, N: 1, Kind: vm.Gone}); err != nil {
		t.Fatal(err)
	}
	var bus *vm.BusError
	for name, err := range map[string]error{
		"load":  v.Load(context.Background(), make([]byte, 1), ps),
		"store": v.Store(context.Background(), make([]byte, 1), ps),
	} {
		if !errors.As(err, &bus) || bus.Page != 1 {
			t.Errorf("%s: %v, want a bus error at page 1", name, err)
		}
	}
}

// TestStress runs loads and stores of several views against unmaps and
// protections, each goroutine on bytes of its own, and checks every byte.
func TestStress(t *testing.T) {
	const pages, workers, rounds = 32, 4, 1500
	f := newFile(pages, 4)
	for p := range uint64(pages) {
		f.holes[p] = p%8 > 3
	}
	maps.DeleteFunc(f.holes, func(_ uint64, hole bool) bool { return !hole })
	s := New(Config{PMDOrder: 2, PUDOrder: 4, Resolve: f.resolve, TryAll: true})
	v := mustMap(t, s, f, 0, pages, rws)
	p := mustMap(t, s, f, 0, pages, vm.Read|vm.Write)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			shared, private := map[int64]byte{}, map[int64]byte{}
			b := make([]byte, 1)
			for i := range rounds {
				off := r.Int64N(pages)*ps + int64(w)
				x, want := v, shared
				if w%2 == 1 {
					x, want = p, private
				}
				var err error
				switch r.IntN(6) {
				case 0, 1:
					b[0] = byte(i)
					err = x.Store(context.Background(), b, off)
					want[off] = byte(i)
				case 2:
					f.mu.Lock() // stands for the entry lock
					v.Unmap(r.Uint64N(pages), 3, false)
					p.Unmap(r.Uint64N(pages), 3, false)
					f.mu.Unlock()
				case 3:
					v.Protect(r.Uint64N(pages), 5)
				default:
					if err = x.Load(context.Background(), b, off); err == nil && b[0] != want[off] {
						t.Errorf("worker %d: offset %d reads %d, want %d", w, off, b[0], want[off])
					}
				}
				if err != nil {
					t.Errorf("worker %d: %v", w, err)
				}
				if err := s.Check(); err != nil {
					t.Errorf("worker %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	if got := s.Stats().Tables; got != 0 {
		t.Errorf("%d tables left", got)
	}
}
