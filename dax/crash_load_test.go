package dax_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"godax/dax"
	psim "godax/pmem/sim"
	"godax/vm/sim"
)

// crashModel is a file beside what each of its bytes may be after a crash: what it was at the
// last fsync, or anything it has been since.
type crashModel struct {
	*disk
	r        *rand.Rand
	want     []byte // as of now; past its end it counts as zero
	base     []byte // at the last fsync
	since    [][4]uint64
	min, max int64 // sizes since then
	value    byte
}

const crashPages = 12

func (m *crashModel) synced() {
	m.base = bytes.Clone(m.want)
	clear(m.since)
	m.min, m.max = int64(len(m.want)), int64(len(m.want))
}

// may allows bytes [off, end) to have a value from now on.
func (m *crashModel) may(off, end int, v byte) {
	for i := off; i < min(end, len(m.since)); i++ {
		m.since[i][v>>6] |= 1 << (v & 63)
	}
}

func (m *crashModel) verify(f *found) {
	m.t.Helper()
	if f.size < m.min || f.size > m.max {
		m.t.Fatalf("%d bytes; the size was between %d and %d", f.size, m.min, m.max)
	}
	for i, b := range f.bytes() {
		old := byte(0)
		if i < len(m.base) {
			old = m.base[i]
		}
		if b != old && m.since[i][b>>6]>>(b&63)&1 == 0 {
			m.t.Fatalf("byte %d of %d is %#x, which it has not been since the last fsync, when it was %#x", i, f.size, b, old)
		}
	}
}

// step does one random operation.
func (m *crashModel) step(views []*sim.View) {
	size := len(m.want)
	off := m.r.IntN(crashPages * pageSize)
	n := 1 + m.r.IntN(3*pageSize)
	n = min(n, crashPages*pageSize-off)
	m.value++
	if m.value == 0 {
		m.value = 1
	}
	b := bytes.Repeat([]byte{m.value}, n)
	resize := func(to int) {
		m.min, m.max = min(m.min, int64(to)), max(m.max, int64(to))
	}
	switch m.r.IntN(8) {
	case 0, 1:
		m.may(off, off+n, m.value)
		m.may(size, off, 0) // the gap, and the rest of the last page
		resize(max(size, off+n))
		must(m.t, m.write(b, int64(off)))
		m.want = append(m.want, make([]byte, max(0, off+n-size))...)
		copy(m.want[off:], b)
	case 2, 3:
		if off, n = min(off, max(size-1, 0)), min(n, size-off); n <= 0 {
			return
		}
		m.may(off, off+n, m.value)
		store(m.t, views[m.r.IntN(len(views))], b[:n], int64(off))
		copy(m.want[off:], b[:n])
	case 4:
		to := m.r.IntN(crashPages * pageSize)
		m.may(min(to, size), len(m.since), 0)
		resize(to)
		must(m.t, m.truncate(nil, int64(to)))
		m.want = append(m.want[:min(to, size)], make([]byte, max(0, to-size))...)
	case 5:
		m.may(off, off+n, 0)
		must(m.t, m.punch(int64(off), int64(n)))
		clear(m.want[min(off, size):min(off+n, size)])
	case 6:
		m.devs[0].Evict(m.r)
		must(m.t, m.commit())
	default:
		must(m.t, m.fsync())
		m.synced()
	}
}

// TestSF10_EveryBarrier: random operations with a look at what a crash leaves at every barrier
// and every flush, and now and then in between. The cache also writes lines back by itself.
//
// Guards I23, I30, I33, I37, T3, T14, T17.
func TestSF10_EveryBarrier(t *testing.T) {
	first := firstSeed(t)
	for _, order := range []uint{1, 2, 3} {
		for seed := range uint64(soaked(3)) {
			d := newDisk(t, 1, dax.Config{PMDOrder: order})
			m := &crashModel{disk: d, r: rand.New(rand.NewPCG(first+seed, uint64(order))), since: make([][4]uint64, crashPages*pageSize)}
			m.synced()
			s := sim.New(sim.Config{PMDOrder: order})
			views := []*sim.View{d.mapView(s, 0, crashPages, sharedRW), d.mapView(s, 0, crashPages, sharedRW)}
			looking := false
			d.devs[0].Hook(func(c psim.Call) {
				if looking || c.Op != psim.OpBarrier && m.r.IntN(40) > 0 {
					return
				}
				looking = true
				d.crashed(1, m.verify)
				looking = false
			})
			for range 100 {
				m.step(views)
				d.check()
			}
			d.devs[0].Hook(nil)
			must(t, d.fsync())
			d.crashed(2, func(f *found) { f.is(t, fmt.Sprintf("at the end, seed %d", first+seed), m.want) })
		}
	}
}

