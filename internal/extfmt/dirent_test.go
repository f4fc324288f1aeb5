package extfmt

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

var testDir = DirFormat{FileType: true, Inodes: 100}

// chain makes a block of records: name and inode for each, the last reaching to the end.
func chain(size int, names ...string) []byte {
	b := make([]byte, size)
	p := 0
	for i, name := range names {
		n := DirentLen(len(name))
		if i == len(names)-1 {
			n = size - p
		}
		PutDirent(b[p:], uint32(i+1), n, name, FTRegular)
		p += n
	}
	return b
}

func TestDirentChain(t *testing.T) {
	names := []string{"a", "four", "fives", strings.Repeat("n", 255), "caf\xc3\xa9 \xff"}
	b := chain(1024, names...)
	off := 0
	for i, want := range names {
		d, err := testDir.At(b, off)
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Name) != want || d.Ino != uint32(i+1) || d.Type != FTRegular {
			t.Errorf("record %d: got %q inode %d type %d, want %q", i, d.Name, d.Ino, d.Type, want)
		}
		if i < len(names)-1 && d.Free() != 0 {
			t.Errorf("record %d: %d bytes free, want 0", i, d.Free())
		}
		off += d.RecLen
	}
	if off != len(b) {
		t.Errorf("chain ends at %d", off)
	}
	d, _ := (DirFormat{Inodes: 100}).At(b, 0)
	if d.Type != FTUnknown {
		t.Errorf("type %d without the filetype feature", d.Type)
	}
}

func TestDirentHostile(t *testing.T) {
	for _, c := range []struct {
		name  string
		off   int
		spoil func(b []byte)
		field string
	}{
		{"rec_len 0", 0, func(b []byte) { b[4], b[5] = 0, 0 }, "rec_len"},
		{"rec_len 8", 0, func(b []byte) { b[4], b[5] = 8, 0 }, "rec_len"},
		{"rec_len odd", 0, func(b []byte) { b[4] = 13 }, "rec_len"},
		{"rec_len beyond", 0, func(b []byte) { binary.LittleEndian.PutUint16(b[4:], 1028) }, "rec_len"},
		{"name beyond record", 0, func(b []byte) { b[6] = 5 }, "name_len"},
		{"empty name", 0, func(b []byte) { b[6] = 0 }, "name_len"},
		{"slash", 0, func(b []byte) { b[8] = '/' }, "name"},
		{"NUL", 0, func(b []byte) { b[8] = 0 }, "name"},
		{"inode", 0, func(b []byte) { b[0] = 101 }, "inode"},
		{"inode", 0, func(b []byte) { b[3] = 0x80 }, "inode"},
		{"start beyond", 1024, func([]byte) {}, "rec_len"},
		{"start too near the end", 1016, func([]byte) {}, "rec_len"},
		{"start negative", -4, func([]byte) {}, "rec_len"},
	} {
		b := chain(1024, "a", "b")
		c.spoil(b)
		_, err := testDir.At(b, c.off)
		var ce *CorruptError
		if !errors.Is(err, ErrCorrupt) || !errors.As(err, &ce) || ce.Field != c.field {
			t.Errorf("%s: got %v, want a corrupt %s", c.name, err, c.field)
		}
	}
	unused := chain(1024, "/") // the name of an unused record means nothing
	unused[0] = 0
	if d, err := testDir.At(unused, 0); err != nil || d.Used() != 0 || d.Free() != 1024 {
		t.Errorf("unused record: %+v, %v", d, err)
	}
}

func TestFileTypes(t *testing.T) {
	for _, m := range []fs.FileMode{0, fs.ModeDir, fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeSymlink} {
		if got := TypeMode(FileType(m | 0o4755)); got != m {
			t.Errorf("%v came back as %v", m, got)
		}
	}
	if FileType(fs.ModeIrregular) != FTUnknown || TypeMode(9) != fs.ModeIrregular {
		t.Error("unknown types are not kept apart")
	}
}

func FuzzDirBlock(f *testing.F) {
	f.Add(chain(1024, ".", "..", "file"), true)
	f.Add(chain(1024, strings.Repeat("n", 255)), false)
	f.Add(chain(64, "a", "b", "c"), true)
	f.Add(make([]byte, 1024), true)
	f.Add([]byte{1, 0, 0, 0, 12, 0, 255, 1}, true)
	for _, b := range imageBlocks(f, "ext2-1k.img.gz", 1024, 8, isFirstDirBlock) {
		f.Add(b, true)
	}
	for _, b := range imageBlocks(f, "ext2-rev0.img.gz", 1024, 8, isFirstDirBlock) {
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, block []byte, fileType bool) {
		format := DirFormat{FileType: fileType, Inodes: 1 << 20}
		records := 0
		for off := 0; off < len(block); records++ {
			d, err := format.At(block, off)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatalf("error %v is not ErrCorrupt", err)
				}
				break
			}
			if d.RecLen < DirentMin || d.Free() < 0 || d.Used() > d.RecLen || len(d.Name) > MaxName {
				t.Fatalf("accepted %+v", d)
			}
			if d.Ino != 0 && (strings.ContainsAny(string(d.Name), "/\x00") || len(d.Name) == 0) {
				t.Fatalf("accepted name %q", d.Name)
			}
			off += d.RecLen
		}
		if records > len(block)/DirentMin {
			t.Fatalf("%d records in %d bytes", records, len(block))
		}
	})
}
