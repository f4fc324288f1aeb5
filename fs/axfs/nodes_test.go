package axfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"godax"
	"godax/fs/axfs"
	"godax/fs/axfs/internal/format"
	"godax/pmem"
	"godax/vfs"
)

// fresh reads an inode in again, so that it has not been read yet.
func fresh(t *testing.T, f *axfs.FS, name string) vfs.File {
	t.Helper()
	root, err := f.Inode(f.Root())
	must(t, err)
	ino, err := root.(vfs.Dir).Lookup(name)
	must(t, err)
	in, err := f.Inode(ino)
	must(t, err)
	return in.(vfs.File)
}

// wantRead reads n bytes at off of a file that nobody has read, and expects those of data up to
// the byte good, at which bad begins; bad is nil if nothing is wrong.
func wantRead(t *testing.T, f *axfs.FS, name string, data []byte, off, n, good int, bad error) {
	t.Helper()
	b := make([]byte, n)
	file := fresh(t, f, name)
	got, err := file.ReadAt(context.Background(), b, int64(off))
	must(t, file.Evict(context.Background()))
	end := min(off+n, len(data))
	if bad == nil || end <= good {
		if err == io.EOF && off+n > len(data) {
			err = nil
		}
	} else if end = max(good, off); errors.Is(err, bad) {
		err = nil
	} else {
		t.Errorf("%s, %d bytes at %d: %v, want %v", name, n, off, err, bad)
		return
	}
	if err != nil || got != max(end-off, 0) || !bytes.Equal(b[:got], data[off:end]) {
		t.Errorf("%s, %d bytes at %d: %d bytes, %v; want %d", name, n, off, got, err, end-off)
	}
}

// pack takes out the byte that test images have behind each byte-aligned node.
func pack(tt *axfs.TestTables) {
	var packed []byte
	offs, all := tt.T[format.BanodeOffset], tt.Data[format.ByteAligned]
	for i, off := range offs {
		end := uint64(len(all))
		if i+1 < len(offs) {
			end = offs[i+1]
		}
		offs[i] = uint64(len(packed))
		packed = append(packed, all[off:end-1]...)
	}
	tt.Data[format.ByteAligned] = packed
}

// TestSideBySide: nodes that lie side by side are read in one go, and those that only seem to are not: of
// other kinds, in another order, shared, in pages of the image that are larger than ours.
func TestSideBySide(t *testing.T) {
	for _, shift := range []uint8{12, 14} {
		size := 1 << shift
		data := text(5*size+777, 1)
		var files []axfs.TestFile
		for i, kinds := range []string{"X", "B", "C", "XB", "BX", "XXBBX", "XCB", "BBBBBX", "XBXBXC"} {
			files = append(files, axfs.TestFile{Path: fmt.Sprint("f", i), Data: data, Kinds: kinds})
		}
		files = append(files, axfs.TestFile{Path: "same", Same: "f5"}, axfs.TestFile{Path: "swapped", Data: data, Kinds: "X"}, axfs.TestFile{Path: "turned", Data: data, Kinds: "B"})
		swapped := slices.Concat(data[size:2*size], data[:size], data[2*size:])
		turned := slices.Concat(data[:size], data[3*size:4*size], data[2*size:3*size], data[size:2*size], data[4*size:])
		image := axfs.TestImage{PageShift: shift, Cblock: 4 * size, Dedup: true, Edit: func(tt *axfs.TestTables) {
			n := uint64(len(tt.T[format.NodeType]))
			index := tt.T[format.NodeIndex][n-12:] // the last two files have six nodes each
			index[0], index[1] = index[1], index[0]
			index[7], index[9] = index[9], index[7]
			pack(tt)
		}}
		_, f, _ := openBytes(t, godax.Options{}, image.Build(t, files...))
		for _, file := range files {
			data := data
			switch file.Path {
			case "swapped":
				data = swapped
			case "turned":
				data = turned
			}
			for _, off := range []int{0, 1, page - 1, page, size - 1, size, 2*size + 5, 5 * size, len(data) - 1} {
				for _, n := range []int{1, page, page + 1, size, 2*size + 1, len(data) - off, len(data)} {
					wantRead(t, f, file.Path, data, off, n, len(data), nil)
				}
			}
		}
	}
}

