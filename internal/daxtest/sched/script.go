package sched

import (
	"fmt"
	"strconv"
	"strings"
)

// format writes choices as text: numbers of operations, "0x3" for three times 0.
func format(choices []int) string {
	var b strings.Builder
	for i := 0; i < len(choices); {
		n := 1
		for i+n < len(choices) && choices[i+n] == choices[i] {
			n++
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(choices[i]))
		if n > 1 {
			fmt.Fprintf(&b, "x%d", n)
		}
		i += n
	}
	return b.String()
}

// parse reads what format wrote.
func parse(text string) (choices []int, err error) {
	for _, word := range strings.Fields(text) {
		op, times, many := strings.Cut(word, "x")
		n := 1
		i, err := strconv.Atoi(op)
		if err == nil && many {
			n, err = strconv.Atoi(times)
		}
		if err != nil || i < 0 || n < 1 {
			return nil, fmt.Errorf("sched: %q is no choice", word)
		}
		for range n {
			choices = append(choices, i)
		}
	}
	return choices, nil
}

// choices are those of the steps.
func choices(steps []step) []int {
	c := make([]int, len(steps))
	for i, s := range steps {
		c[i] = s.op
	}
	return c
}

// trace tells a schedule: who goes on, and the places it comes by.
func trace(r *run) string {
	var b strings.Builder
	for i := 0; i < len(r.steps); {
		s, n := r.steps[i], 1
		for i+n < len(r.steps) && r.steps[i+n] == s {
			n++
		}
		if i == 0 || r.steps[i-1].op != s.op {
			fmt.Fprintf(&b, "\t%4d %s\n", i, r.s.ops[s.op].name)
		}
		fmt.Fprintf(&b, "\t\t%s", s.where)
		if n > 1 {
			fmt.Fprintf(&b, " (%d times)", n)
		}
		b.WriteByte('\n')
		i += n
	}
	return b.String()
}
