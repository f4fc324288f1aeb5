package fusefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fusefs"
)

// TestStores: a store through a view or a pin is seen by read(2) at once, by descriptors from
// before and from after; and a write(2) by them.
func TestStores(t *testing.T) {
	needFuse(t)
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			m := mountImage(t, newImage(t, 16<<20, bs), fusefs.Options{})
			if err := os.WriteFile(m.path("f"), content(20_000), 0o600); err != nil {
				t.Fatal(err)
			}
			before := fd(t, m.path("f"))
			b := make([]byte, 5)
			read := func(fd int, off int64, want string) {
				t.Helper()
				if n, err := unix.Pread(fd, b, off); err != nil || string(b[:n]) != want {
					t.Errorf("read(2): %q, %v, want %q", b[:max(n, 0)], err, want)
				}
			}
			read(before, 5000, string(content(20_000)[5000:5005])) // now it is cached
			file, err := m.fsys.OpenFile("/f", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			view, err := file.Mmap(0, 20_000, godax.MapRead|godax.MapWrite|godax.MapShared)
			if err != nil {
				t.Fatal(err)
			}
			after := fd(t, m.path("f"))
			for i := range 20 {
				s := fmt.Sprintf("%05d", i)
				copy(view.Bytes()[5000:], s)
				read(before, 5000, s)
				read(after, 5000, s)
				s = fmt.Sprintf("%05d", i+1000)
				if _, err := unix.Pwrite([]int{before, after}[i%2], []byte(s), 9000); err != nil {
					t.Fatal(err)
				}
				if got := string(view.Bytes()[9000:9005]); got != s {
					t.Errorf("the view has %q, want %q", got, s)
				}
			}
			if err := view.Close(); err != nil {
				t.Fatal(err)
			}
			read(before, 5000, "00019")
			pin, err := file.Pin(12_000, 5, true)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				s := fmt.Sprintf("pin%02d", i)
				copy(pin.Slices()[0], s)
				read(before, 12_000, s)
			}
			pin.Release()
			read(before, 12_000, "pin04")
			read(after, 12_000, "pin04")
			if err := errors.Join(file.Close(), unix.Close(before), unix.Close(after)); err != nil {
				t.Error(err)
			}
			m.closeClean(t)
		})
	}
}

