//go:build unix

package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"godax/vm"
)

// watched is a list that looks at the translations around the move.
type watched struct {
	*vm.Views
	around func(move func(), with []vm.View)
}

func (w *watched) Replace(old vm.View, move func(), with ...vm.View) bool {
	return w.Views.Replace(old, func() { w.around(move, with) }, with...)
}

// TestMoveIsInReplace: translations change hands only where the list says.
func TestMoveIsInReplace(t *testing.T) {
	f := newFile(8, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mapListed(t, s, f, 0, 8, rws)
	store(t, v, 0, []byte{1})
	store(t, v, 5*ps, []byte{1})
	v.NotifyFailure(5, 1)
	store(t, v, 5*ps, []byte{1})
	count := func(views []vm.View) (n int) {
		for _, w := range views {
			n += len(w.(*View).Translations())
		}
		return n
	}
	list := &watched{&f.views, func(move func(), with []vm.View) {
		if len(v.Translations()) != 2 || count(with) != 0 {
			t.Error("translations changed hands before the list did")
		}
		move()
		if len(v.Translations()) != 0 || count(with) != 2 {
			t.Error("translations did not change hands with the list")
		}
	}}
	_, high, err := v.Split(list, 4)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := high.Failures(), []vm.Failure{{Addr: (v.Addr() + 5) * ps, Page: 5, N: 1, Order: 2}}; !slices.Equal(got, want) {
		t.Errorf("inherited %+v, want %+v", got, want)
	}
	wantEmpty(t, s)
}

// TestChangeDuringFault: a view is unmapped, moved, forked or cut while a fault of it is
// between its DIRTY mark and its translation (S-C37).
func TestChangeDuringFault(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3} {
		for _, private := range []bool{false, true} {
			for name, change := range map[string]func(f *file, v *View) error{
				"close": func(f *file, v *View) error { v.Close(); f.views.Remove(v); return nil },
				"cut":   func(f *file, v *View) error { return second(v.Cut(&f.views, 0, 1)) },
				"move":  func(f *file, v *View) error { return second(v.Move(&f.views, v.Addr()+1000<<pmd)) },
				"fork": func(f *file, v *View) error {
					return second(v.Fork(&f.views, New(Config{PMDOrder: pmd, Resolve: f.resolve})))
				},
			} {
				t.Run(fmt.Sprintf("%s/order %d/private %t", name, pmd, private), func(t *testing.T) {
					f := newFile(2<<pmd, pmd)
					s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
					flags := vm.Flags(rws)
					if private {
						flags = vm.Read | vm.Write
					}
					v := mapListed(t, s, f, 0, 2<<pmd, flags)
					addr := v.Addr()
					at, open := make(chan struct{}), make(chan struct{})
					var once sync.Once
					f.before = func(ft *vm.Fault) error {
						once.Do(func() { close(at); <-open })
						return nil
					}
					stored, changed := make(chan error, 1), make(chan error, 1)
					go func() { _, err := s.Store(bg, []byte{7}, addr*ps); stored <- err }()
					<-at
					go func() { changed <- change(f, v) }()
					for !v.mm.Locked() {
						runtime.Gosched()
					}
					if len(changed) != 0 || f.views.Len() != 1 {
						t.Error("the view changed under the fault")
					}
					close(open)
					if err := <-changed; err != nil {
						t.Error(err)
					}
					// The store had its translation or met the change. In no case is anything
					// left where no view is.
					if err := <-stored; err != nil && (name == "fork" || !errors.Is(err, ErrSegv)) {
						t.Error(err)
					}
					want := 1
					if name == "close" {
						want = 0
					} else if name == "fork" {
						want = 2
					}
					if f.views.Len() != want || name != "fork" && len(v.Translations()) != 0 {
						t.Errorf("%d views listed, want %d; old view has %+v", f.views.Len(), want, v.Translations())
					}
					for _, w := range s.Views() {
						if name == "move" && w.addr != addr+1000<<pmd {
							t.Errorf("moved to %d", w.addr)
						}
					}
					if err := s.Check(); err != nil {
						t.Error(err)
					}
					wantEmpty(t, s)
				})
			}
		}
	}
}

// TestChangeDuringWalk has views change all the time, while others store through
// them and a third takes the permission to store away and looks whether anybody still
// has it (S-C38), or takes everything away.
func TestChangeDuringWalk(t *testing.T) {
	const pages, rounds = 32, 400
	for _, pmd := range []uint{1, 2, 3} {
		f := newFile(pages, pmd)
		s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
		v := mapListed(t, s, f, 0, pages, rws)
		base := v.Addr()
		var stop atomic.Bool
		var wg sync.WaitGroup
		for w := range 2 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(3, uint64(w)))
				for !stop.Load() {
					_, err := s.Store(bg, []byte{1}, (base+r.Uint64N(2*pages))*ps+uint64(w))
					if err != nil && !errors.Is(err, ErrSegv) {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				f.mu.Lock() // stands for the entry locks: nobody installs
				if i%2 == 0 {
					f.views.Protect(0, pages)
				} else {
					f.views.Unmap(0, pages, true)
				}
				for _, w := range s.Views() {
					for _, l := range w.Translations() {
						if l.Write || i%2 == 1 {
							t.Errorf("missed: %+v", l)
						}
					}
				}
				f.mu.Unlock()
				runtime.Gosched()
			}
		})
		r := rand.New(rand.NewPCG(4, 4))
		for range rounds {
			views := s.Views()
			w := views[r.IntN(len(views))]
			var err error
			switch op := r.IntN(4); {
			case op == 0 && w.n > 1:
				_, _, err = w.Split(&f.views, w.page+1+r.Uint64N(w.n-1))
			case op == 1 && w.n > 1:
				_, err = w.Cut(&f.views, w.page+w.n-1, 1)
			case op == 2 && w.page+w.n < pages:
				_ = second(w.Grow(&f.views, 1)) // another may be there
			case op == 3:
				_ = second(w.Move(&f.views, base+r.Uint64N(2*pages)))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
		}
		stop.Store(true)
		wg.Wait()
		if got := len(s.Views()); got != f.views.Len() {
			t.Errorf("%d views, %d on the list", got, f.views.Len())
		}
		wantEmpty(t, s)
	}
}
