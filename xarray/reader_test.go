package xarray

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestReaders: readers without lock, beside a writer that stores, erases and marks at all orders and makes the tree grow and shrink,
// only see entries that were stored, and always those that stay.
func TestReaders(t *testing.T) {
	changes := 300000
	if raceEnabled || testing.Short() {
		changes = 60000
	}
	const stay = Mark2
	var a Array
	// An entry's value says where it is: no other than the writer's.
	value := func(index uint64, order uint) uint64 { return index<<8&(1<<ValueBits-1) | uint64(order) }
	type place struct {
		index uint64
		order uint
	}
	staying := []place{{3, 0}, {1 << 9, 4}, {5 << 9, 9}, {7 << 15, 15}, {9<<15 + 77, 0}, {3 << 18, 18}}
	for _, p := range staying {
		a.Store(p.index, p.order, value(p.index, p.order))
		a.SetMark(p.index, stay)
	}
	check := func(first uint64, order uint, v uint64) {
		if first&span(order) != 0 || v>>8&(1<<40-1) != first&(1<<40-1) || v&0xff != uint64(order) {
			t.Errorf("page %#x: order %d, value %#x was never stored", first, order, v)
		}
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for id := range uint64(3) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(id, 9))
			for !t.Failed() {
				select {
				case <-done:
					return
				default:
				}
				for range 100 {
					page := r.Uint64() >> (44 + r.UintN(20))
					if v, order, ok := a.Load(page); ok {
						check(page&^span(order), order, v)
					}
					p := staying[r.IntN(len(staying))]
					if v, order, ok := a.Load(p.index + span(p.order)/2); !ok || order != p.order || v != value(p.index, p.order) {
						t.Errorf("staying entry at %#x: %#x, %d, %v", p.index, v, order, ok)
					}
					if !a.Marked(p.index, stay) {
						t.Errorf("staying entry at %#x has no mark", p.index)
					}
				}
				// From any page that is not before a staying entry's first the search meets it, and no other marked so.
				for i, p := range staying {
					from := uint64(0)
					if i > 0 {
						q := staying[i-1]
						from = q.index + span(q.order) + 1
					}
					first, order, v, ok := a.NextMarked(from, ^uint64(0), stay)
					if !ok || first != p.index || order != p.order || v != value(p.index, p.order) {
						t.Errorf("marked from %#x: %#x, %d, %v; want %#x", from, first, order, ok, p.index)
					}
				}
				// A pass over all meets the staying ones in between, in order.
				next := 0
				for from := uint64(0); ; {
					first, order, v, ok := a.Next(from, ^uint64(0))
					if !ok {
						break
					}
					check(first, order, v)
					if first+span(order) < from {
						t.Errorf("from %#x: met %#x of order %d", from, first, order)
					}
					if next < len(staying) && first == staying[next].index {
						next++
					}
					from = first + span(order) + 1
				}
				if next != len(staying) {
					t.Errorf("a pass met %d of %d staying entries", next, len(staying))
				}
			}
		})
	}

	r := rand.New(rand.NewPCG(7, 7))
	stays := func(first, last uint64) bool {
		_, _, _, ok := a.NextMarked(first, last, stay)
		return ok
	}
	for range changes {
		order := r.UintN(20)
		index := r.Uint64() >> (44 + r.UintN(20)) &^ span(order)
		if r.IntN(100) == 0 {
			index |= 1 << (20 + r.UintN(44)) // a taller tree
		}
		switch {
		case stays(index, index|span(order)):
		case r.IntN(2) == 0:
			for {
				first, o, _, ok := a.Next(index, index|span(order))
				if !ok {
					a.Store(index, order, value(index, order))
					a.SetMark(index, Mark(r.IntN(2)))
					break
				}
				if first == index && o == order {
					a.Store(index, order, value(index, order))
					break
				}
				a.Erase(first)
			}
		default:
			a.Erase(index)
			for top := uint64(1 << 22); a.Len() > 3000; {
				first, _, _, ok := a.Next(top, ^uint64(0))
				if !ok {
					break
				}
				a.Erase(first)
			}
		}
		if r.IntN(50) == 0 {
			// What is high goes, so that the tree shrinks.
			for {
				first, _, _, ok := a.Next(1<<21, ^uint64(0))
				if !ok {
					break
				}
				a.Erase(first)
			}
		}
	}
	close(done)
	readers.Wait()
	if err := a.Check(); err != nil {
		t.Error(err)
	}
}

// TestLockBit: a bit of the value as a lock, taken and given back without the lock of changes while a writer marks,
// stores beside and makes the tree grow: nobody has it twice, and no change is lost.
func TestLockBit(t *testing.T) {
	const locked = 1 << 40
	rounds := 20000
	if raceEnabled || testing.Short() {
		rounds = 3000
	}
	var a Array
	entries := []struct {
		index uint64
		order uint
	}{{5, 0}, {6, 0}, {1 << 9, 9}, {1 << 18, 18}}
	var counts [4]uint64 // guarded by the locks
	for _, e := range entries {
		if !SingleSlot(e.order) {
			t.Fatalf("order %d has several slots", e.order)
		}
		a.Store(e.index, e.order, 0)
	}
	var workers sync.WaitGroup
	for id := range 3 {
		workers.Go(func() {
			for n := 0; n < rounds; {
				e := entries[(n+id)%len(entries)]
				val, order, ok := a.Load(e.index)
				if !ok || order != e.order {
					t.Errorf("entry at %#x: order %d, %t", e.index, order, ok)
					return
				}
				if val&locked != 0 || !a.CompareAndSwap(e.index, order, val, val|locked) {
					runtime.Gosched()
					continue
				}
				counts[(n+id)%len(entries)]++
				if !a.CompareAndSwap(e.index, order, val|locked, val+1) {
					t.Errorf("the entry at %#x changed while it was locked", e.index)
				}
				n++
			}
		})
	}
	for i := range uint64(rounds) {
		for _, e := range entries {
			a.SetMark(e.index, Mark0)
			a.ClearMark(e.index, Mark0)
		}
		far := 1 << (20 + i%30) // so that the tree grows and shrinks
		a.Store(uint64(far), 0, 1)
		a.Store(64+i%64, 0, 1)
		a.Erase(uint64(far))
		a.Erase(64 + i%64)
	}
	workers.Wait()
	for i, e := range entries {
		if val, _, _ := a.Load(e.index); val != counts[i] {
			t.Errorf("entry at %#x: %d changes, %d holders", e.index, val, counts[i])
		}
	}
	if err := a.Check(); err != nil {
		t.Error(err)
	}
}
