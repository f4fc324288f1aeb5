// Command mutate puts known faults back into the code, one at a time, and runs the tests
// that must notice: a fault that no test notices is a hole in the tests. The tree is not
// touched, the compiler is given the changed file in the place of the real one.
//
//	go run ./internal/mutate [-list] [-run REGEXP] [-all] [faults.txt]
//
// The list is faults.txt beside this file; [parse] describes it. Exit code: 0 every fault
// was caught, 1 some was not, 2 the list does not fit the code.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	flagList    = flag.Bool("list", false, "check that every fault fits the code, and list them")
	flagRun     = flag.String("run", "", "only faults whose name matches")
	flagAll     = flag.Bool("all", false, "run all tests of the packages, not only those that are named")
	flagTimeout = flag.Duration("timeout", time.Minute, "a run that takes longer counts as caught: the fault hangs")
)

// patience is how long tests wait for what must happen: faults are to be found, not waited for.
const patience = 15 * time.Second

func main() {
	flag.Parse()
	path := filepath.Join("internal", "mutate", "faults.txt")
	if flag.NArg() > 0 {
		path = flag.Arg(0)
	}
	missed, err := run(path)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	case missed > 0:
		os.Exit(1)
	}
}

// run does the work from the root of the module and returns how many faults were missed.
func run(path string) (missed int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	faults, err := parse(bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	name, err := regexp.Compile(*flagRun)
	if err != nil {
		return 0, err
	}
	faults = slices.DeleteFunc(faults, func(f fault) bool { return !name.MatchString(f.name) })
	var misfits []error
	for _, f := range faults {
		if _, err := f.mutant(); err != nil {
			misfits = append(misfits, err)
		}
	}
	if err := errors.Join(misfits...); err != nil {
		return 0, err
	}
	for i, f := range faults {
		if *flagList {
			fmt.Printf("%-60s %s\n", f.name, f.file)
			continue
		}
		start := time.Now()
		caught, err := f.try()
		if err != nil {
			misfits = append(misfits, fmt.Errorf("%s: %w", f.name, err))
			continue
		}
		verdict := strings.Join(caught, " ")
		if len(caught) == 0 {
			missed++
			verdict = "NOT CAUGHT"
		}
		fmt.Printf("%d/%d\t%s\t%s\t%s\n", i+1, len(faults), f.name, verdict, time.Since(start).Round(time.Second))
	}
	if !*flagList {
		fmt.Printf("%d faults, %d not caught\n", len(faults), missed)
	}
	return missed, errors.Join(misfits...)
}

// fault is one way to break the code.
type fault struct {
	name     string
	file     string
	old, new string // lines, without the last newline
	pkgs     []string
	tests    string // regular expression of those that should notice
	line     int    // in the list
}

// parse reads a list of faults, separated by empty lines. Lines that start with # are
// comments. A fault is
//
//	name: what is wrong (the trap)
//	file: dax/fault.go
//	- a line of the file, or several, which occur in it once
//	+ what stands there instead; none, if the lines are left out
//	test: REGEXP ./package ...
func parse(r io.Reader) (faults []fault, err error) {
	var f *fault
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.TrimSpace(line) == "" {
			f = nil
			continue
		}
		if f == nil {
			faults = append(faults, fault{line: n})
			f = &faults[len(faults)-1]
		}
		key, rest, _ := strings.Cut(line, " ")
		switch key {
		case "name:":
			f.name = rest
		case "file:":
			f.file = rest
		case "-":
			f.old = join(f.old, rest)
		case "+":
			f.new = join(f.new, rest)
		case "test:":
			words := strings.Fields(rest)
			if len(words) < 2 {
				return nil, fmt.Errorf("line %d: test: wants an expression and packages", n)
			}
			f.tests, f.pkgs = words[0], words[1:]
		default:
			return nil, fmt.Errorf("line %d: %q", n, line)
		}
	}
	for _, f := range faults {
		if f.name == "" || f.file == "" || f.old == "" || f.tests == "" {
			return nil, fmt.Errorf("line %d: a fault needs name, file, lines and test", f.line)
		}
	}
	return faults, in.Err()
}

func join(lines, line string) string {
	if lines == "" {
		return line
	}
	return lines + "\n" + line
}

// mutant is the file with the fault in it. Lines are compared without their indentation.
func (f *fault) mutant() ([]byte, error) {
	text, err := os.ReadFile(f.file)
	if err != nil {
		return nil, err
	}
	lines, old := strings.Split(string(text), "\n"), strings.Split(f.old, "\n")
	at := -1
	for i := 0; i+len(old) <= len(lines); i++ {
		if !slices.EqualFunc(lines[i:i+len(old)], old, func(a, b string) bool { return strings.TrimSpace(a) == strings.TrimSpace(b) }) {
			continue
		}
		if at >= 0 {
			return nil, fmt.Errorf("%s: the lines occur in %s more than once, at %d and %d", f.name, f.file, at+1, i+1)
		}
		at = i
	}
	if at < 0 {
		return nil, fmt.Errorf("%s: the lines do not occur in %s: %q", f.name, f.file, f.old)
	}
	return []byte(strings.Join(slices.Concat(lines[:at], strings.Split(f.new, "\n"), lines[at+len(old):]), "\n")), nil
}

// try runs the tests with the fault and returns those that failed.
func (f *fault) try() (caught []string, err error) {
	text, err := f.mutant()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, filepath.Base(f.file))
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	real, err := filepath.Abs(f.file)
	if err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {real: file}})
	if err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		return nil, err
	}
	args := []string{"test", "-json", "-tags", "daxdebug", "-count", "1", "-vet", "off", "-overlay", list, "-timeout", flagTimeout.String()}
	if !*flagAll {
		args = append(args, "-run", f.tests)
	}
	cmd := exec.Command("go", append(args, f.pkgs...)...)
	cmd.Env = append(os.Environ(), "GODAX_PATIENCE="+patience.String())
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return failed(out)
}

// event is a line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
	FailedBuild                   string
}

// failed returns the tests that failed, those whose subtests did left out.
func failed(out []byte) (tests []string, err error) {
	ran := 0
	hung := false
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		switch {
		case e.Action == "build-fail", e.FailedBuild != "":
			return nil, errors.New("the mutant does not compile")
		case e.Action == "run":
			ran++
		case e.Action == "fail" && e.Test != "" && !strings.Contains(e.Test, "/"):
			tests = append(tests, e.Test)
		case strings.Contains(e.Output, "panic: test timed out"):
			hung = true
		}
	}
	if ran == 0 {
		return nil, errors.New("no test ran")
	}
	if hung {
		tests = append(tests, "(by not ending)")
	}
	return tests, nil
}
