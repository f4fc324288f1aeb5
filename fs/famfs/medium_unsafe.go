package famfs

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// The functions here access the first eight bytes of b, which hold a little-endian number,
// with one machine instruction: the header's counts are stored by another process or
// host while we look. b lies in a device's memory; the slice keeps it alive. A place that
// is not aligned (only possible with a device whose memory is not) is accessed bytewise.

// word returns b's first eight bytes as a word; nil if they are not aligned.
func word(b []byte) *uint64 {
	p := unsafe.Pointer(&b[:8][0])
	if uintptr(p)%8 != 0 {
		return nil
	}
	return (*uint64)(p)
}

// swap says that the machine stores numbers the other way round.
var swap = binary.NativeEndian.Uint16([]byte{1, 0}) != 1

// native converts between a little-endian number and the word that holds it.
func native(v uint64) uint64 {
	if swap {
		return bits.ReverseBytes64(v)
	}
	return v
}

func load64(b []byte) uint64 {
	if p := word(b); p != nil {
		return native(atomic.LoadUint64(p))
	}
	return binary.LittleEndian.Uint64(b)
}

func store64(b []byte, v uint64) {
	if p := word(b); p != nil {
		atomic.StoreUint64(p, native(v))
		return
	}
	binary.LittleEndian.PutUint64(b, v)
}
