package ext

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"godax/pmem"
	"godax/vfs"
)

// medium is a file system in memory with a minimal vfs around the driver: one object
// for each inode, eviction of what has no name and is not held.
type medium struct {
	t    testing.TB
	dev  pmem.Device
	f    *FS
	live map[uint64]vfs.Inode
	held map[uint64]bool
	dir  string // for image files
}

// newMedium makes an image with mke2fs and mounts it from memory.
func newMedium(t testing.TB, size string, mkfs ...string) *medium {
	t.Helper()
	if _, err := exec.LookPath("mke2fs"); err != nil {
		t.Skip("needs mke2fs and e2fsck of e2fsprogs")
	}
	name := filepath.Join(tempDir(t), "image")
	args := append([]string{"-q", "-F"}, mkfs...)
	if out, err := exec.Command("mke2fs", append(args, name, size)...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs %q: %v\n%s", args, err, out)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return mediumOf(t, b)
}

// tempDir is t.TempDir in memory where there is such a file system: e2fsck syncs its
// image each time.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ext")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mediumOf mounts a copy of an image from memory.
func mediumOf(t testing.TB, image []byte) *medium {
	t.Helper()
	m := &medium{t: t, dev: mediumNoMount(t, image), live: map[uint64]vfs.Inode{}, held: map[uint64]bool{}, dir: tempDir(t)}
	m.mount(vfs.MountOptions{})
	return m
}

// mediumNoMount is a copy of an image in memory.
func mediumNoMount(t testing.TB, image []byte) pmem.Device {
	t.Helper()
	dev, err := pmem.NewMemory(int64(len(image)), pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	b, err := dev.Bytes(0, int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	copy(b, image)
	return dev
}

func (m *medium) mount(o vfs.MountOptions) {
	m.t.Helper()
	f, err := mount(m.dev, o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.f = f.(*FS)
}

// bytes is the image.
func (m *medium) bytes() []byte {
	m.t.Helper()
	b, err := m.dev.Bytes(0, m.dev.Size())
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// close evicts everything, closes the file system and checks the image.
func (m *medium) close() {
	m.t.Helper()
	for ino := range m.live {
		m.evict(ino)
	}
	if err := m.f.Close(context.Background()); err != nil {
		m.t.Fatal(err)
	}
	m.fsck()
}

// reopen mounts again what was closed.
func (m *medium) reopen() {
	m.live = map[uint64]vfs.Inode{}
	m.mount(vfs.MountOptions{})
}

// fsck lets e2fsck look for anything wrong.
func (m *medium) fsck() {
	m.t.Helper()
	name := filepath.Join(m.dir, "fsck")
	if err := os.WriteFile(name, m.bytes(), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", name).CombinedOutput(); err != nil {
		m.t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
}

func (m *medium) get(ino uint64) vfs.Inode {
	m.t.Helper()
	if i := m.live[ino]; i != nil {
		return i
	}
	i, err := m.f.Inode(ino)
	if err != nil {
		m.t.Fatal(err)
	}
	m.live[ino] = i
	return i
}

func (m *medium) evict(ino uint64) {
	m.t.Helper()
	i := m.live[ino]
	delete(m.live, ino)
	if err := i.Evict(context.Background()); err != nil {
		m.t.Fatalf("evicting inode %d: %v", ino, err)
	}
}

// lookup is the inode at a path; nil if there is none.
func (m *medium) lookup(p string) vfs.Inode {
	m.t.Helper()
	i := m.get(m.f.Root())
	for _, name := range strings.FieldsFunc(p, func(r rune) bool { return r == '/' }) {
		ino, err := i.(*dir).Lookup(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
			return nil
		}
		if err != nil {
			m.t.Fatal(err)
		}
		i = m.get(ino)
	}
	return i
}

func (m *medium) at(p string) (*dir, string) {
	m.t.Helper()
	d, ok := m.lookup(path.Dir(p)).(*dir)
	if !ok {
		m.t.Fatalf("%s has no directory", p)
	}
	return d, path.Base(p)
}

func (m *medium) create(p string, n vfs.NewInode) error {
	d, name := m.at(p)
	i, err := d.Create(name, n)
	if err == nil {
		m.live[i.Attr().Ino] = i
	}
	return err
}

// tmpfile makes a file without a name.
func (m *medium) tmpfile(p string) (vfs.Inode, error) {
	d, ok := m.lookup(p).(*dir)
	if !ok {
		m.t.Fatalf("%s is no directory", p)
	}
	i, err := d.Tmpfile(vfs.NewInode{Mode: 0o600})
	if err == nil {
		m.live[i.Attr().Ino] = i
	}
	return i, err
}

func (m *medium) file(p string) error  { return m.create(p, vfs.NewInode{Mode: 0o644}) }
func (m *medium) mkdir(p string) error { return m.create(p, vfs.NewInode{Mode: fs.ModeDir | 0o755}) }
func (m *medium) symlink(p, target string) error {
	return m.create(p, vfs.NewInode{Mode: fs.ModeSymlink | 0o777, Target: target})
}

// dropDead evicts an inode that has lost its last name.
func (m *medium) dropDead(i vfs.Inode) {
	m.t.Helper()
	if a := i.Attr(); a.Nlink == 0 && !m.held[a.Ino] {
		m.evict(a.Ino)
	}
}

func (m *medium) remove(p string) error {
	d, name := m.at(p)
	child := m.lookup(p)
	if child == nil {
		return fs.ErrNotExist
	}
	var err error
	if child.Attr().Mode.IsDir() {
		err = d.Rmdir(name, child)
	} else {
		err = d.Unlink(name, child)
	}
	if err == nil {
		m.dropDead(child)
	}
	return err
}

func (m *medium) link(old, p string) error {
	d, name := m.at(p)
	return d.Link(name, m.lookup(old))
}

func (m *medium) rename(from, to string) error {
	d, name := m.at(from)
	nd, newName := m.at(to)
	child, replaced := m.lookup(from), m.lookup(to)
	if child == nil {
		return fs.ErrNotExist
	}
	err := d.Rename(name, child, nd, newName, replaced)
	if err == nil && replaced != nil {
		m.dropDead(replaced)
	}
	return err
}

// must fails the test for an error.
func (m *medium) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// list is the directory's names in order of position.
func (m *medium) list(p string) (names []string) {
	m.t.Helper()
	d, ok := m.lookup(p).(*dir)
	if !ok {
		m.t.Fatalf("%s is no directory", p)
	}
	m.must(d.ReadDir(0, func(e vfs.Dirent) bool { names = append(names, e.Name); return true }))
	return names
}

// tree lists all names with what they lead to, and checks "..", types and link counts
// on the way.
func treeOf(f *FS) (map[string]uint64, error) {
	names := map[string]uint64{}
	refs := map[uint64]int{}
	var walk func(p string, ino, parent uint64) error
	walk = func(p string, ino, parent uint64) error {
		i, err := f.Inode(ino)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		d, ok := i.(*dir)
		if !ok {
			return nil
		}
		if up, err := d.Parent(); err != nil || up != parent {
			return fmt.Errorf("%s: parent %d, %v; want %d", p, up, err, parent)
		}
		var list []vfs.Dirent
		if err := d.ReadDir(0, func(e vfs.Dirent) bool { list = append(list, e); return true }); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		for _, e := range list {
			name := path.Join(p, e.Name)
			if names[name] != 0 {
				return fmt.Errorf("%s: twice", name)
			}
			names[name] = e.Ino
			refs[e.Ino]++
			if i, err := f.Inode(e.Ino); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			} else if typ := i.Attr().Mode.Type(); e.Type != fs.ModeIrregular && e.Type != typ {
				return fmt.Errorf("%s: type %v in the entry, %v in the inode", name, e.Type, typ)
			}
			if err := walk(name, e.Ino, ino); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk("/", f.Root(), f.Root()); err != nil {
		return nil, err
	}
	for name, ino := range names {
		i, err := f.Inode(ino)
		if err != nil {
			return nil, err
		}
		if a := i.Attr(); !a.Mode.IsDir() && int(a.Nlink) != refs[ino] {
			return nil, fmt.Errorf("%s: %d links, %d names", name, a.Nlink, refs[ino])
		}
	}
	return names, nil
}
