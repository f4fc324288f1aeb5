package godax_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"godax"
	"godax/fs/ext"
	"godax/internal/daxtest/memfs"
	"godax/pmem"
	"godax/vfs"
)

const page = pmem.PageSize

// backends are the file systems that the tests of this package run on.
var backends = []struct {
	name string
	make func(t testing.TB, dev pmem.Device) godax.Options // makes a file system on dev
}{
	{"mem", func(t testing.TB, dev pmem.Device) godax.Options {
		return godax.Options{Drivers: []vfs.Driver{memfs.New(dev).Driver()}}
	}},
	{"ext-4k-iomap", onExt(4096, "iomap")},
	{"ext-4k-bh", onExt(4096, "bh")},
	{"ext-1k", onExt(1024, "iomap")},
}

// onExt makes an ext2 file system, which e2fsck looks at when all is done.
func onExt(blockSize int, carrier string) func(testing.TB, pmem.Device) godax.Options {
	return func(t testing.TB, dev pmem.Device) godax.Options {
		t.Helper()
		must(t, ext.Format(dev, ext.FormatOptions{BlockSize: blockSize}))
		t.Cleanup(func() { fsck(t, dev) })
		return godax.Options{Carrier: carrier}
	}
}

// fsck lets e2fsck look at a device, which has a file behind it.
func fsck(t testing.TB, dev pmem.Device) {
	t.Helper()
	tool, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Log("e2fsck is not installed: image not checked")
		return
	}
	fd, _, _ := dev.(pmem.Mappable).Backing()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), image))
	if out, err := exec.Command(tool, "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// each runs a test on an empty file system of every kind.
func each(t *testing.T, test func(t *testing.T, f *godax.FS)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			dev, err := pmem.NewMemory(64<<20, pmem.MemoryOptions{})
			must(t, err)
			t.Cleanup(func() { must(t, dev.Close()) })
			o := b.make(t, dev)
			f, err := godax.OpenDevice(dev, o)
			must(t, err)
			t.Cleanup(func() { closeFS(t, f) })
			test(t, f)
		})
	}
}

// newFS returns an empty memfs of 64 MiB, which the test's end closes.
func newFS(t testing.TB) (*godax.FS, *memfs.FS) {
	t.Helper()
	dev, err := pmem.NewMemory(64<<20, pmem.MemoryOptions{})
	must(t, err)
	return newFSOn(t, dev)
}

// newFSOn is newFS on a device, which it closes at the end as well.
func newFSOn(t testing.TB, dev pmem.Device) (*godax.FS, *memfs.FS) {
	t.Helper()
	mem := memfs.New(dev)
	f, err := godax.OpenDevice(dev, godax.Options{Drivers: []vfs.Driver{mem.Driver()}})
	must(t, err)
	t.Cleanup(func() {
		closeFS(t, f)
		must(t, dev.Close())
	})
	return f, mem
}

func closeFS(t testing.TB, f *godax.FS) {
	t.Helper()
	if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

// inodes is the number of inodes in use.
func inodes(f *godax.FS) uint64 {
	st := f.Statfs()
	return st.Files - st.FilesFree
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// populate makes a small tree.
func populate(t testing.TB, f *godax.FS) {
	t.Helper()
	must(t, f.MkdirAll("a/b/c", 0o755))
	must(t, f.WriteFile("hello", []byte("hello, world\n"), 0o644))
	must(t, f.WriteFile("a/empty", nil, 0o600))
	must(t, f.WriteFile("a/b/big", []byte(strings.Repeat("0123456789", 2000)), 0o644))
	must(t, f.Symlink("b/big", "a/link"))
	must(t, f.Symlink("/a", "abs"))
	must(t, f.Mkdir("void", 0o700))
}

func TestFSInterface(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		populate(t, f)
		if err := fstest.TestFS(f.IOFS(), "hello", "a/empty", "a/b/big", "a/b/c", "a/link", "abs", "void"); err != nil {
			t.Error(err)
		}
		sub, err := fs.Sub(f.IOFS(), "a")
		must(t, err)
		if err := fstest.TestFS(sub, "empty", "b/big", "link"); err != nil {
			t.Errorf("sub: %v", err)
		}
		_, err = fs.Stat(sub, "b/none")
		var pe *fs.PathError
		if !errors.As(err, &pe) || pe.Path != "b/none" {
			t.Errorf("error of a sub names %v", err)
		}
	})
}

