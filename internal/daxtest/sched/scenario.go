package sched

import (
	"errors"
	"fmt"
	"runtime/debug"
	"testing"
)

// Scenario is one world, and the operations that run in it. The function given to
// [Explore] fills it in, once for every schedule, and must do the same each time.
//
// It is a testing.TB that fails the schedule, not the test as a whole, and whose
// cleanups run after the schedule: helpers that take one can build the world.
type Scenario struct {
	testing.TB

	ops      []*task
	state    func() uint64
	checks   []func() error
	finals   []func() error
	cleanups []func()
	errs     []error // what Error and Fatal said
}

// Op adds an operation. An error that f returns, or a panic, fails the schedule; what
// the operation may fail with is for f to sort out. Several operations are told apart by
// number, in the order in which they are added.
func (s *Scenario) Op(name string, f func() error) {
	s.ops = append(s.ops, &task{index: len(s.ops), name: name, f: f, resume: make(chan struct{}, 1)})
}

// State sets the hash of all that operations share: what they may see of each other. See
// [All] for what it is good for, and what rests on it. It is called while nobody runs.
func (s *Scenario) State(f func() uint64) { s.state = f }

// Check adds an invariant, which is checked before every step while nobody runs.
func (s *Scenario) Check(f func() error) { s.checks = append(s.checks, f) }

// Final adds a check for when all operations have ended.
func (s *Scenario) Final(f func() error) { s.finals = append(s.finals, f) }

// Cleanup implements [testing.TB]: f runs at the end of the schedule.
func (s *Scenario) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// errFailed is what Fatal panics with.
var errFailed = errors.New("sched: the scenario failed")

// Error implements [testing.TB].
func (s *Scenario) Error(args ...any) { s.errs = append(s.errs, errors.New(fmt.Sprint(args...))) }

// Errorf implements [testing.TB].
func (s *Scenario) Errorf(format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf(format, args...))
}

// Fail implements [testing.TB].
func (s *Scenario) Fail() { s.Error("failed") }

// Fatal implements [testing.TB].
func (s *Scenario) Fatal(args ...any) {
	s.Error(args...)
	panic(errFailed)
}

// Fatalf implements [testing.TB].
func (s *Scenario) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(errFailed)
}

// FailNow implements [testing.TB].
func (s *Scenario) FailNow() { s.Fatal("failed") }

// Failed implements [testing.TB].
func (s *Scenario) Failed() bool { return len(s.errs) > 0 }

// run calls f, which belongs to the scenario, and returns all that it failed with.
func (s *Scenario) run(f func() error) (err error) {
	defer func() {
		r := recover()
		if r != nil && r != any(errFailed) {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if len(s.errs) > 0 {
			err = errors.Join(append(s.errs, err)...)
			s.errs = nil
		}
	}()
	return f()
}

// clean runs the cleanups.
func (s *Scenario) clean() error {
	return s.run(func() error {
		for len(s.cleanups) > 0 {
			last := len(s.cleanups) - 1
			f := s.cleanups[last]
			s.cleanups = s.cleanups[:last]
			f()
		}
		return nil
	})
}
