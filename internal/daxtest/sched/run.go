package sched

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"godax/internal/hook"
)

// set is a set of operations, by number.
type set uint64

func (s set) has(i int) bool    { return s>>i&1 != 0 }
func (s set) with(i int) set    { return s | 1<<i }
func (s set) without(i int) set { return s &^ (1 << i) }
func (s set) first() int        { return bits.TrailingZeros64(uint64(s)) }
func (s set) len() int          { return bits.OnesCount64(uint64(s)) }

// task is an operation of a controlled run. Whoever runs owns its fields: the task
// itself, or the controller while it is parked.
type task struct {
	index  int
	name   string
	f      func() error
	resume chan struct{} // go on

	g           *goroutine
	state       state // running means parked, and ready to go on
	where       place
	ready, done <-chan struct{}
	slept       int // the step at which it went to sleep
	err         error

	history Hash         // of what it did, and saw
	stints  map[Hash]int // how many times it was at a place since others ran last
	spins   bool         // it comes by the same place again and again
}

// step is one choice: who went on, and from where.
type step struct {
	op    int
	where place
}

// chooser decides who goes on.
type chooser interface {
	// choose picks one of the operations in enabled, of which there is one. last is who
	// ran before, or -1. An error ends the run.
	choose(r *run, enabled set, last int) (int, error)
}

// forgetful is a chooser that knows of some steps what they lead to: then nothing is
// looked at.
type forgetful interface {
	// known reports whether the state that the run is in was looked at in an earlier one.
	// If ok, now is the hash of the shared state; if not, nobody needs it any more.
	known(r *run) (now uint64, ok, known bool)
}

// run is one schedule under way. It is the watcher meanwhile.
type run struct {
	s      *Scenario
	home   uintptr // the goroutine of the controller
	coarse bool    // see [Config.Coarse]
	max    int     // steps before the run counts as endless

	current *task            // who runs
	parked  chan *task       // who has parked or ended; nobody else runs
	late    <-chan time.Time // when [Patience] is over
	alien   error            // a goroutine that is no task has reported
	steps   []step
	last    int    // who ran last, or -1
	now     uint64 // the hash of the shared state, if there is one
}

// spinning is how many times an operation may come by a place, with the shared state
// unchanged and nobody else running, before it counts as waiting for somebody.
const spinning = 3

// spinningBlind is that for scenarios without a hash of the state.
const spinningBlind = 100

