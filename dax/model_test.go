package dax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// TestSE1_SE3_SE6_RandomOperations runs random operations on a file and its views against
// a plain byte slice, at several orders of huge pages, and checks data and invariants after
// each one. Before the size changes bytes are stored past the end through a view.
// GODAX_SOAK or -duration make it long.
//
// Guards I1, I2, I3, I4, I5, I11, I12, I13, I15, I22, I24, I26, I29, I31, I33, T8, T13, T14, T77.
func TestSE1_SE3_SE6_RandomOperations(t *testing.T) {
	ops := soaked(400)
	first := firstSeed(t)
	for _, c := range []struct {
		name    string
		iomap   bool
		scatter bool
		onePage bool
	}{
		{"bh", false, false, false}, {"iomap", true, false, false},
		{"scattered", true, true, false}, {"one page answers", false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range []uint{1, 2, 3, 9} {
				f := newFile(t, 256, dax.Config{PMDOrder: order})
				f.iomap, f.scatter, f.onePage = c.iomap, c.scatter, c.onePage
				newModel(t, f, first+uint64(order)).run(ops)
			}
		})
	}
}

// TestSE7_SH17_CarriersAgree runs the same operations over both carriers: the populate
// traces must be identical.
//
// Guards C5, C6.
func TestSE7_SH17_CarriersAgree(t *testing.T) {
	trace := func(iomap bool) (all []string) {
		f := newFile(t, 256, dax.Config{Trace: func(tr dax.Trace) {
			s := fmt.Sprintf("%d+%d order %d intent %d: %v", tr.Page, tr.N, tr.Order, tr.Intent, tr.Err)
			for _, a := range tr.Answers {
				s += fmt.Sprintf(" [%d+%d %v %x %x]", a.Page, a.N, a.Kind, a.PFN.Page(), a.Attr)
			}
			all = append(all, s)
		}})
		f.iomap = iomap
		newModel(t, f, 7).run(1000)
		return all
	}
	bh, iomap := trace(false), trace(true)
	if len(bh) == 0 || len(bh) != len(iomap) {
		t.Fatalf("%d populates with buffer heads, %d with iomaps", len(bh), len(iomap))
	}
	for i := range bh {
		if bh[i] != iomap[i] {
			t.Fatalf("populate %d:\nbuffer head %s\niomap       %s", i, bh[i], iomap[i])
		}
	}
}

// model is a file beside the bytes it should have.
type model struct {
	t     *testing.T
	f     *file
	r     *rand.Rand
	want  []byte
	space *sim.Space
	order uint
	views []*sim.View
	log   []string
}

const modelMax = 40 * pageSize

func newModel(t *testing.T, f *file, seed uint64) *model {
	order := f.pmd
	return &model{t: t, f: f, r: rand.New(rand.NewPCG(seed, 42)), order: order, space: sim.New(sim.Config{PMDOrder: order})}
}

func (m *model) run(ops int) {
	m.t.Helper()
	for range ops {
		m.step()
	}
	for _, v := range m.views {
		m.f.m.Detach(v)
		v.Close()
	}
	if err := m.f.m.Evict(context.Background(), false); err != nil {
		m.fatalf("evict: %v", err)
	}
	if pages, entries := m.f.m.Pages(); pages != 0 || entries != 0 {
		m.fatalf("after eviction: %d pages, %d entries", pages, entries)
	}
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	last := m.log[max(0, len(m.log)-25):]
	for _, l := range last {
		m.t.Log(l)
	}
	m.t.Fatalf(format, args...)
}

// off picks a byte, edges of pages and huge pages preferred.
func (m *model) off(limit int) int {
	if limit <= 0 {
		return 0
	}
	o := m.r.IntN(limit + 1)
	switch m.r.IntN(4) {
	case 0:
		o -= o % pageSize
	case 1:
		o -= o % (pageSize << m.order)
	case 2:
		o = o - o%pageSize + m.r.IntN(3) - 1
	}
	return min(max(o, 0), limit)
}

