package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress draws a bar on a terminal. A nil *progress draws nothing.
type progress struct {
	w     io.Writer
	total int64
	done  int64
	last  time.Time
	begun time.Time
	now   func() time.Time
}

// newProgress makes a bar for total bytes.
func newProgress(w io.Writer, total int64, now func() time.Time) *progress {
	t := now()
	return &progress{w: w, total: total, last: t, begun: t, now: now}
}

// add counts n more bytes and draws, ten times a second at most.
func (p *progress) add(n int64) {
	if p == nil {
		return
	}
	p.done += n
	if t := p.now(); t.Sub(p.last) >= 100*time.Millisecond {
		p.last = t
		p.draw(t)
	}
}

func (p *progress) draw(t time.Time) {
	const width = 30
	part := 1.0
	if p.total > 0 {
		part = min(1, float64(p.done)/float64(p.total))
	}
	full := int(part * width)
	rate := int64(0)
	if s := t.Sub(p.begun).Seconds(); s > 0 {
		rate = int64(float64(p.done) / s)
	}
	fmt.Fprintf(p.w, "\r[%s%s] %3.0f%%  %s of %s  %s/s \x1b[K",
		strings.Repeat("#", full), strings.Repeat(".", width-full), part*100,
		formatSize(p.done), formatSize(p.total), formatSize(rate))
}

// clear takes the bar away, for other output.
func (p *progress) clear() {
	if p != nil && p.last != p.begun {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
