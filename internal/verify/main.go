// Command verify makes docs/verification.md: which tests show which invariant, trap and
// scenario of the DAX semantics. It reads that off the tests: a test is named after its
// scenarios, TestSC19_SC20_Pins, and the last sentence of its comment says what else it
// shows: "Guards I40, T35 and T66."
//
//	go run ./internal/verify -w
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	write := flag.Bool("w", false, "write docs/verification.md; otherwise it is printed")
	flag.Parse()
	page, err := generate(".")
	if err == nil && *write {
		err = os.WriteFile(filepath.Join("docs", "verification.md"), page, 0o644)
	} else if err == nil {
		_, err = os.Stdout.Write(page)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}

// item is one thing to be shown.
type item struct {
	id, text string
	absent   string // why it cannot exist here; empty if it can
	tests    []string
}

// generate makes the page for the module at root.
func generate(root string) ([]byte, error) {
	dir := filepath.Join(root, "internal", "verify")
	text, err := os.ReadFile(filepath.Join(dir, "list.txt"))
	if err != nil {
		return nil, err
	}
	items, err := parseList(string(text))
	if err != nil {
		return nil, err
	}
	if err := readTests(root, items); err != nil {
		return nil, err
	}
	notes, err := os.ReadFile(filepath.Join(dir, "notes.md"))
	if err != nil {
		return nil, err
	}
	return render(items, string(notes)), nil
}

// parseList reads list.txt: the items in their order.
func parseList(text string) ([]*item, error) {
	var items []*item
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, rest, _ := strings.Cut(line, " ")
		if id == "absent" {
			id, why, _ := strings.Cut(rest, " ")
			i := find(items, id)
			if i == nil || why == "" {
				return nil, fmt.Errorf("list.txt:%d: %q", n+1, line)
			}
			i.absent = why
			continue
		}
		if rest == "" || find(items, id) != nil {
			return nil, fmt.Errorf("list.txt:%d: %q", n+1, line)
		}
		items = append(items, &item{id: id, text: rest})
	}
	return items, nil
}

func find(items []*item, id string) *item {
	i := slices.IndexFunc(items, func(i *item) bool { return i.id == id })
	if i < 0 {
		return nil
	}
	return items[i]
}

// readTests finds the tests of the module and notes them with their items.
func readTests(root string, items []*item) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			for _, id := range append(scenarios(f.Name.Name), guards(f.Doc.Text())...) {
				i := find(items, id)
				if i == nil {
					return fmt.Errorf("%s: %s is about %s, which is not in the list", path, f.Name.Name, id)
				}
				if test := dir + "." + f.Name.Name; !slices.Contains(i.tests, test) {
					i.tests = append(i.tests, test)
				}
			}
		}
		return nil
	})
}

var scenario = regexp.MustCompile(`^S([A-I])([0-9]+)$`)

// scenarios returns the ids in a test's name: TestSC19_SC20_Pins.
func scenarios(name string) (ids []string) {
	for part := range strings.SplitSeq(strings.TrimPrefix(name, "Test"), "_") {
		m := scenario.FindStringSubmatch(part)
		if m == nil {
			break
		}
		ids = append(ids, "S-"+m[1]+m[2])
	}
	return ids
}

var (
	sentence = regexp.MustCompile(`(?s)\bGuards ([^.]*)\.`)
	span     = regexp.MustCompile(`\b([IT])([0-9]+)(?:\s*(?:-|to)\s*([IT]?)([0-9]+))?\b`)
)

// guards returns the ids in the sentence "Guards I1, T44 to T46." of a comment.
func guards(comment string) (ids []string) {
	for _, s := range sentence.FindAllStringSubmatch(comment, -1) {
		for _, m := range span.FindAllStringSubmatch(s[1], -1) {
			first, _ := strconv.Atoi(m[2])
			last := first
			if m[4] != "" {
				last, _ = strconv.Atoi(m[4])
			}
			for n := first; n <= last; n++ {
				ids = append(ids, m[1]+strconv.Itoa(n))
			}
		}
	}
	return ids
}

// render makes the page.
func render(items []*item, notes string) []byte {
	var b bytes.Buffer
	b.WriteString("<!-- Made by `go run ./internal/verify -w` from the tests and internal/verify; do not edit. -->\n\n")
	b.WriteString("# What the tests show\n\n")
	b.WriteString("The DAX core keeps 58 invariants, and has to avoid 88 traps that real systems fell into. Each\n")
	b.WriteString("is shown by tests; tests are named after the scenario they play. `make mutate` puts faults\n")
	b.WriteString("back and sees the tests notice.\n\n")
	for _, part := range []struct{ prefix, title, what string }{
		{"I", "Invariants", "what always holds"}, {"T", "Traps", "what went wrong"}, {"S", "Scenarios", "what is played"},
	} {
		fmt.Fprintf(&b, "## %s\n\n| | %s | tests |\n|---|---|---|\n", part.title, part.what)
		shown, absent, open := 0, 0, 0
		for _, i := range items {
			if !strings.HasPrefix(i.id, part.prefix) {
				continue
			}
			tests := strings.Join(i.tests, "<br>")
			switch {
			case tests != "":
				shown++
			case i.absent != "":
				absent++
				tests = "cannot exist here, see below"
			default:
				open++
				tests = "**none**"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", i.id, i.text, tests)
		}
		fmt.Fprintf(&b, "\n%d shown, %d cannot exist here, %d not shown.\n\n", shown, absent, open)
	}
	b.WriteString("## What cannot exist here\n\n| | why |\n|---|---|\n")
	for _, i := range items {
		if i.absent != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", i.id, i.absent)
		}
	}
	b.WriteString("\n")
	b.WriteString(strings.TrimSpace(notes) + "\n")
	return b.Bytes()
}
