package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"godax"
	"godax/internal/axfsdec"
)

// hostTreeForAxfs makes a tree in a new directory, goes to the directory above it, and
// returns its name.
func hostTreeForAxfs(t *testing.T) string {
	t.Helper()
	t.Chdir(t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll("tree/bin/deep", 0o755))
	must(os.MkdirAll("tree/empty", 0o700))
	elf := append([]byte("\x7fELF"), bytes.Repeat([]byte("some code. "), 3000)...)
	must(os.WriteFile("tree/bin/prog", elf, 0o755))
	must(os.WriteFile("tree/bin/lib.so", append(elf, "more"...), 0o644))
	must(os.WriteFile("tree/bin/deep/copy", elf, 0o600))
	must(os.WriteFile("tree/text", []byte(strings.Repeat("words and more words\n", 4000)), 0o644))
	must(os.WriteFile("tree/\xff\x01name", []byte("odd"), 0o644))
	must(os.Link("tree/text", "tree/text2"))
	must(os.Symlink("../text", "tree/bin/link"))
	must(os.Chmod("tree/bin/prog", 0o755|os.ModeSetuid))
	must(syscall.Mkfifo("tree/fifo", 0o640))
	f, err := os.Create("tree/sparse")
	must(err)
	must(f.Truncate(20<<20 + 17))
	_, err = f.WriteAt([]byte("in the middle"), 1<<24-5)
	must(err)
	must(f.Close())
	return "tree"
}

// rowsOf is the manifest of what is below a directory of an image, without the
// directory.
func rowsOf(t *testing.T, image, dir string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(mustRun(t, "manifest", image)) {
		rest, ok := strings.CutPrefix(line, dir+"/")
		if !ok || strings.HasPrefix(rest, "\t") {
			continue
		}
		cols := strings.Split(rest, "\t")
		if cols[1] == "d" {
			cols[5] = "-" // the size of a directory is the file system's business
		}
		b.WriteString("/" + strings.Join(cols, "\t"))
	}
	return b.String()
}

// TestMkfsAxfs builds an image of a directory of the host, one of the same files in an ext2
// image, and one of the first image: all are the same.
func TestMkfsAxfs(t *testing.T) {
	dir := hostTreeForAxfs(t)
	mustRun(t, "mkfs", "axfs", "--xip", "elf", dir, "a.axfs")
	mustRun(t, "mkfs", "ext2", "--size", "64M", "e.img")
	mustRun(t, "cp", "-a", dir, "e.img:/")
	if got, want := rowsOf(t, "a.axfs", ""), rowsOf(t, "e.img", "/tree"); got != want || want == "" {
		t.Errorf("the image has\n%s\nwant\n%s", got, want)
	}
	a, err := os.ReadFile("a.axfs")
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "--xip", "elf", "e.img:/tree", "b.axfs")
	mustRun(t, "mkfs", "axfs", "--xip", "elf", "--force", "a.axfs:/", "b2.axfs")
	for _, name := range []string{"b.axfs", "b2.axfs"} {
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is another image, %v", name, err)
		}
	}
	im, err := axfsdec.Decode(a)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]string)
	for _, e := range im.Entries {
		kinds[e.Path] = e.Pages()
	}
	if k := kinds["/bin/lib.so"]; k != strings.Repeat("X", 9) || kinds["/bin/deep/copy"] != k || strings.Contains(kinds["/text"], "X") {
		t.Errorf("kinds of pages: lib.so %s, copy %s, text %s", k, kinds["/bin/deep/copy"], kinds["/text"])
	}
}

