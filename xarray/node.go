package xarray

import (
	"math/bits"
	"sync/atomic"
)

// levels describes the tree from the bottom: the first page number bit of each level and its slots.
// Level 0 is the leaves. See the table in the package comment.
var levels = [...]struct {
	shift, bits uint8
}{
	{0, 6}, {6, 3}, {9, 6}, {15, 3}, {18, 6}, {24, 6}, {30, 6}, {36, 6}, {42, 6}, {48, 6}, {54, 6}, {60, 4},
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
	level uint8 // immutable, as are the next two
	shift uint8 // first bit of the page number that selects the slot
	mask  uint8 // slots less one
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

// wide is a node of any other level. The one of level 11 leaves slots unused, but has the mask of the others: the page numbers end
// where its slots do.
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
	case levels[level].bits == 3:
		n = &new(narrow).node
	default:
		n = &new(wide).node
	}
	n.level, n.shift = level, levels[level].shift
	n.mask = wideSlots - 1
	if levels[level].bits == 3 {
		n.mask = narrowSlots - 1
	}
	a.bytes.Add(n.size())
	return n
}

// size returns the bytes that the allocator takes for the node.
func (n *node) size() uint64 {
	if n.mask == narrowSlots-1 {
		return narrowBytes
	}
	return wideBytes
}

// topOf returns the number of page number bits that a node of the level and those below it tell apart.
func topOf(level uint8) uint { return uint(levels[level].shift + levels[level].bits) }

// lastOf returns the largest page number that a tree with a root of the level can hold.
func lastOf(level uint8) uint64 { return 1<<topOf(level) - 1 }

// last returns the largest page number that a tree with this root can hold.
func (n *node) last() uint64 { return lastOf(n.level) }

// slot returns the slot that index is in.
func (n *node) slot(index uint64) uint { return uint(index>>(n.shift&63)) & uint(n.mask) }

// base returns the first page of a slot, given any index below the node.
func (n *node) base(index uint64, slot uint) uint64 {
	return index&^n.last() | uint64(slot)<<(n.shift&63)
}

// filled reports whether the slot holds a node, and not a word or nothing.
func (n *node) filled(slot uint) bool {
	if n.level == 1 {
		return n.leaf(slot).Load() != nil
	}
	return n.kid(slot).Load() != nil
}

// place is where an entry is: the path to it, as a writer needs it.
type place struct {
	path  [len(levels)]*node // by level; from the root's down to the entry's, or to 1
	root  uint8              // level of the root
	level uint8              // level of the entry
	leaf  *leaf              // if level is 0
	slot  uint               // first slot of the entry
	word  uint64
}

// maps returns the bitmaps of the node that holds the entry.
func (p *place) maps() *bitmaps {
	if p.level == 0 {
		return &p.leaf.bitmaps
	}
	return &p.path[p.level].bitmaps
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
			i = uint(index % leafSlots)
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
		p.slot = slot &^ (1<<(order-uint(levels[level].shift)) - 1)
	}
	return ok
}

// slotMask returns the bits of the slots of an entry that begins in a slot of a level.
func slotMask(level uint8, slot uint, order uint) uint64 {
	n := uint(1) << (order - uint(levels[level].shift)) // 32 at most
	return (1<<n - 1) << slot
}
