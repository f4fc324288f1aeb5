//go:build unix

package sim

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"

	"godax/pmem"
	"godax/vm"
)

var bg = context.Background()

// mapListed maps without the clean-up of mustMap: the view may be replaced.
func mapListed(t testing.TB, s *Space, f *file, page, n uint64, flags vm.Flags) *View {
	t.Helper()
	v, err := s.Map(f, page, n, flags)
	if err != nil {
		t.Fatal(err)
	}
	f.views.Add(v)
	return v
}

// wantSpace verifies what the space's views are, and that the file lists the same.
func wantSpace(t testing.TB, s *Space, f *file, want ...part) {
	t.Helper()
	var got []part
	for _, v := range s.Views() {
		got = append(got, part{v.page, v.n, v.addr})
	}
	if !slices.Equal(got, want) {
		t.Errorf("views %v, want %v", got, want)
	}
	if f.views.Len() != len(want) || s.Stats().Views != int64(len(want)) {
		t.Errorf("%d views on the list, %d counted, want %d", f.views.Len(), s.Stats().Views, len(want))
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

// wantEmpty closes the space and verifies that nothing is left.
func wantEmpty(t testing.TB, s *Space) {
	t.Helper()
	s.Close()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Views != 0 || st.Tables != 0 || st.Deposits != 0 || st.Copies != 0 {
		t.Errorf("left: %+v", st)
	}
}

func TestSplit(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		n := uint64(1) << pmd
		f := newFile(int(3*n), pmd)
		s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
		v := mapListed(t, s, f, 0, 3*n, rws)
		for p := uint64(0); p < 3*n; p += n {
			store(t, v, int64(p)*ps, []byte{byte(p + 1)})
		}
		for _, page := range []uint64{0, 3 * n} {
			if _, _, err := v.Split(&f.views, page); !errors.Is(err, ErrSegv) {
				t.Errorf("split at page %d: %v", page, err)
			}
		}
		addr := v.Addr()
		low, high, err := v.Split(&f.views, n+1) // through the second run
		if err != nil {
			t.Fatal(err)
		}
		wantSpace(t, s, f, part{0, n + 1, addr}, part{n + 1, 2*n - 1, addr + n + 1})
		for page, w := range map[uint64]*View{0: low, 2 * n: high} {
			if l, _ := w.Lookup(page); l.Order != pmd || !l.Write || !l.Dirty {
				t.Errorf("order %d: page %d became %+v", pmd, page, l)
			}
		}
		if l, ok := low.Lookup(n); ok {
			t.Errorf("order %d: a run through the border is %+v", pmd, l)
		}
		if len(v.Translations()) != 0 || !errors.Is(v.Load(bg, make([]byte, 1), 0), ErrClosed) {
			t.Error("the old view lives")
		}
		if err := v.Install(vm.Translation{N: 1, Kind: vm.Zero}); !errors.Is(err, ErrClosed) {
			t.Errorf("install into the old view: %v", err)
		}
		if _, _, err := v.Split(&f.views, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("second split: %v", err)
		}
		b := make([]byte, 1)
		if _, err := s.Load(bg, b, (addr+n)*ps); err != nil || b[0] != byte(n+1) {
			t.Errorf("order %d: loads %d, %v", pmd, b[0], err)
		}
		f.views.Protect(0, 3*n)
		for _, w := range s.Views() {
			for _, l := range w.Translations() {
				if l.Write {
					t.Errorf("order %d: writable after Protect: %+v", pmd, l)
				}
			}
		}
		wantEmpty(t, s)
	}
}

func TestCut(t *testing.T) {
	f := newFile(16, 2)
	for name, c := range map[string]struct {
		page, n uint64
		rest    [][2]uint64
	}{
		"middle": {5, 2, [][2]uint64{{0, 5}, {7, 9}}},
		"start":  {0, 3, [][2]uint64{{3, 13}}},
		"end":    {13, 3, [][2]uint64{{0, 13}}},
		"all":    {0, 16, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{PMDOrder: 2, Resolve: f.resolve})
			v := mapListed(t, s, f, 0, 16, vm.Read|vm.Write)
			for p := int64(0); p < 16; p++ {
				store(t, v, p*ps, []byte{byte(p) + 1})
			}
			for _, bad := range [][2]uint64{{0, 0}, {16, 1}, {10, 7}} {
				if _, err := v.Cut(&f.views, bad[0], bad[1]); !errors.Is(err, ErrSegv) {
					t.Errorf("cut %v: %v", bad, err)
				}
			}
			rest, err := v.Cut(&f.views, c.page, c.n)
			if err != nil {
				t.Fatal(err)
			}
			var want []part
			for _, r := range c.rest {
				want = append(want, part{r[0], r[1], v.Addr() + r[0]})
			}
			wantSpace(t, s, f, want...)
			b := make([]byte, 1)
			for p := uint64(0); p < 16; p++ {
				n, err := s.Load(bg, b, (v.Addr()+p)*ps)
				if gone := p >= c.page && p < c.page+c.n; gone != errors.Is(err, syscall.EFAULT) || !gone && (n != 1 || b[0] != byte(p)+1) {
					t.Errorf("page %d: %d, %d, %v", p, n, b[0], err)
				}
			}
			if got := s.Stats().Copies; got != int64(16-c.n) {
				t.Errorf("%d private copies, want %d", got, 16-c.n)
			}
			for _, w := range rest {
				w.Close()
				f.views.Remove(w)
			}
			wantEmpty(t, s)
		})
	}
}

