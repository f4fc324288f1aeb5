package main

import (
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godax"

	"golang.org/x/sys/unix"
)

// testImage makes an image of the first kind in a new directory, which becomes the
// current one.
func testImage(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if tt, ok := t.(*testing.T); ok {
		tt.Chdir(dir)
	}
	mustRun(t, "mkfs", "ext2", "--size", size, "img")
	return "img"
}

// TestCpArchive takes a tree with everything -a keeps into an image, on into a second
// one, and out again.
func TestCpArchive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners and devices need root")
	}
	testImage(t, "64M")
	mustRun(t, "mkfs", "ext2", "--size", "64M", "--block-size", "1024", "img2")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll("src/dir/empty", 0o755))
	check(os.WriteFile("src/plain", []byte("plain\n"), 0o640))
	check(os.Link("src/plain", "src/dir/hard"))
	check(os.Symlink("../plain", "src/dir/link"))
	check(os.Symlink("/nowhere", "src/dangling"))
	check(unix.Mknod("src/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	check(unix.Mknod("src/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(300, 70000))))
	check(unix.Mkfifo("src/fifo", 0o620))
	check(unix.Mknod("src/socket", unix.S_IFSOCK|0o700, 0))
	check(os.WriteFile("src/suid", []byte("#!"), 0o755))
	check(os.Chown("src/suid", 1000, 2000))
	check(os.Chmod("src/suid", fs.ModeSetuid|fs.ModeSetgid|0o755))
	check(os.Lchown("src/dangling", 5, 6))
	check(os.Chmod("src/dir/empty", fs.ModeSticky|0o777))
	check(os.WriteFile("src/"+strings.Repeat("n", 255), nil, 0))
	check(os.WriteFile("src/caf\xe9 \xff", nil, 0o644))
	xattrs := unix.Lsetxattr("src/plain", "user.note", []byte("kept\x00\xff"), 0) == nil
	sparse, err := os.Create("src/sparse")
	check(err)
	_, err = sparse.WriteAt([]byte("in the middle"), 8<<20)
	check(err)
	check(sparse.Truncate(20 << 20))
	check(sparse.Close())
	old := time.Unix(1234567890, 0)
	for _, p := range []string{"src/plain", "src/dir/empty", "src/dir"} {
		check(os.Chtimes(p, old.Add(time.Hour), old))
	}

	mustRun(t, "cp", "-a", "src", "img:/")
	fsck(t, "img")
	mustRun(t, "cp", "-a", "img:/src", "img2:/again")
	fsck(t, "img2")
	mustRun(t, "cp", "-a", "img2:/again", "out")
	if got, want := describeTree(t, "out"), describeTree(t, "src"); got != want {
		t.Errorf("the tree changed on its way\n--- got\n%s--- want\n%s", got, want)
	}
	if xattrs {
		b := make([]byte, 100)
		n, err := unix.Lgetxattr("out/plain", "user.note", b)
		if err != nil || string(b[:n]) != "kept\x00\xff" {
			t.Errorf("user.note: got %q, %v", b[:max(n, 0)], err)
		}
	} else {
		t.Log("no user attributes on this host's file system: not compared")
	}
	var st unix.Stat_t
	check(unix.Stat("out/sparse", &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the hole was filled: %d blocks of 512", st.Blocks)
	}
	// Once more over what is there: nothing may change.
	mustRun(t, "cp", "-a", "src/.", "img:/src")
	fsck(t, "img")
	mustRun(t, "cp", "-a", "img:/src/.", "out")
	if got, want := describeTree(t, "out"), describeTree(t, "src"); got != want {
		t.Errorf("the second copy changed the tree\n--- got\n%s--- want\n%s", got, want)
	}
}

