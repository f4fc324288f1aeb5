package sched

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"godax/internal/hook"
	"godax/internal/rwsem"
)

// point is a place where others may run.
func point(page uint64) { hook.At(hook.WritePiece, nil, page) }

// counter adds ops numbers in two steps each, which is wrong.
func counter(ops int) func(s *Scenario) {
	return func(s *Scenario) {
		n := 0
		for i := range ops {
			s.Op(fmt.Sprint("add ", i), func() error {
				old := n
				point(0)
				n = old + 1
				return nil
			})
		}
		s.State(func() uint64 { return uint64(n) })
		s.Final(func() error {
			if n != ops {
				return fmt.Errorf("counted %d, want %d", n, ops)
			}
			return nil
		})
	}
}

// locked does the same under a lock.
func locked(ops int) func(s *Scenario) {
	return func(s *Scenario) {
		n := 0
		y := newToy()
		for i := range ops {
			s.Op(fmt.Sprint("add ", i), func() error { return y.add(nil, 0) })
		}
		s.State(func() uint64 { n++; return uint64(y.n) })
		s.Final(func() error {
			if y.n != ops || n == 0 {
				return fmt.Errorf("counted %d, want %d", y.n, ops)
			}
			return nil
		})
	}
}

// steps are operations that share nothing, with n points each.
func steps(ops, n int, state bool) func(s *Scenario) {
	return func(s *Scenario) {
		for i := range ops {
			s.Op(fmt.Sprint(i), func() error {
				for p := range n {
					point(uint64(p))
				}
				return nil
			})
		}
		if state {
			s.State(func() uint64 { return 0 })
		}
	}
}

// The number of schedules of k operations with n steps each is (kn)!/(n!)^k. With a
// hash there are as many states as tuples of places, less the last: there is no choice
// when all have ended.
func TestExploreCounts(t *testing.T) {
	for _, tt := range []struct {
		name      string
		c         Config
		fill      func(*Scenario)
		schedules int
		states    int
	}{
		{"one", Config{}, steps(1, 5, false), 1, 0},
		{"2 of 2 steps", Config{}, steps(2, 1, false), 6, 0},
		{"2 of 3 steps", Config{}, steps(2, 2, false), 20, 0},
		{"2 of 5 steps", Config{}, steps(2, 4, false), 252, 0},
		{"3 of 2 steps", Config{}, steps(3, 1, false), 90, 0},
		{"2 of 5 steps, states", Config{}, steps(2, 4, true), 1 + 25, 35},
		{"3 of 3 steps, states", Config{}, steps(3, 2, true), 0, 63},
		// Switches at an end are free: 2 orders. One preemption: after 1 or 2 of 3 steps of
		// the first, and of the second.
		{"no preemption", Config{Strategy: Bounded(0)}, steps(2, 2, false), 2, 0},
		{"one preemption", Config{Strategy: Bounded(1)}, steps(2, 2, false), 2 + 4, 0},
		{"all preemptions", Config{Strategy: Bounded(9)}, steps(2, 2, false), 20, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep := Explore(t, tt.c, tt.fill)
			t.Log(rep)
			if !rep.Exhausted || tt.schedules != 0 && rep.Schedules != tt.schedules || rep.States != tt.states {
				t.Errorf("want %d schedules and %d states", tt.schedules, tt.states)
			}
		})
	}
}

// A lock makes one of two orders of all. The waits make more schedules.
func TestExploreLocked(t *testing.T) {
	for ops := 1; ops <= 3; ops++ {
		rep := Explore(t, Config{}, locked(ops))
		t.Log(ops, rep)
		if !rep.Exhausted {
			t.Error("not exhausted")
		}
	}
}

// fails explores a scenario that must fail, and replays the failure.
func fails(t *testing.T, c Config, fill func(*Scenario), want ...string) Report {
	t.Helper()
	rep, err := Find(t, c, fill)
	contains(t, err.Error(), want...)
	t.Logf("%v: %s", rep, rep.Script)
	c.Strategy = Replay(rep.Script)
	_, again := Find(t, c, fill)
	contains(t, again.Error(), want...)
	return rep
}

func TestLostUpdate(t *testing.T) {
	for _, s := range []Strategy{All(), Bounded(1), Random(1), PCT(1, 2)} {
		for ops := 2; ops <= 3; ops++ {
			rep := fails(t, Config{Strategy: s, Budget: 1000}, counter(ops), "counted ")
			if n := strings.Count(rep.Script, " "); n > ops {
				t.Errorf("%s: %d operations need no more switches", rep.Script, ops)
			}
		}
	}
	fails(t, Config{Strategy: Replay("0 1x2 0")}, counter(2), "counted 1, want 2", "WritePiece, page 0")
	rep := Explore(t, Config{Strategy: Bounded(0)}, counter(2))
	if !rep.Exhausted {
		t.Error(rep)
	}
}

