package vfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"

	"godax/pmem"
	"godax/vfs"
)

// TestReadDirNodes: each entry comes with its inode; what is kept stays, the rest is given
// back.
func TestReadDirNodes(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	inos := map[string]uint64{
		"a": create(t, m, "/a", 0),
		"b": create(t, m, "/b", fs.ModeDir),
		"c": create(t, m, "/c", 0),
	}
	root, err := m.Root()
	must(t, err)
	defer root.Put()
	var kept *vfs.Node
	seen := 0
	must(t, root.ReadDirNodes(0, func(e vfs.Dirent, n *vfs.Node, a vfs.Attr) (more, keep bool) {
		if n == nil || n.Ino() != inos[e.Name] || a.Ino != n.Ino() || a.Mode.IsDir() != n.IsDir() {
			t.Errorf("%s: %v, %+v", e.Name, n, a)
		}
		if seen++; e.Name == "b" {
			kept = n
			return true, true
		}
		return true, false
	}))
	if seen != len(inos) || kept == nil {
		t.Fatalf("%d entries", seen)
	}
	must(t, root.Unlink("a")) // nobody holds it, so it goes
	must(t, root.Rmdir("b"))
	if kept.Attr().Ino != inos["b"] {
		t.Error("the kept inode is another one")
	}
	kept.Put() // a reference too few or too many shows when the mount is closed
}

// at returns the inode at a path, to be put.
func at(t *testing.T, m *vfs.Mount, path string) *vfs.Node {
	t.Helper()
	n, err := m.Resolve(path, vfs.NoFollow)
	must(t, err)
	return n
}

