package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godax/fs/famfs"
	"godax/internal/daxtest"
)

// famfsImage makes an image of 64 MiB, and the host that of the tests.
func famfsImage(t testing.TB, args ...string) {
	t.Helper()
	t.Setenv(famfs.HostEnv, "00000000-1111-8222-8333-444444444444")
	t.Chdir(t.TempDir())
	mustRun(t, append([]string{"mkfs", "famfs", "--size", "64M"}, append(args, "img")...)...)
}

func writeHost(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFamfsCommands: the commands of every file system on famfs, and what it has no form of.
func TestFamfsCommands(t *testing.T) {
	famfsImage(t, "--unit", "4K")
	data := bytes.Repeat([]byte("famfs and "), 5000)
	writeHost(t, "data", data)
	writeHost(t, "empty", nil)
	if err := os.MkdirAll("tree/sub", 0o750); err != nil {
		t.Fatal(err)
	}
	writeHost(t, "tree/sub/file", data[:100])
	if err := os.Link("tree/sub/file", "tree/link"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkdir", "-p", "-m", "700", "img:/a/b")
	mustRun(t, "mkdir", "-p", "img:/a/b")
	mustRun(t, "cp", "data", "img:/a/b/data")
	if got := mustRun(t, "cat", "img:/a/b/data"); got != string(data) {
		t.Errorf("%d bytes came back of %d", len(got), len(data))
	}
	mustRun(t, "cp", "-a", "tree", "img:/")
	for path, want := range map[string]string{"img:/a": "drwxr-xr-x", "img:/a/b": "drwx------", "img:/tree/sub": "drwxr-x---", "img:/tree/link": "-rw-r--r--"} {
		if got := mustRun(t, "stat", path); !strings.Contains(got, want) {
			t.Errorf("%s is not %s:\n%s", path, want, got)
		}
	}
	// What has the size of the source is overwritten, holes and all; nothing else is.
	sparse, err := os.Create("sparse")
	if err != nil {
		t.Fatal(err)
	}
	if err := sparse.Truncate(int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if _, err := sparse.WriteAt([]byte("end"), int64(len(data))-3); err != nil {
		t.Fatal(err)
	}
	sparse.Close()
	mustRun(t, "cp", "sparse", "img:/a/b/data")
	want, err := os.ReadFile("sparse")
	if err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, "cat", "img:/a/b/data"); got != string(want) {
		t.Error("overwritten with a sparse file: other contents")
	}
	mustRun(t, "create", "--size", "1M", "--stripe", "4:64K", "-m", "640", "img:/striped")
	if got := mustRun(t, "map", "img:/striped"); strings.Count(got, "direct") != 16 {
		t.Errorf("16 pieces are mapped as\n%s", got)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"cp", "tree/sub/file", "img:/a/b/data"}, "exists with 50000 bytes"},
		{[]string{"cp", "empty", "img:/empty"}, "no empty file"},
		{[]string{"rm", "img:/striped"}, "no delete: storage is never given back"},
		{[]string{"mv", "img:/striped", "img:/other"}, "no rename"},
		{[]string{"truncate", "-s", "5", "img:/striped"}, "no truncate"},
		{[]string{"punch", "0", "4096", "img:/striped"}, "no punch"},
		{[]string{"ln", "-s", "striped", "img:/link"}, "no symbolic link"},
		{[]string{"chmod", "600", "img:/striped"}, "no chmod"},
		{[]string{"create", "--size", "0", "img:/zero"}, "no empty file"},
		{[]string{"create", "--size", "1G", "img:/large"}, "no free run"},
		{[]string{"create", "--size", "1M", "img:/striped"}, "file exists"},
	} {
		if r := godaxRun(t, c.args...); r.code != exitFailed || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%q: exit code %d, %q; want %q", c.args, r.code, r.stderr, c.want)
		}
	}
	manifest := mustRun(t, "manifest", "img")
	if n := strings.Count(manifest, "\n"); n != 10 {
		t.Errorf("manifest of %d lines:\n%s", n, manifest)
	}
	if got := mustRun(t, "info", "img"); !strings.Contains(got, "famfs") || !strings.Contains(got, "8 of 15420 entries") {
		t.Errorf("info:\n%s", got)
	}
	mustRun(t, "cp", "-a", "img:/.", "out")
	if got, err := os.ReadFile("out/tree/link"); err != nil || !bytes.Equal(got, data[:100]) {
		t.Errorf("copied out: %q, %v", got, err)
	}
	mustRun(t, "fsck", "img")
}