func TestDeadlock(t *testing.T) {
	two := func(ranked bool) func(s *Scenario) {
		return func(s *Scenario) {
			var a, b rwsem.RW
			if ranked {
				a.SetRank(hook.Inode)
				b.SetRank(hook.Inval)
			}
			both := func(x, y *rwsem.RW) func() error {
				return func() error {
					x.Lock(nil)
					defer x.Unlock()
					y.Lock(nil)
					defer y.Unlock()
					return nil
				}
			}
			s.Op("ab", both(&a, &b))
			s.Op("ba", both(&b, &a))
		}
	}
	fails(t, Config{}, two(false), "deadlock", `0 "ab" is asleep`, `1 "ba" is asleep`, "holds no rank lock")
	rep := fails(t, Config{}, two(true), "lock order: operation \"ba\" waits for inode lock while it holds inval lock")
	if rep.Schedules != 1 {
		t.Errorf("%v: no deadlock is needed for the order to be wrong", rep)
	}
}

// sleeper is a queue of one with a wake that can get lost: it looks whether there is
// work, and only then tells that it sleeps.
type sleeper struct {
	work bool
	wake chan struct{}
}

func (q *sleeper) wait(right bool) {
	if right {
		q.wake = make(chan struct{})
	}
	if q.work {
		return
	}
	point(0)
	if !right {
		q.wake = make(chan struct{})
	}
	Sleep(q.wake)
}

func (q *sleeper) post() {
	q.work = true
	point(1)
	if q.wake != nil {
		close(q.wake)
	}
}

func TestLostWake(t *testing.T) {
	fill := func(right bool) func(s *Scenario) {
		return func(s *Scenario) {
			q := new(sleeper)
			s.Op("wait", func() error { q.wait(right); return nil })
			s.Op("post", func() error { q.post(); return nil })
		}
	}
	rep := fails(t, Config{}, fill(false), "deadlock", `0 "wait" is asleep`, `1 "post" is ended`)
	if rep.Script != "0 1x2 0" && rep.Script != "0 1x3 0" {
		t.Errorf("shrunk to %s", rep.Script)
	}
	if rep := Explore(t, Config{}, fill(true)); !rep.Exhausted {
		t.Error(rep)
	}
}

func TestChecks(t *testing.T) {
	at := func(n *int, limit int) func() error {
		return func() error {
			if *n > limit {
				return fmt.Errorf("%d is more than %d", *n, limit)
			}
			return nil
		}
	}
	fill := func(limit int, clean *int) func(s *Scenario) {
		return func(s *Scenario) {
			inside := 0
			for _, name := range []string{"a", "b"} {
				s.Op(name, func() error {
					inside++
					point(0)
					inside--
					return nil
				})
			}
			s.Check(at(&inside, limit))
			s.Cleanup(func() { *clean++ })
		}
	}
	clean := 0
	rep := Explore(t, Config{}, fill(2, &clean))
	if clean != rep.Schedules || clean != 6 {
		t.Errorf("%d cleanups, %v", clean, rep)
	}
	fails(t, Config{}, fill(1, &clean), "invariant: 2 is more than 1")
}

func TestFailures(t *testing.T) {
	mine := errors.New("mine")
	for name, tt := range map[string]struct {
		op   func(s *Scenario) error
		want string
	}{
		"error":   {func(*Scenario) error { return mine }, "op: mine"},
		"panic":   {func(*Scenario) error { panic("boo") }, "op: panic: boo"},
		"Fatalf":  {func(s *Scenario) error { s.Fatalf("no %d", 7); return nil }, "no 7"},
		"Errorf":  {func(s *Scenario) error { s.Errorf("no %d", 7); point(0); return nil }, "no 7"},
		"forever": {func(s *Scenario) error { Sleep(nil); return nil }, "deadlock"},
		"endless": {func(s *Scenario) error {
			for {
				point(0)
			}
		}, "no end after 300 steps"},
		"lock": {func(s *Scenario) error { return new(rwsem.RW).Lock(nil) }, "ended; holds no rank lock"},
		"alien": {func(s *Scenario) error {
			done := make(chan struct{})
			go func() { defer close(done); point(0) }()
			<-done
			return nil
		}, "no operation reports"},
	} {
		t.Run(name, func(t *testing.T) {
			fails(t, Config{MaxSteps: 300}, func(s *Scenario) {
				s.Op("op", func() error { return tt.op(s) })
				s.Op("other", func() error { point(0); return nil })
			}, tt.want)
		})
	}
	_, err := explore(t, Config{}, func(s *Scenario) { s.Fatal("not today") })
	if Enabled(t); err == nil || !strings.Contains(err.Error(), "cannot be built: not today") {
		t.Errorf("got %v", err)
	}
	_, err = explore(t, Config{Strategy: Replay("0x2 1 5")}, steps(2, 2, false))
	if !errors.Is(err, errOther) {
		t.Errorf("a script of another scenario: %v", err)
	}
	flip := 0
	_, err = explore(t, Config{}, func(s *Scenario) { flip++; steps(2, 1+flip%2, false)(s) })
	if !errors.Is(err, errOther) {
		t.Errorf("a scenario that changes: %v", err)
	}
}