// describeTree is everything -a keeps of the files below dir.
func describeTree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	first := make(map[fileID]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := hostSource{}.Lstat(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		what := ""
		switch {
		case at.mode.Type() == fs.ModeSymlink:
			what, err = os.Readlink(p)
		case at.mode.IsRegular():
			var data []byte
			data, err = os.ReadFile(p)
			what = string(bytes.ReplaceAll(data, []byte{0}, nil))
		}
		if err != nil {
			return err
		}
		if at.nlink > 1 && !at.mode.IsDir() {
			if first[at.id] == "" {
				first[at.id] = rel
			}
			what += " = " + first[at.id]
		}
		size := at.size
		if at.mode.IsDir() {
			size = 0
		}
		line := []any{lsMode(at.mode), rel, at.uid, at.gid, size, at.major, at.minor, at.mtime.UnixNano(), what}
		for _, v := range line {
			b.WriteString(escape(strings.TrimSpace(strings.ReplaceAll(toText(v), "\n", " "))) + " ")
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// hostileDir is a store whose directories have names that no directory should have.
type hostileDir struct{ imageStore }

func (hostileDir) ReadDir(string) ([]string, error) {
	return []string{"..", "../../escaped", "/escaped", ".", "", "nul\x00", "good"}, nil
}

func (hostileDir) Lstat(p string) (attrs, error) {
	if p == "/" {
		return attrs{mode: fs.ModeDir | 0o755, id: fileID{1, 1}}, nil
	}
	return attrs{mode: fs.ModeSymlink, id: fileID{1, 2}}, nil
}

func (hostileDir) Readlink(string) (string, error) { return "target", nil }

func TestHostileNames(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "deep", "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "deep", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var out bytes.Buffer
	a := testApp(t, &out)
	c := copier{app: a, recursive: true, src: hostileDir{}, dst: hostSink{root}, srcName: name{image: "bad.img"},
		seen: make(map[fileID]bool), links: make(map[fileKey]string)}
	c.copy("/", ".", true)
	got, err := hostTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(got, "good -> target\n") || strings.Count(got, "\n") != 4 {
		t.Errorf("got files\n%swant only good", got)
	}
	if n := strings.Count(out.String(), "is not a file name"); n != 6 || !a.failed {
		t.Errorf("%d of 6 names were refused:\n%s", n, out.String())
	}
}

// TestExtractThroughLink: a link in the destination, or in the image, must not be
// followed out of it.
func TestExtractThroughLink(t *testing.T) {
	testImage(t, "16M")
	for _, dir := range []string{"outside", "out", "tree/dir"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("tree/dir/file", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "-r", "tree/.", "img:/")
	outside, err := filepath.Abs("outside")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, "out/dir"); err != nil {
		t.Fatal(err)
	}
	r := godaxRun(t, "cp", "-r", "img:/dir", "out")
	if r.code != exitFailed || !strings.Contains(r.stderr, "not a directory") {
		t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
	}
	if files, err := os.ReadDir("outside"); err != nil || len(files) > 0 {
		t.Errorf("outside holds %v, %v", files, err)
	}
	// A file that is a link at the destination is replaced, not written through.
	if err := os.WriteFile("outside/victim", []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside/victim", "out/file"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "img:/dir/file", "out")
	if got, err := os.ReadFile("outside/victim"); err != nil || string(got) != "safe" {
		t.Errorf("the file outside is %q, %v", got, err)
	}
	if got, err := os.ReadFile("out/file"); err != nil || string(got) != "x" {
		t.Errorf("the copy is %q, %v", got, err)
	}
}

// TestCpLarge: a file much larger than one read arrives whole, and can be mapped huge.
func TestCpLarge(t *testing.T) {
	testImage(t, "256M")
	data := make([]byte, 64<<20+12345)
	src := rand.NewChaCha8([32]byte{1})
	if _, err := src.Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("big", data, 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "big", "img:/")
	mustRun(t, "cp", "img:/big", "back")
	back, err := os.ReadFile("back")
	if err != nil || !bytes.Equal(back, data) {
		t.Errorf("the file came back different: %d bytes, %v", len(back), err)
	}
	fsys, err := godax.Open("img", godax.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	f, err := fsys.Open("/big")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runs, err := runsOf(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if u := tally(runs); u.PMD*10 < u.Pages*9 {
		t.Errorf("%d of %d pages mappable with huge pages, want 90 %%", u.PMD, u.Pages)
	}
	fsck(t, "img")
}

// TestCpFull: a full image is an error that names the destination, and stays healthy.
func TestCpFull(t *testing.T) {
	testImage(t, "8M")
	if err := os.WriteFile("big", make([]byte, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("full"), 4<<20)
	if err := os.WriteFile("big", data, 0o644); err != nil {
		t.Fatal(err)
	}
	r := godaxRun(t, "cp", "big", "img:/")
	want := "godax: cp big: to img:/big: " + syscall.ENOSPC.Error() + "\n"
	if r.code != exitFailed || r.stderr != want {
		t.Errorf("exit code %d, stderr %q; want 1, %q", r.code, r.stderr, want)
	}
	fsck(t, "img")
}

// TestCpOwnImage: an image is neither overwritten with its own files nor copied into
// itself.
func TestCpOwnImage(t *testing.T) {
	testImage(t, "16M")
	if err := os.WriteFile("file", []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "file", "img:/img")
	before, err := os.ReadFile("img")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link("img", "other-name"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"img:/img", "img"}, "godax: cp img:/img: to img: is the image itself, which is open\n"},
		{[]string{"img:/img", "other-name"}, "godax: cp img:/img: to other-name: is the image itself, which is open\n"},
		{[]string{"-a", "img:/img", "."}, "godax: cp img:/img: to img: is the image itself, which is open\n"},
		{[]string{"img", "img:/"}, "godax: cp img: is the image itself, which is open\n"},
		{[]string{"-r", "other-name", "img:/copy"}, "godax: cp other-name: is the image itself, which is open\n"},
	}
	for _, tt := range tests {
		r := godaxRun(t, append([]string{"cp"}, tt.args...)...)
		if r.code != exitFailed || r.stderr != tt.want {
			t.Errorf("cp %v: exit code %d, stderr %q; want 1, %q", tt.args, r.code, r.stderr, tt.want)
		}
	}
	if got := mustRun(t, "ls", "img"); got != "img\nlost+found\n" {
		t.Errorf("the image holds %q", got)
	}
	if fi, err := os.Stat("img"); err != nil || fi.Size() != int64(len(before)) {
		t.Errorf("the image is %v, %v; want %d bytes", fi, err, len(before))
	}
	fsck(t, "img")
	// An image that is only read is a file like any other.
	mustRun(t, "mkfs", "ext2", "--size", "32M", "second")
	mustRun(t, "cp", "img:/img", "img", "second:/")
}

// TestCpToSpecial: a device or pipe that the user names, through a link or not, stays
// what it is.
func TestCpToSpecial(t *testing.T) {
	testImage(t, "16M")
	if err := os.WriteFile("file", []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "file", "img:/")
	if err := unix.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fifo", "link"); err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"fifo", "link"} {
		r := godaxRun(t, "cp", "img:/file", dst)
		want := "godax: cp img:/file: to " + dst + ": not a regular file (use cat to write into it)\n"
		if r.code != exitFailed || r.stderr != want {
			t.Errorf("cp to %s: exit code %d, stderr %q; want 1, %q", dst, r.code, r.stderr, want)
		}
		if fi, err := os.Stat(dst); err != nil || fi.Mode().Type() != fs.ModeNamedPipe {
			t.Errorf("%s became %v, %v", dst, fi, err)
		}
	}
}

// TestCpNewDirectory: "new/" on the host is made, as the name of a directory only.
func TestCpNewDirectory(t *testing.T) {
	testImage(t, "16M")
	mustRun(t, "mkdir", "-p", "img:/dir/sub")
	mustRun(t, "truncate", "-s", "3", "img:/dir/file")
	mustRun(t, "cp", "-r", "img:/dir", "new/")
	if fi, err := os.Stat("new/sub"); err != nil || !fi.IsDir() {
		t.Errorf("new/sub is %v, %v", fi, err)
	}
	r := godaxRun(t, "cp", "img:/dir/file", "other/")
	if want := "godax: cp img:/dir/file: to other: not a directory\n"; r.code != exitFailed || r.stderr != want {
		t.Errorf("exit code %d, stderr %q; want 1, %q", r.code, r.stderr, want)
	}
}

// TestCpStream: without -r a pipe of the host is read to its end.
func TestCpStream(t *testing.T) {
	testImage(t, "32M")
	if err := unix.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("stream "), copyBuffer/4)
	written := make(chan error, 1)
	go func() { written <- os.WriteFile("fifo", data, 0) }()
	mustRun(t, "cp", "fifo", "img:/file")
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, "cat", "img:/file"); got != string(data) {
		t.Errorf("%d bytes arrived, want %d", len(got), len(data))
	}
	if got := mustRun(t, "ls", "-l", "img:/file"); !strings.HasPrefix(got, "-rw-------") {
		t.Errorf("the copy is %s", got)
	}
	fsck(t, "img")
	mustRun(t, "cp", "-r", "fifo", "img:/") // as such
	if got := mustRun(t, "ls", "-l", "img:/fifo"); !strings.HasPrefix(got, "prw") {
		t.Errorf("with -r the pipe became %s", got)
	}
}

// TestCpStreamInterrupted: a signal ends cp while it waits for a pipe.
func TestCpStreamInterrupted(t *testing.T) {
	testImage(t, "16M")
	if err := unix.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		w, err := os.OpenFile("fifo", os.O_WRONLY, 0) // waits until cp has opened it
		if err != nil {
			t.Error(err)
			return
		}
		cancel()
		<-t.Context().Done() // nothing is written, and not closed before cp has ended
		w.Close()
	}()
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"cp", "fifo", "img:/file"}, nil, &out, &errOut)
	if code != exitFailed || errOut.String() != "godax: interrupted\n" {
		t.Errorf("exit code %d, stderr %q", code, errOut.String())
	}
	fsck(t, "img")
}

