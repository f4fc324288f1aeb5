package xarray

import (
	"fmt"
	"sync/atomic"
)

// Store puts in an entry of the order at index, which must be a multiple of 1<<order. If there is an entry of just this index and order
// its value is replaced and its marks stay; otherwise the pages must be free. Store panics if order, index or value
// is out of range, or another entry overlaps: the caller has lost track of the index. Needs the caller's lock.
func (a *Array) Store(index uint64, order uint, value uint64) {
	switch {
	case order > MaxOrder:
		panic(fmt.Sprintf("xarray: order %d above %d", order, MaxOrder))
	case index&span(order) != 0:
		panic(fmt.Sprintf("xarray: index %#x is no multiple of the pages of order %d", index, order))
	case value>>ValueBits != 0:
		panic(fmt.Sprintf("xarray: value %#x of more than %d bits", value, ValueBits))
	}
	n := a.grow(index, order)
	word := pack(value, order)
	for order < uint(levels[n.level].shift) {
		i := n.slot(index)
		if w := n.word(i).Load(); w != 0 {
			panic(overlap(index, order, w))
		}
		if n.level == 1 {
			l := n.leaf(i).Load()
			if l == nil {
				l = a.newLeaf()
				n.leaf(i).Store(l)
				n.set(present, 1<<i)
			}
			a.put(&l.bitmaps, l.words[:], 0, uint(index%leafSlots), index, order, word)
			return
		}
		kid := n.kid(i).Load()
		if kid == nil {
			kid = a.newNode(n.level - 1)
			n.kid(i).Store(kid)
			n.set(present, 1<<i)
		}
		n = kid
	}
	a.put(&n.bitmaps, n.words(), n.level, n.slot(index), index, order, word)
}

// SingleSlot reports whether entries of the order have one slot of the tree, so that their value can be changed in
// one step: order 0, and those of a slot of a larger node (6, 9, 15, 18 and so on).
func SingleSlot(order uint) bool { return singleSlots>>order&1 != 0 }

// singleSlots has a bit for each level's shift.
var singleSlots = func() (orders uint64) {
	for level := range nlevels {
		orders |= 1 << levels[level].shift
	}
	return orders
}()

// CompareAndSwap changes the value of the entry that begins at index from one to another, if it is of the order and has the
// first of them, and reports whether it did. Marks stay. For orders with a [SingleSlot] it needs no lock, and may meet any other method: so
// callers can make a bit of the value a lock of the entry, if nobody stores or erases it who has not
// taken that. For other orders it needs the caller's lock. Does not allocate.
func (a *Array) CompareAndSwap(index uint64, order uint, old, new uint64) bool {
	if order > MaxOrder || index&span(order) != 0 || new>>ValueBits != 0 {
		panic(fmt.Sprintf("xarray: no entry of order %d at index %#x can have value %#x", order, index, new))
	}
	var p place
	return a.find(index, &p) && p.word == pack(old, order) && p.compareAndSwap(order, old, new)
}

// compareAndSwap changes the value of the entry at p, which is of the order, if it is old.
func (p *place) compareAndSwap(order uint, old, new uint64) bool {
	from, to := pack(old, order), pack(new, order)
	words := p.words()[p.slot : p.slot+slotsOf(p.level, order)]
	if len(words) == 1 {
		return words[0].CompareAndSwap(from, to)
	}
	if words[0].Load() != from {
		return false
	}
	for i := range words {
		words[i].Store(to)
	}
	return true
}

// put ends Store in the node that the entry belongs in.
func (a *Array) put(b *bitmaps, words []atomic.Uint64, level uint8, slot uint, index uint64, order uint, word uint64) {
	mask := slotMask(level, slot, order)
	slots := words[slot : slot+slotsOf(level, order)]
	if b[present].Load()&mask != 0 {
		// Whatever else is in the slots, an entry of this order in the first has them all: it is aligned.
		if old := slots[0].Load(); old&orderMask != uint64(order)+1 {
			panic(overlap(index, order, old))
		}
		for i := range slots {
			slots[i].Store(word)
		}
		return
	}
	for i := range slots {
		slots[i].Store(word)
	}
	if len(slots) > 1 {
		b.set(tail, mask&^(1<<slot))
	}
	b.set(present, mask)
	a.entries.Add(1)
	a.pages.Add(1 << order)
}

