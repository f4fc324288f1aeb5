package ext

import (
	"io/fs"
	"syscall"
	"testing"

	"godax/vfs"
)

func (m *medium) exchange(a, b string) error {
	from, name := m.at(a)
	to, newName := m.at(b)
	child, other := m.lookup(a), m.lookup(b)
	if child == nil || other == nil {
		return fs.ErrNotExist
	}
	return from.Exchange(name, child, to, newName, other)
}

// exchanges are pairs of each kind, in one directory and in two.
var exchanges = [][2]string{
	{"/a/f", "/a/g"}, {"/a/f", "/b/h"}, {"/a/f", "/a/d"}, {"/a/f", "/b/e"}, {"/b/e", "/a/g"},
	{"/a/d", "/a/s"}, {"/a/d", "/b/e"}, {"/a/s", "/b/h"},
}

// exchangeTree makes what they name.
func (m *medium) exchangeTree() {
	for _, p := range []string{"/a", "/b", "/a/d", "/b/e", "/a/d/in"} {
		m.must(m.mkdir(p))
	}
	for _, p := range []string{"/a/f", "/a/g", "/b/h"} {
		m.must(m.file(p))
	}
	m.must(m.symlink("/a/s", "target"))
}

// TestExchange: two names change what they lead to, whatever it is, and back.
func TestExchange(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		m.exchangeTree()
		for range 2 {
			for _, p := range exchanges {
				a, b := m.lookup(p[0]).Attr().Ino, m.lookup(p[1]).Attr().Ino
				m.must(m.exchange(p[0], p[1]))
				if x, y := m.lookup(p[0]).Attr().Ino, m.lookup(p[1]).Attr().Ino; x != b || y != a {
					t.Errorf("%v: inodes %d and %d, want %d and %d", p, x, y, b, a)
				}
				m.close()
				m.reopen()
				m.must(m.exchange(p[0], p[1]))
			}
			m.close()
			m.reopen()
		}
		d, _ := m.at("/a/d")
		m.want("into itself", d.Exchange("d", m.lookup("/a/d"), m.lookup("/a/d").(vfs.Dir), "in", m.lookup("/a/d/in")), syscall.EINVAL)
		m.want("what is not there", m.exchange("/a/none", "/b/h"), fs.ErrNotExist)
		m.want("under a wrong name", d.Exchange("g", m.lookup("/a/f"), d, "f", m.lookup("/a/g")), syscall.ESTALE)
	})
}

// TestCrashExchange kills the writer after every store. Between the two stores of the
// exchange itself one inode has no name: that takes e2fsck -y.
func TestCrashExchange(t *testing.T) {
	t.Parallel()
	m := newMedium(t, "512K", "-t", "ext2", "-b", "1024", "-I", "128", "-N", "48")
	m.exchangeTree()
	c := &crasher{m: m, torn: []string{"Unattached ", "Unconnected directory"}}
	for _, p := range exchanges {
		if c.crashAll("exchange", func() { m.must(m.exchange(p[0], p[1])) }) == 0 {
			t.Errorf("%v: no stores", p)
		}
	}
	m.close()
}
