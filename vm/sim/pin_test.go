//go:build unix

package sim

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
)

// pins is a Pinner that counts.
type pins struct {
	mu     sync.Mutex
	held   map[string]int
	calls  int
	before func(page uint64) error // with nothing held
}

func (p *pins) key(page uint64, pfn pmem.PFN, write bool) string {
	return fmt.Sprintf("%d %#x %t", page, uint64(pfn), write)
}

func (p *pins) PinFrame(page uint64, pfn pmem.PFN, write bool) error {
	p.calls++
	if p.before != nil {
		if err := p.before(page); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = map[string]int{}
	}
	p.held[p.key(page, pfn, write)]++
	return nil
}

func (p *pins) UnpinFrame(page uint64, pfn pmem.PFN, write bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.key(page, pfn, write)
	if p.held[k]--; p.held[k] == 0 {
		delete(p.held, k)
	}
}

func (p *pins) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.held {
		n += c
	}
	return n
}

func TestPinFrame(t *testing.T) {
	for _, pmd := range []uint{1, 2, 3, 9} {
		n := uint64(1) << pmd
		f := newFile(int(2*n), pmd)
		f.mem[n+1][0] = 42
		for p := range n {
			f.holes[p] = true
		}
		s := New(Config{PMDOrder: pmd, Resolve: f.resolve})
		v, ro, pr := mustMap(t, s, f, 0, 2*n, rws), mustMap(t, s, f, 0, 2*n, vm.Read|vm.Shared), mustMap(t, s, f, 0, 2*n, vm.Read|vm.Write)
		var reg pins
		pin := func(v *View, page uint64, write bool) Pinned {
			t.Helper()
			p, err := v.PinFrame(bg, &reg, page, write)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := pin(v, n+1, false)
		if p.Leaf.Order != pmd || p.Leaf.Write || p.Bytes[0] != 42 || reg.held[reg.key(n+1, f.base+pmem.PFN(n+1), false)] != 1 {
			t.Errorf("order %d: pinned %+v, byte %d, held %v", pmd, p.Leaf, p.Bytes[0], reg.held)
		}
		w := pin(v, n+1, true) // makes it writable first
		if !w.Leaf.Write || !f.dirty[n] || reg.held[reg.key(n+1, f.base+pmem.PFN(n+1), true)] != 1 {
			t.Errorf("order %d: pinned %+v, dirty %v, held %v", pmd, w.Leaf, f.dirty, reg.held)
		}
		p.Release()
		w.Release()
		if reg.count() != 0 {
			t.Errorf("left %v", reg.held)
		}
		// A view that may not be stored to gives no pin for storing (T34).
		if _, err := ro.PinFrame(bg, &reg, n, true); !errors.Is(err, syscall.EFAULT) {
			t.Errorf("write pin of a read-only view: %v", err)
		}
		r := pin(ro, n, false)
		r.Release()
		if _, err := ro.PinFrame(bg, &reg, 2*n, false); !errors.Is(err, syscall.EFAULT) {
			t.Errorf("pin outside: %v", err)
		}
		// Nobody's frames.
		reg.calls = 0
		z := pin(v, 0, false)
		c := pin(pr, n, true)
		c.Bytes[0] = 9
		if z.Leaf.Kind != vm.Zero || z.Bytes[0] != 0 || c.Leaf.Kind != vm.Private || reg.calls != 0 || f.mem[n][0] != 0 {
			t.Errorf("zero page %+v, copy %+v, %d pins, file %d", z.Leaf, c.Leaf, reg.calls, f.mem[n][0])
		}
		z.Release()
		c.Release()
		refused := errors.New("refused")
		reg.before = func(uint64) error { return refused }
		if _, err := v.PinFrame(bg, &reg, n, false); !errors.Is(err, refused) {
			t.Errorf("refused pin: %v", err)
		}
		f.before = func(*vm.Fault) error { return pmem.ErrPoisoned }
		v.Unmap(0, 2*n, false)
		if _, err := v.PinFrame(bg, &reg, n, false); !errors.Is(err, pmem.ErrPoisoned) {
			t.Errorf("bad page: %v", err)
		}
		if reg.count() != 0 {
			t.Errorf("left %v", reg.held)
		}
	}
}

// TestPinWhileUnmapped takes the translation away, or its permission, after it was
// looked at and before the pin is registered: that pin is refused (S-C23).
func TestPinWhileUnmapped(t *testing.T) {
	for name, c := range map[string]struct {
		write  bool
		change func(f *file, v *View)
		calls  int
	}{
		"unmap/read":    {false, func(f *file, v *View) { f.views.Unmap(0, 8, false) }, 2},
		"unmap/write":   {true, func(f *file, v *View) { f.views.Unmap(0, 8, false) }, 2},
		"protect/write": {true, func(f *file, v *View) { f.views.Protect(0, 8) }, 2},
		"protect/read":  {false, func(f *file, v *View) { f.views.Protect(0, 8) }, 1},
		"other frame/read": {false, func(f *file, v *View) {
			f.views.Unmap(0, 8, false)
			f.base += 8 // every page is elsewhere now
			if err := v.Install(vm.Translation{Page: 1, N: 1, Kind: vm.Frames, PFN: f.base + 1}); err != nil {
				panic(err)
			}
		}, 2},
		"beside/write": {true, func(f *file, v *View) { f.views.Unmap(4, 4, false) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(16, 2)
			f.mem = f.mem[:8:8]
			s := New(Config{PMDOrder: 2, Resolve: func(pmem.PFN) ([]byte, error) { return f.mem[0], nil }})
			v := mustMap(t, s, f, 0, 8, rws)
			store(t, v, ps, []byte{1})
			var p pins
			p.before = func(uint64) error {
				if p.calls == 1 {
					c.change(f, v)
				}
				return nil
			}
			pin, err := v.PinFrame(bg, &p, 1, c.write)
			if err != nil {
				t.Fatal(err)
			}
			l, ok := v.Lookup(1)
			if p.calls != c.calls || p.count() != 1 || !ok || l.PFN+pmem.PFN(1-l.Page) != pin.pfn() || c.write && !l.Write {
				t.Errorf("%d calls, want %d; held %v; translation %+v, pinned %#x", p.calls, c.calls, p.held, l, uint64(pin.pfn()))
			}
			pin.Release()
		})
	}
}

// TestPinStress: at no time does somebody who unmaps first and looks for pins
// afterwards miss one that is granted.
func TestPinStress(t *testing.T) {
	f := newFile(4, 2)
	s := New(Config{PMDOrder: 2, Resolve: f.resolve})
	v := mustMap(t, s, f, 0, 4, rws)
	var reg pins
	var freed atomic.Bool
	var wg sync.WaitGroup
	const rounds = 2000
	wg.Go(func() {
		for range rounds {
			f.mu.Lock() // stands for the invalidate lock: no fault
			f.views.Unmap(0, 4, false)
			if reg.count() == 0 {
				freed.Store(true)
				runtime.Gosched()
				freed.Store(false)
			}
			f.mu.Unlock()
		}
	})
	for range 2 {
		wg.Go(func() {
			for range rounds {
				p, err := v.PinFrame(bg, &lockingPins{&reg}, 1, true)
				if err != nil {
					t.Error(err)
					return
				}
				if freed.Load() {
					t.Error("a page that is free is pinned")
				}
				runtime.Gosched()
				if freed.Load() {
					t.Error("a page was freed while pinned")
				}
				p.Release()
			}
		})
	}
	wg.Wait()
	if reg.count() != 0 {
		t.Errorf("left %v", reg.held)
	}
}

// lockingPins does without the counter of calls, which has no lock.
type lockingPins struct{ p *pins }

func (l *lockingPins) PinFrame(page uint64, pfn pmem.PFN, write bool) error {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.p.held == nil {
		l.p.held = map[string]int{}
	}
	l.p.held[l.p.key(page, pfn, write)]++
	return nil
}

func (l *lockingPins) UnpinFrame(page uint64, pfn pmem.PFN, write bool) {
	l.p.UnpinFrame(page, pfn, write)
}

// TestRetriesAreCounted: with hooks set, time has no part in how often an access is
// tried.
func TestRetriesAreCounted(t *testing.T) {
	needHooks(t)
	f := newFile(4, 2)
	f.before = func(*vm.Fault) error { return vm.ErrRetry }
	setHooks(t, &hook.Hooks{})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := New(Config{PMDOrder: 2, Resolve: f.resolve, MaxRetries: 3000})
		v, err := s.Map(f, 0, 4, rws)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Load(context.Background(), make([]byte, 1), 0); !errors.Is(err, ErrNoProgress) {
			t.Error(err)
		}
		if got := s.Stats().Retries; got != 3001 {
			t.Errorf("%d attempts, want 3001", got)
		}
		s.Close()
		if slept := time.Since(start); slept != 0 {
			t.Errorf("slept %v", slept)
		}
	})
}
