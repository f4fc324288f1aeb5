package dax_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
)

// Pins against layout changes, eviction and unmount.

// layoutOps are the operations that wait for pins of page 1 (5.8).
var layoutOps = map[string]func(s *stage, ctx context.Context) error{
	"truncate": func(s *stage, ctx context.Context) error { return s.truncate(ctx, 100) },
	"punch":    func(s *stage, ctx context.Context) error { return s.punch(ctx, pageSize, s.run) },
	"layout": func(s *stage, ctx context.Context) error {
		s.inode.Lock()
		defer s.inode.Unlock()
		return s.m.BreakLayout(ctx, 0, dax.ToEnd, func() error {
			s.set(func(f *file) { f.dropLocked(0, dax.ToEnd) })
			return nil
		})
	},
	"collapse": func(s *stage, ctx context.Context) error {
		s.inode.Lock()
		defer s.inode.Unlock()
		return s.m.CollapseRange(ctx, 0, s.run, func() error { s.shiftBlocks(s.n); return nil })
	},
	"insert": func(s *stage, ctx context.Context) error {
		s.inode.Lock()
		defer s.inode.Unlock()
		return s.m.InsertRange(ctx, pageSize, s.run, func() error { s.spreadBlocks(1, s.n); return nil })
	},
	"exchange": func(s *stage, ctx context.Context) error {
		s.inode.Lock()
		defer s.inode.Unlock()
		a, b := dax.Range{Mapping: s.m, Page: 0, N: s.n}, dax.Range{Mapping: s.m, Page: s.n, N: s.n}
		return dax.Remap(ctx, a, b, true, func() error { s.exchangeBlocks(s.n); return nil })
	},
}

// spreadBlocks makes room for n pages at a page of the extent map.
func (f *file) spreadBlocks(at, n uint64) {
	f.remap(func(p uint64) uint64 {
		if p >= at {
			p += n
		}
		return p
	})
}

// exchangeBlocks exchanges the first n pages and those behind them.
func (f *file) exchangeBlocks(n uint64) {
	f.remap(func(p uint64) uint64 { return (p + n) % (2 * n) })
}

// remap moves every page of the extent map.
func (f *file) remap(to func(page uint64) uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := map[uint64]uint64{}
	for p, d := range f.blocks {
		moved[to(p)] = d
	}
	f.blocks = moved
}

// eachLayoutOp runs a test for every operation.
func eachLayoutOp(t *testing.T, test func(s *stage, op func(ctx context.Context) *sched.Op)) {
	for name, op := range layoutOps {
		t.Run(name, func(t *testing.T) {
			eachStage(t, func(s *stage) {
				test(s, func(ctx context.Context) *sched.Op {
					return s.op(name, func() error { return op(s, ctx) })
				})
			})
		})
	}
}

func (s *stage) pin(off, n int64, flags dax.PinFlags) *dax.Pin {
	s.t.Helper()
	pin, err := s.m.Pin(ctx, off, n, flags, s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	return pin
}

// A page is pinned, mapped or not. A layout change waits, without holding what the pinner
// or anybody else needs for faults; the block is not free before; a second pin that came
// during the wait is waited for as well. An interrupted wait has changed nothing.
//
// Guards I40, I17, I55, T35, T66, T67.
func TestSC19_SC20_SC21_Pins(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		t.Run(fmt.Sprintf("mapped %t", mapped), func(t *testing.T) {
			eachLayoutOp(t, func(s *stage, op func(ctx context.Context) *sched.Op) {
				data := s.written()
				v := s.whole(sharedRW)
				load(s.t, v, pageSize, 1)
				pin := s.pin(pageSize+10, 20, dax.PinWrite)
				if !mapped {
					s.unmapped(v) // unmapped is not idle
				}
				block, _ := s.device(1)
				g := sched.Hold(s.t, hook.LayoutWaits, sched.Of(s.m))
				short, cancel := context.WithCancel(ctx)
				waiting := op(short)
				g.Wait() // HP17: the locks are dropped
				v = s.whole(sharedRW)
				got := make([]byte, 1)
				s.done(s.loads("load", v, got, pageSize), s.stores("store", v, []byte{0x11}, pageSize+1))
				equal(s.t, "a load meanwhile", got, data[pageSize:][:1])
				data[pageSize+1] = 0x11
				g.Open()
				s.waits(waiting)
				if s.isFree(block) {
					s.t.Error("the block is free under a pin")
				}
				cancel()
				if err := waiting.Err(); !errors.Is(err, context.Canceled) {
					s.t.Fatalf("interrupted: %v", err)
				}
				equal(s.t, "unchanged", s.reads(), data)
				equal(s.t, "unchanged in the view", load(s.t, v, 0, len(data)), data)

				waiting = op(ctx)
				s.waits(waiting)
				second := s.pin(pageSize+40, 20, dax.PinWrite)
				pin.Release()
				pin.Release()
				s.waits(waiting) // everything is looked at again
				if s.isFree(block) {
					s.t.Error("the block is free under the second pin")
				}
				copy(second.Slices()[0], "still mine")
				second.Release()
				s.done(waiting)
			})
		})
	}
}

