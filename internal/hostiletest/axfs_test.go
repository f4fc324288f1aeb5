package hostiletest

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godax/internal/daxtest"
)

// TestMutatedAXFS is TestMutatedImages for AXFS images.
func TestMutatedAXFS(t *testing.T) { mutated(t, healthyAXFS(t), mutateAXFS) }

// healthyAXFS returns the sample images that lie on one device.
func healthyAXFS(t *testing.T) [][]byte {
	t.Helper()
	dir := daxtest.TestData(t, "axfs")
	var all [][]byte
	for _, pattern := range []string{"*.axfs", "synthetic/*.axfs"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(path, "names") { // 800 names take most of the time, and show nothing new
				all = append(all, b)
			}
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d sample images", len(all))
	}
	return all
}

// mutateAXFS changes a few places: fields of the superblock, of descriptors, entries of
// tables, and bytes anywhere.
func mutateAXFS(r *rand.Rand, img []byte) {
	word := func() uint64 {
		words := []uint64{0, 1, 2, 8, 0xff, 0xffff, 1 << 31, 1<<32 - 1, 1 << 40, 1 << 63, ^uint64(0), uint64(len(img)), r.Uint64(), uint64(r.IntN(len(img)))}
		return words[r.IntN(len(words))]
	}
	for range 1 + r.IntN(3) {
		id := r.IntN(18)
		kind := r.IntN(12)
		if kind > 4 {
			id = 1 + r.IntN(9) // data and node tables: what is wrong there shows only when it is read
		}
		desc := binary.BigEndian.Uint64(img[96+8*id:])
		if desc > uint64(len(img)-40) {
			desc = 264
		}
		region := min(binary.BigEndian.Uint64(img[desc:]), uint64(len(img)-9))
		size := min(binary.BigEndian.Uint64(img[desc+8:]), uint64(len(img)-9)-region) + 1
		at := region + r.Uint64N(size)
		switch kind {
		case 0: // a field of the superblock
			binary.BigEndian.PutUint64(img[64+8*r.IntN(22):], word())
		case 1: // a field of a descriptor
			binary.BigEndian.PutUint64(img[desc+8*uint64(r.IntN(4)):], word())
		case 2: // depth or flag of a descriptor
			img[desc+32+uint64(r.IntN(2))] = byte(r.IntN(10))
		case 3, 5, 6: // an entry of a table
			binary.BigEndian.PutUint32(img[at:], uint32(word()))
		case 4, 7, 8:
			img[at] ^= 1 << r.IntN(8)
		case 9:
			img[at] = byte(r.Uint32())
		case 10: // an entry in place of another
			at &^= 3
			copy(img[at:at+4], img[region+r.Uint64N(size):])
		case 11:
			img[r.IntN(len(img))] = byte(r.Uint32())
		}
	}
}
