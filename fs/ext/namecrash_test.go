package ext

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godax/internal/extfmt"
	"godax/vfs"
)

// crasher takes the image after every store, lets e2fsck repair it as a boot does, and
// looks at what is left.
type crasher struct {
	m      *medium
	torn   []string // as tornSwitch, for the operations at hand
	images []crashImage
}

// crashImage is the image as a kill leaves it.
type crashImage struct {
	bytes   []byte
	between bool // the stores of a switch-over
}

// tornSwitch are the complaints of e2fsck that a kill between the stores of a switch-over may
// lead to, see store.switchOver.
var tornSwitch = []string{" is a link to directory ", "'..' in ", "Extended attribute block "}

// crashAll runs op and checks the image of every store in it. Names that are there
// both before and after op must have survived, names that are there neither before nor after must
// not be there, and so for the inodes.
func (c *crasher) crashAll(what string, op func()) (stores int) {
	t, m := c.m.t, c.m
	t.Helper()
	before, err := treeOf(m.f)
	m.must(err)
	c.images = c.images[:0]
	take := func(between bool) {
		if n := len(c.images); n == 0 || !bytes.Equal(c.images[n-1].bytes, m.bytes()) {
			c.images = append(c.images, crashImage{slices.Clone(m.bytes()), between})
		}
	}
	m.f.st.hook = func(int64, int) { take(false) }
	m.f.st.between = func() { take(true) }
	op()
	m.f.st.hook, m.f.st.between = nil, nil
	after, err := treeOf(m.f)
	m.must(err)
	for i, image := range c.images {
		err := c.check(image.bytes, before, after)
		if err != nil && image.between && slices.ContainsFunc(slices.Concat(tornSwitch, c.torn), func(s string) bool { return strings.Contains(err.Error(), s) }) {
			continue
		}
		if err != nil {
			t.Errorf("%s, killed after store %d of %d: %v", what, i+1, len(c.images), err)
		}
	}
	return len(c.images)
}

func (c *crasher) check(image []byte, before, after map[string]uint64) error {
	name := filepath.Join(c.m.dir, "crash")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		return err
	}
	out, err := exec.Command("e2fsck", "-fp", name).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("e2fsck -fp: %w\n%s", err, out)
	}
	fixed, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	f, err := mount(mediumNoMount(c.m.t, fixed), vfs.MountOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	got, err := treeOf(f.(*FS))
	if err != nil {
		return fmt.Errorf("after the repair: %w\n%s", err, out)
	}
	for p, ino := range before {
		if after[p] == ino && got[p] != ino {
			return fmt.Errorf("%s is lost\n%s", p, out)
		}
	}
	for p, ino := range got {
		if before[p] != ino && after[p] != ino {
			return fmt.Errorf("%s leads to inode %d, which it did neither before nor after", p, ino)
		}
	}
	inodes := func(tree map[string]uint64) map[uint64]bool {
		set := map[uint64]bool{}
		for ino := range maps.Values(tree) {
			set[ino] = true
		}
		return set
	}
	a, g := inodes(after), inodes(got)
	for ino := range inodes(before) {
		if a[ino] && !g[ino] {
			return fmt.Errorf("inode %d has lost all its names\n%s", ino, out)
		}
	}
	return nil
}