// sentinels are the errors that the tests tell apart.
var sentinels = []error{
	fs.ErrNotExist, syscall.ENOTEMPTY, fs.ErrExist, fs.ErrClosed, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP,
	syscall.EINVAL, syscall.EBUSY, syscall.EPERM, syscall.ENXIO, syscall.EBADF, syscall.EROFS, syscall.ENODATA,
	syscall.ENAMETOOLONG,
}

func sentinel(err error) error {
	i := slices.IndexFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
	if i < 0 {
		return err
	}
	return sentinels[i]
}

func TestWalk(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		populate(t, f)
		links := map[string]string{
			"loop1": "loop2", "loop2": "loop1", "self": "self/x", "dangling": "nowhere", "dirlink": "a/b",
			"up": "../../../../hello", "a/b/c/dots": "../../../hello", "slashlink": "a/b/", "fileslash": "hello/",
			"rootlink": "/", "dotlink": ".", "a/absdots": "/../../a/../hello", "l0": "hello", "a/b/c/deep": "/hello",
		}
		for name, target := range links {
			must(t, f.Symlink(target, name))
		}
		for i := range 45 { // li leads to hello over i+1 links
			must(t, f.Symlink(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
		}
		tests := []struct {
			path  string
			stat  error
			lstat error
		}{
			{"", nil, nil},
			{".", nil, nil},
			{"/", nil, nil},
			{"//", nil, nil},
			{"..", nil, nil},
			{"../../..", nil, nil},
			{"hello", nil, nil},
			{"/hello", nil, nil},
			{"//a//b///big", nil, nil},
			{"./a/./b/../b/big", nil, nil},
			{"a/b/c/../../../hello", nil, nil},
			{"../hello", nil, nil},
			{"hello/", syscall.ENOTDIR, syscall.ENOTDIR},
			{"hello/.", syscall.ENOTDIR, syscall.ENOTDIR},
			{"hello/..", syscall.ENOTDIR, syscall.ENOTDIR},
			{"hello/x", syscall.ENOTDIR, syscall.ENOTDIR},
			{"a/", nil, nil},
			{"a/b/.", nil, nil},
			{"none", fs.ErrNotExist, fs.ErrNotExist},
			{"none/", fs.ErrNotExist, fs.ErrNotExist},
			{"none/x", fs.ErrNotExist, fs.ErrNotExist},
			{"none/..", fs.ErrNotExist, fs.ErrNotExist},
			{"a/link", nil, nil},
			{"a/link/", syscall.ENOTDIR, syscall.ENOTDIR},
			{"abs", nil, nil},
			{"abs/", nil, nil},
			{"abs/b/big", nil, nil},
			{"dirlink/big", nil, nil},
			{"dirlink/../link", nil, nil},
			{"slashlink", nil, nil},
			{"slashlink/big", nil, nil},
			{"fileslash", syscall.ENOTDIR, nil},
			{"up", nil, nil},
			{"a/b/c/dots", nil, nil},
			{"rootlink/rootlink/hello", nil, nil},
			{"dotlink/dotlink/hello", nil, nil},
			{"a/absdots", nil, nil},
			{"loop1", syscall.ELOOP, nil},
			{"loop1/", syscall.ELOOP, syscall.ELOOP},
			{"self", syscall.ELOOP, nil},
			{"dangling", fs.ErrNotExist, nil},
			{"dangling/", fs.ErrNotExist, fs.ErrNotExist},
			{"l39", nil, nil},
			{"l40", syscall.ELOOP, nil},
			{"a\x00b", syscall.EINVAL, syscall.EINVAL},
			{strings.Repeat("x", 256), syscall.ENAMETOOLONG, syscall.ENAMETOOLONG},
		}
		for _, tt := range tests {
			_, err := f.Stat(tt.path)
			if got := sentinel(err); got != tt.stat {
				t.Errorf("Stat(%q) = %v, want %v", tt.path, err, tt.stat)
			}
			_, err = f.Lstat(tt.path)
			if got := sentinel(err); got != tt.lstat {
				t.Errorf("Lstat(%q) = %v, want %v", tt.path, err, tt.lstat)
			}
			var pe *fs.PathError
			if err != nil && (!errors.As(err, &pe) || pe.Path != tt.path || pe.Op != "lstat") {
				t.Errorf("Lstat(%q): error is %#v", tt.path, err)
			}
		}
		for _, path := range []string{"up", "a/b/c/deep", "a/b/c/dots", "a/absdots", "l39"} {
			b, err := f.ReadFile(path)
			if err != nil || string(b) != "hello, world\n" {
				t.Errorf("ReadFile(%q) = %q, %v", path, b, err)
			}
		}
	})
}

