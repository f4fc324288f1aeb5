package ext

import (
	"encoding/binary"
	"math/bits"
)

// Bitmaps are little-endian: bit i is bit i%8 of byte i/8.

func testBit(b []byte, i uint32) bool { return b[i/8]>>(i%8)&1 != 0 }

// nextBit returns the first bit in [from, to) that has the given value, or to.
// Bits up to to lie inside b.
func nextBit(b []byte, from, to uint32, set bool) uint32 {
	var flip uint64
	if !set {
		flip = ^flip
	}
	for from < to {
		if from%64 == 0 && to-from >= 64 {
			w := binary.LittleEndian.Uint64(b[from/8:]) ^ flip
			if w == 0 {
				from += 64
				continue
			}
			return from + uint32(bits.TrailingZeros64(w))
		}
		if testBit(b, from) == set {
			return from
		}
		from++
	}
	return to
}

// putBits sets or clears the bits [from, from+n) of a bitmap at off on the medium.
// The caller holds the group's lock.
func (st *store) putBits(off int64, from, n uint32, set bool) error {
	first, last := from/8, (from+n-1)/8
	old, err := st.view(off+int64(first), int64(last-first+1))
	if err != nil {
		return err
	}
	b := append([]byte(nil), old...)
	for i := from; i < from+n; i++ {
		if i%8 == 0 && from+n-i >= 8 {
			b[i/8-first] = 0
			if set {
				b[i/8-first] = 0xff
			}
			i += 7
			continue
		}
		if set {
			b[i/8-first] |= 1 << (i % 8)
		} else {
			b[i/8-first] &^= 1 << (i % 8)
		}
	}
	return st.write(off+int64(first), b)
}