// TestMappedCoherence: a mapping of the kernel's sees stores through a view once the view is
// synced, and the view sees its stores after msync(2).
func TestMappedCoherence(t *testing.T) {
	needFuse(t)
	m := mountImage(t, newImage(t, 16<<20, 4096), fusefs.Options{})
	if err := os.WriteFile(m.path("f"), content(20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	child := startChild(t, m.path("f"))
	file, err := m.fsys.OpenFile("/f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	view, err := file.Mmap(0, 20_000, godax.MapRead|godax.MapWrite|godax.MapShared)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		s := fmt.Sprintf("%05d", i)
		copy(view.Bytes()[5000:], s)
		if err := view.Sync(); err != nil {
			t.Fatal(err)
		}
		if r := child.must(fsxOp{Kind: "mapread", Off: 5000, Len: 5}); string(r.Data) != s {
			t.Errorf("the kernel's mapping has %q, want %q", r.Data, s)
		}
		s = fmt.Sprintf("%05d", i+100)
		child.must(fsxOp{Kind: "mapsync", Off: 9000, Len: 5, Data: []byte(s)})
		if got := string(view.Bytes()[9000:9005]); got != s {
			t.Errorf("the view has %q, want %q", got, s)
		}
	}
	if err := errors.Join(view.Close(), file.Close()); err != nil {
		t.Error(err)
	}
	child.stop()
	m.closeClean(t)
}

// TestTold: changes by the Go API show in the mount at once, although the kernel keeps names,
// attributes and listings.
func TestTold(t *testing.T) {
	needFuse(t)
	for mode, name := range map[fusefs.CacheMode]string{fusefs.CacheShared: "shared", fusefs.CacheExclusive: "exclusive"} {
		t.Run(name, func(t *testing.T) {
			m := mountImage(t, newImage(t, 16<<20, 4096), fusefs.Options{Cache: mode})
			testTold(t, m)
			m.closeClean(t)
		})
	}
}

func testTold(t *testing.T, m *mounted) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	list := func(dir string) (names []string) {
		t.Helper()
		entries, err := os.ReadDir(m.path(dir))
		must(err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	wantList := func(dir string, want ...string) {
		t.Helper()
		if got := list(dir); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", dir, got, want)
		}
	}
	stat := func(name string) unix.Stat_t {
		t.Helper()
		var st unix.Stat_t
		must(unix.Lstat(m.path(name), &st))
		return st
	}
	missing := func(name string) {
		t.Helper()
		if _, err := os.Lstat(m.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", name, err)
		}
	}
	f := m.fsys
	must(f.Mkdir("/d", 0o755))
	wantList("d")
	missing("d/new") // the kernel remembers that
	must(f.WriteFile("/d/new", []byte("one"), 0o600))
	if b, err := os.ReadFile(m.path("d/new")); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	wantList("d", "new")
	must(f.WriteFile("/d/new", bytes.Repeat([]byte("two"), 3000), 0o600))
	if b, err := os.ReadFile(m.path("d/new")); err != nil || !bytes.Equal(b, bytes.Repeat([]byte("two"), 3000)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	file, err := f.OpenFile("/d/new", os.O_WRONLY, 0)
	must(err)
	for i := range byte(3) { // as long as before
		_, err = file.WriteAt([]byte{'a' + i}, 5000)
		must(err)
		if b, err := os.ReadFile(m.path("d/new")); err != nil || len(b) != 9000 || b[5000] != 'a'+i {
			t.Errorf("after the change %d: %d bytes, %v", i, len(b), err)
		}
	}
	must(file.Close())
	must(f.Truncate("/d/new", 4))
	if st := stat("d/new"); st.Size != 4 {
		t.Errorf("%d bytes, want 4", st.Size)
	}
	must(f.Chmod("/d/new", 0o640))
	must(f.Chown("/d/new", 5, 6))
	if st := stat("d/new"); st.Mode&0o777 != 0o640 || st.Uid != 5 || st.Gid != 6 {
		t.Errorf("mode %o, owner %d:%d", st.Mode, st.Uid, st.Gid)
	}
	must(f.Link("/d/new", "/d/hard"))
	if st := stat("d/new"); st.Nlink != 2 {
		t.Errorf("%d links", st.Nlink)
	}
	must(f.SetXattr("/d/new", "user.x", []byte("y"), 0))
	b := make([]byte, 10)
	if n, err := unix.Getxattr(m.path("d/new"), "user.x", b); err != nil || string(b[:max(n, 0)]) != "y" {
		t.Errorf("attribute %q, %v", b[:max(n, 0)], err)
	}
	must(f.Rename("/d/new", "/d/moved"))
	missing("d/new")
	wantList("d", "hard", "moved")
	must(f.Mkdir("/d/sub", 0o700))
	must(f.Rename("/d/sub", "/sub"))
	wantList("d", "hard", "moved")
	if st := stat("sub"); st.Mode != unix.S_IFDIR|0o700 {
		t.Errorf("mode %o", st.Mode)
	}
	must(f.Remove("/d/moved"))
	if st := stat("d/hard"); st.Nlink != 1 {
		t.Errorf("%d links", st.Nlink)
	}
	must(f.RemoveAll("/d"))
	missing("d")
	missing("d/hard")
	must(f.Symlink("target", "/link"))
	if s, err := os.Readlink(m.path("link")); err != nil || s != "target" {
		t.Errorf("%q, %v", s, err)
	}
	// And the other way round.
	must(os.MkdirAll(m.path("a/b"), 0o755))
	must(os.WriteFile(m.path("a/b/c"), []byte("kernel"), 0o600))
	if b, err := f.ReadFile("/a/b/c"); err != nil || string(b) != "kernel" {
		t.Errorf("%q, %v", b, err)
	}
	must(os.Rename(m.path("a"), m.path("z")))
	if fi, err := f.Stat("/z/b/c"); err != nil || fi.Size() != 6 {
		t.Errorf("%v, %v", fi, err)
	}
}

// TestAppendElsewhere: an append goes to the end of the file, wherever the kernel takes that to be,
// and the kernel hears of it. Here it has not heard what another mount did.
func TestAppendElsewhere(t *testing.T) {
	needFuse(t)
	m := mountImage(t, newImage(t, 16<<20, 4096), fusefs.Options{Cache: fusefs.CacheExclusive})
	other := t.TempDir()
	s, err := fusefs.Mount(other, m.fsys.VFS(), fusefs.Options{Cache: fusefs.CacheExclusive})
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, flags int, text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	// Whole pages: the kernel believes what it has of them.
	one, two, three := strings.Repeat("1", 4096), strings.Repeat("2", 4096), strings.Repeat("3", 4096)
	write(m.path("f"), os.O_CREATE, one)
	write(filepath.Join(other, "f"), os.O_APPEND, two)
	write(m.path("f"), os.O_APPEND, three)
	want := one + two + three
	if b, err := m.fsys.ReadFile("f"); err != nil || string(b) != want {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	// It is told beside the answer, by somebody who has the directory open for that.
	soon := func(done func() bool) bool {
		for end := time.Now().Add(10 * time.Second); !done(); {
			if time.Now().After(end) {
				return false
			}
		}
		return true
	}
	if !soon(func() bool {
		b, err := os.ReadFile(m.path("f"))
		return err == nil && string(b) == want
	}) {
		t.Error("the kernel goes on with its own end of the file")
	}
	if !soon(func() bool { return s.Unmount() == nil }) {
		t.Error("cannot be unmounted")
	}
	if !soon(func() bool { return m.Unmount() == nil }) {
		t.Error("cannot be unmounted")
	}
	m.closeClean(t)
}

// TestUnlinkedByGo: a file that the kernel has open lives on when the Go API removes it, and
// the other way round.
func TestUnlinkedByGo(t *testing.T) {
	needFuse(t)
	m := mountImage(t, newImage(t, 16<<20, 4096), fusefs.Options{})
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(m.path(name), content(10_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kernel, err := os.OpenFile(m.path("a"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := m.fsys.OpenFile("/b", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.fsys.Remove("/a"), os.Remove(m.path("b"))); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]interface {
		ReadAt([]byte, int64) (int, error)
		WriteAt([]byte, int64) (int, error)
	}{"the kernel's": kernel, "ours": ours} {
		b := make([]byte, 10_000)
		if n, err := f.ReadAt(b, 0); n != 10_000 || !bytes.Equal(b, content(10_000)) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if _, err := f.WriteAt([]byte("more"), 20_000); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := errors.Join(kernel.Close(), ours.Close()); err != nil {
		t.Error(err)
	}
	m.closeClean(t) // the storage of both is free again
}

// TestManyInodes: the kernel forgets, and we with it.
func TestManyInodes(t *testing.T) {
	needFuse(t)
	m := mountImage(t, newImage(t, 64<<20, 4096), fusefs.Options{Cache: fusefs.CacheExclusive})
	for i := range 3000 {
		if err := os.MkdirAll(m.path(fmt.Sprint("d", i%30)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.path(fmt.Sprintf("d%d/f%d", i%30, i)), []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := filepath.WalkDir(m.dir, func(string, fs.DirEntry, error) error { n++; return nil })
	if err != nil || n < 3000 {
		t.Errorf("%d files, %v", n, err)
	}
	var b bytes.Buffer
	if err := m.WriteMetrics(&b); err != nil || !bytes.Contains(b.Bytes(), []byte("\ngodax_fuse_inodes ")) {
		t.Errorf("metrics: %v", err)
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		t.Logf("drop_caches: %v", err)
	}
	if err := os.RemoveAll(m.path("d7")); err != nil {
		t.Error(err)
	}
	m.closeClean(t)
}
