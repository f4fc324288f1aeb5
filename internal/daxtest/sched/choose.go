package sched

import (
	"fmt"
	"math/rand/v2"
)

// Strategy is a way to choose schedules: [All], [Bounded], [Random], [PCT], [Replay].
type Strategy interface {
	// begin returns who decides the next schedule, numbered from 0; false if there is
	// none any more.
	begin(n int) (chooser, bool)
	// end is called after each schedule.
	end(r *run)
	// String names the strategy, with what it takes to repeat it.
	fmt.Stringer
}

// carryOn is the choice if nothing speaks against it: who ran goes on, or else the first
// that can.
func carryOn(enabled set, last int) int {
	if last >= 0 && enabled.has(last) {
		return last
	}
	return enabled.first()
}

// Replay runs one schedule: the choices that the text lists, as failures are reported, and
// then, as far as it does not reach, whoever ran last.
func Replay(text string) Strategy { return replay(text) }

type replay string

func (t replay) String() string { return fmt.Sprintf("sched.Replay(%q)", string(t)) }

func (t replay) begin(n int) (chooser, bool) {
	c, err := parse(string(t))
	if err != nil {
		panic(err)
	}
	return &follow{choices: c}, n == 0
}

func (replay) end(*run) {}

// follow makes given choices.
type follow struct{ choices []int }

func (f *follow) choose(r *run, enabled set, last int) (int, error) {
	n := len(r.steps)
	if n >= len(f.choices) {
		return carryOn(enabled, last), nil
	}
	if c := f.choices[n]; c < 64 && enabled.has(c) {
		return c, nil
	}
	return 0, fmt.Errorf("%w: step %d is to be of operation %d:\n%s", errOther, n, f.choices[n], r.text())
}

// Random runs schedules in which every choice is a fair one. The n-th, from 0, has the
// seed seed+n.
func Random(seed uint64) Strategy { return &random{seed: seed} }

type random struct{ seed uint64 }

func (s *random) String() string { return fmt.Sprintf("sched.Random(%d)", s.seed) }

func (s *random) begin(n int) (chooser, bool) {
	return &dice{rand.New(rand.NewPCG(s.seed+uint64(n), 1))}, true
}

func (*random) end(*run) {}

type dice struct{ *rand.Rand }

func (d *dice) choose(_ *run, enabled set, _ int) (int, error) {
	n := d.IntN(enabled.len())
	for ; n > 0; n-- {
		enabled = enabled.without(enabled.first())
	}
	return enabled.first(), nil
}

// PCT runs schedules by probabilistic concurrency testing (Burckhardt et al., 2010): every
// operation has a random priority, the highest that can run does, and at depth-1 random
// steps who runs gets the lowest. Of n operations with k steps in all, one schedule finds
// a bug that depends on the order of depth steps with a probability of at least
// 1/(n*k^(depth-1)). k is taken from the schedules before. The n-th schedule has the seed
// seed+n, from 0.
func PCT(seed uint64, depth int) Strategy { return &pct{seed: seed, depth: depth} }

type pct struct {
	seed  uint64
	depth int
	steps int // of the longest schedule yet
}

func (s *pct) String() string { return fmt.Sprintf("sched.PCT(%d, %d)", s.seed, s.depth) }

func (s *pct) begin(n int) (chooser, bool) {
	if n == 0 {
		s.steps = 32
	}
	p := &priorities{rand: rand.New(rand.NewPCG(s.seed+uint64(n), 2)), low: -1}
	for range s.depth - 1 {
		p.changes = append(p.changes, 1+p.rand.IntN(s.steps))
	}
	return p, true
}

func (s *pct) end(r *run) { s.steps = max(s.steps, len(r.steps)) }

type priorities struct {
	rand    *rand.Rand
	of      []int // by operation
	changes []int // steps
	low     int   // lower than any given yet
}

func (p *priorities) choose(r *run, enabled set, _ int) (int, error) {
	if p.of == nil {
		p.of = p.rand.Perm(len(r.s.ops))
	}
	best := p.best(enabled)
	for _, c := range p.changes {
		if c == len(r.steps) {
			p.of[best] = p.low
			p.low--
			best = p.best(enabled)
		}
	}
	return best, nil
}

func (p *priorities) best(enabled set) int {
	best := enabled.first()
	for i, of := range p.of {
		if enabled.has(i) && of > p.of[best] {
			best = i
		}
	}
	return best
}
