package xarray

import (
	"sync/atomic"
	"unsafe"
)

// The arrays of a node follow it in the same allocation, which newNode makes as a narrowLeaves, narrow or wide: first
// the pointers, then the words. They are reached from the node by arithmetic because their length and, at level 1, the type of the
// pointers differ, and a slice or an interface would add a dependent load to each step of a lookup. In all four
// functions the result points into the object that n points to, so it keeps that object alive; and slot is at
// most the mask of the level, which is how many slots the object has less one.

// kid returns the slot's pointer to a node. For level 2 and more.
func (n *node) kid(slot uint) *atomic.Pointer[node] {
	return (*atomic.Pointer[node])(unsafe.Add(unsafe.Pointer(n), unsafe.Sizeof(*n)+uintptr(slot)*8))
}

// leaf returns the slot's pointer to a leaf. For level 1.
func (n *node) leaf(slot uint) *atomic.Pointer[leaf] {
	return (*atomic.Pointer[leaf])(unsafe.Add(unsafe.Pointer(n), unsafe.Sizeof(*n)+uintptr(slot)*8))
}

// word returns the slot's word.
func (n *node) word(slot uint) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(n), unsafe.Sizeof(*n)+(uintptr(levels[n.level&15].mask)+1+uintptr(slot))*8))
}

// words returns the words of all slots.
func (n *node) words() []atomic.Uint64 { return unsafe.Slice(n.word(0), uint(levels[n.level].mask)+1) }