// TestCrashNames kills the writer after every store of every operation on names.
func TestCrashNames(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			if (raceEnabled || testing.Short()) && f.name != "1K" {
				t.Skip("one format only: it takes an e2fsck for each store")
			}
			t.Parallel()
			m := newMedium(t, "512K", append(f.mkfs, "-N", "48")...)
			c := &crasher{m: m}
			for _, p := range []string{"/keep", "/keep/dir", "/d", "/e", "/e/x"} {
				m.must(m.mkdir(p))
			}
			for _, p := range []string{"/keep/f", "/keep/dir/g", "/d/f", "/d/g"} {
				m.must(m.file(p))
			}
			m.must(m.link("/keep/f", "/keep/hard"))
			try := func(what string, op func() error) {
				t.Helper()
				if c.crashAll(what, func() { m.must(op()) }) == 0 {
					t.Errorf("%s: no stores", what)
				}
			}
			try("create", func() error { return m.file("/d/new") })
			try("mkdir", func() error { return m.mkdir("/d/newdir") })
			try("fast symlink", func() error { return m.symlink("/d/fast", "to") })
			try("slow symlink", func() error { return m.symlink("/d/slow", strings.Repeat("t", 100)) })
			try("mknod", func() error { return m.create("/d/fifo", vfs.NewInode{Mode: fs.ModeNamedPipe | 0o600}) })
			try("link", func() error { return m.link("/d/f", "/e/hard") })
			try("unlink one of two", func() error { return m.remove("/e/hard") })
			try("create with new block", func() error {
				e := m.lookup("/e").(*dir)
				for i, n := 0, e.nblocks(); e.nblocks() == n; i++ {
					if err := m.link("/keep/f", fmt.Sprintf("/e/%02d%s", i, strings.Repeat("n", 250))); err != nil {
						return err
					}
				}
				return nil
			})
			if f.name == "1K" {
				e := m.lookup("/e").(*dir)
				i := 100
				for ; e.nblocks() < extfmt.NDirect; i++ {
					m.must(m.link("/keep/f", fmt.Sprintf("/e/%d%s", i, strings.Repeat("n", 250))))
				}
				try("link that needs an indirect block", func() error {
					for ; e.nblocks() == extfmt.NDirect; i++ {
						if err := m.link("/keep/f", fmt.Sprintf("/e/%d%s", i, strings.Repeat("n", 250))); err != nil {
							return err
						}
					}
					return nil
				})
			}
			try("rename file", func() error { return m.rename("/d/f", "/d/f2") })
			try("rename file to a directory", func() error { return m.rename("/d/f2", "/e/f3") })
			try("rename in one record", func() error { return m.rename("/d/g", "/d/"+strings.Repeat("g", 40)) })
			try("rename over file", func() error { return m.rename("/e/f3", "/d/new") })
			try("rename symlink over file", func() error { return m.rename("/d/fast", "/d/new") })
			try("rename over hard link", func() error { return m.rename("/d/new", "/keep/hard") })
			try("rename directory", func() error { return m.rename("/d/newdir", "/d/dir2") })
			try("move directory", func() error { return m.rename("/d/dir2", "/e/dir3") })
			try("move directory over", func() error { return m.rename("/e/dir3", "/e/x") })
			m.must(m.mkdir("/d/y"))
			try("move directory over, elsewhere", func() error { return m.rename("/e/x", "/d/y") })
			try("rmdir", func() error { return m.remove("/d/y") })
			try("unlink", func() error { return m.remove("/d/fifo") })
			try("unlink slow symlink", func() error { return m.remove("/d/slow") })
			for i := range 4 {
				p := fmt.Sprintf("/d/open%d", i)
				m.must(m.file(p))
				m.held[m.lookup(p).Attr().Ino] = true
			}
			var inos []uint64
			for i := range 4 {
				p := fmt.Sprintf("/d/open%d", i)
				inos = append(inos, m.lookup(p).Attr().Ino)
				try("unlink while open", func() error { return m.remove(p) })
			}
			for _, i := range []int{1, 0, 3, 2} {
				try("evict", func() error { m.evict(inos[i]); return nil })
			}

			// Files without a name: one that gets one, and those between others of the kind.
			var tmp []vfs.Inode
			for range 4 {
				try("tmpfile", func() error {
					i, err := m.tmpfile("/d")
					tmp = append(tmp, i)
					return err
				})
			}
			name := func(i vfs.Inode, p string) func() error {
				return func() error {
					d, name := m.at(p)
					return d.Link(name, i)
				}
			}
			try("name the last tmpfile", name(tmp[3], "/d/tmp3"))
			try("name a tmpfile", name(tmp[1], "/d/tmp1"))
			try("name a tmpfile", name(tmp[0], "/d/tmp0"))
			try("link what was a tmpfile", name(tmp[0], "/d/tmp0b"))
			try("unlink what was a tmpfile", func() error { return m.remove("/d/tmp0") })
			m.held[tmp[1].Attr().Ino] = true
			try("unlink what was a tmpfile, open", func() error { return m.remove("/d/tmp1") })
			try("evict it", func() error { m.evict(tmp[1].Attr().Ino); return nil })
			if n := len(m.f.orphans); n != 3 && f.name != "rev0" { // whose place others behind them keep
				t.Errorf("%d inodes are on the orphan list: %v", n, m.f.orphans)
			}
			try("evict a tmpfile", func() error { m.evict(tmp[2].Attr().Ino); return nil })
			if len(m.f.orphans) != 0 {
				t.Errorf("%v are on the orphan list", m.f.orphans)
			}
			m.close()
		})
	}
}