func (m *model) step() {
	m.t.Helper()
	f, size := m.f, len(m.want)
	off := m.off(modelMax - 1)
	n := min(m.off(12*pageSize), modelMax-off)
	log := func(format string, args ...any) {
		m.log = append(m.log, fmt.Sprintf("%d: ", len(m.log))+fmt.Sprintf(format, args...))
	}
	op := m.r.IntN(100)
	if op < 20 || op >= 40 && op < 54 {
		m.pollute()
	}
	switch {
	case op < 20:
		log("write %d+%d", off, n)
		b := fill(n, m.r.Uint64())
		f.t = m.t
		f.mustWrite(b, int64(off))
		m.grow(off+n, n > 0)
		copy(m.want[min(off, len(m.want)):], b)
	case op < 40:
		log("read %d+%d", off, n)
		b := make([]byte, n)
		got, err := f.read(b, int64(off))
		want := m.want[min(off, size):min(off+n, size)]
		if !bytes.Equal(b[:got], want) || n > 0 && (err == io.EOF) != (got < n) || err != nil && err != io.EOF {
			m.fatalf("read %d+%d of %d: %d bytes, %v, equal %t", off, n, size, got, err, bytes.Equal(b[:got], want))
		}
	case op < 47:
		to := m.off(modelMax)
		log("truncate %d -> %d", size, to)
		if err := f.truncate(context.Background(), int64(to)); err != nil {
			m.fatalf("truncate to %d: %v", to, err)
		}
		m.grow(to, true)
		m.want = m.want[:to]
	case op < 54:
		log("punch %d+%d", off, n)
		if err := f.punch(context.Background(), int64(off), int64(n)); err != nil {
			m.fatalf("punch: %v", err)
		}
		clear(m.want[min(off, size):min(off+n, size)])
	case op < 59:
		log("zero %d+%d", off, n)
		if err := f.zero(int64(off), int64(n)); err != nil {
			m.fatalf("zero: %v", err)
		}
		clear(m.want[min(off, size):min(off+n, size)])
	case op < 65:
		log("sync")
		f.sync()
		if st := f.sync(); st.Entries != 0 {
			m.fatalf("a second sync cleaned %d entries", st.Entries)
		}
	case op < 70:
		m.remap(log)
	default:
		if len(m.views) > 0 {
			m.access(m.views[m.r.IntN(len(m.views))], off, n, log)
		}
	}
	if int64(len(m.want)) != f.m.Size() {
		m.fatalf("size %d, want %d", f.m.Size(), len(m.want))
	}
	if err := f.m.CheckInvariants(true); err != nil {
		m.fatalf("%v", err)
	}
	if err := m.space.Check(); err != nil {
		m.fatalf("%v", err)
	}
}

func (m *model) grow(end int, grew bool) {
	if grew && end > len(m.want) {
		m.want = append(m.want, make([]byte, end-len(m.want))...)
	}
}

// pollute stores garbage behind the end of the file, up to the end of its last page, through
// a view that can.
func (m *model) pollute() {
	m.t.Helper()
	end := len(m.want)
	n := (pageSize - end%pageSize) % pageSize
	for _, v := range m.views {
		first, count := v.Bounds()
		page := uint64(end) / pageSize
		if n > 0 && v.Flags().SharedWrite() && page >= first && page < first+count {
			m.log = append(m.log, fmt.Sprintf("%d: garbage at %d+%d", len(m.log), end, n))
			store(m.t, v, bytes.Repeat([]byte{0xff}, n), int64(end))
			return
		}
	}
}

// remap makes a view, or takes one away.
func (m *model) remap(log func(string, ...any)) {
	if len(m.views) == 4 || len(m.views) > 0 && m.r.IntN(3) == 0 {
		i := m.r.IntN(len(m.views))
		log("unmap view %d", i)
		m.f.m.Detach(m.views[i])
		m.views[i].Close()
		m.views = append(m.views[:i], m.views[i+1:]...)
		return
	}
	flags := []vm.Flags{sharedRW, sharedRW, sharedRO}[m.r.IntN(3)]
	page := m.r.Uint64N(pmdPages * 2)
	n := 1 + m.r.Uint64N(modelMax/pageSize)
	log("map %d+%d flags %b", page, n, flags)
	m.views = append(m.views, m.f.mapView(m.space, page, n, flags))
}

// access loads or stores through a view, past the end of the file now and then.
func (m *model) access(v *sim.View, off, n int, log func(string, ...any)) {
	m.t.Helper()
	first, count := v.Bounds()
	lo, hi := int(first)*pageSize, int(first+count)*pageSize
	off = min(max(off, lo), hi-1)
	n = min(max(n, 1), hi-off)
	fileEnd := (len(m.want) + pageSize - 1) / pageSize * pageSize
	store := v.Flags().SharedWrite() && m.r.IntN(2) == 0
	log("view access %d+%d store %t", off, n, store)
	b := make([]byte, n)
	var err error
	if store {
		copy(b, fill(n, m.r.Uint64()))
		err = v.Store(context.Background(), b, int64(off))
	} else {
		err = v.Load(context.Background(), b, int64(off))
	}
	var bus *vm.BusError
	served := n
	if off+n > fileEnd {
		served = max(0, fileEnd-off)
		if !errors.As(err, &bus) || !errors.Is(err, dax.ErrBeyondEnd) {
			m.fatalf("view access %d+%d of %d: %v, want a bus error", off, n, len(m.want), err)
		}
	} else if err != nil {
		m.fatalf("view access %d+%d of %d: %v", off, n, len(m.want), err)
	}
	inFile := max(0, min(served, len(m.want)-off))
	if store {
		copy(m.want[min(off, len(m.want)):], b[:inFile])
	} else if !bytes.Equal(b[:inFile], m.want[min(off, len(m.want)):min(off, len(m.want))+inFile]) {
		m.fatalf("view load %d+%d: wrong bytes", off, n)
	}
}
