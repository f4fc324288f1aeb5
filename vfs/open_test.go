package vfs_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"godax/internal/daxtest/memfs"
	"godax/vfs"
)

// picky is a file system whose files refuse to be opened for writing.
type picky struct{ *memfs.FS }

type pickyFile struct{ vfs.File }

func (f pickyFile) Open(write bool) error {
	if write {
		return syscall.ETXTBSY
	}
	return nil
}

func (p picky) Inode(ino uint64) (vfs.Inode, error) {
	in, err := p.FS.Inode(ino)
	if f, ok := in.(vfs.File); ok && in.Attr().Mode.IsRegular() {
		return pickyFile{f}, err
	}
	return in, err
}

// TestOpener: a driver's inode can refuse an open, and knows whether it is for writing.
func TestOpener(t *testing.T) {
	m := mountOver(t, func(mem *memfs.FS) vfs.FileSystem { return picky{mem} })
	create(t, m, "x", 0)
	n, err := m.Resolve("x", vfs.FollowAll) // the node that Create made is gone: this one is picky
	must(t, err)
	defer n.Put()
	for flag, want := range map[int]error{
		os.O_RDONLY: nil, os.O_WRONLY: syscall.ETXTBSY, os.O_RDWR: syscall.ETXTBSY, os.O_RDONLY | os.O_TRUNC: syscall.ETXTBSY,
	} {
		h, err := n.Open(ctx, flag, "x")
		if !errors.Is(err, want) {
			t.Errorf("open with %#x: %v, want %v", flag, err, want)
		}
		if h != nil {
			must(t, h.Close())
		}
	}
}

// kept is a file system whose files say when they are released.
type kept struct {
	picky
	released int
}

type keptFile struct {
	vfs.File
	fs *kept
}

func (f keptFile) Release() { f.fs.released++ }

func (k *kept) Inode(ino uint64) (vfs.Inode, error) {
	in, err := k.FS.Inode(ino)
	if f, ok := in.(vfs.File); ok && in.Attr().Mode.IsRegular() {
		return keptFile{f, k}, err
	}
	return in, err
}

// TestReleaser: the last of those who have a file open for writing ends it, whoever reads
// it still.
func TestReleaser(t *testing.T) {
	k := &kept{}
	m := mountOver(t, func(mem *memfs.FS) vfs.FileSystem {
		k.picky = picky{mem}
		return k
	})
	create(t, m, "x", 0)
	n, err := m.Resolve("x", vfs.FollowAll)
	must(t, err)
	defer n.Put()
	open := func(flag int) *vfs.Handle {
		t.Helper()
		h, err := n.Open(ctx, flag, "x")
		must(t, err)
		return h
	}
	k.released = 0
	reader, one, two := open(os.O_RDONLY), open(os.O_WRONLY), open(os.O_RDWR)
	must(t, one.Close())
	if k.released != 0 {
		t.Error("released with a writer left")
	}
	must(t, two.Close())
	if k.released != 1 {
		t.Errorf("released %d times after the last writer", k.released)
	}
	must(t, reader.Close())
	must(t, open(os.O_APPEND|os.O_WRONLY).Close())
	if k.released != 2 {
		t.Errorf("released %d times after another writer", k.released)
	}
}

func TestReport(t *testing.T) {
	var r vfs.Report
	if _, any := r.Worst(); any {
		t.Error("an empty report has a finding")
	}
	for i, s := range []vfs.Severity{vfs.Note, vfs.Damage, vfs.Warning} {
		r.Findings = append(r.Findings, vfs.FindingOf(s, &vfs.CorruptError{Structure: "s", Offset: int64(i), Field: "f", Value: 7, Reason: "r"}))
	}
	if w, any := r.Worst(); w != vfs.Damage || !any {
		t.Errorf("worst %v", w)
	}
	if got, want := r.Findings[1], (vfs.Finding{Severity: vfs.Damage, Structure: "s", Offset: 1, Field: "f", Value: 7, Reason: "r"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := []string{vfs.Note.String(), vfs.Warning.String(), vfs.Damage.String(), vfs.Severity(9).String()}; got[0] != "note" || got[1] != "warning" || got[2] != "damage" || got[3] != "severity 9" {
		t.Errorf("%q", got)
	}
}
