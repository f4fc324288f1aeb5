package ext

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"godax/internal/extfmt"
	"godax/vfs"
)

// formats are the kinds of images that the tests of names run on.
var formats = []struct {
	name string
	mkfs []string
}{
	{"1K", []string{"-t", "ext2", "-b", "1024", "-I", "128"}},
	{"2K", []string{"-t", "ext2", "-b", "2048", "-I", "256"}},
	{"4K", []string{"-t", "ext2", "-b", "4096", "-I", "256"}},
	{"rev0", []string{"-t", "ext2", "-r", "0", "-b", "1024"}},
	{"no-filetype", []string{"-t", "ext2", "-b", "1024", "-O", "^filetype,^dir_index"}},
}

func forFormats(t *testing.T, size string, run func(t *testing.T, m *medium)) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := newMedium(t, size, f.mkfs...)
			run(t, m)
			m.close()
		})
	}
}

// want fails the test if err is not target.
func (m *medium) want(what string, err, target error) {
	m.t.Helper()
	if !errors.Is(err, target) || target == nil && err != nil {
		m.t.Errorf("%s: got %v, want %v", what, err, target)
	}
}

func (m *medium) nlink(p string) int {
	m.t.Helper()
	i := m.lookup(p)
	if i == nil {
		m.t.Fatalf("%s is not there", p)
	}
	return int(i.Attr().Nlink)
}

func TestNames(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		m.must(m.file("/f"))
		m.must(m.mkdir("/d"))
		m.must(m.mkdir("/d/sub"))
		m.must(m.link("/f", "/d/hard"))
		long := strings.Repeat("n", 255)
		m.must(m.file("/" + long))
		m.must(m.file("/caf\xc3\xa9 \xff\x01"))
		m.must(m.create("/d/fifo", vfs.NewInode{Mode: fs.ModeNamedPipe | 0o600}))
		m.must(m.create("/d/sock", vfs.NewInode{Mode: fs.ModeSocket | 0o600}))
		m.must(m.create("/d/chr", vfs.NewInode{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, RdevMajor: 1, RdevMinor: 3}))
		m.must(m.create("/d/blk", vfs.NewInode{Mode: fs.ModeDevice | 0o600, RdevMajor: 300, RdevMinor: 70000}))

		m.want("create again", m.file("/f"), fs.ErrExist)
		m.want("create over a directory", m.mkdir("/d"), fs.ErrExist)
		m.want("link over a name", m.link("/f", "/d/fifo"), fs.ErrExist)
		m.want("link a directory", m.link("/d", "/d2"), syscall.EPERM)
		m.want("name too long", m.file("/"+long+"n"), syscall.ENAMETOOLONG)
		m.want("rmdir not empty", m.remove("/d"), syscall.ENOTEMPTY)
		m.want("remove what is not there", m.remove("/d/none"), fs.ErrNotExist)
		root := m.get(2).(*dir)
		m.want("unlink a directory", root.Unlink("d", m.lookup("/d")), syscall.EISDIR)
		m.want("rmdir a file", root.Rmdir("f", m.lookup("/f")), syscall.ENOTDIR)
		m.want("unlink another's name", root.Unlink("f", m.lookup("/d/fifo")), syscall.ESTALE)
		if _, err := root.Lookup(long + "n"); !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("lookup of a name that is too long: %v", err)
		}

		for p, want := range map[string]int{"/": 4, "/d": 3, "/d/sub": 2, "/f": 2, "/d/hard": 2, "/d/fifo": 1} {
			if p == "/" {
				want = 4 // ".", "..", lost+found, d
			}
			if got := m.nlink(p); got != want {
				t.Errorf("%s: %d links, want %d", p, got, want)
			}
		}
		if a := m.lookup("/d/blk").Attr(); a.RdevMajor != 300 || a.RdevMinor != 70000 {
			t.Errorf("device %d:%d", a.RdevMajor, a.RdevMinor)
		}
		want := []string{"blk", "chr", "fifo", "hard", "sock", "sub"}
		got := m.list("/d")
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		m.must(m.remove("/f"))
		if got := m.nlink("/d/hard"); got != 1 {
			t.Errorf("%d links after one of two names went", got)
		}
		for _, p := range []string{"/d/hard", "/d/blk", "/d/chr", "/d/fifo", "/d/sock", "/d/sub", "/d"} {
			m.must(m.remove(p))
		}
		if got := m.nlink("/"); got != 3 {
			t.Errorf("root has %d links at the end", got)
		}
	})
}

