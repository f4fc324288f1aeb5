package axfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"godax"
	"godax/fs/axfs"
	"godax/fs/axfs/internal/format"
)

// hostileFiles are the files of images that are then damaged. Inodes: 0 root, 1 "a" (3 nodes,
// compressed), 2 "d", 3 "dev", 4 "link", 5 "x" (2 nodes, XIP), 6 "d/b" (byte-aligned),
// 7 "d/e", a directory, 8 "d/e/f", empty.
func hostileFiles() []axfs.TestFile {
	return []axfs.TestFile{
		{Path: "a", Data: text(2*page+500, 1), Kinds: "C", Mode: 0o644},
		{Path: "d/b", Data: text(300, 2), Kinds: "B", Mode: 0o644},
		{Path: "d/e/f", Mode: 0o644},
		{Path: "dev", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Rdev: 0x105},
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Data: []byte("d/b"), Kinds: "B"},
		{Path: "x", Data: text(2*page, 3), Kinds: "X", Mode: 0o644},
	}
}

// Nodes of hostileFiles: 0 to 2 "a", 3 "d/b", 4 "link", 5 and 6 "x".

// superField stores a 64-bit field of the superblock.
func superField(off int, v uint64) func([]byte) []byte {
	return func(img []byte) []byte {
		binary.BigEndian.PutUint64(img[off:], v)
		return img
	}
}

// descField stores a 64-bit field of a region's descriptor.
func descField(r format.Region, off int, v uint64) func([]byte) []byte {
	return func(img []byte) []byte {
		at := binary.BigEndian.Uint64(img[96+8*int(r):])
		binary.BigEndian.PutUint64(img[int(at)+off:], v)
		return img
	}
}

// descByte stores a byte of a region's descriptor.
func descByte(r format.Region, off int, v byte) func([]byte) []byte {
	return func(img []byte) []byte {
		img[int(binary.BigEndian.Uint64(img[96+8*int(r):]))+off] = v
		return img
	}
}

// entry sets an entry of a table.
func entry(r format.Region, i int, v uint64) func(*axfs.TestTables) {
	return func(t *axfs.TestTables) { t.T[r][i] = v }
}

