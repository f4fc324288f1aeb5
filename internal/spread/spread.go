// Package spread has counters that many cores change at once without taking a cache line from each other.
package spread

import "sync/atomic"

// Lanes is the number of cells that one counter is spread over.
const Lanes = 16

// Cell is one lane's part, on cache lines of its own (two: processors fetch them in pairs).
type Cell struct {
	N atomic.Int64
	_ [120]byte
}

// Cells are the parts of one counter.
type Cells [Lanes]Cell

// At returns the cell for a key. Keys next to each other have the same one, 64 at a time: that is a leaf of an index, so
// that whoever works on neighbours keeps to its lane.
func (c *Cells) At(key uint64) *Cell {
	// The upper bits of a product with an odd number without pattern are well mixed.
	return &c[key>>6*0x9e3779b97f4a7c15>>60]
}

// Sum adds the cells up. Beside changes it is a value that the sum may never have had, but that each cell had.
func (c *Cells) Sum() (n int64) {
	for i := range c {
		n += c[i].N.Load()
	}
	return n
}

// Idle reports whether it found every cell at 0, one after the other.
func (c *Cells) Idle() bool {
	for i := range c {
		if c[i].N.Load() != 0 {
			return false
		}
	}
	return true
}

// Counter counts up. It is one word until two cores meet there, and spread from then on. The zero value is 0. It must
// not be copied.
type Counter struct {
	word  atomic.Uint64
	cells atomic.Pointer[Cells]
}

// Add counts n, in the lane of key.
func (c *Counter) Add(key, n uint64) {
	cells := c.cells.Load()
	if cells == nil {
		old := c.word.Load()
		if c.word.CompareAndSwap(old, old+n) {
			return
		}
		c.cells.CompareAndSwap(nil, new(Cells))
		cells = c.cells.Load()
	}
	cells.At(key).N.Add(int64(n))
}

// Load returns the count.
func (c *Counter) Load() uint64 {
	n := c.word.Load()
	if cells := c.cells.Load(); cells != nil {
		n += uint64(cells.Sum())
	}
	return n
}
