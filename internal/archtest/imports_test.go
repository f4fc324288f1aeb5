package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is this module's path; import paths below it are ours.
const module = "godax"

// rows is the table, from the bottom up: a package may import packages of rows
// before its own. A row covers its subpackages, which may import each other. The
// path "." is the module's root; "fs" holds one row per driver, none of which may
// import another.
var rows = []string{
	"xarray",
	"pmem",
	"vm",
	"dax",
	"block",
	"vfs",
	"fs",
	".",
	"fusefs",
	"cmd",
	"examples",
}

// testOnly are the packages that only tests, and other packages listed here, may
// import.
var testOnly = []string{"internal/daxtest", "internal/archtest", "internal/axfsdec"}

// pkg is what the test needs of `go list -json`.
type pkg struct {
	Dir        string
	ImportPath string
	Imports    []string
	CgoFiles   []string
	Deps       []string
}

// list returns the packages of the module, test files left out.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json", "-deps", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if _, ours := local(p.ImportPath); ours {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}

// local strips the module's path off an import path of ours.
func local(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// within reports whether p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

// row is the index in rows of the package at p, or -1.
func row(p string) int {
	if p == "." {
		return slices.Index(rows, ".")
	}
	for i, dir := range rows {
		if within(p, dir) {
			return i
		}
	}
	return -1
}

// unit is what shares a row freely: "pmem" for pmem and pmem/sim, "fs/ext" for a
// driver.
func unit(p string) string {
	parts := strings.Split(p, "/")
	if parts[0] == "fs" && len(parts) > 1 {
		return path.Join(parts[:2]...)
	}
	return parts[0]
}

// check returns the reasons why from may not import to; both are local paths.
// reach is what to imports, directly or not.
func check(from, to string, reach []string) error {
	isTestOnly := func(p string) bool {
		return slices.ContainsFunc(testOnly, func(dir string) bool { return within(p, dir) })
	}
	if isTestOnly(from) {
		return nil
	}
	if isTestOnly(to) {
		return errors.New("it is for tests only")
	}
	if within(to, "internal") {
		// An internal package has no row; it counts as the highest row it reaches.
		for _, dep := range reach {
			if within(dep, "internal") || within(from, "internal") {
				continue
			}
			if err := check(from, dep, nil); err != nil {
				return fmt.Errorf("it reaches %s: %w", dep, err)
			}
		}
		return nil
	}
	if within(from, "internal") {
		return nil // judged at its importers
	}
	f, g := row(from), row(to)
	switch {
	case f < 0:
		return fmt.Errorf("%s has no row in the table", from)
	case g < 0:
		return fmt.Errorf("%s has no row in the table", to)
	case g < f, unit(from) == unit(to):
		return nil
	case f == g:
		return errors.New("they are different packages of one row")
	}
	return fmt.Errorf("%q comes after %q in the table", rows[g], rows[f])
}

// TestImports checks every import between packages of the module.
func TestImports(t *testing.T) {
	pkgs := list(t)
	if len(pkgs) < 2 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	reach := make(map[string][]string)
	for _, p := range pkgs {
		from, _ := local(p.ImportPath)
		for _, d := range p.Deps {
			if dep, ours := local(d); ours {
				reach[from] = append(reach[from], dep)
			}
		}
	}
	for _, p := range pkgs {
		from, _ := local(p.ImportPath)
		if len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C") {
			t.Errorf("%s uses cgo", from)
		}
		for _, imp := range p.Imports {
			to, ours := local(imp)
			if !ours {
				continue
			}
			if err := check(from, to, reach[to]); err != nil {
				t.Errorf("%s imports %s: %v", from, to, err)
			}
		}
	}
}

// TestCheck shows that the table can say no.
func TestCheck(t *testing.T) {
	tests := []struct {
		from, to string
		reach    []string
		ok       bool
	}{
		{"pmem", "xarray", nil, true},
		{"pmem/sim", "pmem", nil, true},
		{"pmem", "pmem/sim", nil, true},
		{"xarray", "pmem", nil, false},
		{"pmem", "vm", nil, false},
		{"dax", "vm", nil, true},
		{"dax", "block", nil, false},
		{"dax", "vfs", nil, false},
		{"block", "dax", nil, true},
		{"vfs", "fs/ext", nil, false},
		{"vfs", ".", nil, false},
		{"fs/ext", "vfs", nil, true},
		{"fs/ext", "fs/axfs", nil, false},
		{"fs/ext", "fs/ext/layout", nil, true},
		{"fs/ext", ".", nil, false},
		{".", "fs/ext", nil, true},
		{".", "fusefs", nil, false},
		{"fusefs", ".", nil, true},
		{"fusefs", "cmd/godax", nil, false},
		{"cmd/godax", ".", nil, true},
		{"new", "xarray", nil, false},
		{"dax", "internal/bits", nil, true},
		{"dax", "internal/bits", []string{"pmem"}, true},
		{"dax", "internal/bits", []string{"vfs"}, false},
		{"dax", "internal/daxtest", nil, false},
		{"internal/daxtest/suite", ".", nil, true},
	}
	for _, tt := range tests {
		if err := check(tt.from, tt.to, tt.reach); (err == nil) != tt.ok {
			t.Errorf("check(%q, %q, %v) = %v, want ok %v", tt.from, tt.to, tt.reach, err, tt.ok)
		}
	}
}

// TestUnsafe checks that non-test files import unsafe only where their name says
// so: NAME_unsafe.go, or NAME_unsafe_GOOS.go where the build needs the suffix.
func TestUnsafe(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name != ".." && strings.HasPrefix(name, ".") || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			got, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if got == "unsafe" && !strings.HasSuffix(name, "_unsafe.go") && !strings.Contains(name, "_unsafe_") {
				t.Errorf("%s imports unsafe, but is not named so", p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no Go file found")
	}
}