func TestGrowAndMove(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		n := uint64(1) << pmd
		f := newFile(int(4*n), pmd)
		s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
		v := mapListed(t, s, f, 0, n, rws)
		store(t, v, 0, []byte{9})
		v, err := v.Grow(&f.views, n)
		if err != nil {
			t.Fatal(err)
		}
		addr := v.Addr()
		store(t, v, int64(n)*ps, []byte{8})
		other, err := s.MapAt(f, 0, n, rws, addr+4*n)
		if err != nil {
			t.Fatal(err)
		}
		f.views.Add(other)
		for name, err := range map[string]error{
			"grow over another view": second(v.Grow(&f.views, 2*n+1)),
			"grow for ever":          second(v.Grow(&f.views, 1<<63)),
			"move over another view": second(v.Move(&f.views, addr+3*n)),
			"not on that list":       second(v.Move(new(vm.Views), addr+8*n)),
		} {
			if err == nil {
				t.Errorf("%s is accepted", name)
			}
		}
		wantSpace(t, s, f, part{0, 2 * n, addr}, part{0, n, addr + 4*n}) // nothing has changed
		if l, _ := v.Lookup(n); l.Order != pmd || !l.Write {
			t.Errorf("after refused changes: %+v", l)
		}
		v, err = v.Move(&f.views, addr+n) // same colour, over itself
		if err != nil {
			t.Fatal(err)
		}
		if l, _ := v.Lookup(n); l.Order != pmd || !l.Write {
			t.Errorf("order %d: moved as %+v", pmd, l)
		}
		f.order = 0
		v.Unmap(0, n, false)
		store(t, v, 0, []byte{7}) // small
		v, err = v.Move(&f.views, addr+8*n+1)
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := v.Lookup(n); ok {
			t.Errorf("order %d: another colour, still %+v", pmd, l)
		}
		if l, _ := v.Lookup(0); l.Order != 0 || !l.Write || !l.Dirty {
			t.Errorf("order %d: small one moved as %+v", pmd, l)
		}
		b := make([]byte, 1)
		if _, err := s.Load(bg, b, (addr+9*n+1)*ps); err != nil || b[0] != 8 {
			t.Errorf("order %d: loads %d, %v", pmd, b[0], err)
		}
		wantSpace(t, s, f, part{0, n, addr + 4*n}, part{0, 2 * n, addr + 8*n + 1})
		wantEmpty(t, s)
	}
}

func second[T any](_ T, err error) error { return err }

