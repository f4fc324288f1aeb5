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

// newImage makes an ext2 image of the given size in the folder and opens it.
func newImage(path string, size int64, blockSize int, o godax.Options) (*godax.FS, error) {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.Truncate(path, size); err != nil {
		return nil, err
	}
	dev, err := pmem.Open(path, pmem.Options{})
	if err != nil {
		return nil, err
	}
	if err := ext.Format(dev, ext.FormatOptions{BlockSize: blockSize}); err != nil {
		return nil, err
	}
	if err := dev.Close(); err != nil {
		return nil, err
	}
	return godax.Open(path, o)
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
