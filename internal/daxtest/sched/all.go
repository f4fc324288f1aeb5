package sched

import (
	"errors"
	"fmt"
)

// errOther: a schedule went another way than one that was the same up to there.
var errOther = errors.New("the scenario is not the same every time")

// All runs every schedule, depth first, those that switch late before those that switch
// early.
//
// With a hash of the state ([Scenario.State]) a schedule that comes to a state where
// another has been is cut: it runs to its end, but nothing that branches off from there is
// tried again. A state is what the hash says, and for each operation its history: the
// points it came by, the locks it took and gave back, with page numbers and the stack's
// top, and the shared state that it could see each time it went on. What is cut is really
// a repetition if
//
//   - the hash covers all that an operation reads of what others write, with waiting
//     queues and the like (locks and sleepers that are reported need not be in it);
//   - operations are deterministic: no clock, no random numbers, no order of a map's
//     iteration, no select with two channels ready, no goroutines of their own;
//   - 64 bits do not collide.
//
// And all schedules are all only as far as switches are: at points, where a lock is about
// to be taken, and where somebody sleeps. What happens between is one step. An operation
// that comes by one place again and again with nothing changed waits for somebody; it is
// let go on no further before somebody else has.
func All() Strategy { return Bounded(-1) }

// Bounded is [All] without the schedules that take the word from an operation that could
// go on more often than that; -1 is no bound.
func Bounded(preemptions int) Strategy {
	return &tree{bound: preemptions, seen: make(map[Hash]int)}
}

// tree is the choices of the schedule that was tried last, and what is left to try.
type tree struct {
	bound int
	nodes []node
	depth int          // of the schedule under way
	cut   bool         // it has come to a state that was there before
	seen  map[Hash]int // states, and the preemptions that had been used to get there
	cuts  int
}

// node is one choice.
type node struct {
	enabled set
	tried   set
	choice  int
	last    int // who ran before
	used    int // preemptions before this choice

	now uint64 // the hash of the shared state
}

// preempts reports whether choosing c takes the word from somebody.
func (n *node) preempts(c int) bool {
	return n.last >= 0 && c != n.last && n.enabled.has(n.last)
}

func (t *tree) String() string {
	if t.bound < 0 {
		return "sched.All()"
	}
	return fmt.Sprintf("sched.Bounded(%d)", t.bound)
}

// begin goes back to the last choice that can be made otherwise.
func (t *tree) begin(n int) (chooser, bool) {
	t.depth, t.cut = 0, false
	if n == 0 {
		t.nodes, t.cuts = nil, 0
		clear(t.seen)
		return t, true
	}
	for len(t.nodes) > 0 {
		if t.nodes[len(t.nodes)-1].advance(t.bound) {
			return t, true
		}
		t.nodes = t.nodes[:len(t.nodes)-1]
	}
	return nil, false
}

// advance makes the next choice at a node; false if all were made.
func (n *node) advance(bound int) bool {
	for left := n.enabled &^ n.tried; left != 0; {
		c := left.first()
		left, n.tried = left.without(c), n.tried.with(c)
		if bound >= 0 && n.preempts(c) && n.used >= bound {
			continue
		}
		n.choice = c
		return true
	}
	return false
}

func (t *tree) end(*run) {
	if t.cut {
		t.cuts++
	}
}

// known implements forgetful: the way to where a schedule branches off from the one before
// was looked at then, and so was what follows a state that was met before.
func (t *tree) known(*run) (now uint64, ok, known bool) {
	switch {
	case t.cut:
		return 0, false, true
	case t.depth < len(t.nodes):
		return t.nodes[t.depth].now, true, true
	}
	return 0, false, false
}

func (t *tree) choose(r *run, enabled set, last int) (int, error) {
	if t.cut {
		return carryOn(enabled, last), nil
	}
	if t.depth < len(t.nodes) {
		n := &t.nodes[t.depth]
		t.depth++
		if n.enabled != enabled || n.last != last {
			return 0, fmt.Errorf("%w: at step %d:\n%s", errOther, len(r.steps), r.text())
		}
		return n.choice, nil
	}
	used := 0
	if len(t.nodes) > 0 {
		n := &t.nodes[len(t.nodes)-1]
		if used = n.used; n.preempts(n.choice) {
			used++
		}
	}
	if t.visited(r, last, used) {
		t.cut = true
		return carryOn(enabled, last), nil
	}
	c := carryOn(enabled, last)
	t.nodes = append(t.nodes, node{enabled: enabled, tried: set(0).with(c), choice: c, last: last, used: used, now: r.now})
	t.depth++
	return c, nil
}

// visited reports whether the state was met before, with as many preemptions left.
func (t *tree) visited(r *run, last, used int) bool {
	if r.s.state == nil {
		return false
	}
	h := r.key()
	if t.bound >= 0 {
		h.Add(uint64(last)) // to go on with another would be a preemption, or not
	} else {
		used = 0
	}
	before, ok := t.seen[h]
	if ok && before <= used {
		return true
	}
	t.seen[h] = used
	return false
}
