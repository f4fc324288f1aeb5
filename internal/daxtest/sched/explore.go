package sched

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Config says which schedules [Explore] runs. The zero value is all, with the default
// budget.
type Config struct {
	// Strategy chooses the schedules; nil is [All].
	Strategy Strategy

	// Budget is how many schedules are run at most; 0 means 100000.
	Budget int

	// Duration is after which time no further schedule begins; 0 is none.
	Duration time.Duration

	// MaxSteps is how long a schedule may be; a longer one fails. 0 means 10000.
	MaxSteps int

	// Coarse leaves out of an operation's history what it saw of the shared state: then
	// far more is cut. It is right if an operation's place, with its history of points and
	// locks, and the shared state as it is now, tell all that it remembers.
	Coarse bool

	// NoShrink reports a failing schedule as it was found, without trying to find one with
	// fewer switches.
	NoShrink bool
}

// Report is what [Explore] did.
type Report struct {
	Schedules int  // run
	Cut       int  // of them, those that came to a state that was known
	States    int  // distinct states at choices; 0 without a hash of the state
	Steps     int  // of all schedules
	Longest   int  // steps of the longest one
	Exhausted bool // nothing is left to try

	// Script is of the schedule that failed, for [Replay].
	Script string
}

// String is for logs.
func (r Report) String() string {
	left := "some are left"
	if r.Exhausted {
		left = "that is all"
	}
	return fmt.Sprintf("%d schedules, %d cut, %d states, %d steps, at most %d in one; %s",
		r.Schedules, r.Cut, r.States, r.Steps, r.Longest, left)
}

// Explore runs the scenario that fill describes under the schedules that c asks for, and
// fails the test at the first that fails: an operation's error or panic, a violated
// check, a deadlock, a run without end, or a violation of the lock order. What is printed
// has the choices, for [Replay], and the way that each operation took.
//
// fill is called for every schedule, and builds everything anew. The operations of a
// schedule that has failed stay where they are for ever.
func Explore(t testing.TB, c Config, fill func(s *Scenario)) Report {
	t.Helper()
	Enabled(t)
	rep, failure := explore(t, c, fill)
	if failure != nil {
		t.Fatalf("sched: %v", failure)
	}
	return rep
}

// Find is [Explore] for scenarios that are wrong, to show that their checks see it: it
// returns what failed first, and fails the test if nothing does.
func Find(t testing.TB, c Config, fill func(s *Scenario)) (Report, error) {
	t.Helper()
	Enabled(t)
	rep, failure := explore(t, c, fill)
	if failure == nil {
		t.Fatalf("sched: nothing fails: %v, %v", c.Strategy, rep)
	}
	return rep, failure
}

// explorer is one call of Explore.
type explorer struct {
	t    testing.TB
	c    Config
	fill func(s *Scenario)
	rep  *reporter
}

func explore(t testing.TB, c Config, fill func(s *Scenario)) (rep Report, failure error) {
	if c.Strategy == nil {
		c.Strategy = All()
	}
	if c.Budget == 0 {
		c.Budget = 100000
	}
	if c.MaxSteps == 0 {
		c.MaxSteps = 10000
	}
	x := &explorer{t: t, c: c, fill: fill, rep: &reporter{}}
	if outer := reporting.Swap(x.rep); outer != nil {
		defer reporting.Store(outer)
	} else {
		defer reporting.Store(nil)
	}
	began := time.Now()
	for rep.Schedules < c.Budget && (c.Duration == 0 || time.Since(began) < c.Duration) {
		choose, ok := c.Strategy.begin(rep.Schedules)
		if !ok {
			rep.Exhausted = true
			break
		}
		r, err := x.run(choose)
		c.Strategy.end(r)
		rep.Schedules++
		rep.Steps += len(r.steps)
		rep.Longest = max(rep.Longest, len(r.steps))
		if err != nil {
			rep.Script, failure = x.explain(r, err, rep.Schedules-1)
			break
		}
	}
	if t, ok := c.Strategy.(*tree); ok {
		rep.Cut, rep.States = t.cuts, len(t.seen)
	}
	return rep, failure
}

// run builds the world, runs one schedule in it, and takes it down.
func (x *explorer) run(choose chooser) (*run, error) {
	s := &Scenario{TB: x.t}
	r := &run{s: s, home: self(), coarse: x.c.Coarse, max: x.c.MaxSteps}
	err := s.run(func() error { x.fill(s); return nil })
	switch {
	case err != nil:
		err = fmt.Errorf("the scenario cannot be built: %w", err)
	case len(s.ops) == 0 || len(s.ops) > 64:
		err = fmt.Errorf("the scenario has %d operations, not 1 to 64", len(s.ops))
	default:
		end := watch(r)
		err = r.execute(choose)
		end()
	}
	if e := s.clean(); err == nil && e != nil {
		err = fmt.Errorf("cleanup: %w", e)
	}
	for _, v := range x.rep.take() {
		if err == nil {
			err = errors.New(v)
		}
	}
	return r, err
}

// explain makes the report of a failure, of a schedule with fewer switches if there is
// one.
func (x *explorer) explain(r *run, err error, n int) (script string, failure error) {
	if !x.c.NoShrink && !errors.Is(err, errOther) {
		x.rep.seen = nil
		r, err = x.shrink(r, err)
	}
	script = format(choices(r.steps))
	return script, fmt.Errorf("%v, schedule %d: %w\nagain with sched.Replay(%q)\n%s", x.c.Strategy, n, err, script, trace(r))
}