// TestSF11_PowerCuts: power is cut at random moments while goroutines store, write and sync;
// what is left is mounted and used again, many times. A cell has at least what an fsync
// that returned had seen, and nothing that was never stored. In every other life there are no
// writes, which make small entries.
//
// Guards I23, I30, I32, I37, T24, T25.
func TestSF11_PowerCuts(t *testing.T) {
	const cells = crashPages * pageSize / 8
	seed := firstSeed(t)
	r := rand.New(rand.NewPCG(seed, 11))
	d := newDisk(t, 1, dax.Config{})
	must(t, d.truncate(nil, crashPages*pageSize))
	must(t, d.fsync())
	var floor, begun, done [cells]atomic.Uint64
	for n := range soaked(20) {
		d.t = t
		s := newSpace()
		views := []*sim.View{d.mapView(s, 0, crashPages, sharedRW), d.mapView(s, 1, 5, sharedRW)}
		life, cancel := context.WithCancel(ctx)
		var images [][]byte
		var least, most [cells]uint64
		dice := rand.New(rand.NewPCG(seed, r.Uint64()))
		var left, synced atomic.Int64 // device calls before the cut, which comes after an fsync
		left.Store(200 + r.Int64N(600))
		var cut sync.Once
		d.devs[0].Hook(func(psim.Call) {
			if left.Add(-1) <= 0 && synced.Load() > 0 {
				cut.Do(func() {
					for c := range cells {
						least[c] = floor[c].Load()
					}
					images = [][]byte{d.devs[0].Crash(dice)}
					for c := range cells {
						most[c] = begun[c].Load()
					}
					cancel()
				})
			}
		})
		var wg sync.WaitGroup
		for o := range uint64(3) {
			rnd := rand.New(rand.NewPCG(seed, r.Uint64()))
			wg.Go(func() {
				for life.Err() == nil {
					c := rnd.Uint64N(cells/3)*3 + o
					v := begun[c].Add(1)
					var b [8]byte
					binary.LittleEndian.PutUint64(b[:], v)
					view, off := views[rnd.IntN(2)], int64(c*8)
					var err error
					if first, pages := view.Bounds(); (n%2 == 1 || rnd.IntN(3) > 0) && c*8/pageSize >= first && c*8/pageSize < first+pages {
						err = view.Store(nil, b[:], off)
					} else if n%2 == 1 {
						err = views[0].Store(nil, b[:], off)
					} else {
						err = d.write(b[:], off)
					}
					if err != nil {
						t.Errorf("cell %d: %v", c, err)
						return
					}
					done[c].Store(v)
				}
			})
		}
		wg.Go(func() {
			for life.Err() == nil {
				var seen [cells]uint64
				for c := range cells {
					seen[c] = done[c].Load()
				}
				if err := d.fsync(); err != nil {
					t.Errorf("fsync: %v", err)
					return
				}
				for c := range cells {
					floor[c].Store(seen[c])
				}
				synced.Add(1)
			}
		})
		<-life.Done()
		must(t, within(t, "the end of a life", start(func() error { wg.Wait(); return nil })))
		d.check()
		f, err := recovered(images)
		must(t, err)
		got := f.bytes()
		for c := range cells {
			v := binary.LittleEndian.Uint64(got[c*8:])
			if v < least[c] || v > most[c] {
				t.Fatalf("seed %d: cell %d is %d; %d was durable, %d had begun", seed, c, v, least[c], most[c])
			}
			floor[c].Store(v)
			done[c].Store(v)
		}
		d.devs[0].Hook(nil)
		d = diskOf(t, images, dax.Config{})
	}
	if d.m.Size() != crashPages*pageSize {
		t.Errorf("%d bytes at the end", d.m.Size())
	}
}