func TestNames(t *testing.T) {
	tests := []struct {
		name string
		do   func(f *godax.FS) error
		want error
	}{
		{"mkdir exists", func(f *godax.FS) error { return f.Mkdir("a", 0o755) }, fs.ErrExist},
		{"mkdir root", func(f *godax.FS) error { return f.Mkdir("/", 0o755) }, fs.ErrExist},
		{"mkdir dot", func(f *godax.FS) error { return f.Mkdir("a/.", 0o755) }, fs.ErrExist},
		{"mkdir dotdot", func(f *godax.FS) error { return f.Mkdir("a/..", 0o755) }, fs.ErrExist},
		{"mkdir slash", func(f *godax.FS) error { return f.Mkdir("new/", 0o755) }, nil},
		{"mkdir below file", func(f *godax.FS) error { return f.Mkdir("hello/x", 0o755) }, syscall.ENOTDIR},
		{"mkdir no parent", func(f *godax.FS) error { return f.Mkdir("x/y", 0o755) }, fs.ErrNotExist},
		{"mkdirall", func(f *godax.FS) error { return f.MkdirAll("x/y/z/", 0o755) }, nil},
		{"mkdirall exists", func(f *godax.FS) error { return f.MkdirAll("/a/b", 0o755) }, nil},
		{"mkdirall root", func(f *godax.FS) error { return f.MkdirAll("/", 0o755) }, nil},
		{"mkdirall file", func(f *godax.FS) error { return f.MkdirAll("hello", 0o755) }, syscall.ENOTDIR},
		{"mkdirall through file", func(f *godax.FS) error { return f.MkdirAll("hello/x/y", 0o755) }, syscall.ENOTDIR},
		{"mkdirall through link", func(f *godax.FS) error { return f.MkdirAll("abs/n/m", 0o755) }, nil},
		{"remove file", func(f *godax.FS) error { return f.Remove("hello") }, nil},
		{"remove file slash", func(f *godax.FS) error { return f.Remove("hello/") }, syscall.ENOTDIR},
		{"remove dir", func(f *godax.FS) error { return f.Remove("void/") }, nil},
		{"remove full dir", func(f *godax.FS) error { return f.Remove("a") }, syscall.ENOTEMPTY},
		{"remove root", func(f *godax.FS) error { return f.Remove("/") }, syscall.EBUSY},
		{"remove dot", func(f *godax.FS) error { return f.Remove("a/.") }, syscall.EINVAL},
		{"remove none", func(f *godax.FS) error { return f.Remove("none") }, fs.ErrNotExist},
		{"remove link", func(f *godax.FS) error { return f.Remove("abs") }, nil},
		{"remove link slash", func(f *godax.FS) error { return f.Remove("abs/") }, syscall.ENOTDIR},
		{"removeall tree", func(f *godax.FS) error { return f.RemoveAll("a") }, nil},
		{"removeall link", func(f *godax.FS) error {
			if err := f.RemoveAll("abs"); err != nil {
				return err
			}
			_, err := f.Stat("a/b/big")
			return err
		}, nil},
		{"removeall none", func(f *godax.FS) error { return f.RemoveAll("none/x") }, nil},
		{"removeall root", func(f *godax.FS) error { return f.RemoveAll("/") }, syscall.EBUSY},
		{"link", func(f *godax.FS) error { return f.Link("hello", "hi") }, nil},
		{"link exists", func(f *godax.FS) error { return f.Link("hello", "void") }, fs.ErrExist},
		{"link dir", func(f *godax.FS) error { return f.Link("a", "hi") }, syscall.EPERM},
		{"link none", func(f *godax.FS) error { return f.Link("none", "hi") }, fs.ErrNotExist},
		{"link slash", func(f *godax.FS) error { return f.Link("hello", "hi/") }, fs.ErrNotExist},
		{"symlink exists", func(f *godax.FS) error { return f.Symlink("x", "hello") }, fs.ErrExist},
		{"symlink slash", func(f *godax.FS) error { return f.Symlink("x", "new/") }, fs.ErrNotExist},
		{"symlink empty", func(f *godax.FS) error { return f.Symlink("", "new") }, syscall.EINVAL},
		{"readlink file", func(f *godax.FS) error { _, err := f.Readlink("hello"); return err }, syscall.EINVAL},
		{"rename", func(f *godax.FS) error { return f.Rename("hello", "a/b/moved") }, nil},
		{"rename over file", func(f *godax.FS) error { return f.Rename("hello", "a/b/big") }, nil},
		{"rename over dir", func(f *godax.FS) error { return f.Rename("hello", "void") }, syscall.EISDIR},
		{"rename dir over file", func(f *godax.FS) error { return f.Rename("a", "hello") }, syscall.ENOTDIR},
		{"rename dir over empty", func(f *godax.FS) error { return f.Rename("a", "void") }, nil},
		{"rename dir over full", func(f *godax.FS) error { return f.Rename("void", "a") }, syscall.ENOTEMPTY},
		{"rename into itself", func(f *godax.FS) error { return f.Rename("a", "a/x") }, syscall.EINVAL},
		{"rename into subtree", func(f *godax.FS) error { return f.Rename("a", "a/b/c/x") }, syscall.EINVAL},
		{"rename into subtree, link", func(f *godax.FS) error { return f.Rename("a", "abs/b/x") }, syscall.EINVAL},
		{"rename over ancestor", func(f *godax.FS) error { return f.Rename("a/b/c", "a") }, syscall.ENOTEMPTY},
		{"rename file over ancestor", func(f *godax.FS) error { return f.Rename("a/b/big", "a") }, syscall.ENOTEMPTY},
		{"rename same", func(f *godax.FS) error { return f.Rename("hello", "/./hello") }, nil},
		{"rename same dir", func(f *godax.FS) error { return f.Rename("a", "a") }, nil},
		{"rename none", func(f *godax.FS) error { return f.Rename("none", "x") }, fs.ErrNotExist},
		{"rename to nowhere", func(f *godax.FS) error { return f.Rename("hello", "x/y") }, fs.ErrNotExist},
		{"rename slash", func(f *godax.FS) error { return f.Rename("hello", "new/") }, syscall.ENOTDIR},
		{"rename dir slash", func(f *godax.FS) error { return f.Rename("a/", "new/") }, nil},
		{"rename root", func(f *godax.FS) error { return f.Rename("/", "new") }, syscall.EBUSY},
		{"rename to root", func(f *godax.FS) error { return f.Rename("a", "/") }, syscall.EBUSY},
		{"rename dot", func(f *godax.FS) error { return f.Rename("a/.", "new") }, syscall.EINVAL},
		{"rename link", func(f *godax.FS) error { return f.Rename("abs", "void2") }, nil},
		{"open dir for writing", opening("a", os.O_RDWR), syscall.EISDIR},
		{"open dir create", opening("a", os.O_CREATE), syscall.EISDIR},
		{"open create excl", opening("hello", os.O_CREATE|os.O_EXCL|os.O_RDWR), fs.ErrExist},
		{"open create excl link", opening("abs", os.O_CREATE|os.O_EXCL|os.O_RDWR), fs.ErrExist},
		{"open create slash", opening("new/", os.O_CREATE|os.O_RDWR), syscall.EISDIR},
		{"open nofollow", opening("abs", syscall.O_NOFOLLOW), syscall.ELOOP},
		{"open nofollow slash", opening("abs/", syscall.O_NOFOLLOW), nil},
		{"open directory", opening("hello", syscall.O_DIRECTORY), syscall.ENOTDIR},
		{"open fifo", func(f *godax.FS) error {
			if err := f.Mknod("p", fs.ModeNamedPipe|0o600, 0, 0); err != nil {
				return err
			}
			_, err := f.Open("p")
			return err
		}, syscall.ENXIO},
		{"create through dangling link", func(f *godax.FS) error {
			if err := f.Symlink("a/b/target", "dangling"); err != nil {
				return err
			}
			if err := f.WriteFile("dangling", []byte("x"), 0o600); err != nil {
				return err
			}
			_, err := f.Lstat("a/b/target")
			return err
		}, nil},
		{"mknod dir", func(f *godax.FS) error { return f.Mknod("x", fs.ModeDir|0o700, 0, 0) }, syscall.EINVAL},
		{"truncate dir", func(f *godax.FS) error { return f.Truncate("a", 0) }, syscall.EISDIR},
		{"truncate negative", func(f *godax.FS) error { return f.Truncate("hello", -1) }, syscall.EINVAL},
		{"xattr none", func(f *godax.FS) error { _, err := f.Xattr("hello", "user.x"); return err }, syscall.ENODATA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, f *godax.FS) {
				populate(t, f)
				err := tt.do(f)
				if got := sentinel(err); got != tt.want {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				var pe *fs.PathError
				var le *os.LinkError
				if err != nil && !errors.As(err, &pe) && !errors.As(err, &le) {
					t.Errorf("error without path: %#v", err)
				}
			})
		})
	}
}