func TestFork(t *testing.T) {
	f := newFile(8, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	p := mapListed(t, s, f, 0, 8, vm.Read|vm.Write)
	v := mapListed(t, s, f, 0, 8, rws)
	store(t, p, 0, []byte{1})
	load(t, p, 5*ps, 1)
	store(t, v, 4*ps, []byte{2})
	if err := v.Install(vm.Translation{Page: 1, N: 1, Kind: vm.Gone}); err != nil {
		t.Fatal(err)
	}
	child, err := s.Fork(func(*View) vm.Replacer { return &f.views })
	if err != nil {
		t.Fatal(err)
	}
	if f.views.Len() != 4 {
		t.Errorf("%d views on the list, want 4", f.views.Len())
	}
	cp, cv := child.Views()[0], child.Views()[1]
	if got := cv.Translations(); !slices.Equal(got, []Leaf{{Page: 1, Kind: vm.Gone}}) {
		t.Errorf("shared child has %+v", got)
	}
	if got := cp.Translations(); len(got) != 1 || got[0].Kind != vm.Private {
		t.Errorf("private child has %+v", got)
	}
	store(t, p, 1, []byte{3})
	store(t, cp, 1, []byte{4})
	if a, b := load(t, p, 0, 2), load(t, cp, 0, 2); !bytes.Equal(a, []byte{1, 3}) || !bytes.Equal(b, []byte{1, 4}) || f.mem[0][0] != 0 {
		t.Errorf("parent %v, child %v, file %d", a, b, f.mem[0][0])
	}
	store(t, cv, 4*ps+1, []byte{5})
	if got := load(t, v, 4*ps, 2); !bytes.Equal(got, []byte{2, 5}) {
		t.Errorf("shared: %v", got)
	}
	// A truncation takes the copies of both.
	f.views.Unmap(0, 8, true)
	for _, x := range []*Space{s, child} {
		if st := x.Stats(); st.Copies != 0 || st.Tables != 0 || st.Deposits != 0 {
			t.Errorf("left after Unmap: %+v", st)
		}
	}
	if _, err := p.Fork(&f.views, child); err == nil {
		t.Error("fork over another view is accepted")
	}
	empty := New(Config{PMDOrder: 2})
	if _, err := p.Fork(new(vm.Views), empty); !errors.Is(err, ErrNotListed) || len(empty.Views()) != 0 {
		t.Errorf("not on the list: %v, views %v", err, empty.Views())
	}
	if _, err := p.Fork(nil, New(Config{PMDOrder: 3})); err == nil {
		t.Error("fork to a space of other orders is accepted")
	}
	if _, err := s.Fork(func(w *View) vm.Replacer {
		if w == v {
			return new(vm.Views)
		}
		return &f.views
	}); !errors.Is(err, ErrNotListed) || f.views.Len() != 4 {
		t.Errorf("fork of a space: %v, %d views listed", err, f.views.Len())
	}
	wantEmpty(t, s)
	wantEmpty(t, child)
}

// TestShortCounts: what was done before an error is counted (S-G13).
func TestShortCounts(t *testing.T) {
	f := newFile(8, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mapListed(t, s, f, 0, 8, rws)
	b := bytes.Repeat([]byte{5}, 4*ps)
	count := func(what string, n int, err error, want int, wantErr error) {
		t.Helper()
		if n != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %d, %v; want %d, %v", what, n, err, want, wantErr)
		}
	}
	n, err := v.StoreN(bg, b, 100)
	count("store", n, err, len(b), nil)
	n, err = v.StoreN(bg, b, 6*ps+100)
	count("store across the end", n, err, 2*ps-100, ErrSegv)
	n, err = v.LoadN(bg, b, -1)
	count("load at -1", n, err, 0, ErrSegv)
	f.before = func(ft *vm.Fault) error {
		if ft.Page == 4 {
			return pmem.ErrPoisoned
		}
		return nil
	}
	f.views.Unmap(0, 8, false)
	f.order = 0
	n, err = v.LoadN(bg, b, 2*ps+1)
	count("load of a bad page", n, err, 2*ps-1, pmem.ErrPoisoned)
	n, err = s.Load(bg, b, (v.Addr()+2)*ps+1)
	count("load of a bad page by address", n, err, 2*ps-1, pmem.ErrPoisoned)
	if _, err := v.Cut(&f.views, 2, 1); err != nil {
		t.Fatal(err)
	}
	n, err = s.Load(bg, b, v.Addr()*ps+10)
	count("load of a hole between views", n, err, 2*ps-10, syscall.EFAULT)
	n, err = s.Store(bg, b, (v.Addr()+5)*ps)
	count("store past everything", n, err, 3*ps, syscall.EFAULT)
	wantEmpty(t, s)
}

// TestAccounting: tables laid by and private copies are as many as there should be, and
// Check notices if not.
func TestAccounting(t *testing.T) {
	f := newFile(64, 4)
	f.holes[8], f.holes[9], f.holes[10], f.holes[11] = true, true, true, true
	s := New(Config{PMDOrder: 2, PUDOrder: 4, Resolve: f.resolve})
	v := mapListed(t, s, f, 0, 64, vm.Read|vm.Write)
	want := func(tables, deposits, copies int64) {
		t.Helper()
		if st := s.Stats(); st.Tables != tables || st.Deposits != deposits || st.Copies != copies {
			t.Errorf("tables %d, deposits %d, copies %d; want %d, %d, %d", st.Tables, st.Deposits, st.Copies, tables, deposits, copies)
		}
	}
	load(t, v, 20*ps, 1) // order 4
	want(0, 1, 0)
	load(t, v, 9*ps, 1) // huge zero, order 2
	want(1, 2, 0)
	store(t, v, 9*ps, []byte{1}) // splits it
	want(2, 1, 1)
	store(t, v, 20*ps, []byte{1}) // splits the order 4
	want(4, 0, 2)
	load(t, v, 24*ps, 1)
	want(4, 1, 2)
	v.Unmap(0, 64, false)
	want(4, 0, 2)
	for name, spoil := range map[string]func(d int64){
		"deposit": func(d int64) { v.alive.deposits += d },
		"copy":    func(d int64) { v.alive.copies += d },
		"table":   func(d int64) { v.alive.tables += d },
	} {
		if spoil(1); v.Check() == nil {
			t.Errorf("a %s too many is not noticed", name)
		}
		spoil(-1)
	}
	wantEmpty(t, s)
	s.stats.deposits.Add(1)
	if s.Check() == nil {
		t.Error("a deposit left behind is not noticed")
	}
}

// TestHitsDoNotAllocate.
func TestHitsDoNotAllocate(t *testing.T) {
	f := newFile(8, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 8, rws)
	p := mustMap(t, s, f, 0, 8, vm.Read|vm.Write)
	b := make([]byte, 2*ps)
	for name, op := range map[string]func() error{
		"load":          func() error { return v.Load(bg, b, 100) },
		"store":         func() error { return v.Store(bg, b, 100) },
		"private store": func() error { return p.Store(bg, b, 100) },
		"by address":    func() error { return second(s.Load(bg, b, v.Addr()*ps+100)) },
	} {
		if err := op(); err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(100, func() { _ = op() }); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