// TestMountChecks: what breaks the format is refused when the image is opened. The numbers are
// those of the checks in the description of the format.
func TestMountChecks(t *testing.T) {
	const all = ^uint64(0)
	name := func(old, new string) func(*axfs.TestTables) {
		return func(t *axfs.TestTables) {
			t.Data[format.Strings] = bytes.Replace(t.Data[format.Strings], []byte(old), []byte(new), 1)
		}
	}
	tests := []struct {
		check string
		edit  func(*axfs.TestTables)
		image func([]byte) []byte
		o     axfs.TestImage
		text  string
	}{
		{check: "1 short", image: func(b []byte) []byte { return b[:242] }, text: "too short"},
		{check: "1 short of page_shift", image: func(b []byte) []byte { return b[:256] }, text: "too short"},
		{check: "2 magic", image: func(b []byte) []byte { b[0]++; return b }, text: "no known"},
		{check: "2 signature", image: func(b []byte) []byte { b[10]++; return b }, text: "no known"},
		{check: "2 compression", image: func(b []byte) []byte { b[243] = 1; return b }, text: "compression_type 1"},
		{check: "2 page_shift", image: func(b []byte) []byte { b[256] = 17; return b }, text: "page_shift is 17"},
		{check: "2 version", image: func(b []byte) []byte { b[240] = 9; return b }, text: "version 9.2.0"},
		{check: "3 cblock_size 0", image: func(b []byte) []byte { clear(b[60:64]); return b }, text: "cblock_size is 0"},
		{check: "3 cblock_size", image: func(b []byte) []byte { b[60] = 0xff; return b }, text: "cblock_size"},
		{check: "4 size", image: func(b []byte) []byte { return superField(72, 1<<40)(superField(88, 1<<40)(b)) }, text: "cut off"},
		{check: "4 size 0", image: func(b []byte) []byte { return superField(72, 0)(superField(88, 0)(b)) }, text: "size is 0"},
		{check: "4 trailer", image: func(b []byte) []byte { b[len(b)-1]++; return b }, text: "trailer"},
		{check: "5 mmap_size", image: superField(88, all), text: "mmap_size"},
		{check: "6 descriptor", image: superField(96+8*int(format.Modes), all-20), text: "descriptor past the end"},
		{check: "7 fsoffset", image: descField(format.XIP, 0, all-100), text: "reach past"},
		{check: "7 size", image: descField(format.Compressed, 8, all), text: "reach past"},
		{check: "8 depth 0", image: descByte(format.Modes, 32, 0), text: "table_byte_depth"},
		{check: "8 depth 9", image: descByte(format.Modes, 32, 9), text: "table_byte_depth"},
		{check: "8 half an entry", image: descField(format.Modes, 8, 17), text: "whole number"},
		{check: "9 bomb", image: func(b []byte) []byte { return descField(format.Strings, 8, 1<<60)(b) }, o: axfs.TestImage{Compressed: true}, text: "can inflate to"},
		{check: "9 longer", image: func(b []byte) []byte { return descField(format.Strings, 8, 30)(b) }, o: axfs.TestImage{Compressed: true}, text: "inflates to"},
		{check: "9 shorter", image: func(b []byte) []byte { return descField(format.Strings, 8, 100)(b) }, o: axfs.TestImage{Compressed: true}, text: "inflates to"},
		{check: "9 broken", image: func(b []byte) []byte {
			at := binary.BigEndian.Uint64(b[96+8*int(format.Strings):])
			b[binary.BigEndian.Uint64(b[at:])+4] ^= 0x55
			return b
		}, o: axfs.TestImage{Compressed: true}, text: "zlib"},
		{check: "11 files", image: superField(64, 10), text: "has 9 entries"},
		{check: "11 no files", image: superField(64, 0), text: "not even the root"},
		{check: "12 mode index", edit: entry(format.InodeModeIndex, 3, 99), text: "modes has 9 entries"},
		{check: "12 uids", edit: func(t *axfs.TestTables) { t.T[format.UIDs] = t.T[format.UIDs][:4] }, text: "no such entry in uids or gids"},
		{check: "12 gid of 40 bits", edit: entry(format.GIDs, 2, 1<<40), text: "gids"},
		{check: "13 type", edit: entry(format.Modes, 5, 0o070644), text: "of no known type"},
		{check: "13 no mode", edit: entry(format.Modes, 5, 1<<20|0o100644), text: "of no known type"},
		{check: "14 name offset", edit: entry(format.InodeNameOffset, 5, 1000), text: "inode_name_offset is 1000"},
		{check: "14 no NUL", edit: func(t *axfs.TestTables) {
			t.Data[format.Strings] = bytes.TrimRight(t.Data[format.Strings], "\x00")
		}, text: "without an end"},
		{check: "14 long", edit: func(t *axfs.TestTables) {
			t.T[format.InodeNameOffset][8] = uint64(len(t.Data[format.Strings]))
			t.Data[format.Strings] = append(t.Data[format.Strings], append(bytes.Repeat([]byte("n"), 256), 0)...)
		}, text: "more than 255 bytes"},
		{check: "14 empty", edit: func(t *axfs.TestTables) {
			t.T[format.InodeNameOffset][8] = uint64(len(t.Data[format.Strings]) - 1)
		}, text: `"" is not a name`},
		{check: "14 slash", edit: name("link\x00", "l/nk\x00"), text: "is not a name"},
		{check: "14 dots", edit: name("dev\x00", "..\x00\x00"), text: `".." is not a name`},
		{check: "14 dot", edit: name("dev\x00", ".\x00\x00\x00"), text: `"." is not a name`},
		{check: "15 children", edit: entry(format.InodeNumEntries, 2, 8), text: "8 children from there on"},
		{check: "15 wraps", edit: entry(format.InodeNumEntries, 2, all), text: "children from there on"},
		{check: "15 root's child", edit: entry(format.InodeArrayIndex, 2, 0), text: "the first is the root"},
		{check: "16 two parents", edit: entry(format.InodeArrayIndex, 7, 6), text: "of no directory, or of two"},
		{check: "16 no parent", edit: entry(format.InodeNumEntries, 7, 0), text: "of no directory"},
		{check: "16 circle", edit: func(t *axfs.TestTables) {
			// d has d/e/f for a child only, d/e has d/b and itself.
			t.T[format.InodeArrayIndex][2], t.T[format.InodeNumEntries][2] = 8, 1
			t.T[format.InodeArrayIndex][7], t.T[format.InodeNumEntries][7] = 6, 2
		}, text: "cannot be reached"},
		{check: "17 order", edit: func(t *axfs.TestTables) {
			offs := t.T[format.InodeNameOffset]
			offs[3], offs[4] = offs[4], offs[3]
		}, text: `"dev" comes after "link"`},
		{check: "17 twice", edit: func(t *axfs.TestTables) {
			t.T[format.InodeNameOffset][4] = t.T[format.InodeNameOffset][3]
		}, text: `"dev" comes after "dev"`},
		{check: "18 size", edit: entry(format.InodeFileSize, 1, 3*page+1), text: "4 pages, and 3 nodes"},
		{check: "18 huge", edit: func(t *axfs.TestTables) {
			t.T[format.InodeFileSize][1], t.T[format.InodeNumEntries][1] = all, all
		}, text: "inode_file_size"},
		{check: "18 nodes", edit: entry(format.InodeArrayIndex, 1, 5), text: "3 nodes from there on, there are 7"},
		{check: "18 wraps", edit: entry(format.InodeArrayIndex, 1, all), text: "nodes from there on"},
		{check: "19 empty", edit: entry(format.InodeFileSize, 4, 0), text: "symbolic link with a length"},
		{check: "19 long", edit: func(t *axfs.TestTables) {
			t.T[format.InodeFileSize][4], t.T[format.InodeNumEntries][4] = page+1, 2
		}, text: "symbolic link with a length"},
		{check: "root", edit: entry(format.InodeModeIndex, 0, 1), text: "root is not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.check, func(t *testing.T) {
			o := tt.o
			o.Edit = tt.edit
			img := o.Build(t, hostileFiles()...)
			if tt.image != nil {
				img = tt.image(img)
			}
			path := t.TempDir() + "/image" // a file has any size, memory whole pages
			must(t, os.WriteFile(path, img, 0o600))
			_, err := godax.Open(path, godax.Options{ReadOnly: true})
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("%v; want an error with %q", err, tt.text)
			}
			kind := godax.ErrCorrupt
			switch {
			case strings.HasPrefix(tt.check, "2 magic"), strings.HasPrefix(tt.check, "2 sign"):
				kind = godax.ErrUnknownFormat
			case strings.HasPrefix(tt.check, "2 comp"), strings.HasPrefix(tt.check, "2 vers"):
				kind = godax.ErrUnsupported
			}
			if !errors.Is(err, kind) {
				t.Errorf("%v; want %v", err, kind)
			}
		})
	}
}

