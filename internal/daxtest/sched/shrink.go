package sched

import (
	"slices"
	"time"
)

// Shrinking ends after so many schedules, or so long.
const (
	shrinkRuns = 300
	shrinkTime = 5 * time.Second
)

// shrink looks for a schedule that fails with fewer switches. It joins two stints of an
// operation, the second moved up to the first or the first back to the second, and keeps
// what fails still; whether in the same way is not looked at.
func (x *explorer) shrink(r *run, err error) (*run, error) {
	runs, began := 0, time.Now()
	for better := true; better; {
		better = false
		stints := stintsOf(choices(r.steps))
		for i := range stints {
			for _, c := range joined(stints, i) {
				if runs++; runs > shrinkRuns || time.Since(began) > shrinkTime {
					return r, err
				}
				x.rep.seen = nil
				r2, err2 := x.run(&lenient{stints: c})
				if err2 == nil || switches(r2) >= switches(r) {
					continue
				}
				r, err, better = r2, err2, true
				break
			}
			if better {
				break
			}
		}
	}
	return r, err
}

func switches(r *run) int { return len(stintsOf(choices(r.steps))) }

// stint is steps of one operation in a row.
type stint struct{ op, n int }

func stintsOf(choices []int) (out []stint) {
	for i, c := range choices {
		if i == 0 || choices[i-1] != c {
			out = append(out, stint{op: c})
		}
		out[len(out)-1].n++
	}
	return out
}

// joined returns the schedules in which stint i is joined with the next of its
// operation: at the place of the one, and of the other.
func joined(stints []stint, i int) (out [][]stint) {
	for j := i + 1; j < len(stints); j++ {
		if stints[j].op != stints[i].op {
			continue
		}
		both := stint{stints[i].op, stints[i].n + stints[j].n}
		early := slices.Delete(slices.Clone(stints), j, j+1)
		early[i] = both
		late := slices.Clone(stints)
		late[j] = both
		return append(out, early, slices.Delete(late, i, i+1))
	}
	return nil
}

// lenient follows stints as far as they are possible.
type lenient struct{ stints []stint }

func (l *lenient) choose(_ *run, enabled set, last int) (int, error) {
	for len(l.stints) > 0 {
		s := &l.stints[0]
		if s.n == 0 || !enabled.has(s.op) {
			l.stints = l.stints[1:]
			continue
		}
		s.n--
		return s.op, nil
	}
	return carryOn(enabled, last), nil
}