// lossySink takes no attributes.
type lossySink struct{ sink }

func (lossySink) Chown(string, uint32, uint32) error { return nil } // root or not

func (lossySink) SetXattr(string, string, []byte) error {
	return &fs.PathError{Op: "setxattr", Path: "x", Err: os.NewSyscallError("lsetxattr", syscall.EPERM)}
}

// TestCpLostXattrs: what could not be kept is counted and the first of it named.
func TestCpLostXattrs(t *testing.T) {
	testImage(t, "16M")
	fsys, err := godax.Open("img", godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	const file = "/a\nb"
	if err := fsys.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, attr := range []string{"user.a", "user.b"} {
		if err := fsys.SetXattr(file, attr, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var out bytes.Buffer
	c := copier{app: testApp(t, &out), recursive: true, archive: true, src: imageStore{fsys}, dst: lossySink{hostSink{root}},
		srcName: name{image: "img"}, seen: make(map[fileID]bool), links: make(map[fileKey]string)}
	if err := c.summary(); err != nil {
		t.Errorf("before anything is lost: %v", err)
	}
	c.copy(file, "out", true)
	got := c.summary()
	if got == nil || !strings.Contains(got.Error(), "not be kept: 2, the first: user.") ||
		!strings.HasSuffix(got.Error(), ` of img:/a\x0ab: operation not permitted`) {
		t.Errorf("summary: got %v", got)
	}
	if out.Len() > 0 {
		t.Errorf("cp said %s", out.String())
	}
}
