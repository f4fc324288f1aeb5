//go:build unix

package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	"godax/vm"
)

func needHooks(t *testing.T) {
	t.Helper()
	if !hook.Enabled {
		t.Skip("hooks are not compiled in")
	}
}

// setHooks makes h the process's hooks until the test ends.
func setHooks(t *testing.T, h *hook.Hooks) {
	old := hook.Set(h)
	t.Cleanup(func() { hook.Set(old) })
}

// TestOrderChosen: before each call of the handler the hook learns the view and the
// page, and with what it sees small or huge has been chosen already (HP21).
func TestOrderChosen(t *testing.T) {
	needHooks(t)
	for _, pmd := range []uint{1, 2, 3, 9} {
		f := newFile(1<<pmd, 0) // declines huge
		s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
		v := mustMap(t, s, f, 0, 1<<pmd, rws)
		var got []string
		f.before = func(ft *vm.Fault) error {
			got = append(got, fmt.Sprint("order ", ft.Order))
			return nil
		}
		setHooks(t, &hook.Hooks{At: func(p hook.Point, obj any, page uint64) {
			if p == hook.OrderChosen && obj == any(v) {
				got = append(got, fmt.Sprint("chosen ", page))
			}
		}})
		store(t, v, ps, []byte{1})
		if want := []string{"chosen 1", fmt.Sprint("order ", pmd), "chosen 1", "order 0"}; !slices.Equal(got, want) {
			t.Errorf("PMD order %d: %q, want %q", pmd, got, want)
		}
	}
}

// TestHugeAndPrivate parks an access after it has chosen its order and lets the other
// one of the run have its way (S-C16).
func TestHugeAndPrivate(t *testing.T) {
	needHooks(t)
	for _, pmd := range []uint{1, 2, 3} {
		for _, parkStore := range []bool{false, true} {
			for _, unmap := range []bool{false, true} {
				t.Run(fmt.Sprintf("order %d/store %t/unmap %t", pmd, parkStore, unmap), func(t *testing.T) {
					n := uint64(1) << pmd
					f := newFile(int(n), pmd)
					f.mem[0][0] = 42
					s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
					v := mustMap(t, s, f, 0, n, vm.Read|vm.Write)
					at, open := make(chan struct{}), make(chan struct{})
					var parked atomic.Bool
					setHooks(t, &hook.Hooks{At: func(p hook.Point, obj any, page uint64) {
						if p == hook.OrderChosen && obj == any(v) && parked.CompareAndSwap(false, true) {
							close(at)
							<-open
						}
					}})
					put := func() error { return v.Store(context.Background(), []byte{7}, int64(n-1)*ps) }
					b := make([]byte, 1)
					get := func() error { return v.Load(context.Background(), b, 0) }
					first, second := get, put
					if parkStore {
						first, second = put, get
					}
					done := make(chan error)
					go func() { done <- first() }()
					<-at
					if err := second(); err != nil {
						t.Error(err)
					}
					if unmap {
						v.Unmap(0, n, false)
					}
					close(open)
					if err := <-done; err != nil {
						t.Error(err)
					}
					if err := v.Check(); err != nil {
						t.Error(err)
					}
					if got := load(t, v, int64(n-1)*ps, 1)[0]; got != 7 || b[0] != 42 || f.mem[n-1][0] != 0 {
						t.Errorf("private byte %d, loaded %d, file %d; want 7, 42, 0", got, b[0], f.mem[n-1][0])
					}
				})
			}
		}
	}
}

// TestLocksReported: the locks of a fault are reported, and in their order.
func TestLocksReported(t *testing.T) {
	needHooks(t)
	f := newFile(4, 2)
	f.holes[1] = true
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 4, rws)
	var held []hook.Rank
	seen := map[hook.Rank]bool{}
	setHooks(t, &hook.Hooks{
		Acquire: func(r hook.Rank, _ any, _ uint64, _ bool) {
			if n := len(held); n > 0 && held[n-1] >= r {
				t.Errorf("takes %v while holding %v", r, held)
			}
			held = append(held, r)
			seen[r] = true
		},
		Release: func(r hook.Rank, _ any, _ uint64) {
			i := slices.Index(held, r)
			if i < 0 {
				t.Fatalf("gives back %v, holds %v", r, held)
			}
			held = slices.Delete(held, i, i+1)
		},
	})
	store(t, v, ps, []byte{1})
	f.views.Protect(0, 4)
	for _, r := range []hook.Rank{hook.Mmap, hook.Views, hook.PageTable} {
		if !seen[r] {
			t.Errorf("%v was never reported", r)
		}
	}
	if len(held) != 0 || seen[hook.NoRank] {
		t.Errorf("held at the end: %v; seen: %v", held, seen)
	}
}