// TestUnlinkOpen: an inode without a name lives until its eviction, on the orphan list.
func TestUnlinkOpen(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		free := m.f.freeInodes.Load()
		var inos []uint64
		for i := range 5 {
			p := fmt.Sprintf("/f%d", i)
			m.must(m.file(p))
			ino := m.lookup(p).Attr().Ino
			inos = append(inos, ino)
			m.held[ino] = true
			m.must(m.remove(p))
		}
		m.must(m.mkdir("/gone"))
		gone := m.lookup("/gone").(*dir)
		m.held[gone.Attr().Ino] = true
		m.must(m.remove("/gone"))
		if _, err := gone.Create("x", vfs.NewInode{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("create in a removed directory: %v", err)
		}
		if err := m.get(2).(*dir).Link("back", m.get(inos[0])); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("link of an inode without names: %v", err)
		}
		chain := func() (list []uint64) {
			if m.f.sb.Rev == 0 {
				return nil
			}
			for ino := le.Uint32(m.bytes()[extfmt.SuperOffset+extfmt.SuperLastOrphan:]); ino != 0; {
				list = append(list, uint64(ino))
				in, err := m.f.loadInode(ino)
				m.must(err)
				ino = in.dtime()
			}
			return list
		}
		expect := func(want ...uint64) {
			t.Helper()
			if m.f.sb.Rev == 0 {
				want = nil
			}
			if diff := cmp.Diff(want, chain()); diff != "" {
				t.Error(diff)
			}
		}
		g := gone.Attr().Ino
		expect(inos[0], inos[1], inos[2], inos[3], inos[4], g)
		before := m.f.freeInodes.Load()
		m.evict(inos[2]) // middle: stays until those behind it have gone
		m.evict(inos[0]) // head
		expect(inos[0], inos[1], inos[2], inos[3], inos[4], g)
		if got := m.f.freeInodes.Load(); got != before && m.f.sb.Rev > 0 {
			t.Errorf("%d free inodes, want %d: numbers of the list are in use", got, before)
		}
		m.evict(g) // tail
		expect(inos[0], inos[1], inos[2], inos[3], inos[4])
		m.evict(inos[3])
		m.evict(inos[4]) // and 3 and 2 with it
		expect(inos[0], inos[1])
		m.evict(inos[1])
		expect()
		if got := m.f.freeInodes.Load(); got != free {
			t.Errorf("%d free inodes, want %d", got, free)
		}
	})
}

