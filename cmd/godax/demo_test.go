package main

import (
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	r := godaxRun(t, "demo")
	if r.code != exitOK {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, want := range []string{"faults answered at order 9 (2 MiB): ", "found written: 1000 pages", " 0 failed"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "FAILED") {
		t.Errorf("a check failed:\n%s", r.stdout)
	}
}

// TestDemoFails: a failed check is the command's failure.
func TestDemoFails(t *testing.T) {
	var out strings.Builder
	d := &demo{app: testApp(t, &out)}
	d.check(true, "one", "")
	if err := d.report(); err != nil {
		t.Errorf("report of a good check: %v", err)
	}
	d.check(false, "two", "broken")
	if err := d.report(); err == nil {
		t.Error("report of a failed check is no error")
	}
	d.out.Flush()
	if !strings.Contains(out.String(), "FAILED  two (broken)") {
		t.Errorf("the failed check is not shown:\n%s", out.String())
	}
}
