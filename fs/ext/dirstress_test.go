package ext

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"godax/vfs"
)

// TestStressNames runs random operations on names from several goroutines, below vfs's
// locks, and checks the tree and the image.
func TestStressNames(t *testing.T) {
	ops := 3000
	if raceEnabled || testing.Short() {
		ops = 800
	}
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			m := newMedium(t, "2M", f.mkfs...)
			v, err := vfs.NewMount(m.f, vfs.Config{Idle: 8}) // inodes come and go all the time
			m.must(err)
			root, err := v.Root()
			m.must(err)
			for i := range 3 {
				n, err := root.Create(fmt.Sprintf("dir%d", i), vfs.NewInode{Mode: fs.ModeDir | 0o755})
				m.must(err)
				n.Put()
			}
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(11, uint64(g)))
					for i := range ops {
						if err := stressOp(v, rnd); err != nil {
							t.Errorf("goroutine %d, operation %d: %v", g, i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			root.Put()
			m.must(v.Sync(context.Background()))
			if _, err := treeOf(m.f); err != nil {
				t.Error(err)
			}
			m.must(v.Close(context.Background()))
			m.fsck()
		})
	}
}

// stressOp does one random operation. Errors that another goroutine can have
// caused are fine.
func stressOp(v *vfs.Mount, rnd *rand.Rand) error {
	p := func() vfs.Place {
		path := fmt.Sprintf("dir%d/", rnd.IntN(3))
		if rnd.IntN(3) == 0 {
			path += fmt.Sprintf("sub%d/", rnd.IntN(3))
		}
		kind := []string{"f", "sub"}[rnd.IntN(2)]
		pl, err := v.Walk(path+fmt.Sprintf("%s%d", kind, rnd.IntN(6)), vfs.NoFollow)
		if err != nil {
			return vfs.Place{}
		}
		return pl
	}
	a, b := p(), p()
	defer a.Put()
	defer b.Put()
	if a.Dir == nil || b.Dir == nil {
		return nil
	}
	create := func(mode fs.FileMode, target string) error {
		n, err := a.Dir.Create(a.Name, vfs.NewInode{Mode: mode, Target: target})
		if err == nil {
			n.Put()
		}
		return err
	}
	var err error
	switch rnd.IntN(10) {
	case 0:
		err = create(0o644, "")
	case 1:
		err = create(fs.ModeDir|0o755, "")
	case 2:
		err = create(fs.ModeSymlink|0o777, fmt.Sprintf("%0*d", 1+rnd.IntN(100), 7))
	case 3:
		if a.Node != nil && !a.Node.IsDir() {
			err = b.Dir.Link(b.Name, a.Node)
		}
	case 4:
		err = a.Dir.Unlink(a.Name)
	case 5:
		err = a.Dir.Rmdir(a.Name)
	case 6, 7:
		err = a.Dir.Rename(a.Name, b.Dir, b.Name, 0)
	case 8:
		if a.Node != nil {
			err = a.Node.SetXattr("user.x", make([]byte, rnd.IntN(300)), false, false)
		}
	case 9:
		err = a.Dir.ReadDir(0, func(vfs.Dirent) bool { return true })
	}
	for _, fine := range []error{fs.ErrExist, fs.ErrNotExist, syscall.ENOTEMPTY, syscall.ENOTDIR, syscall.EISDIR,
		syscall.EINVAL, syscall.ENOSPC, syscall.EPERM, syscall.ENOTSUP} {
		if errors.Is(err, fine) && !errors.Is(err, vfs.ErrCorrupt) {
			return nil
		}
	}
	return err
}