func opening(name string, flag int) func(f *godax.FS) error {
	return func(f *godax.FS) error {
		file, err := f.OpenFile(name, flag, 0o644)
		if err != nil {
			return err
		}
		return file.Close()
	}
}

func TestRenameKeepsData(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		populate(t, f)
		before := inodes(f)
		must(t, f.Rename("hello", "a/b/big"))
		if b, err := f.ReadFile("a/b/big"); err != nil || string(b) != "hello, world\n" {
			t.Errorf("moved file holds %q, %v", b, err)
		}
		if got := inodes(f); got != before-1 {
			t.Errorf("%d inodes after replacing one of %d", got, before)
		}
		must(t, f.Rename("a/b", "void"))
		if _, err := f.Stat("void/../hello"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the parent of a moved directory: %v", err)
		}
		if _, err := f.Stat("void/c/../../void/big"); err != nil {
			t.Errorf("walk up from a moved directory: %v", err)
		}
	})
}

func TestAttributes(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		populate(t, f)
		must(t, f.Chmod("abs", 0o751|fs.ModeSticky))
		must(t, f.Chown("hello", 7, -1))
		must(t, f.Lchown("abs", 8, 9))
		at, mt := time.Unix(1000, 5), time.Unix(2000, 6)
		must(t, f.Chtimes("hello", at, mt))
		must(t, f.Mknod("dev", fs.ModeDevice|fs.ModeCharDevice|0o640, 5, 300))
		must(t, f.Link("hello", "hello2"))

		fi, err := f.Stat("a")
		must(t, err)
		if got, want := fi.Mode(), fs.ModeDir|fs.ModeSticky|0o751; got != want {
			t.Errorf("mode %v, want %v", got, want)
		}
		fi, err = f.Stat("hello")
		must(t, err)
		st := fi.Sys().(*godax.Stat)
		if st.UID != 7 || st.GID != 0 || st.Nlink != 2 || st.Ino == 0 || !st.Atime.Equal(at) || !fi.ModTime().Equal(mt) {
			t.Errorf("stat %+v, mtime %v", st, fi.ModTime())
		}
		fi, err = f.Lstat("abs")
		must(t, err)
		if st := fi.Sys().(*godax.Stat); st.UID != 8 || st.GID != 9 || fi.Mode().Type() != fs.ModeSymlink {
			t.Errorf("lstat %+v %v", st, fi.Mode())
		}
		fi, err = f.Stat("dev")
		must(t, err)
		if st := fi.Sys().(*godax.Stat); st.RdevMajor != 5 || st.RdevMinor != 300 {
			t.Errorf("device %d:%d", st.RdevMajor, st.RdevMinor)
		}
		if err := f.Chown("hello", -2, 0); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("chown to -2: %v", err)
		}
	})
}

