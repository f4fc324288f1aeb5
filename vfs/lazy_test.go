package vfs_test

import (
	"context"
	"os"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/memfs"
	"godax/vfs"
)

// lazyFS is a memfs whose regular files have no index to show until Mapping is asked for it.
type lazyFS struct {
	*memfs.FS
	files map[uint64]*lazyFile
}

type lazyFile struct {
	vfs.File
	asked bool
	reads int
}

var _ vfs.Lazy = (*lazyFile)(nil)

func (f *lazyFS) Inode(ino uint64) (vfs.Inode, error) {
	in, err := f.FS.Inode(ino)
	if file, ok := in.(vfs.File); ok && in.Attr().Mode.IsRegular() {
		f.files[ino] = &lazyFile{File: file}
		return f.files[ino], err
	}
	return in, err
}

func (l *lazyFile) Mapping() *dax.Mapping {
	l.asked = true
	return l.File.Mapping()
}

func (l *lazyFile) Mapped() *dax.Mapping {
	if !l.asked {
		return nil
	}
	return l.File.Mapping()
}

func (l *lazyFile) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	l.reads++
	return l.File.ReadAt(ctx, b, off)
}

// TestLazy: opening, reading, counting, telling of lost memory and closing ask no file for an index that
// it has not made; once there is one, reads find it.
func TestLazy(t *testing.T) {
	lazy := &lazyFS{files: map[uint64]*lazyFile{}}
	m := mountOver(t, func(mem *memfs.FS) vfs.FileSystem {
		lazy.FS = mem
		return lazy
	})
	ino := create(t, m, "x", 0)
	n := at(t, m, "x")
	w, err := n.Open(ctx, os.O_WRONLY, "x")
	must(t, err)
	_, err = w.WriteAt(ctx, make([]byte, 4096), 0)
	must(t, err)
	must(t, w.Close())
	f := lazy.files[ino]
	h, err := n.Open(ctx, os.O_RDONLY, "x")
	must(t, err)
	b := make([]byte, 100)
	read := func(reads int) {
		t.Helper()
		if k, err := h.ReadAt(ctx, b, 0); k != len(b) || err != nil {
			t.Fatalf("%d bytes, %v", k, err)
		}
		if f.reads != reads {
			t.Errorf("the driver was asked to read %d times, want %d", f.reads, reads)
		}
	}
	read(1)
	read(2)
	m.Stats()
	m.NotifyFailure(1<<40, 1)
	if f.asked {
		t.Fatal("somebody asked for the index")
	}
	f.Mapping()
	read(3) // finds it
	read(3)
	if s := m.Stats(); s.Entries != 1 {
		t.Errorf("%d entries in all indexes", s.Entries)
	}
	must(t, h.Close())
	n.Put()

	n = at(t, m, "x")
	f = lazy.files[ino]
	h, err = n.Open(ctx, os.O_RDONLY, "x")
	must(t, err)
	read(1)
	must(t, h.Close())
	n.Put() // evicts it
	if f.asked {
		t.Error("the eviction asked for the index")
	}
}
