package extfmt

import (
	"encoding/binary"
	"math/bits"
)

// Hash versions of an htree (DX_HASH_*). The unsigned variants are the same
// functions with name bytes taken as unsigned; s_flags says which the image uses.
const (
	HashLegacy              = 0
	HashHalfMD4             = 1
	HashTEA                 = 2
	hashUnsigned            = 3 // added to the above
	maxHtreeLevels          = 2 // s without the large_dir feature: root and one level of nodes
	htreeRootEntries        = 0x20
	htreeNodeEntries        = 0x08
	htreeEntryLen           = 8
	htreeEOF                = 0x7fffffff // hash value reserved for the end of a directory
	flagUnsignedHash        = 0x0002     // s_flags: EXT2_FLAGS_UNSIGNED_HASH
	delta                   = 0x9E3779B9 // TEA's constant
	md4K2, md4K3     uint32 = 0x5A827999, 0x6ED9EBA1
)

// NameHash computes the hashes of names in an htree directory.
type NameHash struct {
	version uint8
	seed    [4]uint32
}

// NewNameHash returns the hash that an htree root with the given hash version uses
// in a file system with these s_hash_seed and s_flags; ok is false for a version
// that is not known (casefolded names, future ones).
func NewNameHash(version uint8, seed [4]uint32, flags uint32) (h NameHash, ok bool) {
	if version > HashTEA+hashUnsigned {
		return NameHash{}, false
	}
	if version <= HashTEA && flags&flagUnsignedHash != 0 {
		version += hashUnsigned
	}
	if seed == [4]uint32{} { // no seed: the initial state of MD4
		seed = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	}
	return NameHash{version, seed}, true
}

// Hash returns the major hash of a name: even, and below the end-of-directory value.
func (h NameHash) Hash(name string) uint32 {
	signed := h.version < hashUnsigned
	s := h.seed
	var v uint32
	switch h.version % hashUnsigned {
	case HashLegacy:
		v = legacyHash(name, signed)
	case HashHalfMD4:
		for p := name; ; p = p[32:] {
			var in [8]uint32
			packName(p, in[:], signed)
			halfMD4(&s, &in)
			if len(p) <= 32 {
				break
			}
		}
		v = s[1]
	case HashTEA:
		for p := name; ; p = p[16:] {
			var in [4]uint32
			packName(p, in[:], signed)
			tea(&s, &in)
			if len(p) <= 16 {
				break
			}
		}
		v = s[0]
	}
	v &^= 1
	if v == htreeEOF<<1 {
		v = (htreeEOF - 1) << 1
	}
	return v
}

// char widens a byte of a name as C's char does.
func char(c byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(c)))
	}
	return uint32(c)
}

// legacyHash is the first hash function htrees had.
func legacyHash(name string, signed bool) uint32 {
	h0, h1 := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for i := range len(name) {
		h := h1 + (h0 ^ char(name[i], signed)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7fffffff
		}
		h1, h0 = h0, h
	}
	return h0 << 1
}

// packName fills in with the bytes of name, four to a word, first byte highest, and
// pads with the length.
func packName(name string, in []uint32, signed bool) {
	pad := uint32(len(name))
	pad |= pad << 8
	pad |= pad << 16
	n := min(len(name), len(in)*4)
	v, w := pad, 0
	for i := range n {
		v = char(name[i], signed) + v<<8
		if i%4 == 3 {
			in[w] = v
			w++
			v = pad
		}
	}
	if w < len(in) {
		in[w] = v
		w++
	}
	for ; w < len(in); w++ {
		in[w] = pad
	}
}

