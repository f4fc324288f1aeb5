package dax_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/internal/rwsem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// Interleavings: one operation is held at a pause point, others run, the first goes on.
// What they have in common is here; the tests are in the files race_*_test.go, by
// subject. Which operations wait, and that all of them end, is found out by package
// sched, which also watches the lock order (K7).

// inodeLock is the inode lock of a test file: a [sync.RWMutex] whose waits are announced.
type inodeLock struct{ l rwsem.RW }

func (i *inodeLock) Lock()    { _ = i.l.Lock(nil) } // cannot fail without a context
func (i *inodeLock) Unlock()  { i.l.Unlock() }
func (i *inodeLock) RLock()   { _ = i.l.RLock(nil) }
func (i *inodeLock) RUnlock() { i.l.RUnlock() }

// stage is what an interleaving is played on: a sparse file of two huge pages on a
// simulated device, and its views.
type stage struct {
	*file
	t     *testing.T
	dev   *psim.Device
	small bool   // extents, entries and translations are of one page
	order uint   // of a huge page
	n     uint64 // its pages
	run   int64  // its bytes
	views []*sim.View
	space []*sim.Space
}

func newStage(t *testing.T, order uint, small bool) *stage {
	t.Helper()
	sched.Enabled(t)
	s := &stage{t: t, small: small, order: order, n: 1 << order, run: pageSize << order}
	s.file, s.dev = newSimFile(t, max(64, 8*int64(s.n)), dax.Config{PMDOrder: order})
	s.onePage, s.iomap = small, order%2 == 1
	s.sized(2 * s.run)
	return s
}

// eachStage runs a test at the small order and at several huge ones, and the checkers
// after it.
func eachStage(t *testing.T, test func(s *stage)) {
	t.Helper()
	t.Run("small", func(t *testing.T) { newStage(t, pmdOrder, true).play(test) })
	eachHuge(t, test)
}

// eachHuge is eachStage without the small order.
func eachHuge(t *testing.T, test func(s *stage)) {
	t.Helper()
	for _, order := range []uint{1, 2, 3} {
		t.Run(fmt.Sprintf("order %d", order), func(t *testing.T) { newStage(t, order, false).play(test) })
	}
}

// realOrder runs a test at the order of the real world.
func realOrder(t *testing.T, test func(s *stage)) {
	t.Helper()
	t.Run("order 9", func(t *testing.T) { newStage(t, dax.PMDOrder, false).play(test) })
}

func (s *stage) play(test func(s *stage)) {
	s.t.Helper()
	test(s)
	if !s.t.Failed() {
		s.finish()
	}
}

// mapped makes a view in an address space of its own.
func (s *stage) mapped(page, n uint64, flags vm.Flags) *sim.View {
	s.t.Helper()
	if s.small {
		flags |= vm.NoHuge
	}
	space := sim.New(sim.Config{PMDOrder: s.order})
	v := s.mapView(space, page, n, flags)
	s.views, s.space = append(s.views, v), append(s.space, space)
	return v
}

// whole is a view of the whole file.
func (s *stage) whole(flags vm.Flags) *sim.View {
	s.t.Helper()
	return s.mapped(0, 2*s.n, flags)
}

// unmapped takes a view away.
func (s *stage) unmapped(v *sim.View) {
	s.t.Helper()
	for i, have := range s.views {
		if have == v {
			s.views = append(s.views[:i:i], s.views[i+1:]...)
		}
	}
	if err := s.m.Detach(v); err != nil {
		s.t.Fatal(err)
	}
	v.Close()
}

// entryOrder is the order of the entries that faults make.
func (s *stage) entryOrder() uint {
	if s.small {
		return 0
	}
	return s.order
}

// The operations. Their names are those for sched.By.

func (s *stage) op(name string, f func() error) *sched.Op {
	s.t.Helper()
	return sched.Go(s.t, name, f)
}

func (s *stage) loads(name string, v *sim.View, b []byte, off int64) *sched.Op {
	s.t.Helper()
	return s.op(name, func() error { return v.Load(ctx, b, off) })
}

func (s *stage) stores(name string, v *sim.View, b []byte, off int64) *sched.Op {
	s.t.Helper()
	return s.op(name, func() error { return v.Store(ctx, b, off) })
}

func (s *stage) writes(name string, b []byte, off int64) *sched.Op {
	s.t.Helper()
	return s.op(name, func() error { _, err := s.write(b, off); return err })
}

func (s *stage) syncs(name string) *sched.Op {
	s.t.Helper()
	return s.op(name, func() error { _, err := s.m.Writeback(ctx, 0, 1<<62); return err })
}

// hold makes a gate for an operation on the file.
func (s *stage) hold(p hook.Point, by string, more ...sched.Filter) *sched.Gate {
	s.t.Helper()
	return sched.Hold(s.t, p, append(more, sched.Of(s.m), sched.By(by))...)
}