// TestMmapLock: an access that waits for the lock of a view ends with its context, or
// at once if it may not wait; the wait is visible.
func TestMmapLock(t *testing.T) {
	f := newFile(4, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 4, rws)
	f.before = func(ft *vm.Fault) error {
		if !ft.NoWait {
			t.Error("the fault may wait, the access may not")
		}
		return nil
	}
	if err := v.Load(rwsem.NoWait(nil), make([]byte, 1), 0); err != nil {
		t.Error(err)
	}
	f.before = nil
	if err := v.mm.Lock(nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if hook.Enabled {
		setHooks(t, &hook.Hooks{Block: func(_, _ <-chan struct{}) { cancel() }})
	} else {
		cancel()
	}
	if err := v.Load(ctx, make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := v.Load(rwsem.NoWait(nil), make([]byte, 1), 0); !errors.Is(err, rwsem.ErrWouldBlock) {
		t.Errorf("may not wait: %v", err)
	}
	v.mm.Unlock()
	load(t, v, 0, 1)
}

// TestInterruptedFault: a handler that gives up because the context is done raises no
// signal.
func TestInterruptedFault(t *testing.T) {
	f := newFile(4, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 4, rws)
	ctx, cancel := context.WithCancel(context.Background())
	f.before = func(ft *vm.Fault) error {
		cancel()
		return ft.Ctx.Err()
	}
	err := v.Load(ctx, make([]byte, 1), 0)
	var bus *vm.BusError
	if !errors.Is(err, context.Canceled) || errors.As(err, &bus) || s.Stats().Errors != 0 {
		t.Errorf("%v; stats %+v", err, s.Stats())
	}
}

func TestNoHuge(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		n := uint64(1) << pmd
		for _, tryAll := range []bool{false, true} {
			f := newFile(int(n), pmd)
			s := New(Config{PMDOrder: pmd, Resolve: f.resolve, TryAll: tryAll})
			v := mustMap(t, s, f, 0, n, rws|vm.NoHuge)
			load(t, v, 0, 1)
			if l, _ := v.Lookup(0); l.Order != 0 {
				t.Errorf("PMD order %d, TryAll %t: mapped at order %d", pmd, tryAll, l.Order)
			}
			if !v.Congruent(0, pmd) {
				t.Error("the flag changed the colour")
			}
			if got := s.Stats().Fallbacks; (got == 1) != tryAll || got > 1 {
				t.Errorf("TryAll %t: %d fallbacks", tryAll, got)
			}
		}
	}
}

// TestHugeZeroMeets: F12, and the small fault afterwards finds room.
func TestHugeZeroMeets(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		n := uint64(1) << pmd
		f := newFile(int(n), pmd)
		for p := range n {
			f.holes[p] = true
		}
		s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
		v := mustMap(t, s, f, 0, n, rws)
		zero := vm.Translation{N: n, Kind: vm.Zero}
		for name, c := range map[string]struct {
			old  vm.Translation
			want error
		}{
			"frames": {vm.Translation{N: n, Kind: vm.Frames, PFN: f.base}, vm.ErrFallback},
			"gone":   {vm.Translation{N: n, Kind: vm.Gone}, vm.ErrFallback},
			"zero":   {zero, nil},
			"small":  {vm.Translation{N: 1, Kind: vm.Zero}, vm.ErrRetry},
		} {
			v.Unmap(0, n, true)
			if err := v.Install(c.old); err != nil {
				t.Fatal(err)
			}
			if err := v.Install(zero); !errors.Is(err, c.want) {
				t.Errorf("order %d, huge zero meets %s: %v, want %v", pmd, name, err, c.want)
			}
		}
		// As a fault meets it: another thread's huge translation appears in between.
		v.Unmap(0, n, true)
		once := false
		f.before = func(ft *vm.Fault) error {
			if once {
				return nil
			}
			once = true
			return v.Install(vm.Translation{N: n, Kind: vm.Frames, PFN: f.base})
		}
		if b := load(t, v, 0, 1); b[0] != 0 {
			t.Errorf("reads %d", b[0])
		}
		if l, _ := v.Lookup(0); l.Kind != vm.Zero || l.Order != 0 {
			t.Errorf("order %d: ended as %+v", pmd, l)
		}
	}
}

// TestNotifyFailure: everybody who maps the page is told, as it is mapped there; others
// are not (S-G8).
func TestNotifyFailure(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		n := uint64(1) << pmd
		f := newFile(int(2*n), pmd)
		view := func(page, count uint64, flags vm.Flags) *View {
			return mustMap(t, New(Config{PMDOrder: pmd, Resolve: f.resolve}), f, page, count, flags)
		}
		a, b := view(0, 2*n, rws), view(0, 2*n, vm.Read|vm.Shared)
		small, other, copied := view(1, n, rws), view(0, 2*n, rws), view(0, 2*n, vm.Read|vm.Write)
		bad := n - 1
		for _, v := range []*View{a, b, small} {
			load(t, v, int64(bad)*ps, 1)
		}
		load(t, a, int64(n)*ps, 1)
		load(t, other, int64(n)*ps, 1)
		store(t, copied, int64(bad)*ps, []byte{1})
		f.views.NotifyFailure(bad, 1)
		for name, c := range map[string]struct {
			v     *View
			order uint
			told  bool
		}{"huge": {a, pmd, true}, "read-only": {b, pmd, true}, "small": {small, 0, true}, "elsewhere": {other, 0, false}, "copy": {copied, 0, false}} {
			var want []vm.Failure
			if c.told {
				page, _ := c.v.Bounds()
				want = []vm.Failure{{Addr: (c.v.Addr() + bad - page) * ps, Page: bad, N: 1, Order: c.order}}
			}
			if got := c.v.Failures(); !slices.Equal(got, want) {
				t.Errorf("order %d, %s: told %+v, want %+v", pmd, name, got, want)
			}
			if l, ok := c.v.Lookup(bad); ok != (name == "copy") {
				t.Errorf("order %d, %s: translation %+v", pmd, name, l)
			}
		}
		if l, ok := a.Lookup(n); !ok || l.Order != pmd {
			t.Errorf("order %d: the run beside is %+v", pmd, l)
		}
		// A touch says why; the pages around it are usable.
		f.before = func(ft *vm.Fault) error {
			switch {
			case ft.Order > 0 && ft.Page < n:
				return vm.ErrFallback
			case ft.Page == bad:
				return pmem.ErrPoisoned
			}
			return nil
		}
		var bus *vm.BusError
		if err := a.Load(context.Background(), make([]byte, 1), int64(bad)*ps); !errors.As(err, &bus) || !errors.Is(err, pmem.ErrPoisoned) {
			t.Errorf("order %d: touch: %v", pmd, err)
		}
		load(t, a, 0, 1)
	}
}