// halfMD4 mixes eight words into the state: three rounds of MD4's functions, eight
// steps each.
func halfMD4(s *[4]uint32, in *[8]uint32) {
	a, b, c, d := s[0], s[1], s[2], s[3]
	f := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	g := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	round := func(fn func(x, y, z uint32) uint32, k uint32, order [8]int, shift [4]int) {
		for i := 0; i < 8; i += 4 {
			a = bits.RotateLeft32(a+fn(b, c, d)+in[order[i]]+k, shift[0])
			d = bits.RotateLeft32(d+fn(a, b, c)+in[order[i+1]]+k, shift[1])
			c = bits.RotateLeft32(c+fn(d, a, b)+in[order[i+2]]+k, shift[2])
			b = bits.RotateLeft32(b+fn(c, d, a)+in[order[i+3]]+k, shift[3])
		}
	}
	round(f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19})
	round(g, md4K2, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13})
	round(h, md4K3, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15})
	s[0] += a
	s[1] += b
	s[2] += c
	s[3] += d
}

// tea mixes four words into the first two of the state: sixteen rounds of the tiny
// encryption algorithm.
func tea(s *[4]uint32, in *[4]uint32) {
	b0, b1, sum := s[0], s[1], uint32(0)
	for range 16 {
		sum += delta
		b0 += (b1<<4 + in[0]) ^ (b1 + sum) ^ (b1>>5 + in[1])
		b1 += (b0<<4 + in[2]) ^ (b0 + sum) ^ (b0>>5 + in[3])
	}
	s[0] += b0
	s[1] += b1
}

// HtreeRoot is the header of an htree's root: the first block of the directory,
// behind the entries "." and "..".
type HtreeRoot struct {
	HashVersion uint8
	Levels      uint8 // of nodes between the root and the leaves
}

// ParseHtreeRoot decodes the first block of a directory that has the index flag.
func ParseHtreeRoot(block []byte) (HtreeRoot, error) {
	const info = 0x18
	bad := func(field string, at int, v uint64, reason string) (HtreeRoot, error) {
		return HtreeRoot{}, Corrupt("htree root", int64(at), field, v, reason)
	}
	if len(block) < htreeRootEntries+htreeEntryLen {
		return bad("", 0, uint64(len(block)), "block too small")
	}
	if v := binary.LittleEndian.Uint32(block[info:]); v != 0 {
		return bad("reserved_zero", info, uint64(v), "not 0")
	}
	if v := block[info+5]; v != htreeEntryLen {
		return bad("info_length", info+5, uint64(v), "not 8")
	}
	if v := block[info+6]; v >= maxHtreeLevels {
		return bad("indirect_levels", info+6, uint64(v), "too deep")
	}
	return HtreeRoot{HashVersion: block[info+4], Levels: block[info+6]}, nil
}

// HtreeChild returns the directory block number that an index block of an htree, the
// root or a node, has for a hash.
func HtreeChild(block []byte, root bool, hash uint32) (uint32, error) {
	start := htreeNodeEntries
	if root {
		start = htreeRootEntries
	}
	bad := func(field string, at int, v uint64, reason string) (uint32, error) {
		return 0, Corrupt("htree node", int64(at), field, v, reason)
	}
	if len(block) < start+htreeEntryLen {
		return bad("", 0, uint64(len(block)), "block too small")
	}
	limit := int(binary.LittleEndian.Uint16(block[start:]))
	count := int(binary.LittleEndian.Uint16(block[start+2:]))
	if most := (len(block) - start) / htreeEntryLen; limit == 0 || limit > most {
		return bad("limit", start, uint64(limit), "more entries than the block holds, or none")
	}
	if count == 0 || count > limit {
		return bad("count", start+2, uint64(count), "outside 1 to limit")
	}
	// Entry 0 has no hash: it stands for everything below entry 1's. The last entry
	// whose hash is not above the one wanted is it.
	lo, hi := 1, count
	for lo < hi {
		mid := (lo + hi) / 2
		if binary.LittleEndian.Uint32(block[start+mid*htreeEntryLen:]) > hash {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return binary.LittleEndian.Uint32(block[start+(lo-1)*htreeEntryLen+4:]) & 0x0fffffff, nil
}
