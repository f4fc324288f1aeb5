package axfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"sync"
	"testing"

	"godax/dax"
	"godax/fs/axfs"
	"godax/fs/axfs/internal/format"
	"godax/internal/daxtest"
	"godax/vfs"
)

// known reports whether an error is of a kind that a caller can tell.
func known(err error) bool {
	for _, kind := range []error{vfs.ErrCorrupt, vfs.ErrUnsupported, fs.ErrNotExist, io.EOF} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return err == nil
}

// devour opens an image and reads all there is, of the first files. What reads once reads the
// same twice, also by way of the index.
func devour(t *testing.T, img []byte) {
	if len(img) == 0 {
		return
	}
	mounted, err := axfs.Driver.Mount(daxtest.MemoryDevice(t, img), vfs.MountOptions{ReadOnly: true, CacheBytes: 64 << 10})
	if err != nil {
		if !known(err) {
			t.Fatalf("error of no kind: %v", err)
		}
		return
	}
	f := mounted.(*axfs.FS)
	ctx := context.Background()
	f.Describe()
	for ino := uint64(1); ino <= min(f.Statfs().Files, 64); ino++ {
		in, err := f.Inode(ino)
		if err != nil {
			t.Fatalf("inode %d was there when the image was mounted: %v", ino, err)
		}
		in.Attr()
		switch in := in.(type) {
		case vfs.Dir:
			if err := in.ReadDir(0, func(e vfs.Dirent) bool {
				if got, err := in.Lookup(e.Name); err != nil || got != e.Ino {
					t.Fatalf("inode %d: %q is %d, %v; listed as %d", ino, e.Name, got, err, e.Ino)
				}
				return e.Off < 64
			}); err != nil {
				t.Fatal(err)
			}
		case vfs.Symlink:
			if _, err := in.Readlink(); !known(err) {
				t.Fatalf("error of no kind: %v", err)
			}
		case vfs.File:
			devourFile(t, in)
		}
		if err := in.Evict(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// devourFile reads a file up to 128 KiB past the cache and through it.
func devourFile(t *testing.T, fl vfs.File) {
	ctx := context.Background()
	a, b := make([]byte, 128<<10), make([]byte, 128<<10)
	n, err := fl.ReadAt(ctx, a, 0)
	if !known(err) {
		t.Fatalf("error of no kind: %v", err)
	}
	m, err2 := fl.Mapping().ReadAt(ctx, b[:n], 0, fl)
	if m != n || err2 != nil && err2 != io.EOF || !bytes.Equal(a[:n], b[:m]) {
		t.Fatalf("read %d bytes, %v, and by way of the index %d, %v; equal: %v", n, err, m, err2, bytes.Equal(a[:n], b[:m]))
	}
	for e, err := range fl.Mapping().Entries(ctx, 0, 32, fl) {
		if !known(err) {
			t.Fatalf("error of no kind: %v", err)
		}
		if err == nil && e.Kind == dax.Hole {
			t.Fatalf("a hole: %+v", e)
		}
	}
}

// fuzzSeed is an image with all kinds of pages, and tables with room for any value.
var fuzzSeed = sync.OnceValue(func() *seedImage {
	files := append(hostileFiles(), axfs.TestFile{Path: "z", Data: text(3*page+77, 5), Kinds: "XCBX", Mode: 0o644})
	s := &seedImage{img: axfs.TestImage{Cblock: 2 * page, Junk: 0xAA, Depth: 8}.Build(&testing.B{}, files...)}
	super, err := format.DecodeSuperblock(s.img)
	if err != nil {
		panic(err)
	}
	s.super = *super
	for r := range format.NumRegions {
		if s.descs[r], err = format.DecodeDescriptor(r, s.img[super.Descriptors[r]:], 0, super.Size); err != nil {
			panic(err)
		}
	}
	return s
})

// seedImage is an image, and what is in its head.
type seedImage struct {
	img   []byte
	super format.Superblock
	descs [format.NumRegions]format.Descriptor
}

// clone copies the image, to be changed.
func (s *seedImage) clone() *seedImage {
	c := *s
	c.img = bytes.Clone(s.img)
	return &c
}

// set stores an entry of a table, one of those it has.
func (s *seedImage) set(r format.Region, i, v uint64) {
	d := s.descs[r]
	binary.BigEndian.PutUint64(s.img[d.Off+i%(d.Size/8)*8:], v)
}

// replace gives a region other bytes: they stand behind the old image.
func (s *seedImage) replace(r format.Region, depth uint8, b []byte) {
	d := format.Descriptor{Off: uint64(len(s.img)), Size: uint64(len(b)), Depth: depth}
	copy(s.img[s.super.Descriptors[r]:], d.Append(nil, s.super.Layout))
	s.img = append(append(s.img, b...), 0x48, 0xA0, 0xE4, 0xCD)
	s.super.Size, s.super.MmapSize = uint64(len(s.img)), uint64(len(s.img))
	copy(s.img, s.super.Append(nil))
}

// FuzzImage reads an image with some bytes changed: the input is a list of places (2 bytes, in
// units of 4) and values (4 bytes).
func FuzzImage(f *testing.F) {
	f.Add([]byte{0, 16, 0, 0, 0, 9})
	f.Add([]byte{0, 100, 0xff, 0xff, 0xff, 0xff, 0, 25, 0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, patch []byte) {
		img := fuzzSeed().clone().img
		for ; len(patch) >= 6; patch = patch[6:] {
			if at := 4 * int(binary.BigEndian.Uint16(patch)); at+4 <= len(img) {
				copy(img[at:], patch[2:6])
			}
		}
		devour(t, img)
	})
}

// FuzzTables replaces a region of an image by the bytes of the input, in a table with the given
// bytes for an entry.
func FuzzTables(f *testing.F) {
	f.Add(byte(format.NodeType), byte(1), []byte{0, 1, 2, 2, 1, 0, 3, 0, 0, 1, 2})
	f.Add(byte(format.InodeArrayIndex), byte(1), []byte{1, 0, 7, 0, 4, 5, 0, 9, 0, 0})
	f.Add(byte(format.CblockOffset), byte(8), bytes.Repeat([]byte{0xff}, 64))
	f.Add(byte(format.Strings), byte(0), []byte("/\x00a\x00a\x00../\x00"))
	f.Fuzz(func(t *testing.T, region, depth byte, b []byte) {
		s := fuzzSeed().clone()
		s.replace(format.Region(region)%format.NumRegions, depth, b[:min(len(b), 4096)])
		devour(t, s.img)
	})
}

// FuzzInode replaces the five entries of an inode.
func FuzzInode(f *testing.F) {
	f.Add(byte(1), uint64(9000), uint64(0), uint64(3), uint64(1), uint64(0))
	f.Add(byte(2), uint64(0), uint64(3), uint64(2), uint64(2), uint64(6))
	f.Add(byte(5), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, n byte, size, name, entries, mode, array uint64) {
		s := fuzzSeed().clone()
		s.set(format.InodeFileSize, uint64(n), size)
		s.set(format.InodeNameOffset, uint64(n), name)
		s.set(format.InodeNumEntries, uint64(n), entries)
		s.set(format.InodeModeIndex, uint64(n), mode)
		s.set(format.InodeArrayIndex, uint64(n), array)
		devour(t, s.img)
	})
}

// FuzzCblock puts the input in the place of the compressed region, with one block that begins
// at start, and a page at an offset in it.
func FuzzCblock(f *testing.F) {
	f.Add(axfs.Deflate(text(2*page, 1)), uint16(0), uint32(4096), uint32(8192))
	f.Add(axfs.Deflate(make([]byte, 1<<20)), uint16(0), uint32(0), uint32(1<<20))
	f.Add([]byte{0x78, 0xda, 0x03, 0, 0, 0, 0, 1}, uint16(1), uint32(1), uint32(1))
	f.Fuzz(func(t *testing.T, stream []byte, start uint16, at, cblock uint32) {
		s := fuzzSeed().clone()
		s.super.CblockSize = cblock
		for i := range s.descs[format.CblockOffset].Size / 8 {
			s.set(format.CblockOffset, i, uint64(len(stream)))
		}
		s.set(format.CblockOffset, 0, uint64(start))
		s.set(format.CnodeOffset, 1, uint64(at))
		s.replace(format.Compressed, 0, stream)
		devour(t, s.img)
	})
}
