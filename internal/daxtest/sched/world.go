package sched

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long operations may take to come to rest before the test fails: so long that
// no machine is too busy. GODAX_PATIENCE says otherwise, for runs that are expected to fail.
var Patience = patience()

func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("GODAX_PATIENCE")); err == nil && d > 0 {
		return d
	}
	return 2 * time.Minute
}

// world is the gates and the free operations of a test, and the watcher that serves
// them.
type world struct {
	home uintptr // the goroutine of the test

	mu    sync.Mutex // guards all that follows, and the state of operations and gates
	cond  sync.Cond  // broadcast at every change
	ops   []*Op
	gates []*Gate
	alien bool // a goroutine that is neither an operation nor the test has reported
}

var (
	worldMu sync.Mutex // guards current
	current *world
)

// worldOf returns the world of the test that runs, and makes it if need be. It ends with
// the test that was the first to ask.
func worldOf(t testing.TB) *world {
	t.Helper()
	Enabled(t)
	worldMu.Lock()
	defer worldMu.Unlock()
	if current != nil {
		return current
	}
	Record(t)
	w := &world{home: self()}
	w.cond.L = &w.mu
	end := watch(w)
	current = w
	t.Cleanup(func() {
		w.end(t)
		end()
		worldMu.Lock()
		defer worldMu.Unlock()
		current = nil
	})
	return w
}

// end opens the gates and waits for the operations.
func (w *world) end(t testing.TB) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.gates {
		g.openLocked()
	}
	allEnded := func() bool {
		for _, o := range w.ops {
			if o.state != ended {
				return false
			}
		}
		return true
	}
	if text := w.awaitLocked("all operations have ended", allEnded, w.hopelessLocked); text != "" {
		t.Error(text)
	}
}

// waitLocked waits until ok, and fails the test if hopeless says that it will never be,
// or after [Patience]. The mutex is given back then.
func (w *world) waitLocked(t testing.TB, what string, ok, hopeless func() bool) {
	t.Helper()
	if text := w.awaitLocked(what, ok, hopeless); text != "" {
		t.Fatal(text) // the callers' defers unlock
	}
}

// awaitLocked is waitLocked that returns what to fail with.
func (w *world) awaitLocked(what string, ok, hopeless func() bool) string {
	if ok() {
		return ""
	}
	late := false
	timer := time.AfterFunc(Patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		late = true
		w.cond.Broadcast()
	})
	defer timer.Stop()
	for !ok() {
		switch {
		case late:
			return fmt.Sprintf("sched: after %v it is not so that %s\n%s\n%s", Patience, what, w.textLocked(), allStacks())
		case hopeless != nil && hopeless():
			return fmt.Sprintf("sched: it will never be that %s\n%s", what, w.textLocked())
		}
		w.cond.Wait()
	}
	return ""
}

// settledLocked reports whether all operations are at rest.
func (w *world) settledLocked() bool {
	for _, o := range w.ops {
		if o.state == running || o.state == asleep && !o.sleepsLocked() {
			return false
		}
	}
	return true
}

// hopelessLocked reports whether nothing will happen any more unless the test does
// something. It does not know if there are goroutines beside the operations, or sleeps
// that a context ends: that may have a deadline.
func (w *world) hopelessLocked() bool {
	if len(w.ops) == 0 || w.alien || !w.settledLocked() {
		return false
	}
	for _, o := range w.ops {
		if o.state == asleep && o.done != nil {
			return false
		}
	}
	return true
}

// textLocked tells where everybody is.
func (w *world) textLocked() string {
	var b strings.Builder
	for _, o := range w.ops {
		fmt.Fprintf(&b, "\toperation %s\n", o.textLocked())
	}
	for _, g := range w.gates {
		fmt.Fprintf(&b, "\tgate %s\n", g.textLocked())
	}
	return b.String()
}

// allStacks is the stacks of all goroutines.
func allStacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// reportLocked notes what an operation does. Whoever is none is noted too.
func (w *world) reportLocked(g *goroutine, s state, p place) *Op {
	if g == nil || g.op == nil {
		if self() != w.home {
			w.alien = true
		}
		return nil
	}
	o := g.op
	if s != asleep {
		o.where = p
	}
	if o.state != s {
		o.state = s
		w.cond.Broadcast()
	}
	return o
}

func (w *world) at(g *goroutine, p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.reportLocked(g, running, p)
	for _, gate := range w.gates {
		gate.passLocked(g, p)
	}
	if o != nil {
		o.state = running
	}
}

func (w *world) wants(g *goroutine, p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reportLocked(g, running, p)
}

func (w *world) acquired(g *goroutine, p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reportLocked(g, running, p)
}

func (w *world) released(g *goroutine, p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reportLocked(g, running, p)
}

func (w *world) blocks(g *goroutine, ready, done <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.reportLocked(g, asleep, place{event: evBlock}); o != nil {
		o.ready, o.done = ready, done
		w.cond.Broadcast()
	}
}
