package ext

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"

	"godax/internal/daxtest"
	"godax/vfs"
)

// fuzzImage is a small image with a bit of everything.
var fuzzImage = sync.OnceValue(func() []byte {
	t := &testing.B{}
	f := newFS(t, 192<<10, 1024, "iomap")
	ctx := context.Background()
	fl := f.create("file")
	if _, err := fl.WriteAt(ctx, fill(40<<10, 1), 0); err != nil {
		panic(err)
	}
	f.evict(fl)
	d, err := f.root().Create("dir", vfs.NewInode{Mode: fs.ModeDir | 0o755})
	if err != nil {
		panic(err)
	}
	for name, n := range map[string]vfs.NewInode{
		"link": {Mode: fs.ModeSymlink | 0o777, Target: "../file"},
		"node": {Mode: fs.ModeDevice | 0o600, RdevMajor: 1},
	} {
		in, err := d.(vfs.Dir).Create(name, n)
		if err != nil {
			panic(err)
		}
		if err := in.(vfs.Xattrs).SetXattr("trusted.x", []byte("value"), false, false); err != nil {
			panic(err)
		}
		f.evict(in)
	}
	f.evict(d)
	if err := f.Close(ctx); err != nil {
		panic(err)
	}
	return bytes.Clone(daxtest.DeviceBytes(t, f.dev))
})

// FuzzInode loads an inode of any bytes.
func FuzzInode(f *testing.F) {
	image := fuzzImage()
	var sb *FS
	{
		g, err := load(daxtest.MemoryDevice(f, image), vfs.MountOptions{ReadOnly: true})
		if err != nil {
			f.Fatal(err)
		}
		sb = g
	}
	off, err := sb.inodeOff(12)
	if err != nil {
		f.Fatal(err)
	}
	for ino := uint32(2); ino <= 15; ino++ {
		o, err := sb.inodeOff(ino)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(image[o : o+int64(sb.sb.InodeSize)])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := bytes.Clone(image)
		copy(b[off:off+256], raw)
		g, err := load(daxtest.MemoryDevice(t, b), vfs.MountOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		in, err := g.Inode(12)
		if err != nil {
			if !errors.Is(err, vfs.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("unclassified error %v", err)
			}
			return
		}
		a := in.Attr()
		if a != in.Attr() || a.Size < 0 {
			t.Errorf("%+v", a)
		}
		if fl, ok := in.(vfs.File); ok && a.Size > 0 {
			var buf [100]byte
			_, _ = fl.ReadAt(context.Background(), buf[:], a.Size/2)
			_, _ = fl.Extent(a.Size - 1)
		}
		_ = in.Evict(context.Background())
	})
}

// FuzzImage reads, and then writes, an image with some bytes changed: the input is a list
// of places (2 bytes, in units of 4) and values (4 bytes).
func FuzzImage(f *testing.F) {
	image := fuzzImage()
	f.Add([]byte{0, 1, 1, 2, 3, 4})
	f.Add([]byte{0, 2, 0xff, 0xff, 0xff, 0xff, 9, 3, 0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, patch []byte) {
		b := bytes.Clone(image)
		for ; len(patch) >= 6; patch = patch[6:] {
			at := 4 * (int(patch[0]) | int(patch[1])<<8)
			if at+4 <= len(b) {
				copy(b[at:], patch[2:6])
			}
		}
		devour(t, b, false)
		devour(t, b, true)
	})
}