// TestCreateEverywhere: create is not only for famfs.
func TestCreateEverywhere(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRun(t, "mkfs", "ext2", "--size", "16M", "img")
	mustRun(t, "create", "--size", "1M", "img:/file")
	if got := mustRun(t, "stat", "img:/file"); !strings.Contains(got, "size 1048576") && !strings.Contains(got, "1048576") {
		t.Errorf("stat:\n%s", got)
	}
	if r := godaxRun(t, "create", "--size", "1M", "--stripe", "2", "img:/other"); r.code != exitFailed {
		t.Errorf("striped on ext2: %d", r.code)
	}
	if r := godaxRun(t, "create", "--size", "100M", "img:/large"); r.code != exitFailed || !strings.Contains(r.stderr, "no space") {
		t.Errorf("larger than the image: %d %q", r.code, r.stderr)
	}
	if got := mustRun(t, "ls", "img"); strings.Contains(got, "large") || strings.Contains(got, "other") {
		t.Errorf("what failed is there:\n%s", got)
	}
	fsck(t, "img")
	if r := godaxRun(t, "fsck", "img"); r.code != exitFailed || !strings.Contains(r.stderr, "no checker") {
		t.Errorf("fsck of ext2: %d %q", r.code, r.stderr)
	}
}

// TestMkfsFamfs: what is there is kept without --force, further devices are found by what they
// carry, and a failure leaves no new image.
func TestMkfsFamfs(t *testing.T) {
	famfsImage(t)
	if r := godaxRun(t, "mkfs", "famfs", "img"); r.code != exitFailed || !strings.Contains(r.stderr, "holds data already") {
		t.Errorf("over data: %d %q", r.code, r.stderr)
	}
	if r := godaxRun(t, "mkfs", "famfs", "--size", "1M", "small"); r.code != exitFailed || !strings.Contains(r.stderr, "no room") {
		t.Errorf("too small: %d %q", r.code, r.stderr)
	}
	if _, err := os.Stat("small"); err == nil {
		t.Error("an image that could not be formatted is left")
	}
	for _, d := range []string{"d1", "d2"} {
		writeHost(t, d, nil)
		if err := os.Truncate(d, 16<<20); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "mkfs", "famfs", "--force", "--devices", "d1,d2", "img")
	mustRun(t, "create", "--device", "d2", "--device", "d1", "--size", "6M", "--stripe", "3", "img:/file")
	mustRun(t, "cat", "--device", "d1", "--device", "d2", "img:/file")
	if r := godaxRun(t, "cat", "--device", "d1", "img:/file"); r.code != exitFailed || !strings.Contains(r.stderr, "was not supplied") {
		t.Errorf("without a device: %d %q", r.code, r.stderr)
	}
	mustRun(t, "stat", "--device", "d1", "--device", "d2", "img:/file")
	if got := mustRun(t, "stat", "--device", "d1", "img:/file"); !strings.Contains(got, "size: 6291456") || !strings.Contains(got, "pages: not known: ") || !strings.Contains(got, "was not supplied") {
		t.Errorf("stat without a device:\n%s", got)
	}
	if got := mustRun(t, "fsck", "--device", "d1", "img"); !strings.Contains(got, "note: log entry 1") {
		t.Errorf("fsck without a device:\n%s", got)
	}
	if r := godaxRun(t, "info", "d1"); r.code != exitFailed || !strings.Contains(r.stderr, "further device") {
		t.Errorf("a further device alone: %d %q", r.code, r.stderr)
	}
	if r := godaxRun(t, "mkfs", "famfs", "--force", "--devices", "d1,d1", "img"); r.code == exitOK {
		t.Error("one device twice")
	}
}