// TestProcessOrphans: a list on a clean image is worked off at the next mount, and a
// broken one is refused.
func TestProcessOrphans(t *testing.T) {
	m := newMedium(t, "1M", "-t", "ext2", "-b", "1024")
	free := m.f.freeInodes.Load()
	var inos []uint32
	for i := range 3 {
		p := fmt.Sprintf("/f%d", i)
		m.must(m.file(p))
		inos = append(inos, uint32(m.lookup(p).Attr().Ino))
		m.held[uint64(inos[i])] = true
		m.must(m.remove(p))
	}
	// A file with a name is on the list too: what it has beyond its size goes.
	m.must(m.file("/cut"))
	free--
	cut, _ := baseOf(m.lookup("/cut"))
	blocks := m.f.freeBlocks.Load()
	for i := range uint64(20) {
		if _, err := cut.bmap.allocate(i, 1); err != nil {
			t.Fatal(err)
		}
	}
	m.must(cut.setSize(2 * m.f.blockSize()))
	last, err := m.f.loadInode(inos[2])
	m.must(err)
	m.must(last.setDtime(cut.ino))
	clear(m.live) // as after a crash: nobody evicts them
	m.must(m.f.close())

	broken := slices.Clone(m.bytes())
	le.PutUint32(broken[cut.off+extfmt.InodeDtime:], inos[0]) // a circle
	b := mediumNoMount(t, broken)
	if _, err := mount(b, vfs.MountOptions{}); !errors.Is(err, vfs.ErrCorrupt) {
		t.Errorf("circular orphan list: got %v, want corrupt", err)
	}

	m.mount(vfs.MountOptions{})
	if got := m.f.freeInodes.Load(); got != free {
		t.Errorf("%d free inodes, want %d", got, free)
	}
	if got := m.f.freeBlocks.Load(); got != blocks-2 {
		t.Errorf("%d free blocks, want %d", got, blocks-2)
	}
	m.close()
}

func TestRename(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		m.must(m.mkdir("/a"))
		m.must(m.mkdir("/b"))
		m.must(m.mkdir("/b/full"))
		m.must(m.file("/b/full/x"))
		m.must(m.mkdir("/b/empty"))
		m.must(m.file("/a/f"))
		m.must(m.file("/a/g"))
		m.must(m.symlink("/a/s", "target"))
		m.must(m.mkdir("/a/d"))
		m.must(m.link("/a/f", "/a/hard"))
		ino := func(p string) uint64 {
			if i := m.lookup(p); i != nil {
				return i.Attr().Ino
			}
			return 0
		}
		f, s, d := ino("/a/f"), ino("/a/s"), ino("/a/d")

		m.want("onto itself", m.rename("/a/f", "/a/f"), nil)
		m.want("two names of one inode", m.rename("/a/f", "/a/hard"), nil)
		if ino("/a/f") != f || ino("/a/hard") != f || m.nlink("/a/f") != 2 {
			t.Error("a rename between two names of one inode changed something")
		}
		m.want("directory over a file", m.rename("/a/d", "/a/g"), syscall.ENOTDIR)
		m.want("file over a directory", m.rename("/a/g", "/a/d"), syscall.EISDIR)
		m.want("over a full directory", m.rename("/a/d", "/b/full"), syscall.ENOTEMPTY)
		m.want("into itself", m.get(ino("/a")).(*dir).Rename("d", m.lookup("/a/d"), m.lookup("/a/d").(vfs.Dir), "x", nil), syscall.EINVAL)
		m.want("what is not there", m.rename("/a/none", "/a/x"), fs.ErrNotExist)
		m.want("to a name that is too long", m.rename("/a/g", "/a/"+strings.Repeat("x", 256)), syscall.ENAMETOOLONG)

		m.want("within a directory", m.rename("/a/f", "/a/f2"), nil)
		m.want("to another directory", m.rename("/a/f2", "/b/f3"), nil)
		if ino("/b/f3") != f || ino("/a/f") != 0 || ino("/a/f2") != 0 || m.nlink("/b/f3") != 2 {
			t.Error("file went astray")
		}
		m.want("symlink over a file", m.rename("/a/s", "/a/g"), nil)
		if ino("/a/g") != s || ino("/a/s") != 0 || m.nlink("/a/g") != 1 {
			t.Error("symlink went astray")
		}
		m.want("file over one of two names", m.rename("/a/g", "/a/hard"), nil)
		if ino("/a/hard") != s || m.nlink("/b/f3") != 1 {
			t.Error("replaced file's other name")
		}
		m.want("directory within a directory", m.rename("/a/d", "/a/a-longer-name-for-d"), nil)
		m.want("directory to another", m.rename("/a/a-longer-name-for-d", "/b/d"), nil)
		if up, err := m.lookup("/b/d").(*dir).Parent(); err != nil || up != ino("/b") {
			t.Errorf("parent %d, %v; want %d", up, err, ino("/b"))
		}
		if m.nlink("/a") != 2 || m.nlink("/b") != 5 {
			t.Errorf("links of the parents: %d and %d, want 2 and 5", m.nlink("/a"), m.nlink("/b"))
		}
		m.want("directory over an empty one", m.rename("/b/d", "/b/empty"), nil)
		if ino("/b/empty") != d || m.nlink("/b") != 4 {
			t.Errorf("directory went astray; %d links", m.nlink("/b"))
		}
		m.must(m.mkdir("/a/e"))
		m.want("directory over an empty one elsewhere", m.rename("/b/empty", "/a/e"), nil)
		if ino("/a/e") != d || m.nlink("/b") != 3 || m.nlink("/a") != 3 {
			t.Errorf("directory went astray; links %d and %d", m.nlink("/b"), m.nlink("/a"))
		}
		if up, err := m.lookup("/a/e").(*dir).Parent(); err != nil || up != ino("/a") {
			t.Errorf("parent %d, %v; want %d", up, err, ino("/a"))
		}
		if _, err := treeOf(m.f); err != nil {
			t.Error(err)
		}
	})
}

