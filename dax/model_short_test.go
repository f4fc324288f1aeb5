package dax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// shadow is a file with views, beside the bytes it should have.
type shadow struct {
	t     *testing.T
	f     *file
	want  []byte
	space *sim.Space
	wide  *sim.View // all of it
	small *sim.View // from page 2 on, one page
	priv  *sim.View
	done  string // what was done, for messages
}

// newShadow makes a file of n bytes that one view covers.
func newShadow(t *testing.T, f *file, n int) *shadow {
	f.sized(int64(n))
	s := &shadow{t: t, f: f, want: make([]byte, n), space: sim.New(sim.Config{PMDOrder: f.pmd})}
	pages := uint64(n+pageSize-1)/pageSize + 2
	s.wide = f.mapView(s.space, 0, pages, sharedRW)
	s.small = f.mapView(s.space, 2, 1, sharedRW)
	s.priv = f.mapView(s.space, 0, pages, private)
	return s
}

func (s *shadow) fatal(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("after%s: %s: %v", s.done, what, err)
	}
}

func (s *shadow) resize(n int) {
	s.want = append(s.want[:min(n, len(s.want))], make([]byte, max(0, n-len(s.want)))...)
}

func (s *shadow) write(off, n int, v byte) {
	b := bytes.Repeat([]byte{v}, n)
	_, err := s.f.write(b, int64(off))
	s.fatal("write", err)
	s.resize(max(len(s.want), off+n))
	copy(s.want[off:], b)
}

// store goes through a view, as far as the page that the file ends in.
func (s *shadow) store(v *sim.View, off, n int, value byte) {
	b := bytes.Repeat([]byte{value}, n)
	err := v.Store(ctx, b, int64(off))
	end := (len(s.want) + pageSize - 1) / pageSize * pageSize
	if off+n > end {
		if !errors.Is(err, dax.ErrBeyondEnd) {
			s.fatal("store past the end", fmt.Errorf("got %v", err))
		}
	} else {
		s.fatal("store", err)
	}
	if v.Flags()&vm.Shared != 0 {
		copy(s.want[min(off, len(s.want)):], b)
	}
}

func (s *shadow) truncate(n int) {
	s.fatal("truncate", s.f.truncate(ctx, int64(n)))
	s.resize(n)
}

func (s *shadow) clear(off, n int) {
	clear(s.want[min(off, len(s.want)):min(off+n, len(s.want))])
}

func (s *shadow) punch(off, n int) {
	s.fatal("punch", s.f.punch(ctx, int64(off), int64(n)))
	s.clear(off, n)
}

func (s *shadow) zero(off, n int) {
	s.fatal("zero", s.f.zero(int64(off), int64(n)))
	s.clear(off, n)
}

func (s *shadow) sync() {
	_, err := s.f.m.Writeback(ctx, 0, 1<<62)
	s.fatal("writeback", err)
}

func (s *shadow) load() {
	s.fatal("load", s.wide.Load(ctx, make([]byte, len(s.want)), 0))
}

// verify compares all ways to see the file, and the medium.
func (s *shadow) verify() {
	s.t.Helper()
	s.fatal("invariants", s.f.m.CheckInvariants(true))
	s.fatal("translations", s.space.Check())
	got := make([]byte, len(s.want))
	if n, err := s.f.read(got, 0); n != len(got) || err != nil && err != io.EOF || !bytes.Equal(got, s.want) {
		s.fatal("read", fmt.Errorf("%d bytes, %v, right: %t", n, err, bytes.Equal(got, s.want)))
	}
	if err := s.wide.Load(ctx, got, 0); err != nil || !bytes.Equal(got, s.want) {
		s.fatal("view", fmt.Errorf("%v, right: %t", err, bytes.Equal(got, s.want)))
	}
	for p := range s.want {
		if p%pageSize != 0 {
			continue
		}
		if at, ok := s.f.device(uint64(p) / pageSize); ok && !s.f.is(s.f.raw, uint64(p)/pageSize) {
			b, err := s.f.dev.Bytes(int64(at)*pageSize, pageSize)
			n := min(pageSize, len(s.want)-p)
			if err != nil || !bytes.Equal(b[:n], s.want[p:p+n]) {
				s.fatal("device", fmt.Errorf("page %d: %v", p/pageSize, err))
			}
		}
	}
}