// TestFsckFamfs: the exit code says how bad it is, and each finding where it is.
func TestFsckFamfs(t *testing.T) {
	patch := func(off int64, b ...byte) {
		t.Helper()
		f, err := os.OpenFile("img", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	run := func(code int, want string) {
		t.Helper()
		if r := godaxRun(t, "fsck", "img"); r.code != code || !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("exit code %d, want %d with %q:\n%s%s", r.code, code, want, r.stdout, r.stderr)
		}
	}
	famfsImage(t)
	mustRun(t, "mkdir", "img:/a", "img:/b")
	run(exitOK, "entries: 2 of 15420")
	const header, entry1 = 2 << 20, 2<<20 + 48 + 544
	patch(header+32, 9) // next_seqnum
	run(exitWarning, "warning: log header at 0x200000: next_seqnum is 9")
	patch(header+32, 2)
	patch(entry1+28, 'x')
	run(exitDamage, "damage: log entry 1 at 0x200250: crc is")
	r := godaxRun(t, "fsck", "--json", "img")
	var doc struct {
		Result   string
		Findings []findingRow
		Facts    map[string]string
	}
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil || r.code != exitDamage {
		t.Fatalf("%d %v", r.code, err)
	}
	if doc.Result != "damage" || len(doc.Findings) != 1 || doc.Findings[0].Offset != entry1 || doc.Findings[0].Field != "crc" || doc.Facts["entries"] != "1 of 15420" {
		t.Errorf("%+v", doc)
	}
	patch(8, 50) // version
	run(exitFailed, "version 50 is not supported")
	patch(8, 48)
	patch(60, 1)
	patch(61, 2)
	run(exitDamage, "damage: superblock at 0x0: crc is")
	patch(0, 0)
	run(exitFailed, "no known file system")
}

// TestWatch follows a medium while it is written and formatted anew, line by line.
func TestWatch(t *testing.T) {
	famfsImage(t, "--uuid", "00000000-0000-4000-8000-000000000001")
	mustRun(t, "mkdir", "img:/old")
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	var errOut bytes.Buffer
	go func() {
		code <- run(ctx, []string{"watch", "--json", "--interval", "1ms", "img"}, strings.NewReader(""), w, &errOut)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	next := func() (e event) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("watch has ended: %v, %s", lines.Err(), errOut.String())
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := next(); e.Event != "directory" || e.Path != "old" {
		t.Errorf("%+v", e)
	}
	mustRun(t, "create", "--size", "3M", "-m", "600", "img:/old/new")
	if e := next(); e.Event != "file" || e.Path != "old/new" || e.Size != 3<<20 || e.Mode != "0600" || e.Pos != 2 {
		t.Errorf("%+v", e)
	}
	mustRun(t, "mkfs", "famfs", "--force", "--uuid", "00000000-0000-4000-8000-000000000002", "img")
	if e := next(); e.Event != "formatted" || e.Note != "00000000-0000-4000-8000-000000000002" {
		t.Errorf("%+v", e)
	}
	mustRun(t, "mkdir", "img:/fresh")
	if e := next(); e.Event != "directory" || e.Path != "fresh" || e.Pos != 1 {
		t.Errorf("%+v", e)
	}
	cancel()
	for lines.Scan() {
	}
	if c := <-code; c != exitOK && !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("exit code %d, %s", c, errOut.String())
	}
	if got := mustRun(t, "watch", "--count", "1", "img"); !strings.HasPrefix(got, "d 0755") || !strings.Contains(got, "fresh") {
		t.Errorf("%q", got)
	}
	if r := godaxRun(t, "watch", "nothing.img"); r.code != exitFailed {
		t.Errorf("no such image: %d", r.code)
	}
}

// TestFamfsSample: the commands on a medium of the reference's own tools.
func TestFamfsSample(t *testing.T) {
	dir := daxtest.TestData(t, "famfs")
	image := daxtest.Untar(t, filepath.Join(dir, "tree.tar.gz"), "tree.img")
	if got := mustRun(t, "ls", image); !strings.Contains(got, "t\n") {
		t.Errorf("ls:\n%s", got)
	}
	if got := mustRun(t, "fsck", image); !strings.Contains(got, "entries: 51 of 15420") {
		t.Errorf("fsck:\n%s", got)
	}
	if r := godaxRun(t, "mkdir", image+":/x"); r.code != exitFailed || !strings.Contains(r.stderr, "the master is system") {
		t.Errorf("mkdir on another host's medium: %d %q", r.code, r.stderr)
	}
}
