package main

import (
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	var none *progress
	none.add(1) // draws nothing, and does no harm
	none.clear()

	clock := time.Unix(0, 0)
	var out strings.Builder
	p := newProgress(&out, 4<<20, func() time.Time { return clock })
	p.add(1 << 20)
	if out.Len() > 0 {
		t.Errorf("drew %q at once", out.String())
	}
	clock = clock.Add(time.Second)
	p.add(1 << 20)
	for _, want := range []string{" 50%", "2 MiB of 4 MiB", "2 MiB/s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
	clock = clock.Add(time.Second)
	p.add(1 << 30) // more than was announced
	if !strings.Contains(out.String(), "100%") {
		t.Errorf("got %q, want 100%%", out.String())
	}
}