// execute runs the operations to the end, and returns what is wrong.
func (r *run) execute(c chooser) error {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	r.late, r.last = timer.C, -1
	r.parked = make(chan *task, 1)
	for _, t := range r.s.ops {
		r.start(t)
	}
	err := r.loop(c)
	if err != nil {
		r.abandon()
		return err
	}
	for _, f := range r.s.finals {
		if err := r.s.run(f); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	return nil
}

// loop makes the choices until all have ended.
func (r *run) loop(c chooser) error {
	for {
		if err := r.look(c); err != nil {
			return err
		}
		enabled, left := r.enabled()
		switch {
		case left == 0:
			return nil
		case enabled == 0:
			return errors.New("deadlock:\n" + r.text())
		case len(r.steps) >= r.max:
			return fmt.Errorf("no end after %d steps:\n%s", r.max, r.text())
		}
		i, err := c.choose(r, enabled, r.last)
		if err != nil {
			return err
		}
		if err := r.step(r.s.ops[i]); err != nil {
			return err
		}
	}
}

// enabled returns who can go on, and how many have not ended. Whoever spins can only if
// nobody else can.
func (r *run) enabled() (enabled set, left int) {
	spins := set(0)
	for _, t := range r.s.ops {
		switch {
		case t.state == ended:
			continue
		case t.state == asleep && !closed(t.ready) && !closed(t.done):
		case t.spins:
			spins = spins.with(t.index)
		default:
			enabled = enabled.with(t.index)
		}
		left++
	}
	if enabled == 0 {
		enabled = spins
	}
	return enabled, left
}

// step lets the task run until it parks again.
func (r *run) step(t *task) error {
	if r.last != t.index {
		for _, o := range r.s.ops {
			o.stints, o.spins = nil, false
		}
	}
	r.steps = append(r.steps, step{t.index, t.where})
	r.last, r.current = t.index, t
	t.state = running
	if !r.coarse {
		t.history.Add(r.now) // what it can see until it parks again
	}
	t.resume <- struct{}{}
	if err := r.await(t); err != nil {
		return err
	}
	r.current = nil
	if err := errors.Join(append(r.s.errs, r.alien)...); err != nil {
		r.s.errs = nil
		return err
	}
	if t.state == ended && t.err != nil {
		return fmt.Errorf("%s: %w", t.name, t.err)
	}
	return nil
}

// await waits until the task has parked or ended.
func (r *run) await(t *task) error {
	select {
	case <-r.parked:
		return nil
	case <-r.late:
		return fmt.Errorf("%s came to no point for %v since: %s%s\n%s",
			t.name, Patience, t.where, heldText(t.g.locks()), allStacks())
	}
}

// look checks the invariants, takes the hash of the shared state, and notes whether who
// ran last has been here before.
func (r *run) look(c chooser) error {
	blind := r.s.state == nil
	f, ok := c.(forgetful)
	known := false
	if ok {
		var now uint64
		if now, ok, known = f.known(r); known {
			r.now, blind = now, blind || !ok
		}
	}
	if !known {
		for _, f := range r.s.checks {
			if err := r.s.run(f); err != nil {
				return fmt.Errorf("invariant: %w", err)
			}
		}
		if !blind {
			r.now = r.s.state()
		}
	}
	if r.last >= 0 {
		r.s.ops[r.last].passes(r.now, blind)
	}
	return nil
}

// passes notes that the task has come to a place, and the state of things then.
func (t *task) passes(now uint64, blind bool) {
	limit := spinning
	if blind {
		limit = spinningBlind
	}
	key := t.where.hash()
	key.Add(now)
	if t.stints == nil {
		t.stints = make(map[Hash]int)
	}
	t.stints[key]++
	t.spins = t.stints[key] > limit
}

// key is a hash of the whole state, as far as it is known: what is shared, what each
// operation did and saw, and in which order they went to sleep.
func (r *run) key() Hash {
	var h Hash
	h.Add(r.now)
	var sleepers []*task
	for _, t := range r.s.ops {
		h.Add(uint64(t.state), uint64(t.history))
		if t.state == asleep {
			sleepers = append(sleepers, t)
		}
	}
	slices.SortFunc(sleepers, func(a, b *task) int { return a.slept - b.slept })
	for _, t := range sleepers {
		h.Add(uint64(t.index))
	}
	return h
}

// text tells where everybody is.
func (r *run) text() string {
	var b strings.Builder
	for _, t := range r.s.ops {
		state := t.state.String()
		if t.state == running {
			state = "ready"
		}
		fmt.Fprintf(&b, "\t%d %q is %s; last: %s%s\n", t.index, t.name, state, t.where, heldText(t.g.locks()))
	}
	return b.String()
}

// start makes the task's goroutine, which parks at once.
func (r *run) start(t *task) {
	t.where = place{event: evStart}
	go func() {
		t.g = goroutines.add(owner{name: t.name, task: t})
		defer func() {
			if held := t.g.locks(); len(held) > 0 && t.err == nil {
				t.err = errors.New("ended" + heldText(held))
			}
			goroutines.drop(t.g)
			t.state = ended
			r.parked <- t
		}()
		r.park(t)
		t.err = errGoexit
		t.err = r.s.run(t.f)
	}()
	<-r.parked
}

// park gives the word to the controller and waits until the task is chosen.
func (r *run) park(t *task) {
	r.parked <- t
	<-t.resume
}

// abandon forgets the goroutines of a run that has failed. They stay where they are: to
// unwind them would run what was deferred, with locks that are not as it expects.
func (r *run) abandon() {
	for _, t := range r.s.ops {
		goroutines.drop(t.g)
	}
	r.s.errs = nil
}

// mine returns the task of the calling goroutine, if it is one.
func (r *run) mine(g *goroutine) *task {
	if g != nil && g.task != nil {
		t := g.task
		if t.index >= len(r.s.ops) || r.s.ops[t.index] != t {
			return nil // left over from an earlier run
		}
		return t
	}
	if self() != r.home && r.alien == nil {
		r.alien = fmt.Errorf("a goroutine that is no operation reports:\n%s", callers())
	}
	return nil
}

// note adds to the history of the task what it does.
func (t *task) note(p place) {
	p.site = sites()
	t.where = p
	t.history.Add(uint64(p.hash()))
}

func (r *run) at(g *goroutine, p place) {
	if t := r.mine(g); t != nil {
		t.note(p)
		if !g.holdsLeaf() {
			r.park(t)
		}
	}
}

func (r *run) wants(g *goroutine, p place) { r.at(g, p) }

func (r *run) acquired(g *goroutine, p place) {
	t := r.mine(g)
	if t == nil {
		return
	}
	woke := t.where.event == evBlock
	t.note(p)
	if p.try || woke || p.rank == hook.NoRank || g.holdsLeaf() {
		return
	}
	r.park(t)
}

func (r *run) released(g *goroutine, p place) {
	if t := r.mine(g); t != nil {
		where := t.where
		t.note(p)
		t.where = where
	}
}

func (r *run) blocks(g *goroutine, ready, done <-chan struct{}) {
	t := r.mine(g)
	if t == nil {
		if self() == r.home && !closed(ready) && !closed(done) {
			panic("sched: a check, or the building of the scenario, waits for an operation")
		}
		return
	}
	t.note(place{event: evBlock})
	t.state, t.ready, t.done, t.slept = asleep, ready, done, len(r.steps)
	r.park(t)
}
