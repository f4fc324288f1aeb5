package sched

import (
	"fmt"
	"strings"
	"testing"

	"godax/internal/hook"
)

// Gate holds one goroutine at a pause point. See [Hold].
type Gate struct {
	w       *world
	t       testing.TB
	point   hook.Point
	filters []Filter
	nth     int

	// guarded by world.mu
	left    int  // arrivals to go until the one that is held
	arrived bool // somebody is or was held
	open    bool
	op      *Op // who is held, nil for a goroutine that is no operation
}

// Filter says which arrivals at a point a gate is about.
type Filter func(*filter)

// filter is an arrival, which Filters rule out, and what they set of the gate.
type filter struct {
	g    *goroutine
	p    place
	no   bool
	nth  int
	text string
}

// Page restricts a gate to what is done about one page.
func Page(n uint64) Filter {
	return func(f *filter) {
		f.no = f.no || f.p.page != n
		f.text += fmt.Sprintf(", page %d", n)
	}
}

// Of restricts a gate to one *dax.Mapping, or what else the point is called with.
func Of(obj any) Filter {
	return func(f *filter) {
		f.no = f.no || f.p.obj != obj
		f.text += fmt.Sprintf(", of %T", obj)
	}
}

// By restricts a gate to the operations of a name.
func By(op string) Filter {
	return func(f *filter) {
		f.no = f.no || f.g == nil || f.g.op == nil || f.g.op.name != op
		f.text += fmt.Sprintf(", by %q", op)
	}
}

// Nth makes a gate let n-1 arrivals pass, of those that its other filters leave, and
// hold the n-th.
func Nth(n int) Filter {
	return func(f *filter) {
		f.nth = n
		f.text += fmt.Sprintf(", arrival %d", n)
	}
}

// Hold makes a gate at the point: the first goroutine that arrives and that no filter
// rules out stops there until [Gate.Open]; all others pass. Where several gates are for
// one arrival it stops at each. The gate is opened when the test ends.
//
// A gate where the core holds a lock that nobody may sleep under stops everybody who
// wants that.
func Hold(t testing.TB, p hook.Point, filters ...Filter) *Gate {
	t.Helper()
	w := worldOf(t)
	g := &Gate{w: w, t: t, point: p, filters: filters, nth: 1}
	if f := g.apply(nil, place{}); f.nth > 0 {
		g.nth = f.nth
	}
	g.left = g.nth
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gates = append(w.gates, g)
	return g
}

func (g *Gate) apply(by *goroutine, p place) filter {
	f := filter{g: by, p: p}
	for _, set := range g.filters {
		set(&f)
	}
	return f
}

// Wait returns when somebody is held. The test fails at once if that cannot happen,
// because all operations are at rest.
func (g *Gate) Wait() {
	g.t.Helper()
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.waitLocked(g.t, "somebody is at the gate "+g.textLocked(),
		func() bool { return g.arrived }, g.w.hopelessLocked)
}

// Arrived reports whether anybody has been held, when all operations are at rest.
func (g *Gate) Arrived() bool {
	g.t.Helper()
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.waitLocked(g.t, "all operations are at rest", g.w.settledLocked, nil)
	return g.arrived
}

// Op is the operation that is or was held; nil if nobody was, or a goroutine that is no
// operation.
func (g *Gate) Op() *Op {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.op
}

// Open lets go on who is held, and lets everybody pass from now on. Opening twice does
// nothing.
func (g *Gate) Open() {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.openLocked()
}

func (g *Gate) openLocked() {
	if g.open {
		return
	}
	g.open = true
	if g.op != nil {
		g.op.state = running // before it knows: it is not at rest any more
	}
	g.w.cond.Broadcast()
}

func (g *Gate) textLocked() string {
	state := "waits for somebody"
	switch {
	case g.open && g.arrived:
		state = "held somebody, is open"
	case g.open:
		state = "open"
	case g.arrived && g.op != nil:
		state = fmt.Sprintf("holds %q", g.op.name)
	case g.arrived:
		state = "holds a goroutine that is no operation"
	}
	return strings.TrimSuffix(fmt.Sprintf("%s%s", pointName(g.point), g.apply(nil, place{}).text), ", ") + ": " + state
}

// passLocked stops the goroutine if it is the one that the gate is for.
func (g *Gate) passLocked(by *goroutine, p place) {
	if g.open || g.arrived || p.point != g.point || g.apply(by, p).no {
		return
	}
	if g.left--; g.left > 0 {
		return
	}
	if self() == g.w.home {
		g.t.Fatalf("sched: the test itself arrives at the gate %s", g.textLocked())
	}
	g.arrived = true
	if by != nil && by.op != nil && by.op.w == g.w {
		g.op = by.op
		g.op.state = held
	}
	g.w.cond.Broadcast()
	for !g.open {
		g.w.cond.Wait()
	}
}