// TestDamagedDirectories changes bytes of directory blocks, inodes and attribute blocks
// at random. Everything that can be asked or done ends, with an error or without.
func TestDamagedDirectories(t *testing.T) {
	rounds := 1500
	if raceEnabled || testing.Short() {
		rounds = 200
	}
	m := newMedium(t, "512K", "-t", "ext2", "-b", "1024", "-I", "256", "-N", "48")
	m.must(m.mkdir("/d"))
	m.must(m.mkdir("/d/e"))
	for i := range 30 {
		m.must(m.file("/d/" + name5000(i)))
	}
	m.must(m.symlink("/d/fast", "target"))
	m.must(m.symlink("/d/slow", fmt.Sprintf("%0100d", 1)))
	m.must(m.lookup("/d/e").(vfs.Xattrs).SetXattr("user.a", []byte("x"), false, false))
	m.must(m.lookup("/d/e").(vfs.Xattrs).SetXattr("user.b", make([]byte, 300), false, false))
	// The places: all inodes in use, and the blocks they have.
	var places []int64
	tree, err := treeOf(m.f)
	m.must(err)
	tree["/"] = m.f.Root()
	for _, ino := range tree {
		in, err := baseOf(m.get(ino))
		m.must(err)
		places = append(places, in.off, in.off, in.off+128)
		if in.fileACL() != 0 {
			places = append(places, m.f.blockOff(uint64(in.fileACL())))
		}
		if d, ok := m.get(ino).(*dir); ok {
			for i := range d.nblocks() {
				_, off, err := d.block(i)
				m.must(err)
				places = append(places, off, off+512)
			}
		}
	}
	slices.Sort(places)
	m.close()
	clean := slices.Clone(m.bytes())
	rnd := rand.New(rand.NewPCG(21, 22))
	for range rounds {
		b := m.bytes()
		copy(b, clean)
		for range 1 + rnd.IntN(3) {
			off := places[rnd.IntN(len(places))] + int64(rnd.IntN(128))
			if rnd.IntN(2) == 0 {
				b[off] = byte(rnd.Uint32())
			} else {
				le.PutUint32(b[off&^3:], []uint32{0, 1, 1 << 31, 1<<32 - 1, rnd.Uint32N(512), rnd.Uint32()}[rnd.IntN(6)])
			}
		}
		f, err := mount(m.dev, vfs.MountOptions{})
		if err != nil {
			continue
		}
		v, err := vfs.NewMount(f, vfs.Config{})
		if err != nil {
			continue
		}
		walkDamaged(v)
		for range 60 {
			_ = damagedOp(v, rnd)
		}
		_ = v.Close(context.Background()) // whatever it says
	}
}

// walkDamaged asks everything that reading can ask.
func walkDamaged(v *vfs.Mount) {
	seen := map[uint64]bool{}
	var walk func(n *vfs.Node)
	walk = func(n *vfs.Node) {
		if seen[n.Ino()] {
			return
		}
		seen[n.Ino()] = true
		_, _ = n.Readlink()
		if names, err := n.ListXattr(); err == nil {
			for _, name := range names {
				_, _ = n.Xattr(name)
			}
		}
		var names []string
		_ = n.ReadDir(0, func(e vfs.Dirent) bool { names = append(names, e.Name); return true })
		for _, name := range names {
			if child, err := n.Lookup(name); err == nil {
				walk(child)
				child.Put()
			}
		}
	}
	if root, err := v.Root(); err == nil {
		walk(root)
		root.Put()
	}
}

// damagedOp does one random change on a damaged image.
func damagedOp(v *vfs.Mount, rnd *rand.Rand) error {
	name := func() string {
		return []string{"d", "d/e", "d/fast", "d/slow", "d/new", "new", "d/e/new", "d/" + name5000(rnd.IntN(30))}[rnd.IntN(8)]
	}
	a, err := v.Walk(name(), vfs.NoFollow)
	if err != nil {
		return err
	}
	defer a.Put()
	b, err := v.Walk(name(), vfs.NoFollow)
	if err != nil {
		return err
	}
	defer b.Put()
	if a.Dir == nil || b.Dir == nil {
		return nil
	}
	switch rnd.IntN(7) {
	case 0:
		n, err := a.Dir.Create(a.Name, vfs.NewInode{Mode: []fs.FileMode{0o644, fs.ModeDir | 0o755, fs.ModeSymlink}[rnd.IntN(3)], Target: "t"})
		if err == nil {
			n.Put()
		}
		return err
	case 1:
		return a.Dir.Unlink(a.Name)
	case 2:
		return a.Dir.Rmdir(a.Name)
	case 3:
		return a.Dir.Rename(a.Name, b.Dir, b.Name, 0)
	case 4:
		if a.Node != nil {
			return b.Dir.Link(b.Name, a.Node)
		}
	case 5:
		if a.Node != nil {
			return a.Node.SetXattr("user.a", make([]byte, rnd.IntN(600)), false, false)
		}
	case 6:
		if a.Node != nil {
			return a.Node.RemoveXattr("user.b")
		}
	}
	return nil
}
