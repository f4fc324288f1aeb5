package sched

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"godax/internal/hook"
)

// owner is what a goroutine is for us: a free operation, a task of a controlled run, or
// the zero value.
type owner struct {
	name string
	op   *Op
	task *task
}

// goroutine is what is known of one goroutine: the locks that it has, and the operation
// that it is. There is one while it has either.
type goroutine struct {
	owner // immutable
	id    uintptr

	// wanted is the lock that it is about to take, if that was announced. Only the
	// goroutine itself uses it.
	wanted lock

	mu   sync.Mutex // guards held: the goroutine itself changes it, dumps read it
	held []lock     // in the order in which they were taken
}

// lock is a lock that is held, and where it was taken.
type lock struct {
	rank  hook.Rank
	obj   any
	page  uint64
	stack stack
}

func (l lock) same(r hook.Rank, obj any, page uint64) bool {
	return l.rank == r && l.obj == obj && l.page == page
}

func (l lock) String() string { return lockName(l.rank, l.page) }

// stack is a short stack trace.
type stack [20]uintptr

// callers is the stack of whoever called package hook.
func callers() (s stack) {
	runtime.Callers(4, s[:]) // not Callers, callers, our hook, and what called it in package hook
	return s
}

func (s stack) String() string {
	var b strings.Builder
	frames := runtime.CallersFrames(s[:slices.Index(append(s[:], 0), 0)])
	for {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&b, "\t\t%s\n\t\t\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}

// table holds the goroutines by id. It has many parts, so that goroutines that do not
// share anything else share no mutex here either: a mutex is an order that the race
// detector would take for one of the program's own.
type table [1 << 12]struct {
	mu sync.Mutex
	m  map[uintptr]*goroutine
}

var goroutines table

func (t *table) part(id uintptr) int {
	const golden = 0x9e3779b97f4a7c15
	return int(uint64(id) * golden >> (64 - 12))
}

// find returns the calling goroutine, if it is known.
func (t *table) find() *goroutine {
	id := self()
	p := &t[t.part(id)]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[id]
}

// add returns the calling goroutine. who is what it is from now on; for the zero value
// it stays what it was.
func (t *table) add(who owner) *goroutine {
	id := self()
	p := &t[t.part(id)]
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.m[id]
	if g == nil || who != (owner{}) {
		g = &goroutine{id: id, owner: who}
		if p.m == nil {
			p.m = make(map[uintptr]*goroutine)
		}
		p.m[id] = g
	}
	return g
}

// drop forgets a goroutine.
func (t *table) drop(g *goroutine) {
	p := &t[t.part(g.id)]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m[g.id] == g {
		delete(p.m, g.id)
	}
}

// all returns the goroutines that are known.
func (t *table) all() (out []*goroutine) {
	for i := range t {
		p := &t[i]
		p.mu.Lock()
		for _, g := range p.m {
			out = append(out, g)
		}
		p.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b *goroutine) int { return strings.Compare(a.text(), b.text()) })
	return out
}

// known reports whether the goroutine is an operation.
func (g *goroutine) known() bool { return g != nil && g.owner != (owner{}) }

// text says who a goroutine is.
func (g *goroutine) text() string {
	if g.known() {
		return fmt.Sprintf("operation %q", g.name)
	}
	return fmt.Sprintf("goroutine %#x", g.id)
}

// locks returns what the goroutine holds.
func (g *goroutine) locks() []lock {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.held)
}

// took adds a lock, and returns those that were held before.
func (g *goroutine) took(l lock) []lock {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.held)
	g.held = append(g.held, l)
	return g.held[:n:n]
}

// gave takes a lock off, the one that was taken last if there are several. ok is false
// if it is not held; last says that nothing is any more.
func (g *goroutine) gave(r hook.Rank, obj any, page uint64) (last, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, l := range slices.Backward(g.held) {
		if l.same(r, obj, page) {
			g.held = slices.Delete(g.held, i, i+1)
			return len(g.held) == 0, true
		}
	}
	return false, false
}

// holdsLeaf reports whether the goroutine has a lock under which nobody sleeps: one for
// which others do not announce that they wait.
func (g *goroutine) holdsLeaf() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.held, func(l lock) bool { return leaf(l.rank) })
}

// leaf reports whether locks of the rank are plain mutexes.
func leaf(r hook.Rank) bool { return r >= hook.Extent }

// heldText lists locks.
func heldText(locks []lock) string {
	if len(locks) == 0 {
		return ""
	}
	names := make([]string, len(locks))
	for i, l := range locks {
		names[i] = l.String()
	}
	return "; holds " + strings.Join(names, ", ")
}