func TestXattrs(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		populate(t, f)
		must(t, f.SetXattr("a/link", "user.b", []byte("2"), godax.XattrCreate))
		must(t, f.SetXattr("a/b/big", "user.a", []byte("1"), 0))
		must(t, f.LSetXattr("a/link", "trusted.l", []byte("3"), 0))
		if got, err := f.ListXattr("a/link"); err != nil || !slices.Equal(got, []string{"user.a", "user.b"}) {
			t.Errorf("list %v, %v", got, err)
		}
		if got, err := f.LListXattr("a/link"); err != nil || !slices.Equal(got, []string{"trusted.l"}) {
			t.Errorf("list of the link %v, %v", got, err)
		}
		if err := f.SetXattr("a/b/big", "user.a", nil, godax.XattrCreate); !errors.Is(err, fs.ErrExist) {
			t.Errorf("create over: %v", err)
		}
		if err := f.SetXattr("a/b/big", "user.c", nil, godax.XattrReplace); !errors.Is(err, syscall.ENODATA) {
			t.Errorf("replace nothing: %v", err)
		}
		must(t, f.RemoveXattr("a/link", "user.b"))
		must(t, f.LRemoveXattr("a/link", "trusted.l"))
		if v, err := f.Xattr("a/link", "user.a"); err != nil || string(v) != "1" {
			t.Errorf("value %q, %v", v, err)
		}
		if _, err := f.LXattr("a/link", "user.a"); !errors.Is(err, syscall.ENODATA) {
			t.Errorf("value of the link: %v", err)
		}
	})
}

