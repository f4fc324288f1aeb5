package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"godax"

	"github.com/spf13/cobra"
)

// result is what one run of the command gave.
type result struct {
	code           int
	stdout, stderr string
}

// godaxRun runs the command in this process.
func godaxRun(t testing.TB, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// mustRun is godaxRun for what must work; it returns standard output.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	r := godaxRun(t, args...)
	if r.code != exitOK || r.stderr != "" {
		t.Fatalf("godax %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

func TestUsageErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	tests := [][]string{
		{"nonsense"},
		{"cat"},
		{"cat", "--nonsense", "a.img:/x"},
		{"cat", "host-file"},
		{"cp", "one"},
		{"cp", "host", "host2"},
		{"info"},
		{"info", "a", "b"},
		{"info", "--carrier", "pigeon", "a.img"},
		{"mkfs"},
		{"mkfs", "vfat", "a.img"},
		{"mkfs", "ext2"},
		{"mkfs", "ext2", "--size", "big", "a.img"},
		{"chmod", "u+q", "a.img:/x"},
		{"chown", "root", "a.img:/x"},
		{"chown", "", "a.img:/x"},
		{"chown", "1:", "host"},
		{"truncate", "a.img:/x"},
		{"truncate", "-s", "-1", "a.img:/x"},
		{"punch", "0", "0", "a.img:/x"},
		{"punch", "x", "1", "a.img:/x"},
		{"mv", "a.img:/x", "b.img:/x"},
		{"mkdir", "-m", "9", "a.img:/x"},
		{"ln", "a.img:/x"},
		{"demo", "now"},
		{"mkfs", "famfs"},
		{"mkfs", "famfs", "new.img"},
		{"mkfs", "famfs", "--size", "32M", "--unit", "8K", "new.img"},
		{"mkfs", "famfs", "--size", "32M", "--log-size", "9M", "new.img"},
		{"mkfs", "famfs", "--size", "32M", "--version", "46", "new.img"},
		{"mkfs", "famfs", "--size", "32M", "--uuid", "x", "new.img"},
		{"create", "a.img:/x"},
		{"create", "--size", "1M", "host"},
		{"create", "--size", "1M", "--stripe", "many", "a.img:/x"},
		{"create", "--size", "1M", "--stripe", "2:big", "a.img:/x"},
		{"fsck"},
		{"watch"},
		{"watch", "--interval", "0s", "a.img"},
	}
	for _, args := range tests {
		r := godaxRun(t, args...)
		if r.code != exitUsage || !strings.HasPrefix(r.stderr, "godax: ") || !strings.Contains(r.stderr, "--help") || r.stdout != "" {
			t.Errorf("godax %s: exit code %d, stderr %q, stdout %q; want a usage error", strings.Join(args, " "), r.code, r.stderr, r.stdout)
		}
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("usage errors left %v, %v", files, err)
	}
}

func TestMissingImage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"cat", "no.img:/x"}, {"info", "no.img"}, {"ls", "no.img"}, {"manifest", "no.img"}} {
		r := godaxRun(t, args...)
		if want := "godax: open no.img: no such file or directory\n"; r.code != exitFailed || r.stderr != want {
			t.Errorf("godax %v: exit code %d, stderr %q; want 1, %q", args, r.code, r.stderr, want)
		}
	}
}

// TestHelp checks that every command explains itself.
func TestHelp(t *testing.T) {
	var check func(path []string, cmd *cobra.Command)
	check = func(path []string, cmd *cobra.Command) {
		if cmd.Name() == "help" {
			return
		}
		r := godaxRun(t, append(path, "--help")...)
		if r.code != exitOK || r.stderr != "" {
			t.Errorf("%v --help: exit code %d, stderr %q", path, r.code, r.stderr)
		}
		for _, want := range []string{"Usage:", "Examples:\n  ", strings.Join(append([]string{"godax"}, path...), " "), "Exit codes: 0 done"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%v --help: no %q in it", path, want)
			}
		}
		for _, sub := range cmd.Commands() {
			check(append(path[:len(path):len(path)], sub.Name()), sub)
		}
	}
	check(nil, newRoot(new(app)))
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := mustRun(t, "completion", shell); !strings.Contains(out, "godax") {
			t.Errorf("completion %s: %d bytes without the command's name", shell, len(out))
		}
	}
}

