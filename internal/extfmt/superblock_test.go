package extfmt

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"godax/vfs"
)

// testSuper returns the bytes of a good superblock: 8 MiB in blocks of 1 KiB.
func testSuper() []byte {
	b := make([]byte, SuperSize)
	for off, v := range map[int]uint32{
		0: 2048, 4: 8192, 8: 409, 12: 7000, 16: 2000, 20: 1, 24: 0, 28: 0, 32: 8192, 36: 8192, 40: 2048,
		76: 1, 84: 11, 92: CompatExtAttr | CompatResizeInode, 96: IncompatFiletype, 100: ROCompatSparseSuper,
	} {
		le.PutUint32(b[off:], v)
	}
	le.PutUint16(b[56:], Magic)
	le.PutUint16(b[58:], StateValid)
	le.PutUint16(b[88:], 256)
	le.PutUint16(b[206:], 31)
	return b
}

const testSize = 8 << 20

func TestDecodeSuperblock(t *testing.T) {
	s, err := DecodeSuperblock(testSuper(), testSize)
	if err != nil {
		t.Fatal(err)
	}
	if s.BlockSize != 1024 || s.Groups != 1 || s.ITableBlocks != 512 || s.DescBlocks != 1 || s.AddrsPerBlock != 256 || s.SuperBlocks(0) != 33 {
		t.Errorf("got %+v", s)
	}
	rev0 := testSuper()
	le.PutUint32(rev0[76:], 0)
	le.PutUint16(rev0[88:], 9999) // means nothing in revision 0
	if s, err = DecodeSuperblock(rev0, testSize); err != nil || s.InodeSize != 128 || s.FirstIno != 11 || s.Compat != 0 {
		t.Errorf("revision 0: %+v, %v", s, err)
	}
}

