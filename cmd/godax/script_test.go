package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"godax/internal/daxtest"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// imageKind is a way to make an empty image for a test.
type imageKind struct {
	name string
	make func(t testing.TB, image string)
}

// imageKinds are the images every script runs on.
func imageKinds() []imageKind {
	ours := func(block string) func(testing.TB, string) {
		return func(t testing.TB, image string) {
			mustRun(t, "mkfs", "ext2", "--size", "16M", "--block-size", block, "--force", image)
		}
	}
	theirs := func(args ...string) func(testing.TB, string) {
		return func(t testing.TB, image string) {
			if err := os.Rename(daxtest.Mke2fs(t, 16<<20, args...), image); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []imageKind{
		{"godax-4k", ours("4096")},
		{"godax-1k", ours("1024")},
		{"mke2fs-4k", theirs("-t", "ext2", "-b", "4096")},
		{"mke2fs-2k-small-inodes", theirs("-t", "ext2", "-b", "2048", "-I", "128")},
		{"mke2fs-1k", theirs("-t", "ext2", "-b", "1024")},
	}
}

// fsck fails the test if e2fsck finds anything.
func fsck(t testing.TB, image string) {
	t.Helper()
	if out, err := exec.Command(daxtest.Tool(t, "e2fsck"), "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn %s: %v\n%s", image, err, out)
	}
}

// TestScripts runs testdata/script/*.txt, on every kind of image. In a script a line
// that begins with "> " is a command; what follows up to the next is its output:
// standard output, then standard error with "! " before each line, then the exit code
// if it is not 0. Commands are godax itself, and a few on the host (hostCommand). The
// image is called img. Lines before the first command are comment.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	// The scripts show modes of files that the host has made.
	umask := syscall.Umask(0o022)
	defer syscall.Umask(umask)
	for _, script := range scripts {
		abs, err := filepath.Abs(script)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			for _, kind := range imageKinds() {
				t.Run(kind.name, func(t *testing.T) { runScript(t, abs, kind) })
			}
		})
	}
}

// TestEveryCommandHasScript: a new command comes with its test.
func TestEveryCommandHasScript(t *testing.T) {
	elsewhere := map[string]string{
		"completion": "TestCompletion", "help": "TestHelp", "demo": "TestDemo", "info": "TestInfo",
		"map": "TestMap", "manifest": "TestManifest", "mkfs": "TestMkfs",
		"profile": "TestProfile", "mount": "TestMountCommand", "umount": "TestMountCommand",
	}
	for _, cmd := range newRoot(new(app)).Commands() {
		_, err := os.Stat(filepath.Join("testdata", "script", cmd.Name()+".txt"))
		if err != nil && elsewhere[cmd.Name()] == "" {
			t.Errorf("%s has no script: %v", cmd.Name(), err)
		}
	}
}

func runScript(t *testing.T, script string, kind imageKind) {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	kind.make(t, "img")
	var got strings.Builder
	comment := true
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> ")
		switch {
		case ok:
			comment = false
			got.WriteString(line)
			got.WriteString(runLine(t, command))
		case comment:
			got.WriteString(line)
		}
	}
	fsck(t, "img")
	if *update {
		if err := os.WriteFile(script, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(text) {
		t.Errorf("%s: output differs (-update rewrites it)\n--- got\n%s--- want\n%s", filepath.Base(script), got.String(), text)
	}
}

// varying is what differs from run to run.
var varying = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d`)

// runLine runs one command of a script.
func runLine(t *testing.T, command string) string {
	words := strings.Fields(command)
	for i, w := range words {
		words[i] = strings.NewReplacer(`\s`, " ", `\n`, "\n").Replace(w)
	}
	var r result
	if words[0] == "godax" {
		r = godaxRun(t, words[1:]...)
	} else {
		out, err := hostCommand(words[0], words[1:])
		r.stdout = out
		if err != nil {
			r.code, r.stderr = 1, reason(err)+"\n"
		}
	}
	var b strings.Builder
	out := varying.ReplaceAllString(r.stdout, "YYYY-MM-DD hh:mm")
	out = strings.ReplaceAll(out, "\x00", `\0`)
	out = strings.ReplaceAll(out, fmt.Sprintf(" %5d %5d ", os.Getuid(), os.Getgid()), fmt.Sprintf(" %5d %5d ", 0, 0))
	b.WriteString(out)
	if r.stdout != "" && !strings.HasSuffix(r.stdout, "\n") {
		b.WriteString("(no newline)\n")
	}
	for line := range strings.Lines(r.stderr) {
		b.WriteString("! " + line)
	}
	if r.code != 0 {
		fmt.Fprintf(&b, "exit %d\n", r.code)
	}
	return b.String()
}

// hostCommand runs a command on files of the host.
func hostCommand(name string, args []string) (string, error) {
	switch name {
	case "write": // FILE TEXT
		return "", os.WriteFile(args[0], []byte(args[1]), 0o644)
	case "show": // FILE
		b, err := os.ReadFile(args[0])
		return string(b), err
	case "mkdir": // DIR
		return "", os.MkdirAll(args[0], 0o755)
	case "symlink": // TARGET LINK
		return "", os.Symlink(args[0], args[1])
	case "link": // FILE NEW
		return "", os.Link(args[0], args[1])
	case "tree": // DIR
		return hostTree(args[0])
	}
	return "", fmt.Errorf("%s: %w", name, errors.ErrUnsupported)
}

// hostTree lists what is below dir.
func hostTree(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", lsMode(fi.Mode()), p)
		if fi.Mode().Type() == fs.ModeSymlink {
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
		} else if fi.Mode().IsRegular() {
			fmt.Fprintf(&b, " %d", fi.Size())
		}
		b.WriteByte('\n')
		return nil
	})
	return b.String(), err
}
