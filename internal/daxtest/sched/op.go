package sched

import (
	"errors"
	"fmt"
	"runtime/debug"
	"testing"
)

// state is what an operation is doing.
type state uint8

const (
	running state = iota
	asleep        // until one of its channels is closed
	held          // at a gate
	ended
)

func (s state) String() string { return [...]string{"running", "asleep", "held", "ended"}[s] }

// Op is an operation: a named goroutine. [Go] starts one that runs freely.
type Op struct {
	name string
	w    *world
	t    testing.TB
	g    *goroutine

	// guarded by world.mu, for free operations
	state       state
	where       place // the last report, sleeps left out
	ready, done <-chan struct{}
	err         error
}

// errGoexit: the operation called runtime.Goexit, mostly by way of t.Fatal.
var errGoexit = errors.New("sched: the operation ended its goroutine")

// call runs f and makes an error of a panic.
func call(f func() error) (err error) {
	err = errGoexit
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// Go starts an operation that runs freely but for gates. The test ends only after it has
// ended; a test that has opened no gate for it when it returns is done that favour. name
// is for messages and for [By].
func Go(t testing.TB, name string, f func() error) *Op {
	t.Helper()
	w := worldOf(t)
	o := &Op{name: name, w: w, t: t, where: place{event: evStart}}
	w.mu.Lock()
	w.ops = append(w.ops, o)
	w.mu.Unlock()
	go func() {
		g := goroutines.add(owner{name: name, op: o})
		w.mu.Lock()
		o.g = g
		w.mu.Unlock()
		err := errGoexit
		defer func() {
			for _, l := range g.locks() {
				err = errors.Join(err, fmt.Errorf("sched: operation %q ended with the %s", name, l))
			}
			goroutines.drop(g)
			w.mu.Lock()
			defer w.mu.Unlock()
			o.state, o.err = ended, err
			w.cond.Broadcast()
		}()
		err = call(f)
	}()
	return o
}

// Name is what the operation was started as.
func (o *Op) Name() string { return o.name }

// Blocked reports whether the operation sleeps, on a channel that nobody has closed,
// when all operations are at rest.
func (o *Op) Blocked() bool {
	o.t.Helper()
	return o.settled() == asleep
}

// Held reports whether the operation stands at a gate when all operations are at rest.
func (o *Op) Held() bool {
	o.t.Helper()
	return o.settled() == held
}

// Done reports whether the operation has ended when all operations are at rest.
func (o *Op) Done() bool {
	o.t.Helper()
	return o.settled() == ended
}

func (o *Op) settled() state {
	o.t.Helper()
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.waitLocked(o.t, "all operations are at rest", o.w.settledLocked, nil)
	return o.state
}

// Err waits for the operation's end and returns its error. A panic is an error too, and
// so is a lock that it still has. The test fails at once if the operation cannot end,
// because everything is at rest.
func (o *Op) Err() error {
	o.t.Helper()
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.waitLocked(o.t, fmt.Sprintf("operation %q has ended", o.name),
		func() bool { return o.state == ended }, o.w.hopelessLocked)
	return o.err
}

// String says where the operation is.
func (o *Op) String() string {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	return o.textLocked()
}

func (o *Op) textLocked() string {
	s := fmt.Sprintf("%q is %s; last: %s", o.name, o.state, o.where)
	if o.state == asleep && (closed(o.ready) || closed(o.done)) {
		s = fmt.Sprintf("%q is about to wake; last: %s", o.name, o.where)
	}
	if o.g != nil {
		s += heldText(o.g.locks())
	}
	return s
}

// sleepsLocked reports whether the operation sleeps on channels that nobody has closed.
func (o *Op) sleepsLocked() bool {
	return o.state == asleep && !closed(o.ready) && !closed(o.done)
}
