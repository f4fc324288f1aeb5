package ext

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// The functions here access the first four bytes of b, which hold a little-endian
// number, with one machine instruction. b lies in a device's memory or in
// a buffer of the caller's; the slice in the caller's hands keeps either alive.
// A place that is not aligned (only possible with a device whose memory is not)
// is accessed bytewise.

// word returns b's first four bytes as a word; nil if they are not aligned.
func word(b []byte) *uint32 {
	p := unsafe.Pointer(&b[:4][0])
	if uintptr(p)%4 != 0 {
		return nil
	}
	return (*uint32)(p)
}

// swap says that the machine stores numbers the other way round.
var swap = binary.NativeEndian.Uint16([]byte{1, 0}) != 1

// native converts between a little-endian number and the word that holds it.
func native(v uint32) uint32 {
	if swap {
		return bits.ReverseBytes32(v)
	}
	return v
}

func load32(b []byte) uint32 {
	if p := word(b); p != nil {
		return native(atomic.LoadUint32(p))
	}
	return binary.LittleEndian.Uint32(b)
}

func store32(b []byte, v uint32) {
	if p := word(b); p != nil {
		atomic.StoreUint32(p, native(v))
		return
	}
	binary.LittleEndian.PutUint32(b, v)
}

// cas32 replaces old by new and reports whether old was there.
func cas32(b []byte, old, new uint32) bool {
	if p := word(b); p != nil {
		return atomic.CompareAndSwapUint32(p, native(old), native(new))
	}
	if binary.LittleEndian.Uint32(b) != old {
		return false
	}
	binary.LittleEndian.PutUint32(b, new)
	return true
}

// touch32 makes sure that a store to b takes no page fault that allocates: it
// stores what is there already.
func touch32(b []byte) {
	for {
		if v := load32(b); cas32(b, v, v) {
			return
		}
	}
}