// brokenPipe fails after n bytes.
type brokenPipe struct {
	n   int
	err error
}

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.n < len(p) {
		n := b.n
		b.n = 0
		return n, b.err
	}
	b.n -= len(p)
	return len(p), nil
}

func TestBrokenOutput(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{syscall.EPIPE, ""},
		{syscall.ENOSPC, "godax: write standard output: no space left on device\n"},
	}
	for _, tt := range tests {
		var stderr strings.Builder
		code := run(t.Context(), []string{"completion", "bash"}, nil, &brokenPipe{10, tt.err}, &stderr)
		if code != exitFailed || stderr.String() != tt.want {
			t.Errorf("%v: exit code %d, stderr %q; want 1, %q", tt.err, code, stderr.String(), tt.want)
		}
	}
}

func TestReason(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist}, "cat a:/x: no such file or directory"},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOTDIR}, "cat a:/x: not a directory"},
		{&os.LinkError{Op: "rename", Old: "a", New: "b", Err: syscall.EXDEV}, "cat a:/x: invalid cross-device link"},
		{fs.ErrExist, "cat a:/x: file exists"},
		{errors.New("plain"), "cat a:/x: plain"},
		{&opError{"open", "a", syscall.EBUSY}, "open a: device or resource busy"},
		{errors.Join(&fs.PathError{Op: "open", Path: "/x", Err: errors.Join(fs.ErrNotExist)}, nil), "cat a:/x: no such file or directory"},
		{errors.Join(syscall.EIO, fs.ErrExist), "cat a:/x: input/output error; file exists"},
		{fmt.Errorf("%w while %w", syscall.EIO, fs.ErrExist), "cat a:/x: input/output error while file already exists"},
		{&opError{"open", "a\n\x1b[31m", syscall.EBUSY}, `open a\x0a\x1b[31m: device or resource busy`},
		{&destError{"b\xff", syscall.EBUSY}, `cat a:/x: to b\xff: device or resource busy`},
	}
	for _, tt := range tests {
		if got := failure("cat", "a:/x", tt.err).Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if failure("cat", "x", nil) != nil {
		t.Error("failure of nil is not nil")
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut strings.Builder
	code := run(ctx, []string{"completion", "bash"}, nil, &out, &errOut)
	if code != exitFailed || errOut.String() != "godax: interrupted\n" {
		t.Errorf("exit code %d, stderr %q", code, errOut.String())
	}
}

func TestReport(t *testing.T) {
	var out strings.Builder
	testApp(t, &out).report(errors.Join(&opError{"cat", "a:/x", syscall.EIO}, errors.Join(&opError{"close", "a", syscall.ENOSPC})))
	want := "godax: cat a:/x: input/output error\ngodax: close a: no space left on device\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestImageInUse: the error names the image once, and says how to read it.
func TestImageInUse(t *testing.T) {
	testImage(t, "16M")
	fsys, err := godax.Open("img", godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"ls", "img"}, "godax: open img: pmem: in use by another opener (--shared reads all the same)\n"},
		{[]string{"mkdir", "img:/x"}, "godax: open img: pmem: in use by another opener\n"},
	}
	for _, tt := range tests {
		if r := godaxRun(t, tt.args...); r.code != exitFailed || r.stderr != tt.want {
			t.Errorf("%v: exit code %d, stderr %q; want 1, %q", tt.args, r.code, r.stderr, tt.want)
		}
	}
	if got := mustRun(t, "ls", "--shared", "img"); got != "lost+found\n" {
		t.Errorf("--shared reads %q", got)
	}
}