// TestDamagedTree walks and removes directories that are no tree.
func TestDamagedTree(t *testing.T) {
	f, mem := newFS(t)
	populate(t, f)
	ino := func(name string) uint64 {
		fi, err := f.Stat(name)
		must(t, err)
		return fi.Sys().(*godax.Stat).Ino
	}
	mem.Plant(ino("a/b"), "up", ino("a"))
	mem.Plant(ino("a/b/c"), "top", ino("/"))
	mem.Plant(ino("a/b/c"), "ghost", 4711)
	seen := 0
	err := fs.WalkDir(f.IOFS(), ".", func(_ string, _ fs.DirEntry, err error) error {
		if seen++; err != nil && !errors.Is(err, godax.ErrCorrupt) {
			t.Error(err)
		}
		return nil
	})
	if err != nil || seen > 30 {
		t.Errorf("walk met %d names, %v", seen, err)
	}
	err = f.RemoveAll("a")
	var pe *fs.PathError
	if !errors.Is(err, godax.ErrCorrupt) || !errors.As(err, &pe) || !strings.HasPrefix(pe.Path, "a/") {
		t.Errorf("removal: %v", err)
	}
	if _, err := f.Stat("hello"); err != nil {
		t.Errorf("removal went outside: %v", err)
	}
}