// waits fails the test unless the operations are asleep.
func (s *stage) waits(ops ...*sched.Op) {
	s.t.Helper()
	for _, o := range ops {
		if !o.Blocked() {
			s.t.Fatalf("must wait: %v", o)
		}
	}
}

// done waits for the operations' ends, and fails the test for their errors.
func (s *stage) done(ops ...*sched.Op) {
	s.t.Helper()
	for _, o := range ops {
		if err := o.Err(); err != nil {
			s.t.Fatalf("%s: %v", o.Name(), err)
		}
	}
}

// noZeroes fails the test if a view has a zero page at the page (I14).
func (s *stage) noZeroes(page uint64) {
	s.t.Helper()
	for _, v := range s.views {
		if l, ok := v.Lookup(page); ok && l.Kind == vm.Zero {
			s.t.Errorf("page %d: a zero page is mapped: %+v", page, l)
		}
	}
}

// onMedium fails the test unless what is durable of the page begins with want at off.
func (s *stage) onMedium(what string, page uint64, off int, want []byte) {
	s.t.Helper()
	d, ok := s.device(page)
	if !ok {
		s.t.Fatalf("%s: page %d has no block", what, page)
	}
	equal(s.t, what, s.dev.Durable()[int(d)*pageSize+off:][:len(want)], want)
}

// isFree reports whether a device page may be given to somebody else.
func (s *stage) isFree(dev uint64) bool { return s.is(s.free, dev) }

// reads reads the whole file.
func (s *stage) reads() []byte {
	s.t.Helper()
	return s.mustRead(0, int(s.m.Size()))
}

// finish runs the checkers: index, translations, waiters, bytes by every way, blocks, and
// that nothing is left when everything is taken away.
func (s *stage) finish() {
	t := s.t
	t.Helper()
	s.check()
	data := s.reads()
	for i, v := range s.views {
		if err := v.Check(); err != nil {
			t.Fatal(err)
		}
		page, n := v.Bounds()
		end := min((page+n)*pageSize, uint64(len(data)))
		if v.Flags()&(vm.Shared|vm.Read) == vm.Shared|vm.Read && page*pageSize < end {
			want := data[page*pageSize : end]
			equal(t, fmt.Sprintf("view %d", i), load(t, v, int64(page)*pageSize, len(want)), want)
		}
	}
	s.check()
	s.sync()
	s.checkBlocks(data)
	for len(s.views) > 0 {
		s.unmapped(s.views[0])
	}
	for _, space := range s.space {
		if n := space.Stats().Tables; n != 0 {
			t.Errorf("I19: %d page tables left", n)
		}
	}
	if views, pins := s.m.Busy(); views+pins != 0 {
		t.Errorf("%d views, %d pins left", views, pins)
	}
	if err := s.m.Evict(ctx, false); err != nil {
		t.Fatal(err)
	}
	if pages, entries := s.m.Pages(); pages+entries != 0 {
		t.Errorf("I5: %d pages, %d entries left", pages, entries)
	}
}

// checkBlocks verifies that the medium holds the file's bytes, and that each block has
// exactly one user (K3).
func (s *stage) checkBlocks(data []byte) {
	t := s.t
	t.Helper()
	medium := s.dev.Durable()
	s.mu.Lock()
	defer s.mu.Unlock()
	user := map[uint64]uint64{}
	for p, d := range s.blocks {
		if other, ok := user[d]; ok || s.free[d] {
			t.Errorf("K3: block %d of page %d is also of page %d, or free", d, p, other)
		}
		user[d] = p
		want := data[min(p*pageSize, uint64(len(data))):]
		want = want[:min(len(want), pageSize)]
		if !s.raw[p] && !bytes.Equal(medium[d*pageSize:][:len(want)], want) {
			t.Errorf("K5: page %d on the medium differs from the file", p)
		}
	}
	others := 0 // what another file goes on using
	for d := range s.shared {
		if _, ours := user[d]; !ours && !s.free[d] {
			others++
		}
	}
	if got, want := len(s.blocks)+len(s.free)+others, int(s.dev.Size()/pageSize); got != want {
		t.Errorf("K3: %d blocks are used or free, of %d", got, want)
	}
}

// pattern is n bytes of which no two neighbouring pages are alike.
func pattern(n int64, seed uint64) []byte {
	page := fill(pageSize+int(n/pageSize)+1, seed)
	b := make([]byte, n)
	for i := int64(0); i < n; i += pageSize {
		copy(b[i:], page[i/pageSize:][:pageSize])
	}
	return b
}

// pastEnd fails the test unless err is the SIGBUS of a page past the end.
func (s *stage) pastEnd(what string, err error) {
	s.t.Helper()
	isBus(s.t, what, err, dax.ErrBeyondEnd)
}

// servedOrGone fails the test unless an access succeeded, or met the end of the file.
func (s *stage) servedOrGone(o *sched.Op) {
	s.t.Helper()
	if err := o.Err(); err != nil && !errors.Is(err, dax.ErrBeyondEnd) {
		s.t.Fatalf("%s: %v", o.Name(), err)
	}
}