// TestAccessChecks: what is wrong with the nodes of one file is an error of that file, and
// others can be read.
func TestAccessChecks(t *testing.T) {
	const all = ^uint64(0)
	bomb := axfs.Deflate(make([]byte, 64<<20))
	tests := []struct {
		check, file string
		edit        func(*axfs.TestTables)
		text        string
	}{
		{"19 NUL in a target", "link", func(t *axfs.TestTables) {
			t.Data[format.ByteAligned][t.T[format.BanodeOffset][1]+1] = 0
		}, "NUL in the target"},
		{"21 type", "a", entry(format.NodeType, 1, 3), "node_type is 3"},
		{"21 xip index", "x", entry(format.NodeIndex, 6, 2), "xip has 2 pages"},
		{"21 xip wraps", "x", entry(format.NodeIndex, 6, 1<<52), "xip has 2 pages"},
		{"21 cnode index", "a", entry(format.NodeIndex, 1, 3), "it has 3 entries"},
		{"21 cnode_offset short", "a", func(t *axfs.TestTables) { t.T[format.CnodeOffset] = t.T[format.CnodeOffset][:1] }, "it has 1 entries"},
		{"21 banode index", "d/b", entry(format.NodeIndex, 3, 2), "it has 2 entries"},
		{"22 cblock", "a", entry(format.CnodeIndex, 1, 3), "there are 3 cblocks"},
		{"22 cblock wraps", "a", entry(format.CnodeIndex, 1, all), "cblock"},
		{"22 backwards", "a", entry(format.CblockOffset, 1, 1<<20), "cblock_offset"},
		{"22 past the end", "a", func(t *axfs.TestTables) { t.T[format.CblockOffset][3]++ }, "compressed has"},
		{"22 long stream", "a", func(t *axfs.TestTables) {
			t.Data[format.Compressed] = append(t.Data[format.Compressed], make([]byte, 1<<20)...)
			t.T[format.CblockOffset][3] += 1 << 20
		}, "stream of"},
		{"23 bomb", "a", func(t *axfs.TestTables) {
			t.Super.CblockSize = 1 << 20
			t.T[format.CblockOffset] = []uint64{0, uint64(len(bomb)), uint64(len(bomb)), uint64(len(bomb))}
			t.Data[format.Compressed] = bomb
		}, "inflates to more"},
		{"23 broken", "a", func(t *axfs.TestTables) { t.Data[format.Compressed][200] ^= 0x40 }, "cblock 0"},
		{"23 cut", "a", func(t *axfs.TestTables) { t.T[format.CblockOffset][1] -= 4 }, "zlib"},
		{"23 beyond cblock_size", "a", entry(format.CnodeOffset, 1, page), "cnode_offset"},
		{"23 beyond the block", "a", func(t *axfs.TestTables) { t.T[format.CnodeIndex][1] = 2 }, "it has 500"},
		{"24 banode", "d/b", entry(format.BanodeOffset, 0, 100), "byte_aligned has"},
		{"24 wraps", "d/b", entry(format.BanodeOffset, 0, all-10), "byte_aligned has"},
	}
	for _, tt := range tests {
		t.Run(tt.check, func(t *testing.T) {
			img := axfs.TestImage{Edit: tt.edit}.Build(t, hostileFiles()...)
			fsys, f, _ := openBytes(t, godax.Options{}, img)
			var err error
			for range 2 { // a failure leaves nothing behind that would pass for data
				if tt.file == "link" {
					_, err = fsys.Readlink(tt.file)
				} else {
					_, err = fsys.ReadFile(tt.file)
				}
				if !errors.Is(err, godax.ErrCorrupt) || !strings.Contains(err.Error(), tt.text) {
					t.Fatalf("%v; want a corrupt error with %q", err, tt.text)
				}
			}
			for _, other := range hostileFiles() {
				if other.Mode.IsRegular() && other.Path != tt.file && tt.check != "23 bomb" {
					want(t, fsys, other.Path, other.Data)
				}
			}
			if n := f.CachedFrames(); n > 4 {
				t.Errorf("%d cached pages", n)
			}
		})
	}
}

