package sched

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"godax/internal/hook"
)

// reporter collects violations of the lock order, each kind once.
type reporter struct {
	mu   sync.Mutex
	seen map[string]bool
	all  []string
}

// report adds a violation; key is what makes it one kind.
func (r *reporter) report(key, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[key] {
		return
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[key] = true
	r.all = append(r.all, text)
}

// take returns what was reported since the last call.
func (r *reporter) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// checkOrder looks at a lock that was waited for, or might have been, while those of
// held were held.
func checkOrder(g *goroutine, held []lock, l lock) {
	r := reporting.Load()
	if r == nil || l.rank == hook.NoRank {
		return
	}
	for _, h := range held {
		if h.rank == hook.NoRank || h.rank < l.rank {
			continue
		}
		if l.rank == hook.Entry && h.rank == hook.Index {
			continue // an entry's lock is a bit that is set under it; the wait was without it
		}
		r.report(fmt.Sprint(h.rank, l.rank, l.stack), fmt.Sprintf(
			"lock order: %s waits for %s while it holds %s\n\tnow:\n%s\tbefore:\n%s", g.text(), l, h, l.stack, h.stack))
	}
}

// reportStranger reports that g, which may be nil, gives back a lock that it does not
// hold.
func reportStranger(g *goroutine, l lock) {
	r := reporting.Load()
	if r == nil {
		return
	}
	who := "a goroutine that holds none"
	if g != nil {
		who = g.text()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "lock order: %s gives back %s, which it does not hold\n\tnow:\n%s", who, l, l.stack)
	for _, o := range goroutines.all() {
		for _, h := range o.locks() {
			if h.same(l.rank, l.obj, l.page) {
				fmt.Fprintf(&b, "\t%s does; taken:\n%s", o.text(), h.stack)
			}
		}
	}
	r.report(fmt.Sprint(l.rank, l.stack), b.String())
}

// reportHeld reports the locks that are held, when none should be.
func (r *reporter) reportHeld() {
	for _, g := range goroutines.all() {
		for _, h := range g.locks() {
			r.report(fmt.Sprint("held", h.rank, h.stack), fmt.Sprintf(
				"lock order: at the end %s holds %s\n\ttaken:\n%s", g.text(), h, h.stack))
		}
		goroutines.drop(g)
	}
}

// Record watches the lock order until the test ends, and fails it for
//
//   - a lock that is waited for, or would have been waited for had it been taken, by a
//     goroutine that holds a lock of the same or a larger rank: so whoever holds an entry
//     lock may only try others;
//   - a lock given back by a goroutine that does not hold it;
//   - a lock that is held at the end.
//
// Each is reported with the stacks of both sides, once for each place in the code. It
// is to be called while nobody holds a lock. Gates and explorations record too.
func Record(t testing.TB) {
	t.Helper()
	if !hook.Enabled {
		return
	}
	r := &reporter{}
	if !reporting.CompareAndSwap(nil, r) {
		return // somebody does already
	}
	end := use()
	t.Cleanup(func() {
		r.reportHeld()
		reporting.CompareAndSwap(r, nil)
		end()
		for _, v := range r.take() {
			t.Error(v)
		}
	})
}

// Main runs the tests of a package with the lock order recorded, as [Record] says, and
// returns the exit code: it is for TestMain.
func Main(m *testing.M) int {
	if !hook.Enabled {
		return m.Run()
	}
	r := &reporter{}
	reporting.Store(r)
	defer use()()
	code := m.Run()
	r.reportHeld()
	for _, v := range r.take() {
		fmt.Println(v)
		code = max(code, 1)
	}
	return code
}