// A pin is being taken, its page's slot locked, when a layout change comes: the change
// waits for the pinner, and then finds the pin.
//
// Guards I10, I40, T64, T65, T66.
func TestSC22_PinUnderWay(t *testing.T) {
	for _, write := range []bool{true, false} {
		points := []hook.Point{hook.SlotLocked, hook.ExtentKnown}
		if write {
			points[1] = hook.WriteAllocated
		}
		for _, p := range points {
			t.Run(fmt.Sprintf("write %t/HP%d", write, p), func(t *testing.T) {
				eachLayoutOp(t, func(s *stage, op func(ctx context.Context) *sched.Op) {
					flags := dax.PinFlags(0)
					if write {
						flags = dax.PinWrite // of a hole
					} else {
						s.written()
						if err := s.m.Invalidate(0, dax.ToEnd); err != nil {
							s.t.Fatal(err)
						}
					}
					g := s.hold(p, "pin")
					var pin *dax.Pin
					pinning := s.op("pin", func() (err error) {
						pin, err = s.m.Pin(ctx, pageSize, 10, flags, s.file)
						return err
					})
					g.Wait()
					changing := op(ctx)
					s.waits(changing)
					g.Open()
					s.done(pinning)
					s.waits(changing) // now for the pin
					block, _ := s.device(1)
					if s.isFree(block) {
						s.t.Error("the block is free under a pin")
					}
					pin.Release()
					s.done(changing)
				})
			})
		}
	}
}

// A pin is asked for while a punch has unmapped the range, or removed its entries: it
// waits, and never gets the old block.
//
// Guards I40, I16, I17, T34, T67.
func TestSC23_PinAgainstPunch(t *testing.T) {
	eachPoint(t, []hook.Point{hook.LayoutIdle, hook.LayoutRemoved}, func(s *stage, p hook.Point) {
		s.written()
		g := s.hold(p, "punch")
		punch := s.punches("punch", pageSize, s.run)
		g.Wait()
		pin := func(name string, flags dax.PinFlags, got **dax.Pin) *sched.Op {
			return s.op(name, func() (err error) {
				*got, err = s.m.Pin(ctx, pageSize, 10, flags, s.file)
				return err
			})
		}
		var r, w *dax.Pin
		read := pin("read", 0, &r)
		s.waits(read)
		write := pin("write", dax.PinWrite, &w)
		s.waits(write)
		g.Open()
		s.done(punch, write)
		if err := read.Err(); err != nil {
			isErr(s.t, err, dax.ErrNotMappable) // a hole; or it came after the write
		} else {
			r.Release()
		}
		copy(w.Slices()[0], "new block")
		w.Release()
		equal(s.t, "the transfer", s.mustRead(pageSize, 9), []byte("new block"))
	})
}

// An inode is evicted, or its file system unmounted, while a transfer is under way: that
// is waited for, and the blocks can go to another file then.
//
// Guards I41, I17, T68.
func TestSC24_EvictAndUnmount(t *testing.T) {
	for _, discard := range []bool{false, true} {
		for _, small := range []bool{true, false} {
			t.Run(fmt.Sprintf("discard %t/small %t", discard, small), func(t *testing.T) {
				evictAndUnmount(newStage(t, pmdOrder, small), discard)
			})
		}
	}
}

func evictAndUnmount(s *stage, discard bool) {
	t := s.t
	s.written()
	pin := s.pin(pageSize, 10, dax.PinWrite)
	block, _ := s.device(1)
	open := make(chan struct{})
	end := sync.OnceFunc(func() { close(open) })
	defer end()
	transfer := s.op("transfer", func() error {
		sched.Sleep(open)
		copy(pin.Slices()[0], "transferred")
		pin.Release()
		return nil
	})
	short, cancel := context.WithCancel(ctx)
	evict := s.op("evict, interrupted", func() error { return s.m.Evict(short, discard) })
	s.waits(evict, transfer)
	cancel()
	if err := evict.Err(); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	s.check()

	foreign := pattern(2*s.run, 9)
	other := newFileOn(t, s.dev, dax.Config{PMDOrder: s.order})
	unmount := s.op("unmount", func() error {
		if err := s.m.Evict(nil, discard); err != nil {
			return err
		}
		_, err := other.write(foreign, 0) // on the same blocks
		return err
	})
	s.waits(unmount)
	end()
	s.done(transfer, unmount)
	other.sync()
	if d, _ := other.device(1); d != block {
		t.Errorf("page 1 is on block %d, want %d again", d, block)
	}
	equal(t, "the other file", other.mustRead(0, len(foreign)), foreign)
	equal(t, "the other file on the medium", s.dev.Durable()[block*pageSize:][:pageSize], foreign[pageSize:2*pageSize])
	if _, err := s.m.Pin(ctx, 0, 1, 0, s.file); !errors.Is(err, dax.ErrGone) {
		t.Errorf("a pin afterwards: %v", err)
	}
	other.check()
	s.check()
}