func (s *shadow) end() {
	for _, v := range []*sim.View{s.wide, s.small, s.priv} {
		s.fatal("detach", s.f.m.Detach(v))
		v.Close()
	}
	s.fatal("evict", s.f.m.Evict(ctx, false))
}

// TestSE2_ShortSequences tries every sequence of three of twelve operations on a file of two
// huge runs of two pages.
//
// Guards I11, I12, I13, I15, I18, I22, I24, I29, I33, T9, T13, T14, T21.
func TestSE2_ShortSequences(t *testing.T) {
	const size = 4 * pageSize
	shapes := []struct {
		name string
		do   func(s *shadow, v byte)
	}{
		{"write a page", func(s *shadow, v byte) { s.write(0, pageSize, v) }},
		{"write a run", func(s *shadow, v byte) { s.write(2*pageSize, 2*pageSize, v) }},
		{"write across", func(s *shadow, v byte) { s.write(pageSize+100, 2*pageSize, v) }},
		{"load", func(s *shadow, v byte) { s.load() }},
		{"store wide", func(s *shadow, v byte) { s.store(s.wide, pageSize+7, 10, v) }},
		{"store small", func(s *shadow, v byte) { s.store(s.small, 2*pageSize+7, 10, v) }},
		{"store privately", func(s *shadow, v byte) { s.store(s.priv, 3*pageSize, 10, v) }},
		{"cut", func(s *shadow, v byte) { s.truncate(pageSize + 50) }},
		{"extend", func(s *shadow, v byte) { s.truncate(size + 30) }},
		{"punch", func(s *shadow, v byte) { s.punch(pageSize-5, 2*pageSize) }},
		{"zero", func(s *shadow, v byte) { s.zero(3, 3*pageSize) }},
		{"sync", func(s *shadow, v byte) { s.sync() }},
	}
	dev := newFile(t, 16, dax.Config{}).dev
	for i := range len(shapes) * len(shapes) * len(shapes) {
		f := newFileOn(t, dev, dax.Config{PMDOrder: 1})
		f.iomap = i%2 == 0
		s := newShadow(t, f, size)
		for k, x := range []int{i / len(shapes) / len(shapes), i / len(shapes) % len(shapes), i % len(shapes)} {
			s.done += ", " + shapes[x].name
			shapes[x].do(s, byte(k)+1)
			if k == 2 {
				s.verify()
			}
		}
		s.sync()
		s.verify()
		s.end()
	}
}

// TestSE5_KnownKillers replays sequences that file systems have lost data by.
//
// Guards I15, I22, I29, I33, T13, T14, T77.
func TestSE5_KnownKillers(t *testing.T) {
	for _, order := range []uint{1, 2, 3, 9} {
		for _, onePage := range []bool{false, true} {
			for name, do := range map[string]func(s *shadow){
				"generic/029": func(s *shadow) { // store behind a truncate down, then up
					s.write(0, 4*pageSize, 1)
					s.truncate(100)
					s.store(s.wide, 0, pageSize, 2)
					s.truncate(4 * pageSize)
					s.verify()
				},
				"generic/030": func(s *shadow) { // the same with other views in between
					s.write(0, 5*pageSize, 1)
					s.store(s.wide, 0, 5*pageSize, 2)
					s.truncate(2*pageSize + 100)
					s.store(s.wide, 2*pageSize, pageSize, 3)
					s.truncate(5*pageSize - 7)
					s.verify()
					s.store(s.small, 2*pageSize, pageSize, 4)
				},
				"generic/469": func(s *shadow) {
					s.truncate(3*pageSize + 1000)
					s.store(s.wide, 3*pageSize, pageSize, 1) // behind the end too
					s.write(5*pageSize, 10, 2)
				},
				"generic/499": func(s *shadow) {
					s.truncate(pageSize + 5)
					s.store(s.wide, pageSize, pageSize, 1)
					s.zero(pageSize, 100)
					s.truncate(3 * pageSize)
				},
				"generic/511": func(s *shadow) {
					s.truncate(3000)
					s.store(s.wide, 0, pageSize, 1)
					s.punch(2000, 1000)
					s.write(6*pageSize, 20, 2)
				},
				"generic/567": func(s *shadow) { // punch within stored pages
					s.store(s.wide, 0, 3*pageSize, 1)
					s.punch(pageSize/2, 2*pageSize)
					s.load()
					s.store(s.wide, pageSize, 10, 2)
				},
				"generic/758": func(s *shadow) { // zero what a view has just dirtied
					s.write(0, 3*pageSize, 1)
					s.sync()
					s.store(s.wide, pageSize-10, pageSize+20, 2)
					s.zero(pageSize-5, pageSize)
					s.load()
				},
			} {
				f := newFile(t, 64, dax.Config{PMDOrder: order})
				f.onePage = onePage
				s := newShadow(t, f, 5*pageSize)
				s.done = " " + name
				do(s)
				s.verify()
				s.sync()
				s.verify()
				s.end()
			}
		}
	}
}