// Somebody who looks again and again must not keep the others from going on, or make
// endless schedules.
func TestSpin(t *testing.T) {
	for _, state := range []bool{true, false} {
		fill := func(s *Scenario) {
			done := false
			s.Op("spin", func() error {
				for !done {
					point(0)
				}
				return nil
			})
			s.Op("set", func() error {
				point(0)
				done = true
				return nil
			})
			if state {
				s.State(func() uint64 {
					if done {
						return 1
					}
					return 0
				})
			}
		}
		rep := Explore(t, Config{Budget: 30}, fill)
		t.Log(rep)
		if state && !rep.Exhausted {
			t.Error("not exhausted")
		}
	}
}

// A check must not want what an operation has.
func TestCheckWaits(t *testing.T) {
	fails(t, Config{}, func(s *Scenario) {
		y := newToy()
		s.Op("add", func() error { return y.add(nil, 0) })
		s.Check(func() error {
			y.l.Lock(nil)
			defer y.l.Unlock()
			return nil
		})
	}, "invariant: panic: sched: a check", "waits for an operation")
}

// An operation that hangs outside of what is reported is found by patience.
func TestHang(t *testing.T) {
	Enabled(t)
	synctest.Test(t, func(t *testing.T) { // where patience ends when all sleep
		stop := make(chan struct{})
		defer close(stop)
		_, err := explore(t, Config{NoShrink: true}, func(s *Scenario) {
			s.Op("hang", func() error { point(3); <-stop; return nil })
		})
		if err == nil {
			t.Fatal("not found")
		}
		contains(t, err.Error(), "hang came to no point", "WritePiece, page 3", "goroutine ")
	})
}

func TestScript(t *testing.T) {
	for _, tt := range []struct {
		choices []int
		text    string
	}{{nil, ""}, {[]int{0}, "0"}, {[]int{0, 0, 1, 0, 12, 12, 12}, "0x2 1 0 12x3"}} {
		if got := format(tt.choices); got != tt.text {
			t.Errorf("format %v = %q, want %q", tt.choices, got, tt.text)
		}
		if got, err := parse(tt.text); err != nil || fmt.Sprint(got) != fmt.Sprint(tt.choices) {
			t.Errorf("parse %q = %v, %v", tt.text, got, err)
		}
	}
	if got, err := parse("0 1 1 0 2"); err != nil || fmt.Sprint(got) != "[0 1 1 0 2]" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"a", "-1", "0x", "0x0", "1x-2", "x3"} {
		if _, err := parse(text); err == nil {
			t.Errorf("parse %q: no error", text)
		}
	}
}

// Random schedules depend on the seed only.
func TestSeeds(t *testing.T) {
	Enabled(t)
	for _, make := range []func(seed uint64) Strategy{
		Random, func(seed uint64) Strategy { return PCT(seed, 3) },
	} {
		script := func(seed uint64) string {
			rep, err := explore(t, Config{Strategy: make(seed), NoShrink: true}, func(s *Scenario) {
				steps(3, 20, false)(s)
				s.Final(func() error { return errors.New("tell me") })
			})
			if err == nil || rep.Schedules != 1 {
				t.Fatalf("seed %d: %v", seed, rep)
			}
			return rep.Script
		}
		all := map[string]bool{}
		for seed := range uint64(20) {
			s := script(seed)
			if again := script(seed); s != again {
				t.Errorf("seed %d: %s, then %s", seed, s, again)
			}
			all[s] = true
		}
		if len(all) < 5 {
			t.Errorf("20 seeds find %d schedules", len(all))
		}
	}
}

func BenchmarkSchedule(b *testing.B) {
	for name, fill := range map[string]func(*Scenario){"plain": steps(2, 20, false), "states": steps(2, 20, true)} {
		b.Run(name, func(b *testing.B) {
			rep := Explore(b, Config{Strategy: Random(1), Budget: b.N}, fill)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rep.Steps), "ns/step")
		})
	}
}
