package format

import (
	"encoding/binary"
	"math/bits"
)

// Table is a byte table: an array of unsigned numbers of 1 to 8 bytes each. The zero
// value is empty.
type Table struct {
	b      []byte
	n      uint64 // entries
	depth  uint64
	wide   uint64 // entries from the first on that have 8 bytes of b from their beginning on
	shift  uint8  // takes what follows an entry out of these 8 bytes
	planar bool   // then wide is 0
}

// NewTable makes a table of its bytes. Those of a last, incomplete entry are left out.
// A depth that is not from 1 to 8 makes an empty table.
func NewTable(b []byte, depth uint8, planar bool) Table {
	if depth < 1 || depth > 8 {
		return Table{}
	}
	t := Table{b: b, n: uint64(len(b)) / uint64(depth), depth: uint64(depth), shift: 64 - 8*depth, planar: planar}
	if !planar && len(b) >= 8 {
		t.wide = (uint64(len(b))-8)/t.depth + 1
	}
	return t
}

// Len is the number of entries.
func (t *Table) Len() uint64 { return t.n }

// Depth is the number of bytes of an entry.
func (t *Table) Depth() uint8 { return uint8(t.depth) }

// At returns entry i. Reports false if there is none.
func (t *Table) At(i uint64) (v uint64, ok bool) {
	if i < t.wide {
		return binary.BigEndian.Uint64(t.b[i*t.depth:]) >> (t.shift & 63), true
	}
	return t.narrow(i)
}

// narrow is At for entries near the end, and for planar tables.
func (t *Table) narrow(i uint64) (v uint64, ok bool) {
	if i >= t.n {
		return 0, false
	}
	if t.planar {
		// Version 1: byte j of entry i is at j*n+i, the least significant one first.
		for j := t.depth; j > 0; j-- {
			v = v<<8 | uint64(t.b[(j-1)*t.n+i])
		}
		return v, true
	}
	for _, c := range t.b[i*t.depth:][:t.depth] {
		v = v<<8 | uint64(c)
	}
	return v, true
}

// DepthOf is the depth of a table whose largest entry is largest: 1 to 8.
func DepthOf(largest uint64) uint8 {
	return uint8(max(1, (bits.Len64(largest)+7)/8))
}

// AppendTable appends the entries of a table to b. Entries that depth has no room for
// lose their upper bits: see [DepthOf].
func AppendTable(b []byte, depth uint8, planar bool, entries []uint64) []byte {
	if planar {
		for j := range depth {
			for _, v := range entries {
				b = append(b, byte(v>>(8*j)))
			}
		}
		return b
	}
	for _, v := range entries {
		for j := depth; j > 0; j-- {
			b = append(b, byte(v>>(8*(j-1))))
		}
	}
	return b
}
