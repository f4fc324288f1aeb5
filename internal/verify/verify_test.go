package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPage checks that docs/verification.md is what the tests say, and that nothing of the
// list is without a test or a reason.
func TestPage(t *testing.T) {
	root := filepath.Join("..", "..")
	want, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "verification.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs/verification.md is not up to date: go run ./internal/verify -w")
	}
	for line := range strings.Lines(string(want)) {
		if strings.Contains(line, "**none**") {
			t.Errorf("not shown by any test: %s", strings.TrimSpace(line))
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name, comment string
		want          []string
	}{
		{"TestSC19_SC20_Pins", "", []string{"S-C19", "S-C20"}},
		{"TestSB2_EndOfFile", "It does.\nGuards I15, T70 and T87.\n", []string{"S-B2", "I15", "T70", "T87"}},
		{"TestPlain", "Guards I22 to I24, T1-T3.", []string{"I22", "I23", "I24", "T1", "T2", "T3"}},
		{"TestSC1Bad_SC2", "guards I1.", nil},
	} {
		if got := append(scenarios(tt.name), guards(tt.comment)...); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestList(t *testing.T) {
	items, err := parseList("I1 a b\n# c\n\nT2 d\nabsent T2 no such thing\n")
	if err != nil || len(items) != 2 || items[1].absent != "no such thing" {
		t.Errorf("%v, %v", items, err)
	}
	for _, bad := range []string{"I1", "I1 a\nI1 b", "absent I1 why", "I1 a\nabsent I1"} {
		if _, err := parseList(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
