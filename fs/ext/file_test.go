package ext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// testFS is a mounted file system on a memory device.
type testFS struct {
	*FS
	t   testing.TB
	dev pmem.Device
}

// mountTest mounts dev for the time of the test.
func mountTest(t testing.TB, dev pmem.Device, o vfs.MountOptions) *testFS {
	t.Helper()
	f, err := mount(dev, o)
	if err != nil {
		t.Fatal(err)
	}
	return &testFS{f.(*FS), t, dev}
}

// newFS formats a memory device and mounts it.
func newFS(t testing.TB, size int64, bs int, carrier string) *testFS {
	t.Helper()
	dev := daxtest.MemoryDevice(t, make([]byte, size))
	if err := Format(dev, FormatOptions{BlockSize: bs}); err != nil {
		t.Fatal(err)
	}
	f := mountTest(t, dev, vfs.MountOptions{Carrier: carrier})
	f.litter()
	return f
}

// litter leaves something in all free blocks, as an old file system would.
func (f *testFS) litter() {
	f.t.Helper()
	if f.st.size > 64<<20 {
		return
	}
	image := daxtest.DeviceBytes(f.t, f.dev)
	for i := range f.groups {
		g := &f.groups[i]
		bm, err := f.blockBitmap(g)
		if err != nil {
			f.t.Fatal(err)
		}
		for b := range g.blocks {
			if !testBit(bm, b) {
				off := f.blockOff(g.first + uint64(b))
				for j := off; j < off+f.blockSize(); j += 4 {
					le.PutUint32(image[j:], uint32(j/f.blockSize())+3)
				}
			}
		}
	}
}

// closeClean closes the file system and lets e2fsck look at it.
func (f *testFS) closeClean() {
	f.t.Helper()
	if err := f.Close(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	daxtest.FsckClean(f.t, daxtest.DeviceBytes(f.t, f.dev))
}

func (f *testFS) root() vfs.Dir {
	f.t.Helper()
	in, err := f.Inode(f.Root())
	if err != nil {
		f.t.Fatal(err)
	}
	return in.(vfs.Dir)
}

// create makes a regular file in the root.
func (f *testFS) create(name string) *file {
	f.t.Helper()
	in, err := f.root().Create(name, vfs.NewInode{Mode: 0o644})
	if err != nil {
		f.t.Fatal(err)
	}
	return in.(*file)
}

// open finds a file by the names on its path.
func (f *testFS) open(names ...string) vfs.Inode {
	f.t.Helper()
	var in vfs.Inode = f.root()
	for _, name := range names {
		ino, err := in.(vfs.Dir).Lookup(name)
		if err != nil {
			f.t.Fatalf("lookup %q: %v", name, err)
		}
		if in, err = f.Inode(ino); err != nil {
			f.t.Fatal(err)
		}
	}
	return in
}

func (f *testFS) evict(in vfs.Inode) {
	f.t.Helper()
	if err := in.Evict(context.Background()); err != nil {
		f.t.Fatalf("evict: %v", err)
	}
}

// contents reads a whole file, in pieces of odd sizes.
func contents(t testing.TB, fl vfs.File) []byte {
	t.Helper()
	size := fl.Attr().Size
	b := make([]byte, size)
	for off := int64(0); off < size; {
		n, err := fl.ReadAt(context.Background(), b[off:min(off+70001, size)], off)
		if err != nil || n == 0 {
			t.Fatalf("read at %d of %d: %d, %v", off, size, n, err)
		}
		off += int64(n)
	}
	return b
}

// eachVariant runs a test for every block size and carrier.
func eachVariant(t *testing.T, test func(t *testing.T, bs int, carrier string)) {
	for _, bs := range []int{1024, 2048, 4096} {
		for _, carrier := range []string{"iomap", "bh"} {
			t.Run(fmt.Sprintf("%d/%s", bs, carrier), func(t *testing.T) { test(t, bs, carrier) })
		}
	}
}

// fill returns n bytes that depend on seed.
func fill(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32() | 1) // never 0, so that a hole shows
	}
	return b
}

