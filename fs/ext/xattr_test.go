package ext

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"godax/internal/extfmt"
	"godax/vfs"
)

// testdata returns the uncompressed content of a file of the shared test data, which
// lies beside the module or where GODAX_TESTDATA says.
func testdata(t *testing.T, name string) []byte {
	t.Helper()
	base := os.Getenv("GODAX_TESTDATA")
	if base == "" {
		base = filepath.Join("..", "..", "..", "shared", "testdata")
	}
	b, err := os.ReadFile(filepath.Join(base, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no %s: set GODAX_TESTDATA", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(name, ".gz") {
		return b
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err == nil {
		b, err = io.ReadAll(z)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// xattrManifest lists path, name and value of all attributes below a path as the
// test data's manifests do.
func (m *medium) xattrManifest() (lines []string) {
	tree, err := treeOf(m.f)
	m.must(err)
	tree["/"] = m.f.Root()
	for p := range tree {
		x := m.lookup(p).(vfs.Xattrs)
		names, err := x.ListXattr()
		m.must(err)
		for _, name := range names {
			v, err := x.Xattr(name)
			m.must(err)
			text := hex.EncodeToString(v)
			if text == "" {
				text = "-"
			}
			lines = append(lines, p+"\t"+name+"\t"+text)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestXattrManifest(t *testing.T) {
	m := mediumOf(t, testdata(t, "ext/ext2-xattr.img.gz"))
	want := strings.Split(strings.TrimSpace(string(testdata(t, "ext/ext2-xattr.xattr.tsv"))), "\n")[1:]
	slices.Sort(want)
	if diff := cmp.Diff(want, m.xattrManifest()); diff != "" {
		t.Error(diff)
	}
	m.close()
}

// TestXattrShared changes and removes attributes of an image of the kernel's, in which
// inodes share blocks.
func TestXattrShared(t *testing.T) {
	m := mediumOf(t, testdata(t, "ext/ext2-xattr.img.gz"))
	x := func(p string) vfs.Xattrs { return m.lookup(p).(vfs.Xattrs) }
	before, err := x("/xa/share2").Xattr("user.same")
	m.must(err)
	m.must(x("/xa/share1").SetXattr("user.more", []byte("m"), true, false))
	if v, err := x("/xa/share2").Xattr("user.same"); err != nil || !bytes.Equal(v, before) {
		t.Errorf("%q, %v", v, err)
	}
	m.fsckStrict()
	m.must(m.remove("/xa/share2"))
	m.fsckStrict()
	for _, p := range []string{"/xa/many", "/xa/full", "/xa/acl", "/xa/spaces", "/xa/link", "/xa/dev"} {
		names, err := x(p).ListXattr()
		m.must(err)
		for _, name := range names {
			m.must(x(p).RemoveXattr(name))
		}
		if names, err := x(p).ListXattr(); len(names) > 0 || err != nil {
			t.Errorf("%s: %q are left, %v", p, names, err)
		}
	}
	m.close()
}

func TestXattrErrors(t *testing.T) {
	m := newMedium(t, "1M", "-t", "ext2", "-b", "1024", "-I", "256")
	m.must(m.file("/f"))
	m.must(m.symlink("/s", "t"))
	x := m.lookup("/f").(vfs.Xattrs)
	get := func(name string) error { _, err := x.Xattr(name); return err }
	m.want("none", get("user.a"), syscall.ENODATA)
	m.want("remove none", x.RemoveXattr("user.a"), syscall.ENODATA)
	m.want("replace none", x.SetXattr("user.a", nil, false, true), syscall.ENODATA)
	m.want("create", x.SetXattr("user.a", []byte("1"), true, false), nil)
	m.want("create again", x.SetXattr("user.a", []byte("2"), true, false), syscall.EEXIST)
	m.want("replace", x.SetXattr("user.a", []byte("3"), false, true), nil)
	m.want("unknown prefix", x.SetXattr("other.a", nil, false, false), syscall.ENOTSUP)
	m.want("no name", x.SetXattr("user.", nil, false, false), syscall.EINVAL)
	m.want("long name", x.SetXattr("user."+strings.Repeat("n", 256), nil, false, false), syscall.ERANGE)
	m.want("NUL", x.SetXattr("user.a\x00b", nil, false, false), syscall.EINVAL)
	m.want("too big", x.SetXattr("user.b", make([]byte, 1<<16+1), false, false), syscall.E2BIG)
	m.want("no space", x.SetXattr("user.b", make([]byte, 1000), false, false), syscall.ENOSPC)
	m.want("no ACL", x.SetXattr(extfmt.NameACLAccess, []byte("x"), false, false), syscall.EINVAL)
	acl, _ := hex.DecodeString("0200000001000700ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff")
	m.want("default ACL of a file", x.SetXattr(extfmt.NameACLDefault, acl, false, false), syscall.EACCES)
	m.want("ACL of a symlink", m.lookup("/s").(vfs.Xattrs).SetXattr(extfmt.NameACLAccess, acl, false, false), syscall.ENOTSUP)
	m.want("ACL", x.SetXattr(extfmt.NameACLAccess, acl, false, false), nil)
	if v, err := x.Xattr(extfmt.NameACLAccess); err != nil || !bytes.Equal(v, acl) {
		t.Errorf("ACL came back as %x, %v", v, err)
	}
	if mode := m.lookup("/f").Attr().Mode; mode != 0o764 {
		t.Errorf("mode %v with the ACL", mode)
	}
	perm := fs.FileMode(0o710)
	m.must(x.(vfs.Inode).SetAttr(vfs.SetAttr{Mode: &perm}))
	follows, _ := hex.DecodeString("0200000001000700ffffffff02000600e803000004000400ffffffff10000100ffffffff20000000ffffffff")
	if v, err := x.Xattr(extfmt.NameACLAccess); err != nil || !bytes.Equal(v, follows) {
		t.Errorf("ACL after chmod is %x, %v; want %x", v, err, follows)
	}
	minimal, _ := hex.DecodeString("0200000001000600ffffffff04000400ffffffff20000000ffffffff")
	m.want("minimal ACL", x.SetXattr(extfmt.NameACLAccess, minimal, false, false), nil)
	m.want("minimal ACL is the mode", get(extfmt.NameACLAccess), syscall.ENODATA)
	if mode := m.lookup("/f").Attr().Mode; mode != 0o640 {
		t.Errorf("mode %v with the minimal ACL", mode)
	}
	m.close()
}

// TestXattrModel sets and removes attributes at random and compares with a map.
func TestXattrModel(t *testing.T) {
	for _, f := range formats[:3] {
		t.Run(f.name, func(t *testing.T) {
			m := newMedium(t, "1M", f.mkfs...)
			m.must(m.file("/f"))
			m.must(m.symlink("/s", "target"))
			rnd := rand.New(rand.NewPCG(7, 8))
			model := map[string]map[string]string{"/f": {}, "/s": {}}
			for i := range 1500 {
				p := []string{"/f", "/s"}[rnd.IntN(2)]
				x, want := m.lookup(p).(vfs.Xattrs), model[p]
				name := []string{"user.", "trusted.", "security."}[rnd.IntN(3)] + fmt.Sprint(rnd.IntN(6))
				if rnd.IntN(4) == 0 {
					err := x.RemoveXattr(name)
					if _, ok := want[name]; ok != (err == nil) {
						t.Fatalf("%d: remove %s: %v, there: %v", i, name, err, ok)
					}
					delete(want, name)
				} else {
					v := strings.Repeat(string(rune('a'+i%26)), rnd.IntN(1<<rnd.IntN(9)))
					switch err := x.SetXattr(name, []byte(v), false, false); {
					case err == nil:
						want[name] = v
					case !errors.Is(err, syscall.ENOSPC):
						t.Fatalf("%d: set %s: %v", i, name, err)
					}
				}
				names, err := x.ListXattr()
				m.must(err)
				got := map[string]string{}
				for _, name := range names {
					v, err := x.Xattr(name)
					m.must(err)
					got[name] = string(v)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%d: %s", i, diff)
				}
				in, _ := baseOf(m.lookup(p))
				l, err := in.readXattrs()
				m.must(err)
				if n := len(l.inode) + len(l.block); n != len(want) {
					t.Fatalf("%d: %d attributes stored for %d: one is in two places", i, n, len(want))
				}
				if i%300 == 0 {
					m.fsckStrict()
				}
			}
			m.close()
		})
	}
}

// TestXattrFull: attributes can be changed and removed on a full file system.
func TestXattrFull(t *testing.T) {
	m := newMedium(t, "512K", "-t", "ext2", "-b", "1024", "-I", "128")
	m.must(m.file("/f"))
	x := m.lookup("/f").(vfs.Xattrs)
	m.must(x.SetXattr("user.a", make([]byte, 500), false, false))
	m.must(x.SetXattr("user.b", []byte("b"), false, false))
	m.must(m.file("/g"))
	g, _ := baseOf(m.lookup("/g"))
	var taken []uint64
	for {
		b, err := g.allocMeta()
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		m.must(err)
		taken = append(taken, b)
	}
	m.want("set", x.SetXattr("user.a", []byte("small"), false, false), nil)
	m.want("remove", x.RemoveXattr("user.b"), nil)
	m.want("first of another", m.lookup("/g").(vfs.Xattrs).SetXattr("user.a", nil, false, false), syscall.ENOSPC)
	if v, err := x.Xattr("user.a"); err != nil || string(v) != "small" {
		t.Errorf("%q, %v", v, err)
	}
	for _, b := range taken {
		m.must(m.f.freeRun("test", b, 1))
	}
	m.close()
}

// TestXattrMoves: an attribute goes to the inode when the block is full, and back when it
// gets too long for the inode; it never is in both.
func TestXattrMoves(t *testing.T) {
	m := newMedium(t, "1M", "-t", "ext2", "-b", "1024", "-I", "256")
	m.must(m.file("/f"))
	in, _ := baseOf(m.lookup("/f"))
	set := func(name string, n int) {
		t.Helper()
		m.must(in.SetXattr(name, make([]byte, n), false, false))
	}
	where := func(wantInode, wantBlock string) {
		t.Helper()
		l, err := in.readXattrs()
		m.must(err)
		names := func(list []extfmt.Xattr) (s string) {
			for i := range list {
				s += list[i].Name
			}
			return s
		}
		if i, b := names(l.inode), names(l.block); i != wantInode || b != wantBlock {
			t.Errorf("inode has %q, block %q; want %q and %q", i, b, wantInode, wantBlock)
		}
	}
	set("user.i", 60)
	set("user.s", 4)
	set("user.f", 944) // to the last byte
	where("i", "fs")
	m.must(in.RemoveXattr("user.i"))
	set("user.s", 40)
	where("s", "f")
	m.must(in.RemoveXattr("user.f"))
	where("s", "")
	set("user.s", 200)
	where("", "s")
	set("user.s", 4) // it fits both and stays
	where("", "s")
	m.must(in.RemoveXattr("user.s"))
	if a := in.Attr(); a.Blocks != 0 || in.fileACL() != 0 {
		t.Errorf("%d sectors, block %d are left", a.Blocks, in.fileACL())
	}
	m.close()
}
