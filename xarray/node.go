package xarray

//lint:file-ignore U1000 The arrays of a node are reached by their offset, in node_unsafe.go.

import (
	"math/bits"
	"sync/atomic"
)

// nlevels is the number of levels: see the table in the package comment. Level 0 is the leaves.
const nlevels = 12

// levels describes them from the bottom: the first page number bit of a level, the first above it, and the slots less
// one. Its length is a power of two, so that level&15 needs no check. (Level 11 uses 16 of its slots: the page numbers end there.)
var levels = [16]struct{ shift, top, mask uint8 }{
	{0, 6, 63}, {6, 9, 7}, {9, 15, 63}, {15, 18, 7}, {18, 24, 63}, {24, 30, 63},
	{30, 36, 63}, {36, 42, 63}, {42, 48, 63}, {48, 54, 63}, {54, 60, 63}, {60, 64, 63},
}

const (
	leafSlots   = 64
	narrowSlots = 8
	wideSlots   = 64
)

// What the allocator takes for each kind of node: its size class, which for objects with pointers above 512 bytes has
// a word of its own. A test compares them with the heap.
const (
	leafBytes   = 576
	narrowBytes = 176
	wideBytes   = 1152
)

// Bitmaps of a node, a bit for each slot. Those of the marks come first and have the numbers of the marks.
const (
	present = 3 // the slot holds a word or a node; of a word of several slots, each
	tail    = 4 // the slot holds a word that begins in an earlier slot
	nmaps   = 5
)

// nmarks is the number of marks.
const nmarks = present

// bitmaps are the bitmaps of one node. A mark's bit says, for a word: marked, and only the first of its slots has it; for a
// node: something below is.
//
// Writers keep an order that readers without lock rely on: a bit that leads to something is set after the thing is there and
// cleared before it goes. So a reader that finds nothing where a bit led it may look again, and finds
// the bit gone.
type bitmaps [nmaps]atomic.Uint64

func (b *bitmaps) has(which uint, slot uint) bool { return b[which].Load()>>slot&1 != 0 }
func (b *bitmaps) set(which uint, mask uint64)    { b[which].Store(b[which].Load() | mask) }
func (b *bitmaps) clear(which uint, mask uint64)  { b[which].Store(b[which].Load() &^ mask) }

// first returns the first slot of what the slot holds.
func (b *bitmaps) first(slot uint) uint {
	t := b[tail].Load()
	if t>>slot&1 == 0 {
		return slot
	}
	// Slot 0 is never a tail, and is taken for none.
	return uint(bits.Len64(^t&(1<<slot-1)|1)) - 1
}

// from returns the bits of the bitmap from the first slot of what the slot holds.
func (b *bitmaps) from(which uint, slot uint) uint64 {
	return b[which].Load() & (^uint64(0) << b.first(slot))
}

// after returns the bits of the bitmap after a slot.
func (b *bitmaps) after(which uint, slot uint) uint64 {
	return b[which].Load() & (^uint64(1) << slot)
}

// leaf is a node of level 0. It has no pointers: the collector does not look inside.
type leaf struct {
	bitmaps
	words [leafSlots]atomic.Uint64
}

// node is the head of a node of level 1 or more. A slot holds a node (at level 1 a leaf), a word or nothing. The
// arrays follow the head: see kid, leaf and word.
type node struct {
	level uint8 // immutable
	bitmaps
}

// narrowLeaves is a node of level 1.
type narrowLeaves struct {
	node
	leaves [narrowSlots]atomic.Pointer[leaf]
	words  [narrowSlots]atomic.Uint64
}

// narrow is a node of level 3.
type narrow struct {
	node
	kids  [narrowSlots]atomic.Pointer[node]
	words [narrowSlots]atomic.Uint64
}

// wide is a node of any other level.
type wide struct {
	node
	kids  [wideSlots]atomic.Pointer[node]
	words [wideSlots]atomic.Uint64
}

func (a *Array) newLeaf() *leaf {
	a.bytes.Add(leafBytes)
	return new(leaf)
}

func (a *Array) newNode(level uint8) *node {
	var n *node
	switch {
	case level == 1:
		n = &new(narrowLeaves).node
	case levels[level].mask == narrowSlots-1:
		n = &new(narrow).node
	default:
		n = &new(wide).node
	}
	n.level = level
	a.bytes.Add(n.size())
	return n
}

// size returns the bytes that the allocator takes for the node.
func (n *node) size() uint64 {
	if levels[n.level].mask == narrowSlots-1 {
		return narrowBytes
	}
	return wideBytes
}

// slotOf returns the slot of a node of the level that index is in.
func slotOf(level uint8, index uint64) uint {
	l := &levels[level&15]
	return uint(index>>(l.shift&63)) & uint(l.mask)
}

// baseOf returns the first page of a slot of a node of the level, given any page below the node.
func baseOf(level uint8, index uint64, slot uint) uint64 {
	return index&^lastOf(level) | uint64(slot)<<(levels[level&15].shift&63)
}

// lastOf returns the largest page number that a tree with a root of the level can hold.
func lastOf(level uint8) uint64 { return 1<<levels[level&15].top - 1 }

// slotsOf returns how many slots an entry of the order has in a node of the level that it belongs in. 32 at most.
func slotsOf(level uint8, order uint) uint { return 1 << (order - uint(levels[level&15].shift)) }

func (n *node) slot(index uint64) uint { return slotOf(n.level, index) }
func (n *node) last() uint64           { return lastOf(n.level) }

// filled reports whether the slot holds a node, and not a word or nothing.
func (n *node) filled(slot uint) bool {
	if n.level == 1 {
		return n.leaf(slot).Load() != nil
	}
	return n.kid(slot).Load() != nil
}

// place is where an entry is: the path to it, as a writer needs it.
type place struct {
	path  [nlevels]*node // by level; from the root's down to the entry's, or to 1
	root  uint8          // level of the root
	level uint8          // level of the entry
	leaf  *leaf          // if level is 0
	slot  uint           // first slot of the entry
	word  uint64
}

// maps returns the bitmaps of the node that holds the entry.
func (p *place) maps() *bitmaps {
	if p.level == 0 {
		return &p.leaf.bitmaps
	}
	return &p.path[p.level].bitmaps
}

// words returns the words of the node that holds the entry.
func (p *place) words() []atomic.Uint64 {
	if p.level == 0 {
		return p.leaf.words[:]
	}
	return p.path[p.level].words()
}

// find sets p to the place of the entry that covers index, and reports whether there is one.
func (a *Array) find(index uint64, p *place) bool {
	n := a.root.Load()
	if n == nil || index > n.last() {
		return false
	}
	p.root = n.level
	for {
		p.path[n.level] = n
		i := n.slot(index)
		if n.level == 1 {
			l := n.leaf(i).Load()
			if l == nil {
				return p.at(n.level, n.word(i).Load(), i)
			}
			p.leaf = l
			i = slotOf(0, index)
			return p.at(0, l.words[i].Load(), i)
		}
		kid := n.kid(i).Load()
		if kid == nil {
			return p.at(n.level, n.word(i).Load(), i)
		}
		n = kid
	}
}

// at ends find with the word found in a slot.
func (p *place) at(level uint8, word uint64, slot uint) bool {
	p.level, p.word = level, word
	_, order, ok := unpack(word)
	if ok {
		p.slot = slot &^ (slotsOf(level, order) - 1)
	}
	return ok
}

// slotMask returns the bits of the slots of an entry that begins in a slot of a level.
func slotMask(level uint8, slot uint, order uint) uint64 {
	return (1<<slotsOf(level, order) - 1) << slot
}
