package sched

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"godax/internal/hook"
	"godax/internal/rwsem"
)

// toy is something with a lock and points, as the core has them.
type toy struct {
	l rwsem.RW
	n int
}

func newToy() *toy {
	y := new(toy)
	y.l.SetRank(hook.Inval)
	return y
}

// add holds the lock over two points.
func (y *toy) add(ctx context.Context, page uint64) error {
	hook.At(hook.FaultChecked, y, page)
	if err := y.l.Lock(ctx); err != nil {
		return err
	}
	defer y.l.Unlock()
	n := y.n
	hook.At(hook.SlotLocked, y, page)
	y.n = n + 1
	return nil
}

// fakeT is a test that may fail without harm.
type fakeT struct {
	testing.TB
	failed   string
	cleanups []func()
}

func (f *fakeT) Helper()           {}
func (f *fakeT) Error(args ...any) { f.failed += fmt.Sprintln(args...) }
func (f *fakeT) Fatal(args ...any) { f.Error(args...); runtime.Goexit() }
func (f *fakeT) Fatalf(s string, args ...any) {
	f.Fatal(fmt.Sprintf(s, args...))
}
func (f *fakeT) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }

// failing runs a test and returns what it failed with.
func failing(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	Enabled(t)
	f := &fakeT{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(f.cleanups) - 1; i >= 0; i-- {
				f.cleanups[i]()
			}
		}()
		test(f)
	}()
	<-done
	return f.failed
}

// contains fails the test unless text has all the parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

func TestGate(t *testing.T) {
	y := newToy()
	g := Hold(t, hook.SlotLocked, Of(y), Page(3))
	other := Hold(t, hook.SlotLocked, Page(4))
	x := Go(t, "x", func() error { return y.add(nil, 3) })
	g.Wait()
	if !x.Held() || g.Op() != x {
		t.Errorf("x is not held: %v", x)
	}
	z := Go(t, "z", func() error { return y.add(nil, 5) })
	if !z.Blocked() || z.Done() || x.Done() {
		t.Errorf("want z asleep and x held: %v, %v", x, z)
	}
	contains(t, x.String(), `"x" is held`, "SlotLocked, page 3", "holds inval lock")
	contains(t, z.String(), `"z" is asleep; last: wants inval lock`)
	g.Open()
	g.Open()
	if err := errors.Join(x.Err(), z.Err()); err != nil || y.n != 2 {
		t.Errorf("counted %d, %v", y.n, err)
	}
	if !z.Done() || other.Arrived() {
		t.Error("not done, or somebody at a gate for another page")
	}
	other.Open()
	if y.add(nil, 4) != nil || y.n != 3 {
		t.Error("an open gate holds the test")
	}
}

func TestGateFilters(t *testing.T) {
	y, elsewhere := newToy(), newToy()
	third := Hold(t, hook.FaultChecked, Of(y), By("b"), Nth(3))
	counted := 0
	loop := func(y *toy) func() error {
		return func() error {
			for range 5 {
				if err := y.add(nil, 0); err != nil {
					return err
				}
			}
			return nil
		}
	}
	a, c := Go(t, "a", loop(y)), Go(t, "b", loop(elsewhere))
	if err := errors.Join(a.Err(), c.Err()); err != nil {
		t.Fatal(err)
	}
	b := Go(t, "b", loop(y))
	third.Wait()
	if counted = y.n; counted != 7 {
		t.Errorf("%d additions before the third arrival, want 7", counted)
	}
	again := Hold(t, hook.SlotLocked, By("b")) // while it is held elsewhere
	third.Open()
	again.Wait()
	if y.n != 7 || b.Done() {
		t.Errorf("%d additions, %v", y.n, b)
	}
}

func TestCancelledSleep(t *testing.T) {
	y := newToy()
	ctx, cancel := context.WithCancel(t.Context())
	g := Hold(t, hook.SlotLocked)
	x := Go(t, "x", func() error { return y.add(nil, 0) })
	g.Wait()
	z := Go(t, "z", func() error { return y.add(ctx, 0) })
	if !z.Blocked() {
		t.Errorf("%v", z)
	}
	cancel()
	if z.Blocked() || !errors.Is(z.Err(), context.Canceled) || !x.Held() {
		t.Errorf("%v, %v", x, z)
	}
}

func TestOpErrors(t *testing.T) {
	Enabled(t)
	mine := errors.New("mine")
	if err := Go(t, "error", func() error { return mine }).Err(); err != mine {
		t.Errorf("got %v", err)
	}
	if err := Go(t, "panic", func() error { panic("boo") }).Err(); err == nil || !strings.Contains(err.Error(), "boo") {
		t.Errorf("got %v", err)
	}
	if err := Go(t, "exit", func() error { runtime.Goexit(); return nil }).Err(); err != errGoexit {
		t.Errorf("got %v", err)
	}
	ch := make(chan struct{})
	s := Go(t, "sleep", func() error { Sleep(ch); return nil })
	if !s.Blocked() {
		t.Error("does not sleep")
	}
	close(ch)
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestHopeless(t *testing.T) {
	got := failing(t, func(t testing.TB) {
		y := newToy()
		g := Hold(t, hook.SlotLocked)
		x := Go(t, "x", func() error { return y.add(nil, 1) })
		g.Wait()
		Go(t, "z", func() error { return y.add(nil, 2) })
		x.Err()
	})
	contains(t, got, `never be that operation "x" has ended`, `"x" is held; last: HP2 SlotLocked, page 1; holds inval lock`,
		`"z" is asleep; last: wants inval lock`, `gate HP2 SlotLocked: holds "x"`)
	got = failing(t, func(t testing.TB) {
		y := newToy()
		g := Hold(t, hook.SlotLocked, Page(2))
		Go(t, "x", func() error { return y.add(nil, 1) })
		g.Wait()
	})
	contains(t, got, "never be that somebody is at the gate HP2 SlotLocked, page 2: waits")
	got = failing(t, func(t testing.TB) {
		Hold(t, hook.SlotLocked)
		newToy().add(nil, 1)
	})
	contains(t, got, "the test itself arrives")
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where patience ends when all sleep
		silent := make(chan struct{})
		got := failing(t, func(t testing.TB) {
			t.Cleanup(func() {}) // what was made before is undone after
			x := Go(t, "x", func() error { <-silent; return nil })
			defer close(silent)
			x.Blocked()
		})
		contains(t, got, "it is not so that all operations are at rest", `"x" is running; last: start`, "goroutine ")
	})
}
