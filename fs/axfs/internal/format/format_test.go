package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godax/vfs"
)

// samples is where the sample images are.
const samples = "../../../../../shared/testdata/axfs"

// sample returns the first bytes of a sample image.
func sample(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(samples, name))
	if errors.Is(err, fs.ErrNotExist) {
		tb.Skip("no sample images: ", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// newSuperblock is a superblock with every field set.
func newSuperblock(l Layout) *Superblock {
	s := &Superblock{CblockSize: 4096, Files: 3, Size: 1 << 40, Blocks: 7, MmapSize: 1 << 39, Version: [3]uint8{2, 2, 0},
		Timestamp: 1300000000, PageShift: 14, Layout: l}
	s.Digest[39] = 9
	for r := range s.Descriptors {
		s.Descriptors[r] = uint64(l.SuperblockSize() + r*l.DescriptorSize())
	}
	if l == LayoutV1 {
		s.Version, s.Timestamp, s.PageShift = [3]uint8{1, 9, 1}, 0, 12
	}
	return s
}

func TestSuperblockRoundTrip(t *testing.T) {
	for _, l := range []Layout{LayoutNatural, Layout32, LayoutV1} {
		t.Run(l.String(), func(t *testing.T) {
			want := newSuperblock(l)
			b := want.Append([]byte("before"))[len("before"):]
			if len(b) != l.SuperblockSize() || !Recognise(b) {
				t.Fatalf("%d bytes, recognised %v; want %d", len(b), Recognise(b), l.SuperblockSize())
			}
			got, err := DecodeSuperblock(append(b, make([]byte, 64)...))
			if err != nil {
				t.Fatal(err)
			}
			if *got != *want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestSamples decodes what the reference builder wrote, and encodes it to the same bytes.
func TestSamples(t *testing.T) {
	tests := []struct {
		name   string
		layout Layout
		shift  uint8
	}{
		{"basic.axfs", LayoutNatural, 12},
		{"page16k-xipall.axfs", LayoutNatural, 14},
		{"page64k-xipall.axfs", LayoutNatural, 16},
		{"synthetic/syn-pack4.axfs", Layout32, 12},
		{"synthetic/syn-v1planar.axfs", LayoutV1, 12},
		{"synthetic/syn-scatter.axfs", LayoutNatural, 12},
	}
	for _, tt := range tests {
		b := sample(t, tt.name)
		s, err := DecodeSuperblock(b)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if s.Layout != tt.layout || s.PageShift != tt.shift {
			t.Errorf("%s: layout %v, page shift %d; want %v, %d", tt.name, s.Layout, s.PageShift, tt.layout, tt.shift)
		}
		if got := s.Append(nil); !bytes.Equal(got[:243], b[:243]) || s.Layout != LayoutV1 && !bytes.Equal(got, b[:len(got)]) {
			t.Errorf("%s: superblock encoded to other bytes", tt.name)
		}
		for r := range NumRegions {
			off := s.Descriptors[r]
			d, err := DecodeDescriptor(r, b[off:], int64(off), s.Size)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			want := bytes.Clone(b[off:][:DescriptorMin])
			if d.Size == 0 {
				clear(want[:8])
			}
			if got := d.Append(nil, s.Layout); !bytes.Equal(got[:DescriptorMin], want) {
				t.Errorf("%s: descriptor of %v encoded to % x, want % x", tt.name, r, got, want)
			}
		}
	}
}

func TestSuperblockRefused(t *testing.T) {
	natural := newSuperblock(LayoutNatural).Append(nil)
	with := func(off int, v ...byte) []byte {
		b := bytes.Clone(natural)
		copy(b[off:], v)
		return b
	}
	tests := []struct {
		name string
		b    []byte
		is   error
		text string
	}{
		{"empty", nil, vfs.ErrCorrupt, "too short"},
		{"cut in the fields", natural[:242], vfs.ErrCorrupt, "too short"},
		{"cut before the end", natural[:250], vfs.ErrCorrupt, "too short"},
		{"cut before page_shift", natural[:256], vfs.ErrCorrupt, "too short"},
		{"magic", with(0, 0), vfs.ErrCorrupt, "magic"},
		{"signature", with(19, 1), vfs.ErrCorrupt, "signature"},
		{"version", with(240, 3), vfs.ErrUnsupported, "version 3.2.0"},
		{"compression", with(243, 0xaa), vfs.ErrUnsupported, "compression_type 170"},
		{"page_shift 11", with(256, 11), vfs.ErrCorrupt, "page_shift"},
		{"page_shift 64", with(256, 64), vfs.ErrCorrupt, "page_shift"},
		{"cblock_size 0", with(60, 0, 0, 0, 0), vfs.ErrCorrupt, "cblock_size"},
		{"cblock_size", with(60, 0xff), vfs.ErrCorrupt, "cblock_size"},
		{"mmap_size", with(88, 0xff), vfs.ErrCorrupt, "mmap_size"},
		{"rewrite", sample(t, "reject/v2.9.1.axfs"), vfs.ErrUnsupported, "unfinished rewrite"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeSuperblock(tt.b)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v; want %v with %q", err, tt.is, tt.text)
			}
		})
	}
}

func TestDescriptor(t *testing.T) {
	good := Descriptor{Off: 100, Size: 40, MaxIndex: 10, Depth: 4, Incore: true}
	tests := []struct {
		name   string
		d      Descriptor
		r      Region
		reason string
	}{
		{"table", good, Modes, ""},
		{"data", Descriptor{Off: 100, Size: 41}, XIP, ""},
		{"inflates to more than the image", Descriptor{Off: 100, Size: 1 << 60, CompressedSize: 10}, XIP, ""},
		{"up to the end", Descriptor{Off: 960, Size: 40, Depth: 8}, Modes, ""},
		{"past the end", Descriptor{Off: 961, Size: 40, Depth: 8}, Modes, "reach past"},
		{"wraps", Descriptor{Off: 100, Size: ^uint64(0) - 50}, XIP, "reach past"},
		{"stored past the end", Descriptor{Off: 990, Size: 8, CompressedSize: 11, Depth: 8}, Modes, "reach past"},
		{"offset", Descriptor{Off: 1001, Size: 8, Depth: 8}, Modes, "reach past"},
		{"depth 9", Descriptor{Off: 100, Size: 9, Depth: 9}, Modes, "table_byte_depth"},
		{"depth 0", Descriptor{Off: 100, Size: 9}, Modes, "table_byte_depth"},
		{"half an entry", Descriptor{Off: 100, Size: 9, Depth: 4}, Modes, "whole number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeDescriptor(tt.r, tt.d.Append(nil, LayoutNatural), 0, 1000)
			if tt.reason != "" {
				if !errors.Is(err, vfs.ErrCorrupt) || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("error %v; want one with %q", err, tt.reason)
				}
			} else if err != nil || got != tt.d {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.d)
			}
		})
	}
	if got, err := DecodeDescriptor(XIP, Descriptor{Off: 1 << 50}.Append(nil, Layout32), 0, 10); err != nil || got != (Descriptor{}) {
		t.Errorf("empty region far away: %+v, %v", got, err)
	}
	if _, err := DecodeDescriptor(XIP, make([]byte, DescriptorMin-1), 0, 10); !errors.Is(err, vfs.ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
}

func TestTable(t *testing.T) {
	for _, planar := range []bool{false, true} {
		for depth := uint8(1); depth <= 8; depth++ {
			largest := ^uint64(0) >> (64 - 8*uint(depth))
			want := []uint64{0, 1, largest, largest - 1, largest / 3}
			b := AppendTable(nil, depth, planar, want)
			if len(b) != len(want)*int(depth) {
				t.Fatalf("depth %d: %d bytes", depth, len(b))
			}
			tab := NewTable(b, depth, planar)
			if tab.Len() != uint64(len(want)) || tab.Depth() != depth || DepthOf(largest) != depth {
				t.Fatalf("depth %d: length %d, depth %d, DepthOf %d", depth, tab.Len(), tab.Depth(), DepthOf(largest))
			}
			for i, v := range want {
				if got, ok := tab.At(uint64(i)); !ok || got != v {
					t.Errorf("depth %d, planar %v, entry %d: %#x, %v; want %#x", depth, planar, i, got, ok, v)
				}
			}
			if _, ok := tab.At(tab.Len()); ok {
				t.Errorf("depth %d: an entry past the end", depth)
			}
		}
	}
	for _, planar := range []bool{false, true} {
		want := uint64(0x0304)
		if planar {
			want = 0x0402
		}
		tab := NewTable([]byte{1, 2, 3, 4}, 2, planar)
		if got, _ := tab.At(1); got != want {
			t.Errorf("planar %v: entry 1 is %#x, want %#x", planar, got, want)
		}
	}
	for _, depth := range []uint8{0, 9} {
		if tab := NewTable(make([]byte, 90), depth, false); tab.Len() != 0 {
			t.Errorf("depth %d: %d entries", depth, tab.Len())
		}
	}
}

func TestMode(t *testing.T) {
	known := 0
	for v := range uint64(0o200000) {
		mode, ok := FileMode(v)
		if !ok {
			continue
		}
		known++
		if got, ok := UnixMode(mode); !ok || uint64(got) != v {
			t.Fatalf("%#o becomes %v becomes %#o", v, mode, got)
		}
	}
	if want := 7 * 0o10000; known != want {
		t.Errorf("%d known modes, want %d", known, want)
	}
	for _, v := range []uint64{0o200000, 1<<32 | ModeDir, ^uint64(0)} {
		if mode, ok := FileMode(v); ok {
			t.Errorf("%#o is %v", v, mode)
		}
	}
	if _, ok := UnixMode(fs.ModeIrregular); ok {
		t.Error("an irregular file has a mode")
	}
}

func TestDevice(t *testing.T) {
	tests := []struct {
		v            uint64
		major, minor uint32
		narrow       bool
	}{
		{0x0501, 5, 1, true},
		{0xffff, 255, 255, true},
		{0x10000, 256, 0, false},
		{0x100000, 0, 256, false},
		{0xffffffff, 0xfff, 0xfffff, false},
	}
	for _, tt := range tests {
		major, minor := Device(tt.v)
		v, narrow, ok := DeviceNumber(tt.major, tt.minor)
		if major != tt.major || minor != tt.minor || v != tt.v || narrow != tt.narrow || !ok {
			t.Errorf("%#x: %d:%d, back %#x, narrow %v, %v", tt.v, major, minor, v, narrow, ok)
		}
	}
	if _, _, ok := DeviceNumber(0x1000, 0); ok {
		t.Error("major number of 13 bits")
	}
	if _, _, ok := DeviceNumber(0, 0x100000); ok {
		t.Error("minor number of 21 bits")
	}
}

// FuzzSuperblock: what decodes encodes to bytes that decode to the same.
func FuzzSuperblock(f *testing.F) {
	for _, l := range []Layout{LayoutNatural, Layout32, LayoutV1} {
		f.Add(newSuperblock(l).Append(nil))
	}
	for _, name := range []string{"basic.axfs", "synthetic/syn-pack4.axfs", "synthetic/syn-v1planar.axfs", "reject/v2.9.1.axfs"} {
		if b, err := os.ReadFile(filepath.Join(samples, name)); err == nil {
			f.Add(b[:300])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSuperblock(b)
		if err != nil {
			if !errors.Is(err, vfs.ErrCorrupt) && !errors.Is(err, vfs.ErrUnsupported) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		// What lies behind the superblock in the image decides about the layout, too.
		e := s.Append(nil)
		e = append(e, b[min(len(b), len(e)):]...)
		if s.Layout == Layout32 && len(b) > offShift {
			e[offShift] = b[offShift]
		}
		again, err := DecodeSuperblock(e)
		if err != nil || *again != *s {
			t.Fatalf("decoded %+v, encoded and decoded %+v, %v", s, again, err)
		}
	})
}

// FuzzDescriptor: what decodes lies inside the image, and comes back the same.
func FuzzDescriptor(f *testing.F) {
	f.Add(uint8(Modes), Descriptor{Off: 100, Size: 40, MaxIndex: 10, Depth: 4}.Append(nil, LayoutNatural), uint64(1000))
	f.Add(uint8(XIP), Descriptor{Off: 100, Size: 1 << 60, CompressedSize: 40, Incore: true}.Append(nil, Layout32), uint64(1000))
	f.Fuzz(func(t *testing.T, region uint8, b []byte, size uint64) {
		r := Region(region) % NumRegions
		d, err := DecodeDescriptor(r, b, 0, size)
		if err != nil {
			if !errors.Is(err, vfs.ErrCorrupt) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if end := d.Off + d.Stored(); end < d.Off || end > size {
			t.Fatalf("%+v reaches past %d", d, size)
		}
		if again, err := DecodeDescriptor(r, d.Append(nil, LayoutNatural), 0, size); err != nil || again != d {
			t.Fatalf("decoded %+v, encoded and decoded %+v, %v", d, again, err)
		}
	})
}

// FuzzTable: every entry there is can be read, none else, and all of them make the
// table again.
func FuzzTable(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6}, uint8(2), false)
	f.Add(binary.BigEndian.AppendUint64(nil, 1<<63), uint8(8), true)
	f.Fuzz(func(t *testing.T, b []byte, depth uint8, planar bool) {
		tab := NewTable(b, depth, planar)
		entries := make([]uint64, tab.Len())
		for i := range entries {
			var ok bool
			if entries[i], ok = tab.At(uint64(i)); !ok {
				t.Fatalf("entry %d of %d is missing", i, tab.Len())
			}
		}
		if _, ok := tab.At(tab.Len()); ok {
			t.Fatal("an entry past the end")
		}
		if depth < 1 || depth > 8 {
			return
		}
		whole := b[:len(b)-len(b)%int(depth)]
		if got := AppendTable(nil, depth, planar, entries); !bytes.Equal(got, whole) {
			t.Fatalf("encoded % x, want % x", got, whole)
		}
	})
}