// overlap is the message of a Store over other entries; word is 0 if they are smaller and not in the first page.
func overlap(index uint64, order uint, word uint64) string {
	if _, o, ok := unpack(word); ok {
		return fmt.Sprintf("xarray: store of order %d at index %#x over an entry of order %d", order, index, o)
	}
	return fmt.Sprintf("xarray: store of order %d at index %#x over smaller entries", order, index)
}

// grow makes the tree high enough for an entry, and returns the root. Like the rest of Store it panics before it has changed
// anything.
func (a *Array) grow(index uint64, order uint) *node {
	n := a.root.Load()
	if n == nil {
		level := uint8(1)
		for order >= uint(levels[level].top) || index > lastOf(level) {
			level++
		}
		n = a.newNode(level)
		a.root.Store(n)
		return n
	}
	if order >= uint(levels[n.level].top) && index == 0 {
		panic(overlap(index, order, 0)) // over all there is, and no root is empty
	}
	for order >= uint(levels[n.level].top) || index > n.last() {
		up := a.newNode(n.level + 1)
		up.kid(0).Store(n)
		for m := range uint(nmarks) {
			if n.bitmaps[m].Load() != 0 {
				up.set(m, 1)
			}
		}
		up.set(present, 1)
		a.root.Store(up)
		a.shape++
		n = up
	}
	return n
}

// Erase removes the entry that covers index, with its marks, and returns what it was. Nodes left empty are given back.
// Needs the caller's lock.
func (a *Array) Erase(index uint64) (value uint64, order uint, ok bool) {
	var p place
	if !a.find(index, &p) {
		return 0, 0, false
	}
	value, order, _ = unpack(p.word)
	a.shape++
	for m := range Mark(nmarks) {
		a.unmark(&p, index, m)
	}
	b, words := p.maps(), p.words()
	mask := slotMask(p.level, p.slot, order)
	b.clear(present, mask)
	n := slotsOf(p.level, order)
	if n > 1 {
		b.clear(tail, mask)
	}
	for i := range n {
		words[p.slot+i].Store(0)
	}
	a.entries.Add(^uint64(0))
	a.pages.Add(-(uint64(1) << order))
	if b[present].Load() == 0 {
		a.prune(&p, index)
	}
	a.shrink()
	return value, order, true
}

// prune unlinks the node of p, which is empty, and those above it that become so.
func (a *Array) prune(p *place, index uint64) {
	level := p.level
	if level == 0 {
		n := p.path[1]
		i := n.slot(index)
		n.clear(present, 1<<i)
		n.leaf(i).Store(nil)
		a.free(leafBytes)
		level = 1
	}
	for ; p.path[level].bitmaps[present].Load() == 0; level++ {
		a.free(p.path[level].size())
		if level == p.root {
			a.root.Store(nil)
			return
		}
		n := p.path[level+1]
		i := n.slot(index)
		n.clear(present, 1<<i)
		n.kid(i).Store(nil)
	}
}

// shrink takes away roots that hold nothing but one node in slot 0. They keep their pointer to it: a reader that comes
// from such a root still finds what is below.
func (a *Array) shrink() {
	for {
		n := a.root.Load()
		if n == nil || n.level == 1 || n.bitmaps[present].Load() != 1 {
			return
		}
		kid := n.kid(0).Load()
		if kid == nil {
			return
		}
		a.root.Store(kid)
		a.free(n.size())
	}
}

func (a *Array) free(bytes uint64) { a.bytes.Add(-bytes) }