// TestRenameExchange: names of all kinds exchange what they lead to, and know their parents
// afterwards.
func TestRenameExchange(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "/x", fs.ModeDir)
	dir := create(t, m, "/x/d", fs.ModeDir)
	file := create(t, m, "/f", 0)
	root, x := at(t, m, "/"), at(t, m, "/x")
	defer root.Put()
	defer x.Put()
	must(t, root.Rename("f", x, "d", vfs.RenameExchange))
	d, f := at(t, m, "/f"), at(t, m, "/x/d")
	if d.Ino() != dir || f.Ino() != file {
		t.Errorf("/f is %d, /x/d is %d", d.Ino(), f.Ino())
	}
	if up, err := d.Parent(); err != nil || up != root {
		t.Errorf("the directory's parent: %v, %v", up, err)
	} else {
		up.Put()
	}
	d.Put()
	f.Put()
	must(t, x.Rename("d", root, "f", vfs.RenameExchange))
	for _, tt := range []struct {
		name    string
		from    *vfs.Node
		old     string
		to      *vfs.Node
		newName string
		flags   vfs.RenameFlags
		want    error
	}{
		{"nothing there", root, "f", root, "none", vfs.RenameExchange, fs.ErrNotExist},
		{"into itself", root, "x", x, "d", vfs.RenameExchange, syscall.EINVAL},
		{"with a directory above", x, "d", root, "x", vfs.RenameExchange, syscall.EINVAL},
		{"both flags", root, "f", x, "d", vfs.RenameExchange | vfs.RenameNoReplace, syscall.EINVAL},
		{"with itself", root, "f", root, "f", vfs.RenameExchange, nil},
	} {
		if err := tt.from.Rename(tt.old, tt.to, tt.newName, tt.flags); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestDropPriv: what a change takes from a file, and that it is looked for again after a
// change of the mode or an attribute.
func TestDropPriv(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	const setid = fs.ModeSetuid | fs.ModeSetgid
	create(t, m, "/f", 0)
	n := at(t, m, "/f")
	defer n.Put()
	for _, tt := range []struct {
		mode, want    fs.FileMode
		setid, member bool
	}{
		{setid | 0o755, 0o755, true, true},
		{setid | 0o745, fs.ModeSetgid | 0o745, true, true}, // mandatory locking, once
		{setid | 0o745, 0o745, true, false},
		{setid | 0o755, setid | 0o755, false, false},
		{fs.ModeSticky | 0o755, fs.ModeSticky | 0o755, true, true},
	} {
		must(t, n.SetAttr(vfs.SetAttr{Mode: &tt.mode}))
		must(t, n.SetXattr("security.capability", []byte("x"), false, false))
		must(t, n.DropPriv(tt.setid, func(uint32) bool { return tt.member }))
		if got := n.Attr().Mode; got != tt.want {
			t.Errorf("%v became %v, want %v", tt.mode, got, tt.want)
		}
		if _, err := n.Xattr("security.capability"); !errors.Is(err, syscall.ENODATA) {
			t.Errorf("capabilities: %v", err)
		}
	}
	create(t, m, "/d", fs.ModeDir|fs.ModeSetgid)
	d := at(t, m, "/d")
	defer d.Put()
	must(t, d.DropPriv(true, func(uint32) bool { return false }))
	if d.Attr().Mode&fs.ModeSetgid == 0 {
		t.Error("a directory lost its setgid bit")
	}
}

// acl makes the value of an ACL attribute of tags, permissions and ids.
func acl(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

const none = ^uint32(0)

// TestInheritACL: a default ACL takes the umask's place; without one the umask counts.
func TestInheritACL(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "/plain", fs.ModeDir)
	create(t, m, "/minimal", fs.ModeDir)
	create(t, m, "/named", fs.ModeDir)
	minimal := acl([3]uint32{1, 7, none}, [3]uint32{4, 5, none}, [3]uint32{32, 0, none})
	named := acl([3]uint32{1, 7, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 5, none}, [3]uint32{16, 7, none}, [3]uint32{32, 4, none})
	for dir, value := range map[string][]byte{"/minimal": minimal, "/named": named} {
		n := at(t, m, dir)
		must(t, n.SetXattr(vfs.XattrACLDefault, value, false, false))
		n.Put()
	}
	for _, tt := range []struct {
		dir          string
		mode, want   fs.FileMode
		access, dflt []byte
	}{
		{"/plain", 0o666, 0o644, nil, nil},
		{"/plain", fs.ModeDir | 0o777, fs.ModeDir | 0o755, nil, nil},
		{"/minimal", 0o666, 0o640, nil, nil},
		{"/minimal", fs.ModeDir | 0o777, fs.ModeDir | 0o750, nil, minimal},
		{"/named", 0o640, 0o640, acl([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 5, none}, [3]uint32{16, 4, none}, [3]uint32{32, 0, none}), nil},
		{"/named", fs.ModeDir | 0o777, fs.ModeDir | 0o774, named, named},
		{"/named", fs.ModeSymlink | 0o777, fs.ModeSymlink | 0o777, nil, nil},
	} {
		d := at(t, m, tt.dir)
		n, err := d.Create("new", vfs.NewInode{Mode: tt.mode, Umask: 0o022, Target: "t"})
		must(t, err)
		if got := n.Attr().Mode; got != tt.want {
			t.Errorf("%s: %v became %v, want %v", tt.dir, tt.mode, got, tt.want)
		}
		for name, want := range map[string][]byte{vfs.XattrACLAccess: tt.access, vfs.XattrACLDefault: tt.dflt} {
			if got, err := n.Xattr(name); !bytes.Equal(got, want) || (err == nil) != (want != nil) {
				t.Errorf("%s, %v: %s is %x, %v; want %x", tt.dir, tt.mode, name, got, err, want)
			}
		}
		isDir := n.IsDir()
		n.Put()
		if isDir {
			must(t, d.Rmdir("new"))
		} else {
			must(t, d.Unlink("new"))
		}
		d.Put()
	}
	bad := at(t, m, "/plain")
	defer bad.Put()
	must(t, bad.SetXattr(vfs.XattrACLDefault, []byte("no ACL at all"), false, false))
	if _, err := bad.Create("new", vfs.NewInode{}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("with a damaged default ACL: %v", err)
	}
}

// TestCopyRange: between two files in both orders of their numbers, and within one.
func TestCopyRange(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "/a", 0)
	create(t, m, "/b", 0)
	open := func(name string) *vfs.Handle {
		n := at(t, m, name)
		defer n.Put()
		h, err := n.Open(ctx, os.O_RDWR, name)
		must(t, err)
		t.Cleanup(func() { must(t, h.Close()) })
		return h
	}
	a, b := open("/a"), open("/b")
	want := make([]byte, 3*pmem.PageSize)
	for i := range want {
		want[i] = byte(i % 251)
	}
	_, err := a.WriteAt(ctx, want, 0)
	must(t, err)
	check := func(h *vfs.Handle, off int64, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		if n, err := h.ReadAt(ctx, got, off); n != len(want) || err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s at %d: %d bytes, %v", h.Name(), off, n, err)
		}
	}
	for _, tt := range []struct {
		dst, src     *vfs.Handle
		out, in, n   int64
		done         int64
		err          error
		dstHas       []byte
		dstHasOffset int64
	}{
		{b, a, 100, 50, 5000, 5000, nil, want[50:5050], 100},
		{a, b, 5, 100, 5000, 5000, nil, want[50:5050], 5},
		{b, a, 0, int64(len(want)) - 10, 1 << 40, 10, nil, want[len(want)-10:], 0},
		{a, a, int64(len(want)), 6000, 1000, 1000, nil, want[6000:7000], int64(len(want))},
		{a, a, 6100, 6000, 1000, 0, syscall.EINVAL, nil, 0},
		{b, a, 0, 1 << 40, 10, 0, nil, nil, 0},
		{b, a, -1, 0, 10, 0, syscall.EINVAL, nil, 0},
	} {
		n, err := vfs.CopyRange(ctx, tt.dst, tt.out, tt.src, tt.in, tt.n)
		if n != tt.done || !errors.Is(err, tt.err) {
			t.Errorf("copy of %d from %d to %d: %d, %v", tt.n, tt.in, tt.out, n, err)
		}
		check(tt.dst, tt.dstHasOffset, tt.dstHas)
	}
	root := at(t, m, "/")
	defer root.Put()
	dir, err := root.Open(ctx, os.O_RDONLY, "/")
	must(t, err)
	if _, err := vfs.CopyRange(ctx, b, 0, dir, 0, 1); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("from a directory: %v", err)
	}
	must(t, dir.Close())
}

