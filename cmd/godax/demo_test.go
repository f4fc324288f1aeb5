package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	r := godaxRun(t, "demo")
	if r.code != exitOK {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	// The order is what the place of the file allows: 2 MiB at least.
	for _, want := range []string{`faults answered at order (9|1\d) \(\d+ MiB\): \d`, `found written: 1000 pages`, ` 0 failed`} {
		if !regexp.MustCompile(want).MatchString(r.stdout) {
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
	d.want = []byte("abc")
	d.checkSame("three", []byte("abc"), nil)
	d.checkSame("four", []byte("abd"), nil)
	if err := d.report(); err == nil || err.Error() != "demo: 2 of 4 checks failed" {
		t.Errorf("report: got %v", err)
	}
	d.out.Flush()
	for _, want := range []string{"   ok      three\n", "   FAILED  four (it differs)\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if !strings.Contains(out.String(), "FAILED  two (broken)") {
		t.Errorf("the failed check is not shown:\n%s", out.String())
	}
}