func TestDecodeSuperblockRefuses(t *testing.T) {
	tests := []struct {
		name string
		off  int
		v    uint32
		want error
	}{
		{"magic", 56, 0xEF54, vfs.ErrCorrupt},
		{"no blocks", 4, 1, vfs.ErrCorrupt},
		{"more blocks than the device", 4, 8193, vfs.ErrCorrupt},
		{"most blocks", 4, 1<<32 - 1, vfs.ErrCorrupt},
		{"reserve", 8, 8193, vfs.ErrCorrupt},
		{"first data block", 20, 0, vfs.ErrCorrupt},
		{"first data block far", 20, 1 << 31, vfs.ErrCorrupt},
		{"block size 64 KiB", 24, 6, vfs.ErrUnsupported},
		{"block size shift 7", 24, 7, vfs.ErrCorrupt},
		{"block size shift 40", 24, 40, vfs.ErrCorrupt},
		{"cluster size", 28, 1, vfs.ErrCorrupt},
		{"no blocks per group", 32, 0, vfs.ErrCorrupt},
		{"odd blocks per group", 32, 8191, vfs.ErrCorrupt},
		{"blocks per group", 32, 16384, vfs.ErrCorrupt},
		{"no inodes per group", 40, 0, vfs.ErrCorrupt},
		{"inodes per group", 40, 8193, vfs.ErrCorrupt},
		{"inode count", 0, 2047, vfs.ErrCorrupt},
		{"revision", 76, 2, vfs.ErrUnsupported},
		{"first inode", 84, 10, vfs.ErrCorrupt},
		{"first inode far", 84, 2049, vfs.ErrCorrupt},
		{"inode size 0", 88, 0, vfs.ErrCorrupt},
		{"inode size 64", 88, 64, vfs.ErrCorrupt},
		{"inode size 384", 88, 384, vfs.ErrCorrupt},
		{"inode size 2048", 88, 2048, vfs.ErrCorrupt},
		{"incompat", 96, 0x40, vfs.ErrUnsupported},
		{"bigalloc", 100, ROCompatBigalloc, vfs.ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := testSuper()
			if tt.off == 56 || tt.off == 88 {
				le.PutUint16(b[tt.off:], uint16(tt.v))
			} else {
				le.PutUint32(b[tt.off:], tt.v)
			}
			if _, err := DecodeSuperblock(b, testSize); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := DecodeSuperblock(testSuper()[:1000], testSize); !errors.Is(err, vfs.ErrCorrupt) {
		t.Errorf("short: got %v", err)
	}
}

func TestDecodeGroupRefuses(t *testing.T) {
	s, err := DecodeSuperblock(testSuper(), testSize)
	if err != nil {
		t.Fatal(err)
	}
	desc := func(bb, ib, it uint32, free uint16) []byte {
		b := make([]byte, GroupDescSize)
		le.PutUint32(b[0:], bb)
		le.PutUint32(b[4:], ib)
		le.PutUint32(b[8:], it)
		le.PutUint16(b[GroupFreeBlocks:], free)
		return b
	}
	tests := []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"good", desc(34, 35, 36, 100), true},
		{"at the end", desc(8190, 8191, 7678, 100), true},
		{"in the descriptors", desc(2, 35, 36, 0), false},
		{"table reaches past the end", desc(34, 35, 7681, 0), false},
		{"table far away", desc(34, 35, 1<<32-1, 0), false},
		{"bitmap past the end", desc(8192, 35, 36, 0), false},
		{"one block for both bitmaps", desc(34, 34, 36, 0), false},
		{"bitmap in the table", desc(100, 35, 36, 0), false},
		{"too much free", desc(34, 35, 36, 8192), false},
		{"short", desc(34, 35, 36, 0)[:31], false},
	}
	for _, tt := range tests {
		_, err := DecodeGroup(tt.b, s, 0, 2048)
		if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

func TestHasSuper(t *testing.T) {
	s := &Superblock{ROCompat: ROCompatSparseSuper}
	var got []uint32
	for g := range uint32(130) {
		if s.HasSuper(g) {
			got = append(got, g)
		}
	}
	want := []uint32{0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestModes(t *testing.T) {
	for _, m := range []fs.FileMode{
		0o644, fs.ModeDir | fs.ModeSticky | 0o777, fs.ModeSymlink | 0o777, fs.ModeNamedPipe | 0o600, fs.ModeSocket,
		fs.ModeDevice | 0o660, fs.ModeDevice | fs.ModeCharDevice | 0o666, fs.ModeSetuid | fs.ModeSetgid | 0o755,
	} {
		if got, ok := ToMode(FromMode(m)); got != m || !ok {
			t.Errorf("%v: got %v, %v", m, got, ok)
		}
	}
	for _, m := range []uint16{0x1000 | 0x2000, 0xF000, 0x5000, 0x0} {
		if _, ok := ToMode(m); ok {
			t.Errorf("%#x: is a type", m)
		}
	}
}

func TestTimes(t *testing.T) {
	tests := []struct {
		t          time.Time
		wide, thin time.Time
	}{
		{time.Unix(0, 0), time.Unix(0, 0), time.Unix(0, 0)},
		{time.Unix(-1, 5), time.Unix(-1, 5), time.Unix(-1, 0)},
		{time.Unix(1<<31-1, 999999999), time.Unix(1<<31-1, 999999999), time.Unix(1<<31-1, 0)},
		{time.Unix(1<<31, 1), time.Unix(1<<31, 1), time.Unix(1<<31-1, 0)},
		{time.Unix(1<<32+7, 3), time.Unix(1<<32+7, 3), time.Unix(1<<31-1, 0)},
		{time.Unix(1<<31-1+3<<32, 9), time.Unix(1<<31-1+3<<32, 9), time.Unix(1<<31-1, 0)},
		{time.Unix(1<<40, 9), time.Unix(1<<31-1+3<<32, 999999999), time.Unix(1<<31-1, 0)},
		{time.Unix(-1<<31, 1), time.Unix(-1<<31, 1), time.Unix(-1<<31, 0)},
		{time.Unix(-1<<40, 1), time.Unix(-1<<31, 0), time.Unix(-1<<31, 0)},
	}
	for _, tt := range tests {
		if got := DecodeTime(EncodeTime(tt.t, true)); !got.Equal(tt.wide) {
			t.Errorf("%v: got %v, want %v", tt.t, got, tt.wide)
		}
		if got := DecodeTime(EncodeTime(tt.t, false)); !got.Equal(tt.thin) {
			t.Errorf("%v without the extra word: got %v, want %v", tt.t, got, tt.thin)
		}
	}
	if got := DecodeTime(5, 0xFFFFFFFC); got.Nanosecond() != 0 {
		t.Errorf("too many nanoseconds: got %v", got)
	}
}

func TestRdev(t *testing.T) {
	for _, d := range [][2]uint32{{0, 0}, {1, 3}, {255, 255}, {256, 0}, {0, 256}, {300, 70000}, {4095, 1<<20 - 1}} {
		if major, minor := DecodeRdev(EncodeRdev(d[0], d[1])); major != d[0] || minor != d[1] {
			t.Errorf("%d:%d: got %d:%d", d[0], d[1], major, minor)
		}
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(testSuper(), int64(testSize), uint32(0))
	f.Add(testSuper(), int64(1<<50), uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, size int64, g uint32) {
		s, err := DecodeSuperblock(b, size)
		if err != nil {
			if !errors.Is(err, vfs.ErrCorrupt) && !errors.Is(err, vfs.ErrUnsupported) {
				t.Errorf("unclassified error %v", err)
			}
			return
		}
		if s.Groups == 0 || s.BlocksCount<<s.BlockShift > uint64(size) {
			t.Fatalf("%+v", s)
		}
		g %= s.Groups
		first, n := s.GroupFirst(g), uint64(s.GroupBlocks(g))
		if n == 0 || first >= s.BlocksCount || n > s.BlocksCount-first {
			t.Errorf("group %d: %d+%d of %d blocks", g, first, n, s.BlocksCount)
		}
		s.SuperBlocks(g)
		s.FeatureNames()
	})
}

func FuzzGroup(f *testing.F) {
	f.Add([]byte{34, 0, 0, 0, 35, 0, 0, 0, 36, 0, 0, 0, 9, 0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	s, err := DecodeSuperblock(testSuper(), testSize)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeGroup(b, s, 0, 0)
		if err != nil {
			if !errors.Is(err, vfs.ErrCorrupt) {
				t.Errorf("unclassified error %v", err)
			}
			return
		}
		if d.InodeTable+uint64(s.ITableBlocks) > s.BlocksCount || d.BlockBitmap >= s.BlocksCount || d.InodeBitmap >= s.BlocksCount {
			t.Errorf("%+v", d)
		}
	})
}

func FuzzTime(f *testing.F) {
	f.Add(uint32(1), uint32(1))
	f.Fuzz(func(t *testing.T, sec, extra uint32) {
		if extra>>2 >= 1e9 {
			extra &= 3
		}
		if s, x := EncodeTime(DecodeTime(sec, extra), true); s != sec || x != extra {
			t.Errorf("%#x, %#x: got %#x, %#x", sec, extra, s, x)
		}
	})
}