// TestWriteEnd: an append lands at the end whatever the flags.
func TestWriteEnd(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "/a", 0)
	n := at(t, m, "/a")
	defer n.Put()
	h, err := n.Open(ctx, os.O_RDWR, "/a")
	must(t, err)
	for i, s := range []string{"one", "two"} {
		k, end, err := h.WriteEnd(ctx, []byte(s))
		if k != 3 || end != int64(3*(i+1)) || err != nil {
			t.Errorf("%q: %d, end %d, %v", s, k, end, err)
		}
	}
	must(t, h.Close())
}

// recorder is a Watcher that writes down what it is told.
type recorder struct{ got []string }

func (r *recorder) NodeChanged(n *vfs.Node, off, length int64) {
	r.got = append(r.got, fmt.Sprint("node ", n.Ino(), " ", off, " ", length))
}

func (r *recorder) EntryChanged(dir *vfs.Node, name string) {
	r.got = append(r.got, fmt.Sprint("entry ", dir.Ino(), " ", name))
}

// TestWatch: watchers are told until they stop, and only by Tell.
func TestWatch(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	var a, b recorder
	stopA, stopB := m.Watch(&a), m.Watch(&b)
	ino := create(t, m, "/f", 0)
	n, root := at(t, m, "/f"), at(t, m, "/")
	defer n.Put()
	defer root.Put()
	m.TellNode(n, 5, -1)
	stopB()
	m.TellEntry(root, "f")
	stopA()
	stopA()
	m.TellNode(n, 0, 0)
	want := []string{fmt.Sprint("node ", ino, " 5 -1"), fmt.Sprint("entry ", root.Ino(), " f"), fmt.Sprint("node ", root.Ino(), " 0 0")}
	if !slices.Equal(a.got, want) || !slices.Equal(b.got, want[:1]) {
		t.Errorf("got %q and %q, want %q", a.got, b.got, want)
	}
}

// TestHeld: a use of any Handle shows at the inode.
func TestHeld(t *testing.T) {
	m, _ := newMount(t, vfs.Config{}, nil)
	create(t, m, "/f", 0)
	n := at(t, m, "/f")
	defer n.Put()
	h, err := n.Open(ctx, os.O_RDWR, "/f")
	must(t, err)
	must(t, h.Hold(vfs.UsePin))
	must(t, h.Hold(vfs.UseMapping))
	h.Release(vfs.UsePin)
	if !n.Held() {
		t.Error("a mapping does not show")
	}
	h.Release(vfs.UseMapping)
	if n.Held() {
		t.Error("shows without a use")
	}
	must(t, h.Close())
}

// TestStats: what is there now, and what files did that have left memory since.
func TestStats(t *testing.T) {
	m, _ := newMount(t, vfs.Config{Idle: -1}, nil)
	create(t, m, "/f", 0)
	n := at(t, m, "/f")
	h, err := n.Open(ctx, os.O_RDWR, "/f")
	must(t, err)
	_, err = h.WriteAt(ctx, make([]byte, 3*pmem.PageSize), 0)
	must(t, err)
	s := m.Stats()
	if s.Handles != 1 || s.Inodes != 2 || s.Dirty != 3 || s.Populates == 0 || s.Pages != 3 {
		t.Errorf("with dirty pages: %+v", s)
	}
	must(t, h.Sync(ctx, false))
	if s = m.Stats(); s.Dirty != 0 || s.Cleaned != 3 {
		t.Errorf("after a writeback: %+v", s)
	}
	must(t, h.Close())
	n.Put()
	if after := m.Stats(); after.Inodes != 1 || after.Pages != 0 || after.Populates != s.Populates || after.Cleaned != 3 {
		t.Errorf("after the eviction: %+v", after)
	}
}
