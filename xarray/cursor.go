package xarray

// Cursor is the place of one entry, for callers that look at it and change it in several steps: each goes there straight,
// and not down the tree again. All methods need the lock that changes need. Between two of them the caller may give it up, but
// must call [Cursor.Again] then, and also after it has stored or erased an entry itself. The zero value is for Seek and
// NextMarked.
type Cursor struct {
	a     *Array
	first uint64
	shape uint64
	p     place
}

// Seek moves the cursor to the entry that covers index, and reports whether there is one. The other methods need
// one. Does not allocate.
func (c *Cursor) Seek(a *Array, index uint64) bool {
	c.a, c.first, c.shape, c.p.word = a, index, a.shape, 0
	if !a.find(index, &c.p) {
		return false
	}
	c.first = index &^ span(c.order())
	return true
}

// NextMarked moves the cursor to the entry that [Array.NextMarked] finds, and returns it.
func (c *Cursor) NextMarked(a *Array, from, last uint64, m Mark) (first uint64, order uint, value uint64, ok bool) {
	m.check()
	first, order, value, ok = a.next(from, last, uint(m), &c.p)
	c.a, c.first, c.shape = a, first, a.shape
	return first, order, value, ok
}

// Again brings the cursor back to the entry that begins where its entry did, and reports whether there is one.
func (c *Cursor) Again() bool {
	if c.shape == c.a.shape {
		return true
	}
	return c.Seek(c.a, c.first)
}

// Entry returns what is there; zeros if Seek has found nothing.
func (c *Cursor) Entry() (value uint64, order uint) {
	if c.p.word == 0 {
		return 0, 0
	}
	value, order, _ = unpack(c.p.words()[c.p.slot].Load())
	return value, order
}

// CompareAndSwap is [Array.CompareAndSwap] for the entry.
func (c *Cursor) CompareAndSwap(old, new uint64) bool { return c.p.compareAndSwap(c.order(), old, new) }

// Marked reports whether the entry has the mark.
func (c *Cursor) Marked(m Mark) bool {
	m.check()
	return c.p.maps().has(uint(m), c.p.slot)
}

// ClearMark takes the mark from the entry.
func (c *Cursor) ClearMark(m Mark) {
	m.check()
	c.a.unmark(&c.p, c.first, m)
}

// order is the entry's order, which does not change while it is there.
func (c *Cursor) order() uint {
	_, order, _ := unpack(c.p.word)
	return order
}
