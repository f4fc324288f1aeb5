package axfs

import "math/bits"

// bitmap is a set of numbers. The zero value has no room.
type bitmap []uint64

// newBitmap makes a set with room for the numbers below n.
func newBitmap(n uint64) bitmap { return make(bitmap, (n+63)/64) }

// add puts i into the set, and reports whether it was there already.
func (b bitmap) add(i uint64) bool {
	had := b.has(i)
	b[i/64] |= 1 << (i % 64)
	return had
}

func (b bitmap) has(i uint64) bool { return b[i/64]>>(i%64)&1 != 0 }

// any reports whether one of the n numbers from i on is in the set.
func (b bitmap) any(i, n uint64) bool {
	for n > 0 {
		in := min(64-i%64, n)
		if word := b[i/64] >> (i % 64); uint64(bits.TrailingZeros64(word)) < in {
			return true
		}
		i, n = i+in, n-in
	}
	return false
}
