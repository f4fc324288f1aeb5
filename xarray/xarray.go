// Package xarray is the index of a mapping: it takes page numbers to entries.
//
// An entry covers 1<<order pages, beginning at a multiple of that number, and holds one value. Entries
// never overlap. Each has three marks, which can be searched for by range.
//
// # The tree
//
// An [Array] is a radix tree that grows in height with the largest page number in it. The fan-out varies so that
// the orders which the hardware maps are slots of a node, counted from the bottom:
//
//	level  page number bits  slots  a slot covers
//	0      0 to 5            64     1 page: the leaves
//	1      6 to 8            8      64 pages
//	2      9 to 14           64     512 pages: 2 MiB
//	3      15 to 17          8      2 MiB * 64
//	4      18 to 23          64     1 GiB
//	5      24 to 29          64     and so on, 6 bits a level; level 11 has the last 4 bits
//
// An entry lives in the node whose bits contain its order, and its word (value and order) is in every slot that it
// covers there. So a reader goes down one path and finds all there is to know in one
// atomic load. Everything else about an entry is kept once, at its first slot, in bitmaps of the node:
// a mark is a bit, and in each node above it a bit says that something below is marked.
//
// # Concurrency
//
// Methods that change an Array need the caller's lock; one change at a time; but see [Array.CompareAndSwap]. The others ([Array.Load],
// [Array.Marked], [Array.Next], [Array.NextMarked] and the counters) need no lock and never wait. What a reader gets for one page was
// true at some moment during its call. Two calls are two moments, and while an entry of several slots is
// stored or erased a reader may meet it in one page and not yet in another. A searching reader finds
// every entry that was there during its whole call; those that came or went may or may not be met.
// Nodes that become empty are unlinked and never used again, so a reader that still stands in one is
// safe: the garbage collector keeps it.
package xarray

import "sync/atomic"

// ValueBits is the number of bits of a value.
const ValueBits = 64 - orderBits

// MaxOrder is the largest order of an entry: 1<<MaxOrder pages.
const MaxOrder = 1<<orderBits - 2

// Mark is one of the three marks of an entry.
type Mark uint8

// The marks. What they mean is the caller's affair.
const (
	Mark0 Mark = iota
	Mark1
	Mark2
)

// Array is an index from page numbers, the whole range of uint64, to entries. The zero value is empty and ready.
// Changes need external exclusion; readers need none (see the package comment). It must not be copied once used.
type Array struct {
	root    atomic.Pointer[node] // nil when empty
	entries atomic.Uint64
	pages   atomic.Uint64
	bytes   atomic.Uint64 // of nodes, as the allocator rounds them
	shape   uint64        // changes when a way to an entry may have; guarded by the caller's lock
}

// Load returns the entry that covers page index. Needs no lock, does not allocate.
func (a *Array) Load(index uint64) (value uint64, order uint, ok bool) {
	n := a.root.Load()
	if n == nil || index > n.last() {
		return 0, 0, false
	}
	// The slot is computed from the level alone, so that no step waits for the head of a node.
	level := n.level
	for ; level > 1; level-- {
		i := slotOf(level, index)
		kid := n.kid(i).Load()
		if kid == nil {
			return unpack(n.word(i).Load())
		}
		n = kid
	}
	i := slotOf(1, index)
	l := n.leaf(i).Load()
	if l == nil {
		return unpack(n.word(i).Load())
	}
	return unpack(l.words[index%leafSlots].Load())
}

// LoadMarked is Load that also reports whether the entry has the mark. The mark is read after the entry. Needs no
// lock, does not allocate.
func (a *Array) LoadMarked(index uint64, m Mark) (value uint64, order uint, marked, ok bool) {
	m.check()
	n := a.root.Load()
	if n == nil || index > n.last() {
		return 0, 0, false, false
	}
	level := n.level
	for ; level > 1; level-- {
		kid := n.kid(slotOf(level, index)).Load()
		if kid == nil {
			break
		}
		n = kid
	}
	maps, slot := &n.bitmaps, slotOf(level, index)
	var word uint64
	if l := n.leafAt(level, slot); l != nil {
		maps, slot, level = &l.bitmaps, slotOf(0, index), 0
		word = l.words[slot].Load()
	} else {
		word = n.word(slot).Load()
	}
	if value, order, ok = unpack(word); !ok {
		return 0, 0, false, false
	}
	return value, order, maps.has(uint(m), slot&^(slotsOf(level, order)-1)), true
}

// leafAt is the leaf in a slot of a node of the level; nil if there is none.
func (n *node) leafAt(level uint8, slot uint) *leaf {
	if level != 1 {
		return nil
	}
	return n.leaf(slot).Load()
}

// Len returns the number of entries.
func (a *Array) Len() uint64 { return a.entries.Load() }

// Pages returns the number of pages that the entries cover. (It is 0 when they cover all 1<<64.)
func (a *Array) Pages() uint64 { return a.pages.Load() }

// Memory returns the bytes that the nodes take, with what the allocator adds.
func (a *Array) Memory() uint64 { return a.bytes.Load() }

// A word is what a slot says of an entry: the value above orderBits bits of order+1. No entry is 0.
const (
	orderBits = 6
	orderMask = 1<<orderBits - 1
)

func pack(value uint64, order uint) uint64 { return value<<orderBits | uint64(order+1) }

// unpack splits a word; ok is false, and the others 0, if it is that of no entry.
func unpack(word uint64) (value uint64, order uint, ok bool) {
	if word == 0 {
		return 0, 0, false
	}
	return word >> orderBits, uint(word&orderMask) - 1, true
}

// span returns the number of pages of an entry less one: the bits of a page number below its order.
func span(order uint) uint64 { return 1<<order - 1 }