// TestCrashHtree kills the writer while it changes a directory with an index, and while it
// gives the index up.
func TestCrashHtree(t *testing.T) {
	m := newHtree(t, "half_md4", 120, "-b", "1024", "-N", "48")
	c := &crasher{m: m}
	d := m.lookup("/d").(*dir)
	c.crashAll("unlink", func() { m.must(d.Unlink(name5000(7), m.lookup("/t"))) })
	for i := range 60 {
		m.must(d.Unlink(name5000(2*i), m.lookup("/t")))
	}
	c.crashAll("link", func() { m.must(m.link("/t", "/d/new")) })
	if d.flags()&extfmt.InodeFlagIndex == 0 {
		t.Error("the index is gone too early")
	}
	for i := 0; d.flags()&extfmt.InodeFlagIndex != 0; i++ {
		c.crashAll("link", func() { m.must(m.link("/t", fmt.Sprintf("/d/%03d%s", i, strings.Repeat("n", 200)))) })
	}
	m.close()
}

// TestCrashXattrs kills the writer after every store of operations on attributes, also of a
// block that two inodes share.
func TestCrashXattrs(t *testing.T) {
	for _, f := range formats[:2] {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := newMedium(t, "512K", append(f.mkfs, "-N", "48")...)
			c := &crasher{m: m}
			m.must(m.file("/a"))
			m.must(m.file("/b"))
			m.must(m.file("/c"))
			x := func(p string) vfs.Xattrs { return m.lookup(p).(vfs.Xattrs) }
			small, big := []byte("small"), bytes.Repeat([]byte("big."), 60)
			try := func(what string, op func() error) {
				t.Helper()
				if c.crashAll(what, func() { m.must(op()) }) == 0 {
					t.Errorf("%s: no stores", what)
				}
			}
			set := func(p, name string, v []byte) func() error {
				return func() error { return x(p).SetXattr(name, v, false, false) }
			}
			try("first", set("/a", "user.one", small))
			try("second", set("/a", "user.two", small))
			try("change", set("/a", "user.one", []byte("other")))
			try("grow out of the inode", set("/a", "user.one", big))
			try("block too", set("/a", "user.three", big))
			try("change in block", set("/a", "user.three", bytes.Repeat([]byte("?"), 200)))
			try("remove in block", func() error { return x("/a").RemoveXattr("user.three") })
			try("remove", func() error { return x("/a").RemoveXattr("user.two") })
			try("remove last", func() error { return x("/a").RemoveXattr("user.one") })

			share := func() {
				m.must(set("/a", "user.big", big)())
				a, _ := baseOf(m.lookup("/a"))
				for _, p := range []string{"/b", "/c"} {
					b, _ := baseOf(m.lookup(p))
					m.must(b.setFileACL(a.fileACL()))
					m.must(b.addBlocks(1))
				}
				m.must(m.f.st.put32(m.f.blockOff(uint64(a.fileACL()))+extfmt.XattrOffRefcount, 3))
				m.fsckStrict()
			}
			share()
			try("change shared", set("/a", "user.big", small))
			m.must(set("/a", "user.rest", big)())
			try("drop shared", func() error { return x("/b").RemoveXattr("user.big") })
			if v, err := x("/c").Xattr("user.big"); err != nil || !bytes.Equal(v, big) {
				t.Errorf("other owner of the block: %q, %v", v, err)
			}
			a, _ := baseOf(m.lookup("/a"))
			b, _ := baseOf(m.lookup("/b"))
			m.must(b.setFileACL(a.fileACL()))
			m.must(b.addBlocks(1))
			m.must(m.f.st.put32(m.f.blockOff(uint64(a.fileACL()))+extfmt.XattrOffRefcount, 2))
			m.fsckStrict()
			try("unlink with shared", func() error { return m.remove("/b") })
			try("unlink with own", func() error { return m.remove("/a") })
			try("unlink with own", func() error { return m.remove("/c") })
			m.close()
		})
	}
}

