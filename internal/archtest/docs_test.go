package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs are the documents whose references are checked.
var docs = []string{"README.md", "CONTRIBUTING.md", "docs/*.md"}

var (
	sourceRef = regexp.MustCompile("`((?:[a-z0-9_]+/)*[a-z0-9_]+\\.go)`")
	linkRef   = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// TestDocs checks that the files which the documents name exist.
func TestDocs(t *testing.T) {
	root := filepath.Join("..", "..")
	refs := 0
	for _, pattern := range docs {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no such document: %v", pattern, err)
		}
		for _, doc := range files {
			text, err := os.ReadFile(doc)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range sourceRef.FindAllStringSubmatch(string(text), -1) {
				refs++
				if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
					t.Errorf("%s names %s: %v", doc, m[1], err)
				}
			}
			for _, m := range linkRef.FindAllStringSubmatch(string(text), -1) {
				refs++
				if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
					t.Errorf("%s links to %s: %v", doc, m[1], err)
				}
			}
		}
	}
	if refs < 10 {
		t.Errorf("only %d references found", refs)
	}
}

// stepRow is a row of the table of steps: the functions of its third column.
var (
	stepRow  = regexp.MustCompile(`(?m)^\| (?:\d[ab]?|\.\.\.) \|[^|]*\|([^|]*)\|([^|]*)\|$`)
	codeName = regexp.MustCompile("`([^`]+)`")
)

// TestSteps checks that each name in the table of the six steps is declared in the
// package of one of the files that stand next to it.
func TestSteps(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := stepRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 8 {
		t.Fatalf("found %d rows of steps", len(rows))
	}
	for _, row := range rows {
		var source strings.Builder
		for _, m := range sourceRef.FindAllStringSubmatch(row[2], -1) {
			dir := filepath.Dir(m[1])
			files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				source.Write(b)
			}
		}
		for _, m := range codeName.FindAllStringSubmatch(row[1], -1) {
			name := m[1][strings.LastIndexByte(m[1], '.')+1:]
			quoted := regexp.QuoteMeta(name)
			declared := regexp.MustCompile(`(?m)^(func (\([^)]*\) )?` + quoted + `\(|type ` + quoted + ` |\t` + quoted + `\()`)
			if !declared.MatchString(source.String()) {
				t.Errorf("step table: %s is not declared beside %s", m[1], strings.TrimSpace(row[2]))
			}
		}
	}
}

// TestGlue checks what the documents say of the length of the drivers' code for DAX.
func TestGlue(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, driver := range []string{"ext", "axfs"} {
		code, err := os.ReadFile(filepath.Join(root, "fs", driver, "populate.go"))
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%d lines", strings.Count(string(code), "\n"))
		for _, doc := range []string{"README.md", filepath.Join("docs", "architecture.md")} {
			text, err := os.ReadFile(filepath.Join(root, doc))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not say that fs/%s/populate.go has %s", doc, driver, want)
			}
		}
	}
}
