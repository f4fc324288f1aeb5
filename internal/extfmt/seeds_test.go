package extfmt

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// imageBlocks returns up to most blocks of an image of the shared test data that match;
// none if the data is not there. It lies beside the module or where GODAX_TESTDATA says.
func imageBlocks(tb testing.TB, name string, blockSize, most int, match func(b []byte) bool) (blocks [][]byte) {
	tb.Helper()
	base := os.Getenv("GODAX_TESTDATA")
	if base == "" {
		base = filepath.Join("..", "..", "..", "shared", "testdata")
	}
	f, err := os.Open(filepath.Join(base, "ext", name))
	if err != nil {
		return nil
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	for len(blocks) < most {
		b := make([]byte, blockSize)
		if _, err := io.ReadFull(z, b); err != nil {
			break
		}
		if match(b) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// isFirstDirBlock matches the first block of a directory.
func isFirstDirBlock(b []byte) bool {
	d, err := DirFormat{Inodes: 1 << 31}.At(b, 0)
	if err != nil || string(d.Name) != "." {
		return false
	}
	d, err = DirFormat{Inodes: 1 << 31}.At(b, d.RecLen)
	return err == nil && string(d.Name) == ".."
}

// TestImageSeeds checks that the matches are what they are meant to be, if there is
// test data.
func TestImageSeeds(t *testing.T) {
	dirs := imageBlocks(t, "ext2-1k.img.gz", 1024, 100, isFirstDirBlock)
	attrs := imageBlocks(t, "ext2-xattr.img.gz", 1024, 100, isXattrBlock)
	if dirs == nil {
		t.Skip("no test data: set GODAX_TESTDATA")
	}
	if len(dirs) < 10 || len(attrs) < 3 {
		t.Errorf("%d directories, %d attribute blocks", len(dirs), len(attrs))
	}
	for _, b := range attrs {
		list, _, err := ParseXattrBlock(b)
		if err != nil || len(list) == 0 {
			t.Errorf("%d attributes, %v", len(list), err)
		}
	}
}

// isXattrBlock matches an attribute block.
func isXattrBlock(b []byte) bool {
	return le.Uint32(b) == XattrMagic && le.Uint32(b[XattrOffBlocks:]) == 1
}
