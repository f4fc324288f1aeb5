package ext

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"godax/internal/extfmt"
	"godax/vfs"
)

// TestTmpfile: a file without a name takes group and ACL of its directory, holds bytes, can be given a
// name as long as it has had none, and is gone with its last reference.
func TestTmpfile(t *testing.T) {
	ctx := context.Background()
	m := newMedium(t, "2M", "-b", "1024")
	before := m.f.Statfs()
	v, err := vfs.NewMount(m.f, vfs.Config{Idle: -1})
	m.must(err)
	root, err := v.Root()
	m.must(err)
	dir, err := root.Create("d", vfs.NewInode{Mode: fs.ModeDir | fs.ModeSetgid | 0o777, GID: 55})
	m.must(err)
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 99, 0, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255} // u::rwx,u:99:rw,g::r-x,m::rwx,o::---
	m.must(dir.SetXattr(vfs.XattrACLDefault, acl, false, false))

	build := func() (*vfs.Node, *vfs.Handle) {
		t.Helper()
		n, err := dir.Tmpfile(vfs.NewInode{Mode: 0o666, UID: 7, GID: 8})
		m.must(err)
		if a := n.Attr(); a.Nlink != 0 || a.GID != 55 || a.Mode != 0o660 {
			t.Errorf("%d links, group %d, mode %v", a.Nlink, a.GID, a.Mode)
		}
		if got, err := n.Xattr(vfs.XattrACLAccess); err != nil || len(got) != len(acl) {
			t.Errorf("the ACL is %x, %v", got, err)
		}
		h, err := n.Open(ctx, os.O_RDWR, "tmpfile")
		m.must(err)
		if k, err := h.WriteAt(ctx, bytes.Repeat([]byte("x"), 100_000), 0); k != 100_000 || err != nil {
			t.Fatal(k, err)
		}
		return n, h
	}
	drop := func(n *vfs.Node, h *vfs.Handle) {
		t.Helper()
		m.must(h.Close())
		n.Put()
	}
	inUse := func() uint64 { return before.FilesFree - v.Statfs().FilesFree }

	n, h := build()
	if got := inUse(); got != 2 {
		t.Errorf("%d inodes in use", got)
	}
	free := v.Statfs().Free
	drop(n, h)
	if got := inUse(); got != 1 {
		t.Errorf("the file is not gone: %d inodes in use", got)
	}
	if v.Statfs().Free < free+98 {
		t.Error("its storage is not free")
	}

	n, h = build()
	m.must(root.Link("name", n))
	m.must(root.Link("other", n))
	m.must(root.Unlink("other"))
	drop(n, h)
	n, err = root.Lookup("name")
	m.must(err)
	if a := n.Attr(); a.Nlink != 1 || a.Size != 100_000 {
		t.Errorf("%d links, %d bytes", a.Nlink, a.Size)
	}
	m.must(root.Unlink("name"))
	if err := root.Link("again", n); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second first name: %v", err)
	}
	n.Put()
	if _, err := dir.Tmpfile(vfs.NewInode{Mode: fs.ModeDir | 0o700}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a directory without a name: %v", err)
	}
	m.must(root.Rmdir("d"))
	if _, err := dir.Tmpfile(vfs.NewInode{Mode: 0o600}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that was removed: %v", err)
	}
	dir.Put()
	root.Put()
	if got := inUse(); got != 0 {
		t.Errorf("%d inodes in use at the end", got)
	}
	m.must(v.Close(ctx))
	m.fsck()
}

// TestTmpfileKilled: a mount of what a kill leaves frees files without a name, and keeps one that had got
// its name, though it was still on the list. As the mount wants a check in between, and that leaves nothing
// of the list, the image is marked as checked here.
func TestTmpfileKilled(t *testing.T) {
	m := newMedium(t, "2M", "-b", "1024")
	free := m.f.Statfs()
	write := func(i vfs.Inode, n int) {
		t.Helper()
		if k, err := i.(vfs.File).WriteAt(context.Background(), bytes.Repeat([]byte("x"), n), 0); k != n || err != nil {
			t.Fatal(k, err)
		}
	}
	named, err := m.tmpfile("/")
	m.must(err)
	write(named, 30_000)
	lost, err := m.tmpfile("/")
	m.must(err)
	write(lost, 50_000)
	root := m.lookup("/").(*dir)
	m.must(root.Link("name", named))
	if len(m.f.orphans) != 2 {
		t.Fatalf("%v are on the orphan list", m.f.orphans)
	}
	m.must(m.f.Sync(context.Background()))

	image := bytes.Clone(m.bytes())
	le.PutUint16(image[extfmt.SuperOffset+extfmt.SuperState:], extfmt.StateValid)
	k := mediumOf(t, image)
	got := k.lookup("/name")
	if got == nil || got.Attr().Size != 30_000 || got.Attr().Nlink != 1 {
		t.Fatalf("the file with a name: %+v", got)
	}
	now := k.f.Statfs()
	if used := free.FilesFree - now.FilesFree; used != 1 {
		t.Errorf("%d inodes in use", used)
	}
	if used := free.Free - now.Free; used < 30 || used > 31 {
		t.Errorf("%d blocks in use", used)
	}
	k.must(k.remove("/name"))
	k.close()
	m.close()
}
