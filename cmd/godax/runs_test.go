package main

import (
	"testing"

	"godax"
	"godax/pmem"
)

func TestTally(t *testing.T) {
	direct := func(page, pages uint64, pfn pmem.PFN) pageRun {
		return pageRun{Page: page, Pages: pages, PFN: pfn, kind: godax.Direct}
	}
	tests := []struct {
		name string
		runs []pageRun
		want usage
	}{
		{"empty", nil, usage{}},
		{"one huge page", []pageRun{direct(0, 512, 1024)}, usage{Pages: 512, Direct: 512, PMD: 512, Frames: 1}},
		{"one page short", []pageRun{direct(0, 511, 1024)}, usage{Pages: 511, Direct: 511, Frames: 1}},
		{"other colour", []pageRun{direct(0, 2048, 1025)}, usage{Pages: 2048, Direct: 2048, Frames: 1}},
		{"starts inside", []pageRun{direct(1, 1023, 1025)}, usage{Pages: 1023, Direct: 1023, PMD: 512, Frames: 1}},
		{"two entries, one run", []pageRun{direct(0, 256, 1024), direct(256, 256, 1280)}, usage{Pages: 512, Direct: 512, PMD: 512, Frames: 1}},
		{"split by a hole", []pageRun{direct(0, 256, 1024), {Page: 256, Pages: 1, kind: godax.Hole}, direct(257, 255, 1281)},
			usage{Pages: 512, Direct: 511, Hole: 1, Frames: 2}},
		{"kinds", []pageRun{{Pages: 3, kind: godax.Cached, Dirty: true}, {Page: 3, Pages: 2, kind: godax.Unwritten}},
			usage{Pages: 5, Cached: 3, Unwritten: 2, Dirty: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tally(tt.runs); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestContinues(t *testing.T) {
	base := pageRun{Page: 4, Pages: 4, PFN: 100, Order: 2, kind: godax.Direct}
	next := pageRun{Page: 8, Pages: 4, PFN: 104, Order: 2, kind: godax.Direct}
	if !base.continues(next) {
		t.Error("the next frames do not continue a run")
	}
	for what, change := range map[string]func(*pageRun){
		"gap": func(r *pageRun) { r.Page++ }, "frame": func(r *pageRun) { r.PFN++ },
		"order": func(r *pageRun) { r.Order = 0 }, "dirty": func(r *pageRun) { r.Dirty = true },
		"kind": func(r *pageRun) { r.kind = godax.Cached },
	} {
		r := next
		change(&r)
		if base.continues(r) {
			t.Errorf("a run goes on over another %s", what)
		}
	}
}
