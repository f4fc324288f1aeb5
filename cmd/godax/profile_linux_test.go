package main

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needProfile skips the test where it cannot mount, and gives it a directory of its own to
// mount in.
func needProfile(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
}

// touchEnv names the file that TestTouchPages works on.
const touchEnv = "GODAX_TEST_TOUCH"

// TestTouchPages is the command that TestProfileMapping runs: it maps a file and touches
// two of its pages.
func TestTouchPages(t *testing.T) {
	name := os.Getenv(touchEnv)
	if name == "" {
		t.Skip("a part of TestProfileMapping")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 16*4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if b[5*4096] != 't' || b[11*4096+77] != 't' {
		t.Errorf("read %q and %q", b[5*4096], b[11*4096+77])
	}
}

// TestProfile runs a command over a mount, builds an image with the list, and finds its
// pages in place.
func TestProfile(t *testing.T) {
	needProfile(t)
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("tree/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tree/d/text", []byte(strings.Repeat("t", 16*4096)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tree/other", []byte(strings.Repeat("o", 9000)), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "--no-dedup", "tree", "img")

	out := mustRun(t, "profile", "-o", "pages.csv", "--svg", "curve.svg", "img", "--",
		"sh", "-c", `test "$PWD" = "$GODAX_MOUNT" && dd if=d/text of=/dev/null bs=4096 skip=3 count=2 2>/dev/null && echo done`)
	if !strings.HasPrefix(out, "done\n") || !strings.Contains(out, "touched: 2 pages of 1 files") || !strings.Contains(out, "100%") {
		t.Errorf("printed %s", out)
	}
	list, err := os.ReadFile("pages.csv")
	if want := "./d/text,12288,1\n./d/text,16384,1\n"; err != nil || string(list) != want {
		t.Errorf("the list is %q, %v; want %q", list, err, want)
	}
	picture, err := os.Open("curve.svg")
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	for dec := xml.NewDecoder(picture); ; {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
	var r profileReport
	text := mustRun(t, "profile", "--from", "pages.csv", "--json", "img")
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if r.Touched != 2 || r.Files != 1 || len(r.Images) != 4 || r.Images[0].Resident == 0 || r.Images[1].Resident != 0 || len(r.Curve) == 0 {
		t.Errorf("report is %s", text)
	}
	noMounts(t)
}

// TestProfileMapping: of a mapping only the pages that are touched are in the list.
func TestProfileMapping(t *testing.T) {
	needProfile(t)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tree/text", []byte(strings.Repeat("t", 16*4096)), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "tree", "img")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "profile", "--no-report", "-o", "pages.csv", "img", "--", "env", touchEnv+"=text", self, "-test.run=^TestTouchPages$")
	list, err := os.ReadFile("pages.csv")
	if want := "./text,20480,1\n./text,45056,1\n"; err != nil || string(list) != want {
		t.Errorf("the list is %q, %v; want %q", list, err, want)
	}
	noMounts(t)
}

// TestProfileFails: a command that fails is reported, and its list is written all the same.
func TestProfileFails(t *testing.T) {
	needProfile(t)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tree/a", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "tree", "img")
	r := godaxRun(t, "profile", "-o", "pages.csv", "img", "--", "sh", "-c", "cat a; exit 7")
	if r.code != exitFailed || !strings.HasPrefix(r.stdout, "a") || !strings.Contains(r.stderr, "exit status 7") {
		t.Errorf("exit code %d, %q, %q", r.code, r.stdout, r.stderr)
	}
	if list, err := os.ReadFile("pages.csv"); err != nil || string(list) != "./a,0,1\n" {
		t.Errorf("the list is %q, %v", list, err)
	}
	r = godaxRun(t, "profile", "-o", "none.csv", "img", "--", "./no-such-program")
	if r.code != exitFailed || !strings.Contains(r.stderr, "no-such-program") || !strings.Contains(r.stderr, "exit status 127") {
		t.Errorf("exit code %d, %q", r.code, r.stderr)
	}
	noMounts(t)
}

// TestProfileUsage: flags that do not go together.
func TestProfileUsage(t *testing.T) {
	for _, args := range [][]string{
		{"img"}, {"img", "true"}, {"img", "--", "true"}, {"-o", "x", "img"}, {"--from", "x", "img", "--", "true"},
		{"--from", "x", "-o", "y", "img"}, {"-o", "x", "--no-report", "--json", "img", "--", "true"},
		{"--from", "x", "--page-size", "5", "img"}, {"--", "img", "true"},
	} {
		if r := godaxRun(t, append([]string{"profile"}, args...)...); r.code != exitUsage {
			t.Errorf("%v: exit code %d, %s", args, r.code, r.stderr)
		}
	}
}

// noMounts checks that no directory of a profile is left.
func noMounts(t *testing.T) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "godax-profile-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestProfileLeftBehind: a command that leaves a process in the mount.
func TestProfileLeftBehind(t *testing.T) {
	needProfile(t)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tree/a", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "tree", "img")
	r := godaxRun(t, "profile", "--no-report", "-o", "pages.csv", "img", "--", "sh", "-c",
		"cat a >/dev/null; sleep 100 </dev/null >/dev/null 2>&1 & echo $!")
	pid, err := strconv.Atoi(strings.TrimSpace(r.stdout))
	if err != nil {
		t.Fatalf("%v: %q %q", err, r.stdout, r.stderr)
	}
	defer unix.Kill(pid, unix.SIGKILL)
	if r.code != exitFailed || !strings.Contains(r.stderr, "unmount") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	noMounts(t)
}

// TestProfileMount: an image that is mounted until somebody unmounts it.
func TestProfileMount(t *testing.T) {
	needProfile(t)
	t.Chdir(t.TempDir())
	for _, dir := range []string{"tree", "mnt"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("tree/a", []byte(strings.Repeat("a", 9000)), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "tree", "img")
	stderr, say := io.Pipe()
	code := make(chan int, 1)
	var stdout strings.Builder
	go func() {
		code <- run(t.Context(), []string{"profile", "--mount", "mnt", "-o", "pages.csv", "img"}, nil, &stdout, say)
		say.Close()
	}()
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil || !strings.Contains(line, "mounted at mnt") {
		t.Errorf("said %q, %v", line, err)
	}
	go io.Copy(io.Discard, stderr) // nothing more is expected, and nothing may wait
	b, err := os.ReadFile("mnt/a")
	if err != nil || len(b) != 9000 {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
	if err := unix.Unmount("mnt", 0); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != exitOK || !strings.Contains(stdout.String(), "touched: 3 pages of 1 files") {
		t.Errorf("exit code %d, %s", c, stdout.String())
	}
	if list, err := os.ReadFile("pages.csv"); err != nil || string(list) != "./a,0,1\n./a,4096,1\n./a,8192,1\n" {
		t.Errorf("the list is %q, %v", list, err)
	}
}