// A file changed by random operations is what a slice of bytes changed by the same ones
// is: while it is open, after it was opened again, and for a new mount.
func TestFileModel(t *testing.T) {
	eachVariant(t, func(t *testing.T, bs int, carrier string) {
		ctx := context.Background()
		f := newFS(t, 24<<20, bs, carrier)
		fl := f.create("file")
		var want []byte
		grow := func(n int64) {
			if n > int64(len(want)) {
				want = append(want, make([]byte, n-int64(len(want)))...)
			}
		}
		r := rand.New(rand.NewPCG(1, uint64(bs)))
		const maxSize = 3 << 20
		for i := range 400 {
			off := r.Int64N(maxSize)
			if r.IntN(2) == 0 {
				off = r.Int64N(40 << 10)
			}
			n := 1 + r.Int64N(1<<(3+r.IntN(15)))
			what := ""
			var err error
			switch op := r.IntN(10); op {
			case 0, 1, 2, 3:
				what = "write"
				b := fill(int(n), uint64(i))
				var got int
				if got, err = fl.WriteAt(ctx, b, off); got != len(b) {
					t.Errorf("op %d: wrote %d of %d", i, got, len(b))
				}
				grow(off + n)
				copy(want[off:], b)
			case 4:
				what = "truncate"
				err = fl.Truncate(ctx, off)
				grow(off)
				want = want[:off:off]
			case 5, 6:
				what = "punch"
				err = fl.Allocate(ctx, vfs.AllocPunch, off, n)
				clear(want[min(off, int64(len(want))):min(off+n, int64(len(want)))])
			case 7:
				what = "reserve"
				err = fl.Allocate(ctx, vfs.AllocReserve, off, n)
				grow(off + n)
			case 8:
				what = "zero"
				err = fl.Allocate(ctx, vfs.AllocZero, off, n)
				clear(want[min(off, int64(len(want))):min(off+n, int64(len(want)))])
			case 9:
				what = "evict"
				f.evict(fl)
				fl = f.open("file").(*file)
			}
			if err != nil {
				t.Fatalf("op %d: %s %d+%d: %v", i, what, off, n, err)
			}
			if i%10 == 9 || what == "evict" {
				compare(t, fmt.Sprintf("op %d: %s %d+%d", i, what, off, n), contents(t, fl), want)
			}
		}
		if err := fl.Sync(ctx, false); err != nil {
			t.Fatal(err)
		}
		f.evict(fl)
		f.closeClean()

		f = mountTest(t, f.dev, vfs.MountOptions{ReadOnly: true})
		compare(t, "new mount", contents(t, f.open("file").(*file)), want)
	})
}

func compare(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%s: size %d, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: byte %d is %#x, want %#x", what, i, got[i], want[i])
		}
	}
}

// Holes and data are where they should be at every edge of the block map.
func TestSparseEdges(t *testing.T) {
	eachVariant(t, func(t *testing.T, bs int, carrier string) {
		ctx := context.Background()
		f := newFS(t, 16<<20, bs, carrier)
		fl := f.create("sparse")
		ptrs := int64(bs / 4)
		blocks := []int64{
			0, 11, 12, 12 + ptrs - 1, 12 + ptrs, 12 + ptrs + ptrs*ptrs - 1, 12 + ptrs + ptrs*ptrs,
			12 + ptrs + ptrs*ptrs + 3*ptrs*ptrs + 5*ptrs + 7, f.maxFileSize()/int64(bs) - 1,
		}
		for _, b := range blocks {
			if _, err := fl.WriteAt(ctx, []byte{byte(b) | 1}, b*int64(bs)); err != nil {
				t.Fatalf("block %d: %v", b, err)
			}
		}
		if _, err := fl.WriteAt(ctx, []byte{1}, f.maxFileSize()); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("write past the largest size: got %v, want EFBIG", err)
		}
		f.evict(fl)
		fl = f.open("sparse").(*file)
		var got []int64
		for off := int64(0); off < fl.size(); {
			e, err := fl.Extent(off)
			if err != nil || e.Off != off || e.Len <= 0 {
				t.Fatalf("extent at %d: %+v, %v", off, e, err)
			}
			if e.Kind == vfs.ExtentData {
				for b := off / int64(bs); b*int64(bs) < off+e.Len; b++ {
					got = append(got, b)
				}
			}
			off += e.Len
		}
		if fmt.Sprint(got) != fmt.Sprint(blocks) {
			t.Errorf("blocks with data: got %v, want %v", got, blocks)
		}
		for _, b := range blocks {
			var c [1]byte
			if _, err := fl.ReadAt(ctx, c[:], b*int64(bs)); err != nil || c[0] != byte(b)|1 {
				t.Errorf("block %d: got %d, %v", b, c[0], err)
			}
		}
		used := fl.Attr().Blocks
		for _, b := range blocks[1:] {
			if err := fl.Allocate(ctx, vfs.AllocPunch, b*int64(bs), int64(bs)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := fl.Attr().Blocks, uint64(bs/512); got != want {
			t.Errorf("after punching all but one of %d sectors: %d, want %d", used, got, want)
		}
		f.evict(fl)
		f.closeClean()
	})
}

// A full file system says ENOSPC at once, loses nothing, and has all blocks back after.
func TestNoSpace(t *testing.T) {
	eachVariant(t, func(t *testing.T, bs int, carrier string) {
		ctx := context.Background()
		f := newFS(t, 2<<20, bs, carrier)
		free := f.Statfs().Free
		fl := f.create("big")
		b := fill(100<<10, 1)
		var off int64
		var err error
		for err == nil {
			var n int
			n, err = fl.WriteAt(ctx, b, off)
			off += int64(n)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v, want ENOSPC", err)
		}
		if off != fl.Attr().Size {
			t.Errorf("size %d, want %d", fl.Attr().Size, off)
		}
		if left := f.Statfs().Free; left > 8 {
			t.Errorf("%d blocks left", left)
		}
		if err := fl.Truncate(ctx, 64<<20); err != nil {
			t.Errorf("growing needs no space: %v", err)
		}
		if err := fl.Allocate(ctx, vfs.AllocReserve, 0, 64<<20); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("reserve: got %v, want ENOSPC", err)
		}
		got := contents(t, fl)[:off]
		for i := range got {
			if got[i] != b[i%len(b)] {
				t.Fatalf("byte %d differs", i)
			}
		}
		if err := fl.Truncate(ctx, 0); err != nil {
			t.Fatal(err)
		}
		if got := f.Statfs().Free; got != free {
			t.Errorf("free blocks: %d, want %d", got, free)
		}
		f.evict(fl)
		f.closeClean()
	})
}

