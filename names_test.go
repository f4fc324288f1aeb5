package godax_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godax"
)

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
