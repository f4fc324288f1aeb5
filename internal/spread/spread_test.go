package spread

import (
	"sync"
	"testing"
)

// Nothing is lost while a counter is spread.
func TestCounter(t *testing.T) {
	const workers, rounds = 8, 20000
	var c Counter
	var wg sync.WaitGroup
	for w := range uint64(workers) {
		wg.Go(func() {
			for i := range uint64(rounds) {
				c.Add(w<<20+i, 3)
				if i%1000 == 0 && c.Load() < 3*i {
					t.Errorf("worker %d: counted %d, at least %d", w, c.Load(), 3*i)
				}
			}
		})
	}
	wg.Wait()
	if got := c.Load(); got != 3*workers*rounds {
		t.Errorf("counted %d, want %d", got, 3*workers*rounds)
	}
}

// A key keeps to its lane, neighbours share it, and all lanes are used.
func TestLanes(t *testing.T) {
	var c Cells
	for key := range uint64(64 * 1000) {
		if c.At(key) != c.At(key&^63) {
			t.Fatalf("key %d: not the lane of its neighbours", key)
		}
		if key%64 == 0 {
			c.At(key).N.Add(1)
		}
	}
	for i := range c {
		if n := c[i].N.Load(); n < 1000/Lanes/2 || n > 1000/Lanes*2 {
			t.Errorf("lane %d has %d of 1000 keys", i, n)
		}
	}
	if c.Idle() || c.Sum() != 1000 {
		t.Errorf("sum %d, idle %t", c.Sum(), c.Idle())
	}
	for i := range c {
		c[i].N.Store(0)
	}
	if !c.Idle() {
		t.Error("not idle at 0")
	}
}

// Counting does not allocate, once spread.
func TestCounterAllocs(t *testing.T) {
	var c Counter
	if n := testing.AllocsPerRun(100, func() { c.Add(1, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	c.cells.Store(new(Cells))
	if n := testing.AllocsPerRun(100, func() { c.Add(1, 1) }); n != 0 {
		t.Errorf("spread: %v allocations", n)
	}
}