// A large file written in one go can be mapped in 2 MiB pages, even in small writes.
func TestLargeFileIsHuge(t *testing.T) {
	for _, piece := range []int{4 << 10, 128 << 10, 1 << 20, 64 << 20} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			ctx := context.Background()
			f := newFS(t, 256<<20, 4096, "iomap")
			fl := f.create("large")
			const size = 64 << 20
			b := fill(piece, 1)
			for off := 0; off < size; off += piece {
				if _, err := fl.WriteAt(ctx, b, int64(off)); err != nil {
					t.Fatal(err)
				}
			}
			f.evict(fl)
			fl = f.open("large").(*file)
			if share := hugeShare(t, fl); share < 0.9 {
				t.Errorf("%.0f %% can be mapped in 2 MiB pages, want 90 %%", 100*share)
			}
			f.evict(fl)
			f.closeClean()
		})
	}
}

// hugeShare is the part of a file that can be mapped in 2 MiB pages.
func hugeShare(t testing.TB, fl *file) float64 {
	var huge uint64
	n := uint64(fl.Attr().Size) / pmem.PageSize
	for e, err := range fl.Mapping().Entries(context.Background(), 0, n, fl) {
		if err != nil {
			t.Fatal(err)
		}
		huge += e.HugePages(dax.PMDOrder) << dax.PMDOrder
	}
	return float64(huge) / float64(n)
}

func TestReadOnlyRefusesChanges(t *testing.T) {
	f := newFS(t, 4<<20, 4096, "iomap")
	ctx := context.Background()
	fl := f.create("file")
	if _, err := fl.WriteAt(ctx, []byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	f.evict(fl)
	f.closeClean()
	before := bytes.Clone(daxtest.DeviceBytes(t, f.dev))

	f = mountTest(t, f.dev, vfs.MountOptions{ReadOnly: true})
	fl = f.open("file").(*file)
	mode := fs.FileMode(0o600)
	for name, err := range map[string]error{
		"write":    second(fl.WriteAt(ctx, []byte{1}, 0)),
		"truncate": fl.Truncate(ctx, 0),
		"punch":    fl.Allocate(ctx, vfs.AllocPunch, 0, 5),
		"setattr":  fl.SetAttr(vfs.SetAttr{Mode: &mode}),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: got %v, want EROFS", name, err)
		}
	}
	f.evict(fl)
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, daxtest.DeviceBytes(t, f.dev)) {
		t.Error("a read-only mount changed the image")
	}
}

func second(_ int, err error) error { return err }

func isNotClean(err error) bool { return errors.Is(err, vfs.ErrNotClean) }

// TestKeepSize: storage without a change of the size, as far as the format can: up to the end
// of the last block.
func TestKeepSize(t *testing.T) {
	ctx := context.Background()
	for _, bs := range []int{1024, 4096} {
		f := newFS(t, 4<<20, bs, "iomap")
		fl := f.create("file")
		if err := fl.Truncate(ctx, 10_000); err != nil {
			t.Fatal(err)
		}
		end := (10_000 + int64(bs) - 1) / int64(bs) * int64(bs)
		for _, tt := range []struct {
			off, n int64
			want   error
		}{
			{0, 5000, nil},
			{9000, end - 9000, nil},
			{9000, end - 9000 + 1, syscall.ENOTSUP},
			{10_000, 1, syscall.ENOTSUP},
			{1 << 30, 1, syscall.ENOTSUP},
		} {
			if err := fl.Allocate(ctx, vfs.AllocKeepSize, tt.off, tt.n); !errors.Is(err, tt.want) {
				t.Errorf("blocks of %d: %d bytes at %d: %v, want %v", bs, tt.n, tt.off, err, tt.want)
			}
		}
		if a := fl.Attr(); a.Size != 10_000 || a.Blocks == 0 {
			t.Errorf("blocks of %d: %d bytes, %d sectors", bs, a.Size, a.Blocks)
		}
		if e, err := fl.Extent(9999); err != nil || e.Kind != vfs.ExtentData {
			t.Errorf("blocks of %d: the last byte: %+v, %v", bs, e, err)
		}
		f.evict(fl)
		f.closeClean()
	}
}