// TestRenameInBlock: the new name lands in the free space of the old one's record, of
// the one before it, in the first record of a block, and everything with other lengths.
func TestRenameInBlock(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		m.must(m.mkdir("/d"))
		names := []string{"one", "two", "three"}
		for i, n := range names {
			if i%2 == 0 {
				m.must(m.file("/d/" + n))
			} else {
				m.must(m.mkdir("/d/" + n))
			}
		}
		want := slices.Clone(names)
		for round := range 60 {
			i := round % 3
			name := strings.Repeat(string(rune('a'+round%26)), 1+round*37%250)
			m.must(m.rename("/d/"+want[i], "/d/"+name))
			want[i] = name
			got := m.list("/d")
			slices.Sort(got)
			sorted := slices.Sorted(slices.Values(want))
			if diff := cmp.Diff(sorted, got); diff != "" {
				t.Fatalf("round %d: %s", round, diff)
			}
			for _, n := range want {
				if m.lookup("/d/"+n) == nil {
					t.Fatalf("round %d: %s is not found", round, n)
				}
			}
		}
		if _, err := treeOf(m.f); err != nil {
			t.Error(err)
		}
	})
}

func TestLinkMax(t *testing.T) {
	m := newMedium(t, "2M", "-t", "ext2", "-b", "1024")
	m.must(m.file("/f"))
	m.must(m.mkdir("/d"))
	m.must(m.mkdir("/e"))
	f, d := m.lookup("/f"), m.lookup("/d").(*dir)
	m.must(f.(*file).setLinks(extfmt.MaxLinks))
	m.must(d.setLinks(extfmt.MaxLinks))
	m.want("link", m.link("/f", "/g"), syscall.EMLINK)
	m.want("mkdir", m.mkdir("/d/x"), syscall.EMLINK)
	m.want("rename of a directory into it", m.rename("/e", "/d/e"), syscall.EMLINK)
	m.want("rename of the file", m.rename("/f", "/d/f"), nil)
	if got := m.nlink("/d/f"); got != extfmt.MaxLinks {
		t.Errorf("%d links after a rename", got)
	}
	m.must(f.(*file).setLinks(1))
	m.must(d.setLinks(2))
	m.close()
}