// fsckStrict checks the image as it is while mounted: nothing but counts in the
// superblock may be wrong, which a copy with the counts written shows.
func (m *medium) fsckStrict() {
	m.t.Helper()
	m.must(m.f.putCounts())
	m.fsck()
}

// TestCrashRandom kills the writer after every store of random operations.
func TestCrashRandom(t *testing.T) {
	ops := 40
	if raceEnabled || testing.Short() {
		ops = 10
	}
	for i, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := newMedium(t, "512K", append(f.mkfs, "-N", "64")...)
			c := &crasher{m: m}
			rnd := rand.New(rand.NewPCG(randomSeed, uint64(i)))
			m.must(m.mkdir("/keep"))
			m.must(m.file("/keep/f"))
			m.must(m.mkdir("/p0"))
			m.must(m.mkdir("/p1"))
			for op := range ops {
				c.crashAll(fmt.Sprintf("operation %d", op), func() {
					if err := m.randomOp(rnd); err != nil && errors.Is(err, vfs.ErrCorrupt) {
						t.Errorf("operation %d: %v", op, err)
					}
				})
				if t.Failed() {
					break
				}
			}
			m.close()
		})
	}
}

// randomSeed is the seed of TestCrashRandom.
const randomSeed = 31

// randomOp does one operation on names or attributes. It may fail.
func (m *medium) randomOp(rnd *rand.Rand) error {
	name := func() string {
		p := fmt.Sprintf("/p%d/", rnd.IntN(2))
		n := fmt.Sprintf("%s%d", []string{"f", "d"}[rnd.IntN(2)], rnd.IntN(4))
		if rnd.IntN(3) == 0 {
			n = strings.Repeat(n, 1+rnd.IntN(100))
		}
		if d, ok := m.lookup(p + "d0").(*dir); ok && rnd.IntN(3) == 0 && d.links() > 0 {
			p += "d0/"
		}
		return p + n
	}
	a, b := name(), name()
	switch rnd.IntN(12) {
	case 0, 1:
		return m.file(a)
	case 2, 3:
		return m.mkdir(a)
	case 4:
		return m.symlink(a, strings.Repeat("t", 1+rnd.IntN(120)))
	case 5:
		if i := m.lookup(a); i != nil {
			return m.link(a, b)
		}
	case 6:
		return m.remove(a)
	case 7, 8, 9, 10:
		if strings.HasPrefix(b, a+"/") || strings.HasPrefix(a, b+"/") {
			return nil // vfs refuses the first, the second is a full directory
		}
		return m.rename(a, b)
	case 11:
		if x, ok := m.lookup(a).(vfs.Xattrs); ok {
			return x.SetXattr("user.x", make([]byte, rnd.IntN(400)), false, false)
		}
	}
	return nil
}
