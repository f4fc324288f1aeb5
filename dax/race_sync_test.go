package dax_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/vm"
	"godax/vm/sim"
)

// Sync views: a store is possible only when the metadata that leads to it is durable.

// syncStage is a stage whose extent map is durable only after a commit.
type syncStage struct {
	*stage
	durable     map[uint64]uint64 // the extent map as of the last commit; guarded by file.mu
	commits     int
	afterCommit func() // between the commit of a fault and its end; nil after it was called
}

func newSyncStage(s *stage) *syncStage {
	s.iomap = true // the carrier that knows shared storage
	return &syncStage{stage: s, durable: map[uint64]uint64{}}
}

func (s *syncStage) commit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	s.durable = maps.Clone(s.blocks)
}

// committed reports whether a crash would not lose the blocks of the pages.
func (s *syncStage) committed(page, n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := page; p < page+n; p++ {
		d, ok := s.blocks[p]
		if have, durable := s.durable[p]; ok && (!durable || have != d) {
			return false
		}
	}
	return true
}

func (s *syncStage) PopulatePFNs(r *dax.Request) error {
	err := s.file.PopulatePFNs(r)
	if err == nil && r.Sync && !s.committed(r.First(), r.End()-r.First()) {
		r.MetadataPending()
	}
	return err
}

func (s *syncStage) Fault(f *vm.Fault) error {
	err := s.m.Fault(f, s)
	if !errors.Is(err, dax.ErrMetadataPending) {
		return err
	}
	s.commit()
	if after := s.afterCommit; after != nil {
		s.afterCommit = nil
		after()
	}
	return s.m.FinishSync(f)
}

// syncView maps the whole file so.
func (s *syncStage) syncView() *sim.View {
	s.t.Helper()
	flags := sharedRW | vm.Sync
	if s.small {
		flags |= vm.NoHuge
	}
	space := sim.New(sim.Config{PMDOrder: s.order})
	v, err := space.Map(s, 0, 2*s.n, flags)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.m.Attach(ctx, v, s); err != nil {
		s.t.Fatal(err)
	}
	s.views, s.space = append(s.views, v), append(s.space, space)
	return v
}

// checkSync verifies I36: what can be stored to is durable metadata.
func (s *syncStage) checkSync(v *sim.View) {
	s.t.Helper()
	for _, l := range v.Translations() {
		if n := uint64(1) << l.Order; l.Write && !s.committed(l.Page, n) {
			s.t.Errorf("I36: pages %d+%d can be stored to, and the way to them is not durable", l.Page, n)
		}
	}
}

// A store through a sync view has found its storage, whose metadata is not durable; then
// the page is punched, truncated, gets other storage, or its huge entry is cut or
// replaced: before the metadata is committed (HP18), or after that and before the
// translation is made.
//
// Guards I36, I17, I12, I54.
func TestSC25_SC26_SyncFaultAndChange(t *testing.T) {
	write := func(s *syncStage, b byte, off int64) error {
		s.inode.Lock()
		defer s.inode.Unlock()
		_, err := s.m.WriteAt(ctx, []byte{b}, off, s)
		return err
	}
	share := func(s *syncStage) error { // as a reflink does
		s.inode.Lock()
		defer s.inode.Unlock()
		return s.m.BreakLayout(ctx, 0, dax.ToEnd, func() error { s.share(0, 2*s.n); return nil })
	}
	for _, tt := range []struct {
		name   string
		change func(s *syncStage) error
		gone   bool // the page lies past the end afterwards
	}{
		{"nothing", func(s *syncStage) error { return nil }, false},
		{"punch", func(s *syncStage) error { return s.punch(ctx, pageSize, pageSize) }, false},
		{"punch and write", func(s *syncStage) error {
			return errors.Join(s.punch(ctx, pageSize, pageSize), write(s, 2, pageSize+1))
		}, false},
		{"other block", func(s *syncStage) error {
			err := s.punch(ctx, pageSize, pageSize)
			s.set(func(f *file) { f.scatter = true })
			return errors.Join(err, write(s, 2, pageSize+1))
		}, false},
		{"copy on write", func(s *syncStage) error { return errors.Join(share(s), write(s, 2, pageSize+1)) }, false},
		{"entry cut", func(s *syncStage) error { return s.punch(ctx, 0, pageSize) }, false},
		{"entry replaced", func(s *syncStage) error {
			return errors.Join(s.punch(ctx, 0, s.run), write(s, 2, pageSize+1), write(s, 3, 0))
		}, false},
		{"truncate", func(s *syncStage) error { return s.truncate(ctx, 100) }, true},
		{"truncate and extend", func(s *syncStage) error {
			return errors.Join(s.truncate(ctx, 100), s.truncate(ctx, 2*s.run), write(s, 2, pageSize+1))
		}, false},
	} {
		for _, committed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/committed %t", tt.name, committed), func(t *testing.T) {
				eachStage(t, func(st *stage) {
					s := newSyncStage(st)
					v := s.syncView()
					var fault *sched.Op
					if committed {
						at, open := make(chan struct{}), make(chan struct{})
						s.afterCommit = func() { close(at); sched.Sleep(open) }
						fault = s.stores("store", v, []byte{1}, pageSize)
						s.waits(fault)
						<-at
						s.done(s.op("change", func() error { return tt.change(s) }))
						close(open)
					} else {
						g := s.hold(hook.SyncPending, "store")
						fault = s.stores("store", v, []byte{1}, pageSize)
						g.Wait()
						s.done(s.op("change", func() error { return tt.change(s) }))
						g.Open()
					}
					if tt.gone {
						s.pastEnd("store", fault.Err())
						return
					}
					s.done(fault)
					s.checkSync(v)
					s.check()
					if got := s.mustRead(pageSize, 1)[0]; got != 1 {
						s.t.Errorf("the store reads %d", got)
					}
					if got := s.mustRead(pageSize+1, 1)[0]; got != 0 && got != 2 {
						s.t.Errorf("the write reads %d", got)
					}
					if tt.name == "nothing" && s.commits != 1 {
						s.t.Errorf("%d commits, want 1", s.commits)
					}
				})
			})
		}
	}
}

// A sync fault waits for its commit, and an ordinary view stores to the same page
// meanwhile: neither waits for the other, and both stores are kept.
//
// Guards I36, I25, I13.
func TestSC25_SyncFaultAndOrdinaryStore(t *testing.T) {
	eachStage(t, func(st *stage) {
		s := newSyncStage(st)
		v, w := s.syncView(), s.whole(sharedRW)
		g := s.hold(hook.SyncPending, "store")
		fault := s.stores("store", v, []byte{1}, pageSize)
		g.Wait()
		if _, ok := v.Lookup(1); ok {
			s.t.Error("mapped before the commit")
		}
		s.isDirty("before the commit", 1, false)
		s.done(s.stores("ordinary", w, []byte{2}, pageSize+1), s.syncs("sync"))
		g.Open()
		s.done(fault)
		s.checkSync(v)
		equal(s.t, "both", s.mustRead(pageSize, 2), []byte{1, 2})
	})
}
