package vfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"godax/internal/daxtest/memfs"
	"godax/pmem"
	"godax/pmem/sim"
	"godax/vfs"
)

var ctx = context.Background()

// newMount mounts an empty file system, after prepare (which may be nil) had a look.
func newMount(t *testing.T, c vfs.Config, prepare func(*memfs.FS)) (*vfs.Mount, *sim.Device) {
	t.Helper()
	dev, err := sim.New(4 << 20)
	must(t, err)
	mem := memfs.New(dev)
	if prepare != nil {
		prepare(mem)
	}
	fsys, err := mem.Driver().Mount(dev, vfs.MountOptions{})
	must(t, err)
	m, err := vfs.NewMount(fsys, c)
	must(t, err)
	t.Cleanup(func() {
		if err := m.Close(ctx); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("close: %v", err)
		}
		must(t, dev.Close())
	})
	return m, dev
}

// mountOver mounts what wrap makes of a memfs, which keeps no inode that nobody uses, until the test ends.
func mountOver(t *testing.T, wrap func(*memfs.FS) vfs.FileSystem) *vfs.Mount {
	t.Helper()
	dev, err := sim.New(1 << 20)
	must(t, err)
	mem := memfs.New(dev)
	_, err = mem.Driver().Mount(dev, vfs.MountOptions{})
	must(t, err)
	m, err := vfs.NewMount(wrap(mem), vfs.Config{Idle: -1})
	must(t, err)
	t.Cleanup(func() {
		must(t, m.Close(ctx))
		must(t, dev.Close())
	})
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create makes an inode and returns its number.
func create(t *testing.T, m *vfs.Mount, path string, mode fs.FileMode) uint64 {
	t.Helper()
	p, err := m.Walk(path, vfs.NoFollow)
	must(t, err)
	defer p.Put()
	n, err := p.Dir.Create(p.Name, vfs.NewInode{Mode: mode | 0o755})
	must(t, err)
	defer n.Put()
	return n.Ino()
}

// touch looks a path up and lets it go.
func touch(m *vfs.Mount, path string) error {
	n, err := m.Resolve(path, vfs.FollowAll)
	if err == nil {
		n.Put()
	}
	return err
}

func TestIdleInodes(t *testing.T) {
	var loaded, evicted []uint64
	m, _ := newMount(t, vfs.Config{Idle: 2}, func(f *memfs.FS) {
		f.OnInode = func(ino uint64) { loaded = append(loaded, ino) }
		f.OnEvict = func(ino uint64, _ uint32) { evicted = append(evicted, ino) }
	})
	for i := range 4 {
		create(t, m, fmt.Sprint(i), 0) // inodes 2 to 5
	}
	if want := []uint64{2, 3}; !slices.Equal(evicted, want) {
		t.Errorf("evicted %v, want %v", evicted, want)
	}
	must(t, touch(m, "2")) // now 5 is the oldest
	must(t, touch(m, "0"))
	if want := []uint64{2, 3, 5}; !slices.Equal(evicted, want) {
		t.Errorf("evicted %v, want %v", evicted, want)
	}
	root, err := m.Root()
	must(t, err)
	must(t, root.Unlink("0"))
	root.Put()
	if want := []uint64{2, 3, 5, 2}; !slices.Equal(evicted, want) {
		t.Errorf("an unlinked inode is not evicted at once: %v, want %v", evicted, want)
	}
	if want := []uint64{1, 2}; !slices.Equal(loaded, want) {
		t.Errorf("loaded %v, want %v", loaded, want)
	}
}

// TestOneNode lets many goroutines get and put one inode; memfs refuses to read an inode
// that it has given out already.
func TestOneNode(t *testing.T) {
	var loads atomic.Int64
	m, _ := newMount(t, vfs.Config{Idle: -1}, func(f *memfs.FS) {
		f.OnInode = func(uint64) { loads.Add(1) }
	})
	create(t, m, "x", 0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if err := touch(m, "x"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if loads.Load() < 2 {
		t.Errorf("%d loads: nothing was evicted", loads.Load())
	}
}

// TestGetDuringEvict gets an inode whose eviction is going on.
func TestGetDuringEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		armed, loads := false, 0
		m, _ := newMount(t, vfs.Config{Idle: -1}, func(f *memfs.FS) {
			f.OnInode = func(uint64) { loads++ }
			f.OnEvict = func(uint64, uint32) {
				if armed {
					armed = false
					<-goOn
				}
			}
		})
		create(t, m, "x", 0)
		armed = true
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- touch(m, "x") }()
		synctest.Wait()
		go func() { second <- touch(m, "x") }()
		synctest.Wait()
		select {
		case err := <-second:
			t.Errorf("an inode on its way out was handed out: %v", err)
		default:
		}
		close(goOn)
		must(t, <-first)
		must(t, <-second)
		if loads != 3 { // the root, and the file for each of the two
			t.Errorf("%d inodes were read, want 3", loads)
		}
	})
}

