package sched

import (
	"sync"
	"sync/atomic"
	"testing"

	"godax/internal/hook"
)

// watcher is told what goroutines report. g is nil for one that holds no lock and is no
// operation. The calls are made in that goroutine and may hold it up.
type watcher interface {
	at(g *goroutine, p place)
	wants(g *goroutine, p place)
	acquired(g *goroutine, p place)
	released(g *goroutine, p place)
	blocks(g *goroutine, ready, done <-chan struct{})
}

// watcherBox is something of one type that an atomic pointer can lead to.
type watcherBox struct{ watcher }

// The state of the package: the hooks are set while anybody uses them.
var (
	usersMu  sync.Mutex // guards users and previous
	users    int
	previous *hook.Hooks

	watching  atomic.Pointer[watcherBox] // at most one: gates, or a controlled run
	reporting atomic.Pointer[reporter]   // where violations of the lock order go
)

// Enabled skips the test in builds without hooks.
func Enabled(t testing.TB) {
	t.Helper()
	if !hook.Enabled {
		t.Skip("needs the race detector or the build tag daxdebug")
	}
}

// use sets the hooks; the function returned ends that.
func use() (end func()) {
	usersMu.Lock()
	defer usersMu.Unlock()
	if users++; users == 1 {
		previous = hook.Set(&hook.Hooks{At: onAt, Want: onWant, Acquire: onAcquire, Release: onRelease, Block: onBlock})
	}
	return func() {
		usersMu.Lock()
		defer usersMu.Unlock()
		if users--; users == 0 {
			hook.Set(previous)
		}
	}
}

// watch makes w the watcher. It panics if there is one: tests that use the package
// cannot run at the same time.
func watch(w watcher) (end func()) {
	b := &watcherBox{w}
	if !watching.CompareAndSwap(nil, b) {
		panic("sched: gates or a scheduler are in use already")
	}
	unuse := use()
	return func() {
		watching.CompareAndSwap(b, nil)
		unuse()
	}
}

func onAt(p hook.Point, obj any, page uint64) {
	if w := watching.Load(); w != nil {
		w.at(goroutines.find(), place{event: evPoint, point: p, obj: obj, page: page})
	}
}

func onWant(r hook.Rank, obj any, page uint64) {
	g := goroutines.find()
	if g != nil {
		l := lock{rank: r, obj: obj, page: page}
		g.wanted = l
		if held := g.locks(); len(held) > 0 {
			l.stack = callers()
			checkOrder(g, held, l)
		}
	}
	if w := watching.Load(); w != nil {
		w.wants(g, place{event: evWant, rank: r, obj: obj, page: page})
	}
}

func onAcquire(r hook.Rank, obj any, page uint64, try bool) {
	g := goroutines.add(owner{})
	l := lock{rank: r, obj: obj, page: page, stack: callers()}
	announced := g.wanted.same(r, obj, page)
	g.wanted = lock{}
	held := g.took(l)
	if !try && !announced {
		checkOrder(g, held, l)
	}
	if w := watching.Load(); w != nil {
		w.acquired(g, place{event: evAcquire, rank: r, obj: obj, page: page, try: try || announced})
	}
}

func onRelease(r hook.Rank, obj any, page uint64) {
	g := goroutines.find()
	last, ok := false, false
	if g != nil {
		last, ok = g.gave(r, obj, page)
	}
	if !ok {
		reportStranger(g, lock{r, obj, page, callers()})
	}
	if w := watching.Load(); w != nil {
		w.released(g, place{event: evRelease, rank: r, obj: obj, page: page})
	}
	if last && !g.known() {
		goroutines.drop(g)
	}
}

func onBlock(ready, done <-chan struct{}) {
	if w := watching.Load(); w != nil {
		w.blocks(goroutines.find(), ready, done)
	}
}

// Sleep waits until ch is closed, announced as the core announces its waits. It is for
// operations of tests.
func Sleep(ch <-chan struct{}) {
	hook.Block(ch, nil)
	<-ch
}

// closed reports whether a sleep on the channel would end. It takes nothing out of a
// buffer; on a channel without one nothing may be sent.
func closed(ch <-chan struct{}) bool {
	if len(ch) > 0 {
		return true
	}
	select {
	case _, ok := <-ch: // never, if ch is nil
		if ok {
			panic("sched: took a value that was sent to a sleeper")
		}
		return true
	default:
		return false
	}
}
