package extfmt

import (
	"encoding/binary"
	"strings"
	"testing"
)

// seedOf is the seed of UUID 01234567-89ab-cdef-0123-456789abcdef as s_hash_seed holds it.
var seedOf = func() (s [4]uint32) {
	b := []byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	for i := range s {
		s[i] = binary.LittleEndian.Uint32(b[i*4:])
	}
	return s
}()

// TestNameHash compares with what debugfs's dx_hash prints.
func TestNameHash(t *testing.T) {
	long := "some-longer-name-0123456789-abcdefghijklmnopqrstuvwxyz"
	for _, c := range []struct {
		version uint8
		seed    [4]uint32
		name    string
		want    uint32
	}{
		{HashHalfMD4, [4]uint32{}, "a", 0xd5fa7d7a},
		{HashHalfMD4, [4]uint32{}, "hello", 0x1746da32},
		{HashHalfMD4, [4]uint32{}, long, 0x1a98cc94},
		{HashHalfMD4, [4]uint32{}, strings.Repeat("x", 255), 0x2aa7169e},
		{HashHalfMD4, [4]uint32{}, "café-日本", 0x1de03cfa},
		{HashHalfMD4, seedOf, "a", 0x35dc0cc4},
		{HashHalfMD4, seedOf, "hello", 0xa26e4a80},
		{HashHalfMD4, seedOf, long, 0xeab32d2c},
		{HashHalfMD4, seedOf, strings.Repeat("x", 255), 0xac11f156},
		{HashHalfMD4, seedOf, "café-日本", 0xfe784032},
		{HashTEA, [4]uint32{}, "a", 0x6d0ea4c0},
		{HashTEA, [4]uint32{}, "hello", 0x6f5bb1a8},
		{HashTEA, [4]uint32{}, long, 0x9afb9c66},
		{HashTEA, [4]uint32{}, strings.Repeat("x", 255), 0x6c4c00ee},
		{HashTEA, [4]uint32{}, "café-日本", 0x72163314},
		{HashLegacy, [4]uint32{}, "a", 0xe74b53e2},
		{HashLegacy, [4]uint32{}, "hello", 0x32252546},
		{HashLegacy, [4]uint32{}, long, 0xe200bd40},
		{HashLegacy, [4]uint32{}, strings.Repeat("x", 255), 0x30557da6},
		{HashLegacy, [4]uint32{}, "café-日本", 0x6a42f3b4},
	} {
		h, ok := NewNameHash(c.version, c.seed, 0)
		if got := h.Hash(c.name); !ok || got != c.want {
			t.Errorf("hash %d of %.20q with seed %x: got %#x, want %#x", c.version, c.name, c.seed, got, c.want)
		}
	}
}

func TestNewNameHash(t *testing.T) {
	if _, ok := NewNameHash(6, seedOf, 0); ok {
		t.Error("hash version 6 was taken")
	}
	signed, _ := NewNameHash(HashHalfMD4, seedOf, 1)
	byFlag, _ := NewNameHash(HashHalfMD4, seedOf, flagUnsignedHash)
	byVersion, _ := NewNameHash(HashHalfMD4+hashUnsigned, seedOf, 0)
	if a, b := byFlag.Hash("\xff\xfe"), byVersion.Hash("\xff\xfe"); a != b {
		t.Errorf("unsigned by flag %#x, by version %#x", a, b)
	}
	if a, b := signed.Hash("\xff\xfe"), byFlag.Hash("\xff\xfe"); a == b {
		t.Errorf("signed and unsigned agree: %#x", a)
	}
}

// htreeBlock makes an index block with the given hashes (the first is ignored) and
// blocks 1, 2, 3...
func htreeBlock(root bool, hashes ...uint32) []byte {
	b := make([]byte, 1024)
	p := htreeNodeEntries
	if root {
		p = htreeRootEntries
		b[0x1d] = htreeEntryLen
	}
	for i, h := range hashes {
		binary.LittleEndian.PutUint32(b[p+i*8:], h)
		binary.LittleEndian.PutUint32(b[p+i*8+4:], uint32(i+1))
	}
	binary.LittleEndian.PutUint16(b[p:], uint16((len(b)-p)/8))
	binary.LittleEndian.PutUint16(b[p+2:], uint16(len(hashes)))
	return b
}

func TestHtreeChild(t *testing.T) {
	for _, root := range []bool{true, false} {
		b := htreeBlock(root, 0, 100, 200, 300)
		for hash, want := range map[uint32]uint32{0: 1, 99: 1, 100: 2, 199: 2, 200: 3, 300: 4, 0xfffffffe: 4} {
			if got, err := HtreeChild(b, root, hash); err != nil || got != want {
				t.Errorf("root %v, hash %d: got %d, %v; want %d", root, hash, got, err, want)
			}
		}
		one := htreeBlock(root, 0)
		if got, err := HtreeChild(one, root, 77); err != nil || got != 1 {
			t.Errorf("one entry: got %d, %v; want 1", got, err)
		}
	}
}

func FuzzHtree(f *testing.F) {
	f.Add(htreeBlock(true, 0, 100, 200, 300), "name", uint8(HashHalfMD4))
	f.Add(htreeBlock(false, 0), "", uint8(HashTEA))
	f.Add(make([]byte, 40), strings.Repeat("y", 255), uint8(HashLegacy))
	f.Add([]byte{}, "x", uint8(5))
	for _, b := range imageBlocks(f, "ext3-clean.img.gz", 1024, 40, isFirstDirBlock) {
		if root, err := ParseHtreeRoot(b); err == nil {
			f.Add(b, "file", root.HashVersion)
		}
	}
	f.Fuzz(func(t *testing.T, block []byte, name string, version uint8) {
		if root, err := ParseHtreeRoot(block); err == nil && root.Levels >= maxHtreeLevels {
			t.Errorf("levels %d accepted", root.Levels)
		}
		h, ok := NewNameHash(version, seedOf, 0)
		if !ok || len(name) > MaxName {
			return
		}
		hash := h.Hash(name)
		if hash&1 != 0 || hash == htreeEOF<<1 {
			t.Errorf("hash %#x is reserved", hash)
		}
		for _, root := range []bool{true, false} {
			if child, err := HtreeChild(block, root, hash); err == nil && child >= 1<<28 {
				t.Errorf("child %#x", child)
			}
		}
	})
}