// TestMkfsAxfsHuge: a sparse file of more than 4 GiB, with data across the limit.
func TestMkfsAxfsHuge(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create("tree/huge")
	if err != nil {
		t.Fatal(err)
	}
	const size, at = 5<<30 + 17, 1<<32 - 5
	if err := f.Truncate(size); err != nil {
		t.Skipf("no sparse files of 5 GiB: %v", err)
	}
	want := []byte("in the middle")
	if _, err := f.WriteAt(want, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--block-size=64K", "--xip=all"} {
		mustRun(t, "mkfs", "axfs", "--force", "--second", "part", flag, "tree", "img")
		fsys, err := godax.Open("img", godax.Options{ReadOnly: true, Devices: []string{"part"}})
		if err != nil {
			t.Fatal(err)
		}
		file, err := fsys.Open("huge")
		if err != nil {
			t.Fatal(err)
		}
		fi, err := file.Stat()
		if err != nil || fi.Size() != size {
			t.Errorf("size %d, %v", fi.Size(), err)
		}
		got := make([]byte, len(want)+2)
		if _, err := file.ReadAt(got, at-1); err != nil || string(got) != "\x00"+string(want)+"\x00" {
			t.Errorf("%s: read %q, %v", flag, got, err)
		}
		if err := errors.Join(file.Close(), fsys.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestMkfsAxfsNamesFiles: an error or a warning names the file that it is about.
func TestMkfsAxfsNamesFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	const dir = "/sys/kernel/mm" // files that say they have a page, and have less
	if files, err := filepath.Glob(dir + "/*/*"); err != nil || len(files) == 0 {
		t.Skipf("%s: %v", dir, err)
	}
	r := godaxRun(t, "mkfs", "axfs", dir, "img")
	if r.code != exitFailed || !strings.HasPrefix(r.stderr, "godax: read "+dir+"/") || !strings.HasSuffix(r.stderr, "became shorter while it was read\n") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	if err := os.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod("tree/disk", syscall.S_IFBLK|0o600, 259<<8|1); err != nil {
		t.Skip(err)
	}
	r = godaxRun(t, "mkfs", "axfs", "tree", "img")
	if r.code != exitOK || !strings.HasPrefix(r.stderr, "godax: warning: device tree/disk: 259:1 does not fit 16 bits") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}

// TestMkfsAxfsSplit reads an image of two parts.
func TestMkfsAxfsSplit(t *testing.T) {
	dir := hostTreeForAxfs(t)
	mustRun(t, "mkfs", "axfs", dir, "one")
	out := mustRun(t, "mkfs", "axfs", "--second", "part1", "--xip-glob", "bin", dir, "part0")
	if !strings.Contains(out, "mapped") {
		t.Errorf("summary is %q", out)
	}
	if got, want := mustRun(t, "manifest", "--device", "part1", "part0"), mustRun(t, "manifest", "one"); got != want {
		t.Errorf("the parts have\n%s\nwant\n%s", got, want)
	}
}

// TestMkfsAxfsOutput: what is there is kept, unless --force is given and the image is complete.
func TestMkfsAxfsOutput(t *testing.T) {
	dir := hostTreeForAxfs(t)
	mustRun(t, "mkfs", "axfs", dir, "img")
	before, err := os.ReadFile("img")
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string) {
		t.Helper()
		if after, err := os.ReadFile("img"); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the image changed, %v", what, err)
		}
		if left, err := filepath.Glob(".*"); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
	r := godaxRun(t, "mkfs", "axfs", dir, "img")
	if want := "godax: mkfs img: holds data already (--force overwrites it)\n"; r.code != exitFailed || r.stderr != want {
		t.Errorf("exit code %d, stderr %q; want 1, %q", r.code, r.stderr, want)
	}
	same("refused")
	if r := godaxRun(t, "mkfs", "axfs", "--force", "--second", "img", dir, "new"); r.code != 0 {
		t.Errorf("a second part over an image: %s", r.stderr)
	}
	mustRun(t, "mkfs", "axfs", "--force", dir, "img")
	same("built again")
	if err := os.Mkdir("void", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"void", "img"}, {dir, "void"}, {dir + "/text", "img"}, {"nowhere", "img"}, {"img:/nowhere", "img"}} {
		if r := godaxRun(t, append([]string{"mkfs", "axfs", "--force"}, args...)...); r.code != exitFailed || r.stderr == "" {
			t.Errorf("%v: exit code %d, stderr %q", args, r.code, r.stderr)
		}
		same(fmt.Sprint(args))
	}
	// The image may lie in the tree, and be named by a link.
	if err := os.Symlink("tree/inside", "link"); err != nil {
		t.Fatal(err)
	}
	if r := godaxRun(t, "mkfs", "axfs", dir, "link"); r.code != exitFailed || !strings.Contains(r.stderr, "nowhere") {
		t.Errorf("over a link to nothing: exit code %d, %s", r.code, r.stderr)
	}
	mustRun(t, "mkfs", "axfs", dir, "tree/inside")
	first, err := os.ReadFile("tree/inside")
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "axfs", "--force", dir, "link")
	if again, err := os.ReadFile("tree/inside"); err != nil || !bytes.Equal(first, again) || !bytes.Equal(first, before) {
		t.Errorf("an image in its own tree is not the same every time, %v", err)
	}
}