// TestSE4_Concurrent runs random operations from four goroutines on one file: on ranges of
// their own first, then on ranges that overlap, each operation with the locks of the
// model's pages. Sizes do not change.
//
// Guards I24, I25, I33, I55, T4, T8, T9, T19.
func TestSE4_Concurrent(t *testing.T) {
	const pages = 16
	seed := firstSeed(t)
	for _, overlap := range []bool{false, true} {
		for _, order := range []uint{1, 2, 3} {
			f := newFile(t, 64, dax.Config{PMDOrder: order})
			f.iomap = overlap
			f.sized(pages * pageSize)
			space := sim.New(sim.Config{PMDOrder: order})
			views := []*sim.View{f.mapView(space, 0, pages, sharedRW), f.mapView(space, 0, pages, sharedRW)}
			want := make([]byte, pages*pageSize)
			var locks [pages]sync.Mutex
			var wg sync.WaitGroup
			for g := range 4 {
				r := rand.New(rand.NewPCG(seed, uint64(g)))
				wg.Go(func() {
					for range soaked(150) {
						off, n := r.IntN(pages*pageSize), 1+r.IntN(3*pageSize)
						if !overlap { // a page belongs to one goroutine
							off = (off/pageSize/4*4 + g) * pageSize
							n = min(n, pageSize)
						}
						n = min(n, len(want)-off)
						first, last := off/pageSize, (off+n-1)/pageSize
						for p := first; p <= last; p++ {
							locks[p].Lock()
						}
						err := concurrentStep(f, views, r, want, off, n)
						for p := first; p <= last; p++ {
							locks[p].Unlock()
						}
						if err != nil {
							t.Errorf("seed %d, goroutine %d: %v", seed, g, err)
							return
						}
					}
				})
			}
			must(t, within(t, "the end", start(func() error { wg.Wait(); return nil })))
			equal(t, "read", f.mustRead(0, len(want)), want)
			equal(t, "view", load(t, views[0], 0, len(want)), want)
			f.sync()
			f.check()
			must(t, space.Check())
		}
	}
}

// concurrentStep does one operation on want[off:off+n], which nobody else touches.
func concurrentStep(f *file, views []*sim.View, r *rand.Rand, want []byte, off, n int) error {
	b := fill(n, r.Uint64())
	part := want[off : off+n]
	compare := func(what string, err error) error {
		if err == nil && !bytes.Equal(b, part) {
			err = fmt.Errorf("%s of %d bytes at %d: wrong bytes", what, n, off)
		}
		return err
	}
	view := views[r.IntN(len(views))]
	switch r.IntN(7) {
	case 0:
		copy(part, b)
		_, err := f.write(b, int64(off))
		return err
	case 1:
		copy(part, b)
		return view.Store(context.Background(), b, int64(off))
	case 2:
		_, err := f.read(b, int64(off))
		if err == io.EOF {
			err = nil
		}
		return compare("read", err)
	case 3:
		return compare("load", view.Load(context.Background(), b, int64(off)))
	case 4:
		clear(part)
		return f.punch(context.Background(), int64(off), int64(n))
	case 5:
		clear(part)
		return f.zero(int64(off), int64(n))
	}
	_, err := f.m.Writeback(nil, int64(off), int64(n))
	return err
}
