package vfs_test

import (
	"io/fs"
	"testing"

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