// TestMkfsAxfsTime: times come from the flag, or the environment.
func TestMkfsAxfsTime(t *testing.T) {
	dir := hostTreeForAxfs(t)
	tests := []struct {
		env, flag string
		want      uint64
		code      int
	}{
		{"", "", 0, exitOK},
		{"1234567890", "", 1234567890, exitOK},
		{"1234567890", "77", 77, exitOK},
		{"", "2001-09-09T01:46:40Z", 1000000000, exitOK},
		{"yesterday", "", 0, exitUsage},
		{"", "-1", 0, exitUsage},
		{"", "1900-01-01T00:00:00Z", 0, exitUsage},
		{"", "999999999999999", 0, exitUsage},
	}
	for _, tt := range tests {
		t.Setenv("SOURCE_DATE_EPOCH", tt.env)
		args := []string{"mkfs", "axfs", "--force", "--level", "1", dir, "img"}
		if tt.flag != "" {
			args = append(args, "--timestamp="+tt.flag)
		}
		if r := godaxRun(t, args...); r.code != tt.code {
			t.Errorf("%q, %q: exit code %d, %s", tt.env, tt.flag, r.code, r.stderr)
		}
		if tt.code != exitOK {
			continue
		}
		b, err := os.ReadFile("img")
		if err != nil {
			t.Fatal(err)
		}
		if im, err := axfsdec.Decode(b); err != nil || im.Timestamp != tt.want {
			t.Errorf("%q, %q: %v, want time %d", tt.env, tt.flag, err, tt.want)
		}
	}
}

// TestMkfsAxfsFlags: mistakes are found before anything is written, and a page list is obeyed.
func TestMkfsAxfsFlags(t *testing.T) {
	dir := hostTreeForAxfs(t)
	for _, flag := range []string{
		"--xip=some", "--tail=long", "--page-size=8K", "--page-size=0", "--block-size=128K", "--level=0", "--level=10",
		"--profile-files", "--xip-glob=[", "--block-pages=-1",
	} {
		if r := godaxRun(t, "mkfs", "axfs", flag, dir, "img"); r.code != exitUsage {
			t.Errorf("%s: exit code %d, %s", flag, r.code, r.stderr)
		}
	}
	if err := os.WriteFile("bad.csv", []byte("no list\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"bad.csv", "none.csv"} {
		if r := godaxRun(t, "mkfs", "axfs", "--profile", list, dir, "img"); r.code != exitFailed || !strings.Contains(r.stderr, list) {
			t.Errorf("%s: exit code %d, %s", list, r.code, r.stderr)
		}
	}
	if _, err := os.Stat("img"); err == nil {
		t.Error("an image was made")
	}
	if err := os.WriteFile("pages.csv", []byte("./text,4096,1\r\nbin/prog,0,3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var sum axfsSummary
	text := mustRun(t, "mkfs", "axfs", "--profile", "pages.csv", "--all-root", "--json", dir, "img")
	if err := json.Unmarshal([]byte(text), &sum); err != nil {
		t.Fatal(err)
	}
	// prog and its copies share the page; so do the two names of text.
	if sum.XIP.Pages != 2 || sum.Files != 7 || sum.Dedup.Files != 2 || sum.Symlinks != 1 || sum.Specials != 1 || sum.Directories != 4 || sum.Image != "img" {
		t.Errorf("summary is %s", text)
	}
	text = mustRun(t, "mkfs", "axfs", "--profile", "pages.csv", "--profile-files", "--tail", "bytes", "--json", "--force", dir, "img")
	if err := json.Unmarshal([]byte(text), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.XIP.Pages != 84000/4096+33004/4096 || sum.Pages.ByteAligned < 2 {
		t.Errorf("summary is %s", text)
	}
}
