package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFaultsFit checks that the list of faults is one of the code as it is.
func TestFaultsFit(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	text, err := os.Open(filepath.Join("internal", "mutate", "faults.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	faults, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(faults) < 40 {
		t.Errorf("%d faults, at least 40 are wanted", len(faults))
	}
	seen := make(map[string]bool)
	for _, f := range faults {
		if _, err := f.mutant(); err != nil {
			t.Error(err)
		}
		if seen[f.name] {
			t.Errorf("%s: twice", f.name)
		}
		seen[f.name] = true
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"whole", "# c\nname: a b\nfile: f.go\n- x\n- y\n+ z\ntest: SC1|SC2 ./dax ./vm\n", ""},
		{"two", "name: a\nfile: f\n- x\ntest: T ./p\n\nname: b\nfile: f\n- x\ntest: T ./p", ""},
		{"no lines", "name: a\nfile: f\ntest: T ./p\n", "line 1: a fault needs"},
		{"no package", "name: a\ntest: T\n", "line 2: test: wants"},
		{"other", "name: a\nwhat: f\n", `line 2: "what: f"`},
	} {
		faults, err := parse(strings.NewReader(tt.text))
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		case tt.name == "whole" && (faults[0].old != "x\ny" || faults[0].new != "z" || faults[0].tests != "SC1|SC2" || len(faults[0].pkgs) != 2):
			t.Errorf("%s: %+v", tt.name, faults[0])
		case tt.name == "two" && len(faults) != 2:
			t.Errorf("%s: %d faults", tt.name, len(faults))
		}
	}
}

func TestMutant(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.go")
	if err := os.WriteFile(file, []byte("a\n\tb\nc\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"b\nc", "d", "a\nd\nb\n"},
		{"a", "", "\n\tb\nc\nb\n"},
		{"b", "d", "error"},
		{"x", "d", "error"},
	} {
		f := fault{name: "t", file: file, old: tt.old, new: tt.new}
		got, err := f.mutant()
		if err != nil {
			got = []byte("error")
		}
		if string(got) != tt.want {
			t.Errorf("%q for %q: got %q, want %q", tt.new, tt.old, got, tt.want)
		}
	}
}

func TestFailed(t *testing.T) {
	for _, tt := range []struct{ out, want string }{
		{`{"Action":"run","Test":"A"}{"Action":"fail","Test":"A"}{"Action":"fail","Test":"A/b"}{"Action":"fail"}`, "A"},
		{`{"Action":"run","Test":"A"}{"Action":"pass","Test":"A"}`, ""},
		{`{"Action":"build-fail"}`, "error"},
		{`{"Action":"pass"}`, "error"},
		{`{"Action":"run","Test":"A"}{"Action":"output","Output":"panic: test timed out after 2m"}{"Action":"fail","Test":"A"}`, "A (by not ending)"},
	} {
		tests, err := failed([]byte(tt.out))
		got := strings.Join(tests, " ")
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.out, got, tt.want)
		}
	}
}