// TestSideBySideOtherRegion: a node in another region, at the offset at which the one before ends in its own.
func TestSideBySideOtherRegion(t *testing.T) {
	data := text(2*page, 1)
	_, f, _ := openBytes(t, godax.Options{}, axfs.TestImage{}.Build(t,
		axfs.TestFile{Path: "a", Data: text(page-1, 2), Kinds: "B"}, axfs.TestFile{Path: "b", Data: text(page, 3), Kinds: "X"},
		axfs.TestFile{Path: "c", Data: data, Kinds: "XB"}, axfs.TestFile{Path: "d", Data: text(page, 4), Kinds: "X"}))
	wantRead(t, f, "c", data, 0, len(data), len(data), nil)
	_, f, _ = openBytes(t, godax.Options{}, axfs.TestImage{}.Build(t,
		axfs.TestFile{Path: "a", Data: text(page-1, 2), Kinds: "B"}, axfs.TestFile{Path: "c", Data: data, Kinds: "XB"}, axfs.TestFile{Path: "d", Data: text(page, 4), Kinds: "X"}))
	wantRead(t, f, "c", data, 0, len(data), len(data), nil)
}

// TestSideBySideHostile: a node that is wrong spoils its own bytes, not those of the nodes that it
// would be read with.
func TestSideBySideHostile(t *testing.T) {
	data := text(4*page+100, 1)
	for _, c := range []struct {
		name, kinds string
		good        int // bytes before the wrong node
		edit        func(*axfs.TestTables)
	}{
		{"xip page past the end", "X", 4 * page, func(tt *axfs.TestTables) { tt.T[format.NodeIndex][4] = uint64(len(tt.Data[format.XIP]) / page) }},
		{"far past the end", "X", 2 * page, func(tt *axfs.TestTables) { tt.T[format.NodeIndex][2] = 1<<52 - 1 }},
		{"wraps around", "X", 2 * page, func(tt *axfs.TestTables) { tt.T[format.NodeIndex][2] = 1<<64 - 1 }},
		{"byte-aligned node ends outside", "B", 4 * page, func(tt *axfs.TestTables) {
			tt.T[format.BanodeOffset][4] = uint64(len(tt.Data[format.ByteAligned])) - 99
		}},
		{"byte-aligned node begins outside", "B", page, func(tt *axfs.TestTables) { tt.T[format.BanodeOffset][1] = uint64(len(tt.Data[format.ByteAligned])) + 1 }},
		{"region cut", "B", 3 * page, func(tt *axfs.TestTables) { tt.Data[format.ByteAligned] = tt.Data[format.ByteAligned][:4*page-1] }},
		{"no such kind", "X", 3 * page, func(tt *axfs.TestTables) { tt.T[format.NodeType][3] = 3 }},
		{"no such banode", "B", 3 * page, func(tt *axfs.TestTables) { tt.T[format.NodeIndex][3] = 5 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			pack := func(tt *axfs.TestTables) {
				pack(tt)
				c.edit(tt)
			}
			_, f, _ := openBytes(t, godax.Options{}, axfs.TestImage{Edit: pack}.Build(t, axfs.TestFile{Path: "f", Data: data, Kinds: c.kinds}))
			for _, off := range []int{0, 1, page, 2*page + 9} {
				for _, n := range []int{10, 2 * page, len(data) - off} {
					if off < c.good { // and what lies behind is not judged here
						wantRead(t, f, "f", data, off, n, c.good, vfs.ErrCorrupt)
					}
				}
			}
		})
	}
}

// TestSideBySideBad: a bad page of the device spoils its own bytes only.
func TestSideBySideBad(t *testing.T) {
	data := text(6*page+100, 1)
	for _, kinds := range []string{"X", "B"} {
		img := axfs.TestImage{Edit: pack}.Build(t, axfs.TestFile{Path: "f", Data: data, Kinds: kinds})
		dev := newSim(t, img)
		d := &axfs.TracingDriver{}
		fsys, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true, Drivers: []vfs.Driver{d.Driver()}})
		must(t, err)
		at := bytes.Index(img, data[4*page:5*page])
		if at < 0 {
			t.Fatal("the contents are not in the image as they are")
		}
		must(t, dev.Poison(uint64(at/page), 1))
		good := 4 * page
		if kinds == "B" {
			good -= page // whose last bytes may lie in the bad page
			if at%page == 0 {
				good += page
			}
		}
		for _, off := range []int{0, page + 1} {
			wantRead(t, d.FS, "f", data, off, len(data)-off, good, pmem.ErrPoisoned)
		}
		must(t, fsys.Close())
	}
}