// TestGetDuringLoad gets an inode that another reads at the moment, from a good inode and from a
// free one.
func TestGetDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var goOn chan struct{}
		loads := 0
		var mem *memfs.FS
		m, _ := newMount(t, vfs.Config{Idle: -1}, func(f *memfs.FS) {
			mem = f
			f.OnInode = func(uint64) {
				if loads++; goOn != nil {
					<-goOn
				}
			}
		})
		create(t, m, "x", 0)
		mem.Plant(1, "ghost", 99)
		for _, c := range []struct {
			name string
			want error
		}{{"x", nil}, {"ghost", vfs.ErrCorrupt}} {
			goOn, loads = make(chan struct{}), 0
			errs := make(chan error, 3)
			for range cap(errs) {
				go func() { errs <- touch(m, c.name) }()
			}
			synctest.Wait()
			if len(errs) > 0 {
				t.Errorf("%s: an inode that is not read yet was handed out: %v", c.name, <-errs)
			}
			close(goOn)
			synctest.Wait()
			for range cap(errs) {
				if err := <-errs; !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
			}
			if loads != 1 {
				t.Errorf("%s was read %d times", c.name, loads)
			}
		}
	})
}

func TestLoadFails(t *testing.T) {
	var mem *memfs.FS
	m, _ := newMount(t, vfs.Config{}, func(f *memfs.FS) { mem = f })
	mem.Plant(1, "ghost", 99)
	for range 2 {
		if err := touch(m, "ghost"); !errors.Is(err, vfs.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("entry of a free inode: %v", err)
		}
	}
}

// TestNoTree checks that directories that form no tree are refused, and end every walk.
func TestNoTree(t *testing.T) {
	var mem *memfs.FS
	m, _ := newMount(t, vfs.Config{}, func(f *memfs.FS) {
		mem = f
		f.SetParent(1, 2) // of the root
	})
	a := create(t, m, "a", fs.ModeDir)
	b := create(t, m, "a/b", fs.ModeDir)
	create(t, m, "c", fs.ModeDir)
	mem.Plant(1, "root", 1)
	mem.Plant(a, "self", a)
	mem.Plant(b, "up", a)
	mem.Plant(b, "top", 1)
	mem.Plant(1, "b2", b)
	for _, path := range []string{"root", "a/self", "a/b/up", "a/b/top", "b2", "a/self/self", "root/a"} {
		if err := touch(m, path); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("%s: %v", path, err)
		}
	}
	root, err := m.Root()
	must(t, err)
	defer root.Put()
	for _, name := range []string{"root", "b2"} {
		if err := root.Rmdir(name); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("rmdir %s: %v", name, err)
		}
		if err := root.Rename(name, root, "new", 0); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("rename %s: %v", name, err)
		}
	}
	must(t, touch(m, "a/b"))
	must(t, touch(m, "c"))
	up, err := m.Resolve("a/../..", vfs.FollowAll)
	must(t, err)
	defer up.Put()
	if up != root {
		t.Errorf("above the root is inode %d", up.Ino())
	}
}

