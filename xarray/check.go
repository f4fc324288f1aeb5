package xarray

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// Check looks through the whole tree and returns an error that says what is wrong with its structure: words in slots and orders where they
// may not be, bitmaps that disagree with them, empty nodes, wrong counts. Needs the caller's lock. For tests and debugging.
func (a *Array) Check() error {
	root := a.root.Load()
	var c checker
	if root != nil {
		if root.level > 1 && root.bitmaps[present].Load() == 1 && root.kid(0).Load() != nil {
			return fmt.Errorf("xarray: root of level %d has one node in slot 0 and nothing else", root.level)
		}
		if err := c.node(root, 0); err != nil {
			return err
		}
	}
	if c.entries != a.Len() || c.pages != a.Pages() || c.bytes != a.Memory() {
		return fmt.Errorf("xarray: %d entries, %d pages, %d bytes are counted as %d, %d, %d",
			c.entries, c.pages, c.bytes, a.Len(), a.Pages(), a.Memory())
	}
	return nil
}

// checker is the state of one Check: what it has counted.
type checker struct{ entries, pages, bytes uint64 }

// node checks a node whose first page is base, and all below.
func (c *checker) node(n *node, base uint64) error {
	c.bytes += n.size()
	var want [nmaps]uint64
	for i := range uint(levels[n.level].mask) + 1 {
		var b *bitmaps
		var err error
		at := baseOf(n.level, base, i)
		if n.level == 1 {
			if l := n.leaf(i).Load(); l != nil {
				b, err = &l.bitmaps, c.leaf(l, at)
			}
		} else if kid := n.kid(i).Load(); kid != nil {
			b, err = &kid.bitmaps, c.node(kid, at)
			if kid.level != n.level-1 {
				return fmt.Errorf("xarray: node of level %d at %#x below level %d", kid.level, at, n.level)
			}
		}
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if n.word(i).Load() != 0 {
			return fmt.Errorf("xarray: page %#x, level %d: both a node and a word", at, n.level)
		}
		want[present] |= 1 << i
		for m := range nmarks {
			if b[m].Load() != 0 {
				want[m] |= 1 << i
			}
		}
	}
	return c.slots(n.words(), &n.bitmaps, &want, n.level, base)
}

// leaf checks a leaf whose first page is base.
func (c *checker) leaf(l *leaf, base uint64) error {
	c.bytes += leafBytes
	return c.slots(l.words[:], &l.bitmaps, new([nmaps]uint64), 0, base)
}

// slots checks the words of a node and its bitmaps; want has the bits that its nodes account for.
func (c *checker) slots(words []atomic.Uint64, b *bitmaps, want *[nmaps]uint64, level uint8, base uint64) error {
	shift := uint(levels[level].shift)
	for i := uint(0); i < uint(len(words)); {
		word := words[i].Load()
		_, order, ok := unpack(word)
		if !ok {
			if word != 0 {
				return fmt.Errorf("xarray: page %#x, level %d, slot %d: word %#x", base, level, i, word)
			}
			i++
			continue
		}
		n := uint(1)
		if order >= shift {
			n <<= order - shift
		}
		if order < shift || order >= uint(levels[level].top) || i&(n-1) != 0 || i+n > uint(len(words)) {
			return fmt.Errorf("xarray: page %#x, level %d, slot %d: order %d", base, level, i, order)
		}
		for j := range n {
			if w := words[i+j].Load(); w != word {
				return fmt.Errorf("xarray: page %#x, level %d, slot %d: word %#x, want %#x", base, level, i+j, w, word)
			}
		}
		mask := slotMask(level, i, order)
		if want[present]&mask != 0 {
			return fmt.Errorf("xarray: page %#x, level %d, slot %d: order %d over a node", base, level, i, order)
		}
		want[present] |= mask
		want[tail] |= mask &^ (1 << i)
		for m := range nmarks {
			want[m] |= b[m].Load() & (1 << i)
		}
		c.entries++
		c.pages += 1 << order
		i += n
	}
	for which := range b {
		if got := b[which].Load(); got != want[which] {
			return fmt.Errorf("xarray: page %#x, level %d: bitmap %d is %#x, want %#x", base, level, which, got, want[which])
		}
	}
	if bits.OnesCount64(want[present]) == 0 {
		return fmt.Errorf("xarray: page %#x: empty node of level %d", base, level)
	}
	return nil
}