func TestTimes(t *testing.T) {
	m := newMedium(t, "1M", "-t", "ext2", "-b", "1024", "-I", "256")
	clock := m.f.now()
	m.f.now = func() time.Time { return clock }
	step := func() { clock = clock.Add(1e9) }
	m.must(m.file("/f"))
	m.must(m.mkdir("/d"))
	root, f, d := m.lookup("/"), m.lookup("/f"), m.lookup("/d")
	check := func(what string, i vfs.Inode, mtime, ctime bool) {
		t.Helper()
		a := i.Attr()
		if got := a.Mtime.Equal(clock); got != mtime {
			t.Errorf("%s: mtime set is %v, want %v", what, got, mtime)
		}
		if got := a.Ctime.Equal(clock); got != ctime {
			t.Errorf("%s: ctime set is %v, want %v", what, got, ctime)
		}
	}
	step()
	m.must(m.link("/f", "/g"))
	check("link: directory", root, true, true)
	check("link: file", f, false, true)
	step()
	m.must(m.rename("/g", "/d/g"))
	check("rename: old directory", root, true, true)
	check("rename: new directory", d, true, true)
	check("rename: file", f, false, true)
	step()
	m.must(m.remove("/d/g"))
	check("unlink: directory", d, true, true)
	check("unlink: file", f, false, true)
	step()
	m.must(m.remove("/d"))
	check("rmdir: directory", root, true, true)
	step()
	m.must(m.file("/h"))
	m.held[f.Attr().Ino] = true
	step()
	m.must(m.rename("/h", "/f"))
	check("rename over: replaced", f, false, true)
	step()
	if _, err := root.(*dir).Lookup("f"); err != nil {
		t.Error(err)
	}
	check("lookup: directory", root, false, false)
	m.close()
}

func TestSymlinks(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		bs := int(m.f.blockSize())
		for _, n := range []int{1, 58, 59, 60, 61, 1000, bs - 1} {
			p := fmt.Sprintf("/s%d", n)
			target := strings.Repeat("t", n)
			m.must(m.symlink(p, target))
			i := m.lookup(p)
			got, err := i.(vfs.Symlink).Readlink()
			if err != nil || got != target {
				t.Errorf("target of %d bytes: got %d bytes, %v", n, len(got), err)
			}
			blocks := uint64(0)
			if n >= 60 {
				blocks = uint64(bs / 512)
			}
			if a := i.Attr(); a.Size != int64(n) || a.Blocks != blocks {
				t.Errorf("target of %d bytes: size %d, %d sectors", n, a.Size, a.Blocks)
			}
		}
		m.want("empty", m.symlink("/e", ""), fs.ErrNotExist)
		m.want("too long", m.symlink("/e", strings.Repeat("t", bs)), syscall.ENAMETOOLONG)
		m.want("NUL", m.symlink("/e", "a\x00b"), syscall.EINVAL)
		m.must(m.remove("/s60"))
		m.must(m.remove("/s58"))
	})
}

func TestSymlinkHostile(t *testing.T) {
	m := newMedium(t, "1M", "-t", "ext2", "-b", "1024")
	m.must(m.symlink("/fast", "target"))
	m.must(m.symlink("/slow", strings.Repeat("t", 100)))
	for _, c := range []struct {
		path  string
		spoil func(in *inode) error
	}{
		{"/fast", func(in *inode) error { return in.setSize(0) }},
		{"/fast", func(in *inode) error { return in.setSize(59) }}, // NUL bytes in it
		{"/fast", func(in *inode) error { return in.setSize(60) }},
		{"/fast", func(in *inode) error { return in.setSize(1 << 31) }},
		{"/slow", func(in *inode) error { return in.setSize(1024) }},
		{"/slow", func(in *inode) error { return in.put32(extfmt.InodeBlock, 1<<30) }},
		{"/slow", func(in *inode) error { return in.put32(extfmt.InodeBlock, 1) }},
		{"/slow", func(in *inode) error { return in.put32(extfmt.InodeBlocks, 0) }},
	} {
		before := slices.Clone(m.bytes())
		in, err := baseOf(m.lookup(c.path))
		m.must(err)
		m.must(c.spoil(in))
		i, err := m.f.Inode(uint64(in.ino))
		if err == nil {
			_, err = i.(vfs.Symlink).Readlink()
		}
		if !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("%s: got %v, want corrupt", c.path, err)
		}
		copy(m.bytes(), before)
	}
	m.close()
}
