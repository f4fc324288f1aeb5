package vfs_test

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"godax/internal/daxtest/memfs"
	"godax/pmem/sim"
	"godax/vfs"
)

// statFS is a memfs that tells attributes without an inode.
type statFS struct {
	*memfs.FS
	attrs map[uint64]vfs.Attr
	asked []uint64
}

var _ vfs.Stater = (*statFS)(nil)

func (f *statFS) Stat(ino uint64, a *vfs.Attr) error {
	f.asked = append(f.asked, ino)
	have, ok := f.attrs[ino]
	if !ok {
		return fs.ErrNotExist
	}
	*a = have
	return nil
}

// TestStat: attributes by name are those of the inode, from a Stater too, which is asked in place
// of reading in what is no directory. Entries that lead nowhere, and directories that lie
// elsewhere, are found out either way.
func TestStat(t *testing.T) {
	dev, err := sim.New(4 << 20)
	must(t, err)
	mem := memfs.New(dev)
	var loaded []uint64
	mem.OnInode = func(ino uint64) { loaded = append(loaded, ino) }
	with := &statFS{FS: mem, attrs: make(map[uint64]vfs.Attr)}
	inos := make(map[string]uint64)
	for _, c := range []struct {
		name   string
		fs     vfs.FileSystem
		loaded []string // of those below, in this order
	}{
		{"none", mem, []string{"x", "d"}},
		{"Stater", with, []string{"d"}},
	} {
		m, err := vfs.NewMount(c.fs, vfs.Config{Idle: -1})
		must(t, err)
		if len(inos) == 0 {
			inos["x"], inos["d"] = create(t, m, "x", 0), create(t, m, "d", fs.ModeDir)
			mem.Plant(1, "ghost", 99)
			mem.Plant(inos["d"], "self", inos["d"])
			for name, ino := range inos {
				n := at(t, m, name)
				with.attrs[ino] = n.Attr()
				n.Put()
			}
		}
		root, err := m.Root()
		must(t, err)
		loaded = nil
		var want []uint64
		for _, name := range []string{"x", "d"} {
			a := vfs.Attr{Size: -1}
			if err := root.Stat(name, &a); err != nil || a != with.attrs[inos[name]] {
				t.Errorf("%s: %s: %+v, %v", c.name, name, a, err)
			}
			var list []vfs.Dirent
			must(t, root.ReadDir(0, func(e vfs.Dirent) bool {
				if e.Name == name {
					list = append(list, e)
				}
				return true
			}))
			if len(list) != 1 {
				t.Fatalf("%s: %d entries for %s", c.name, len(list), name)
			}
			a = vfs.Attr{Size: -1}
			if err := root.StatEntry(list[0], &a); err != nil || a != with.attrs[inos[name]] {
				t.Errorf("%s: entry %s: %+v, %v", c.name, name, a, err)
			}
			if slices.Contains(c.loaded, name) {
				want = append(want, inos[name])
				want = append(want, inos[name])
			}
		}
		if !slices.Equal(loaded, want) {
			t.Errorf("%s: inodes %v were read, want %v", c.name, loaded, want)
		}
		d, x := at(t, m, "d"), at(t, m, "x")
		for _, bad := range []struct {
			dir  *vfs.Node
			name string
			want error
		}{
			{root, "ghost", vfs.ErrCorrupt}, {d, "self", vfs.ErrCorrupt}, {root, "none", fs.ErrNotExist},
			{root, "..", syscall.EINVAL}, {x, "y", syscall.ENOTDIR},
		} {
			if err := bad.dir.Stat(bad.name, new(vfs.Attr)); !errors.Is(err, bad.want) {
				t.Errorf("%s: %s: %v, want %v", c.name, bad.name, err, bad.want)
			}
		}
		for _, n := range []*vfs.Node{root, d, x} {
			n.Put()
		}
		must(t, m.Close(ctx)) // a reference too few or too many shows here
	}
	must(t, dev.Close())
	if !slices.Contains(with.asked, inos["x"]) {
		t.Error("the Stater was not asked")
	}
}

// TestRevive: an inode can be taken up again as long as it is in memory, and never after.
func TestRevive(t *testing.T) {
	for _, idle := range []int{1, -1} {
		m, _ := newMount(t, vfs.Config{Idle: idle}, nil)
		create(t, m, "x", 0)
		n := at(t, m, "x")
		if !n.Revive() {
			t.Error("not revived while it is in use")
		}
		n.Put()
		n.Put()
		if got := n.Revive(); got != (idle > 0) {
			t.Errorf("idle %d: revived: %v", idle, got)
		} else if got {
			if again := at(t, m, "x"); again != n {
				t.Error("there are two of it")
			} else {
				again.Put()
			}
			n.Put()
		}
		create(t, m, "y", 0) // pushes it out
		if n.Revive() {
			t.Errorf("idle %d: revived after it was evicted", idle)
		}
		root, err := m.Root()
		must(t, err)
		root.Put()
		must(t, m.Close(ctx))
		if root.Revive() {
			t.Error("revived after Close")
		}
	}
}