// TestFailedBlock: check 26: a block that cannot be inflated does not leave the bytes of the
// one before, and spoils none after it.
func TestFailedBlock(t *testing.T) {
	data := text(6*page, 9)
	img := axfs.TestImage{Edit: func(t *axfs.TestTables) {
		t.Data[format.Compressed][t.T[format.CblockOffset][2]+50] ^= 1
	}}.Build(t, axfs.TestFile{Path: "f", Data: data})
	fsys, _, _ := openBytes(t, godax.Options{CacheBytes: page}, img)
	f := openFile(t, fsys, "f")
	b := make([]byte, page)
	for range 3 {
		for p := range 6 {
			_, err := f.ReadAt(b, int64(p)*page)
			if p == 2 {
				if !errors.Is(err, godax.ErrCorrupt) {
					t.Errorf("page 2: %v", err)
				}
				continue
			}
			if err != nil || !bytes.Equal(b, data[p*page:][:page]) {
				t.Errorf("page %d: %v", p, err)
			}
		}
	}
}

// TestAnyOrder: inodes may be numbered in any order in which siblings are neighbours, also with
// children before their parents, and names may share bytes.
func TestAnyOrder(t *testing.T) {
	edit := func(t *axfs.TestTables) {
		// The contents of d/e (inode 8) move to 1, and everything else up by one.
		for _, r := range []format.Region{format.InodeFileSize, format.InodeNameOffset, format.InodeNumEntries, format.InodeModeIndex, format.InodeArrayIndex} {
			e := t.T[r]
			t.T[r] = slices.Concat(e[:1], e[8:], e[1:8])
		}
		index := t.T[format.InodeArrayIndex]
		index[0], index[3], index[8] = 2, 7, 1
		// "e" is the end of some other name.
		t.Data[format.Strings] = append(t.Data[format.Strings], "file\x00"...)
		t.T[format.InodeNameOffset][8] = uint64(len(t.Data[format.Strings]) - 2)
	}
	img := axfs.TestImage{Edit: edit}.Build(t, hostileFiles()...)
	fsys, _, _ := openBytes(t, godax.Options{}, img)
	got := strings.Join(tree(t, fsys, "/"), " ")
	if want := "/ /a /d /d/b /d/e /d/e/f /dev /link /x"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, f := range hostileFiles() {
		if f.Mode.IsRegular() {
			want(t, fsys, f.Path, f.Data)
		}
	}
	if fi, err := fsys.Stat("d/e/../../d/e/f"); err != nil || fi.Size() != 0 {
		t.Errorf("by way of ..: %v", err)
	}
}
