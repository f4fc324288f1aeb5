package fusefs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fusefs"
)

// content is n bytes that differ from page to page.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>12*31)
	}
	return b
}

// fill makes a small tree by way of the Go API.
func fill(t testing.TB, image string) {
	t.Helper()
	f, err := godax.Open(image, godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.MkdirAll("/dir/sub", 0o755))
	must(f.WriteFile("/dir/file", content(100_000), 0o640))
	must(f.WriteFile("/dir/empty", nil, 0o600))
	must(f.WriteFile("/big", content(5<<20), 0o644))
	must(f.Symlink("dir/file", "/link"))
	must(f.Link("/dir/file", "/dir/hard"))
	must(f.Mknod("/pipe", fs.ModeNamedPipe|0o644, 0, 0))
	must(f.Mknod("/null", fs.ModeDevice|fs.ModeCharDevice|0o666, 1, 3))
	must(f.SetXattr("/dir/file", "user.comment", []byte("hello"), 0))
	sparse, err := f.Create("/sparse")
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 1<<20)
	must(err)
	must(sparse.Close())
	for i := range 500 {
		must(f.WriteFile(fmt.Sprintf("/dir/sub/a name of some length %d", i), []byte(fmt.Sprint(i)), 0o644))
	}
	must(f.Close())
}

// TestReadOnly reads everything of a tree through the mount, in each cache mode.
func TestReadOnly(t *testing.T) {
	needFuse(t)
	for _, bs := range []int{1024, 4096} {
		for mode, name := range []string{"shared", "exclusive", "none"} {
			t.Run(fmt.Sprintf("%d/%s", bs, name), func(t *testing.T) {
				image := newImage(t, 32<<20, bs)
				fill(t, image)
				var reads atomic.Int64
				m := mountImage(t, image, fusefs.Options{
					ReadOnly: true, Cache: fusefs.CacheMode(mode), ReadAhead: -1,
					OnRead: func(_ uint64, _ int64, n int) { reads.Add(int64(n)) },
				})
				for range 2 { // the second time out of the caches
					checkTree(t, m.dir)
				}
				if reads.Load() < 5<<20 {
					t.Errorf("OnRead saw %d bytes", reads.Load())
				}
				if err := os.WriteFile(m.path("new"), nil, 0o600); err == nil || !strings.Contains(err.Error(), "read-only") {
					t.Errorf("creating a file: %v", err)
				}
				m.closeClean(t)
			})
		}
	}
}

func checkTree(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, want := range map[string][]byte{"dir/file": content(100_000), "dir/empty": {}, "big": content(5 << 20), "link": content(100_000), "sparse": append(make([]byte, 1<<20), "end"...)} {
		got, err := os.ReadFile(at(name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(want), err)
		}
	}
	list, err := os.ReadDir(at("dir/sub"))
	if err != nil || len(list) != 500 {
		t.Errorf("%d entries: %v", len(list), err)
	}
	if !slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() == "a name of some length 499" }) {
		t.Error("an entry is missing")
	}
	var st unix.Stat_t
	if err := unix.Lstat(at("dir/hard"), &st); err != nil || st.Nlink != 2 || st.Mode != unix.S_IFREG|0o640 || st.Size != 100_000 {
		t.Errorf("stat: %+v, %v", st, err)
	}
	if err := unix.Lstat(at("null"), &st); err != nil || st.Rdev != unix.Mkdev(1, 3) || st.Mode != unix.S_IFCHR|0o666 {
		t.Errorf("device: %+v, %v", st, err)
	}
	var sx unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, at("dir/file"), 0, unix.STATX_ALL, &sx); err != nil || sx.Mask&unix.STATX_BTIME == 0 || sx.Btime.Sec == 0 {
		t.Errorf("time of birth: %+v, %v", sx.Btime, err)
	}
	if target, err := os.Readlink(at("link")); err != nil || target != "dir/file" {
		t.Errorf("link: %q, %v", target, err)
	}
	if _, err := os.Stat(at("nothing")); !os.IsNotExist(err) {
		t.Errorf("a name that is not there: %v", err)
	}
	b := make([]byte, 100)
	if n, err := unix.Getxattr(at("dir/file"), "user.comment", b); err != nil || string(b[:max(n, 0)]) != "hello" {
		t.Errorf("attribute: %q, %v", b[:max(n, 0)], err)
	}
	fd, err := unix.Open(at("sparse"), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if off, err := unix.Seek(fd, 0, unix.SEEK_DATA); err != nil || off != 1<<20 {
		t.Errorf("SEEK_DATA: %d, %v", off, err)
	}
	var sf unix.Statfs_t
	if err := unix.Statfs(dir, &sf); err != nil || sf.Blocks == 0 || sf.Bfree == 0 || sf.Namelen != 255 {
		t.Errorf("statfs: %+v, %v", sf, err)
	}
}