func TestCloseWaits(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "x", 0)
	n, err := m.Resolve("x", vfs.FollowAll)
	must(t, err)
	done, cancel := context.WithCancel(ctx)
	cancel()
	var open *vfs.OpenError
	if err := m.Close(done); !errors.As(err, &open) || open.Open[0] != "inode 2" {
		t.Fatalf("close with an inode in use: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan error, 1)
		go func() { closed <- m.Close(ctx) }()
		synctest.Wait()
		if _, err := n.Open(ctx, os.O_RDONLY, "x"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("open while closing: %v", err)
		}
		select {
		case err := <-closed:
			t.Errorf("close did not wait: %v", err)
		default:
		}
		n.Put()
		must(t, <-closed)
	})
}

// TestErrorOnce has three open files, one failed writeback by a fourth party, and each
// file report it once (S-B28).
func TestErrorOnce(t *testing.T) {
	m, dev := newMount(t, vfs.Config{}, nil)
	create(t, m, "x", 0)
	n, err := m.Resolve("x", vfs.FollowAll)
	must(t, err)
	var handles []*vfs.Handle
	for range 3 {
		h, err := n.Open(ctx, os.O_RDWR, "x")
		must(t, err)
		handles = append(handles, h)
	}
	n.Put()
	_, err = handles[0].WriteAt(ctx, make([]byte, pmem.PageSize), 0)
	must(t, err)
	stop := dev.Inject(sim.Fault{Op: sim.OpFlush, Err: syscall.EIO})
	if err := m.Sync(ctx); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync of all: %v", err)
	}
	stop()
	late, err := n.Open(ctx, os.O_RDWR, "x")
	must(t, err)
	for i, h := range append(handles, late) {
		for round, want := range []bool{i < 3, false} {
			err := h.Sync(ctx, false)
			if got := errors.Is(err, syscall.EIO); got != want || err != nil && !want {
				t.Errorf("file %d, sync %d: %v", i, round, err)
			}
		}
		must(t, h.Close())
	}
	if st := dev.Counts(); st.FlushedBytes == 0 {
		t.Error("the page that failed was not flushed later")
	}
}

func TestSetgidDirectory(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "d", fs.ModeDir|fs.ModeSetgid)
	d, err := m.Resolve("d", vfs.FollowAll)
	must(t, err)
	gid := uint32(7)
	must(t, d.SetAttr(vfs.SetAttr{GID: &gid}))
	d.Put()
	create(t, m, "d/file", 0)
	create(t, m, "d/dir", fs.ModeDir)
	for path, want := range map[string]fs.FileMode{"d/file": 0o755, "d/dir": fs.ModeDir | fs.ModeSetgid | 0o755} {
		n, err := m.Resolve(path, vfs.FollowAll)
		must(t, err)
		if a := n.Attr(); a.GID != 7 || a.Mode != want {
			t.Errorf("%s: group %d, mode %v", path, a.GID, a.Mode)
		}
		n.Put()
	}
}

func TestRenameNoReplace(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "a", 0)
	create(t, m, "b", 0)
	root, err := m.Root()
	must(t, err)
	defer root.Put()
	if err := root.Rename("a", root, "b", vfs.RenameNoReplace); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a name: %v", err)
	}
	must(t, root.Rename("a", root, "c", vfs.RenameNoReplace))
	for _, name := range []string{"", ".", "..", "a/b", "a\x00"} {
		if err := root.Rename("c", root, name, 0); err == nil {
			t.Errorf("rename to %q works", name)
		}
		if _, err := root.Create(name, vfs.NewInode{}); err == nil {
			t.Errorf("create of %q works", name)
		}
		if _, err := root.Lookup(name); err == nil {
			t.Errorf("lookup of %q works", name)
		}
	}
}
