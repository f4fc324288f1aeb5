package dax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// Crashes: a store is cached until it is flushed, pending until a barrier, and a crash
// keeps any subset of such cache lines. After each the file is read as its metadata on
// the medium says.

// eachPMD runs a test at small orders of huge pages, or with single pages only.
func eachPMD(t *testing.T, devices int, test func(t *testing.T, d *disk, s *sim.Space)) {
	for _, order := range []uint{0, 1, 2, 3} {
		t.Run(fmt.Sprintf("order %d", order), func(t *testing.T) {
			c := dax.Config{PMDOrder: max(order, 1), NoHuge: order == 0}
			d := newDisk(t, devices, c)
			s := sim.New(sim.Config{PMDOrder: c.PMDOrder})
			test(t, d, s)
			d.check()
			if err := s.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// is demands bytes of the file in an image.
func (f *found) is(t *testing.T, what string, want []byte) {
	t.Helper()
	if got := f.bytes(); !bytes.Equal(got, want) {
		equal(t, what, got, want)
	}
}

// either demands that each byte is that of one of the files; old may be shorter.
func (f *found) either(t *testing.T, what string, old, now []byte) {
	t.Helper()
	got := f.bytes()
	if f.size != int64(len(old)) && f.size != int64(len(now)) && (len(old) > 0 || f.size > int64(len(now))) {
		t.Fatalf("%s: %d bytes, want %d or %d", what, f.size, len(old), len(now))
	}
	if bytes.Equal(got, now) || bytes.Equal(got, old) {
		return
	}
	for i, b := range got {
		asOld := i < len(old) && b == old[i] || i >= len(old) && b == 0
		if !asOld && (i >= len(now) || b != now[i]) {
			t.Fatalf("%s: byte %d of %d is %#x", what, i, len(got), b)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSF1_SF13_SyncedIsThere: what was stored and written before fsync began is there after
// any crash, also if the metadata had nothing to commit, and on whichever device the page
// lies.
//
// Guards I30, I38, I39, T11, T23.
func TestSF1_SF13_SyncedIsThere(t *testing.T) {
	for _, devices := range []int{1, 2} {
		eachPMD(t, devices, func(t *testing.T, d *disk, s *sim.Space) {
			want := fill(12*pageSize+100, 1)
			must(t, d.write(want, 0))
			v := d.mapView(s, 0, 16, sharedRW)
			for round := range byte(3) {
				for _, off := range []int{0, 5 * pageSize, 9*pageSize + 70, 12 * pageSize} {
					want[off] = round + 2
					store(t, v, want[off:off+1], int64(off))
				}
				copy(want[3*pageSize:], fill(2*pageSize, uint64(round)))
				must(t, d.write(want[3*pageSize:5*pageSize], 3*pageSize))
				must(t, d.fsync())
				d.crashed(4, func(f *found) { f.is(t, "after fsync", want) })
			}
		})
	}
}

// TestSF2_StoresAfterSync: stores after an fsync, through views of mixed orders, may be lost
// in a crash and change nothing else; the next fsync finds them all, because the first has
// taken the permission to store from every view.
//
// Guards I30, I31, T25, T26, T27.
func TestSF2_StoresAfterSync(t *testing.T) {
	eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
		want := fill(16*pageSize, 1)
		must(t, d.write(want, 0))
		huge, small := d.mapView(s, 0, 16, sharedRW), d.mapView(s, 3, 2, sharedRW)
		for page := range int64(16) {
			want[page*pageSize] = 0
			store(t, huge, []byte{0}, page*pageSize)
		}
		store(t, small, want[3*pageSize+1:3*pageSize+2], 3*pageSize+1)
		must(t, d.fsync())
		old := bytes.Clone(want)
		for _, at := range []struct {
			v   *sim.View
			off int
		}{{huge, 10}, {small, 3*pageSize + 64}, {small, 4*pageSize + 5}, {huge, 3 * pageSize}, {huge, 15 * pageSize}} {
			want[at.off] = 2
			store(t, at.v, []byte{2}, int64(at.off))
			d.crashed(4, func(f *found) { f.either(t, "after stores without fsync", old, want) })
		}
		d.atEveryStep(func() { must(t, d.fsync()) }, func() {
			d.crashed(2, func(f *found) { f.either(t, "during the second fsync", old, want) })
		})
		d.crashed(4, func(f *found) { f.is(t, "after the second fsync", want) })
	})
}

// TestSF3_AllocatingFault: a crash at any step of a store that allocates, with commits of the
// metadata in between, shows zeroes or the stored byte, never what the block held before.
//
// Guards I23, I25, I37, T3, T4.
func TestSF3_AllocatingFault(t *testing.T) {
	for _, commits := range []bool{false, true} {
		eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
			must(t, d.truncate(nil, 8*pageSize))
			must(t, d.fsync())
			v := d.mapView(s, 0, 8, sharedRW)
			old, want := make([]byte, 8*pageSize), make([]byte, 8*pageSize)
			for _, off := range []int{0, 6*pageSize + 100} {
				want[off] = 7
				d.atEveryStep(func() { store(t, v, []byte{7}, int64(off)) }, func() {
					if commits {
						must(t, d.tryCommit())
					}
					d.crashed(2, func(f *found) { f.either(t, "during the fault", old, want) })
				})
			}
			must(t, d.fsync())
			d.crashed(4, func(f *found) { f.is(t, "after fsync", want) })
		})
	}
}

// TestSF4_WriteToHoles: a crash at any step of a write that allocates and extends, with
// commits in between. The file is never larger than what was written, and within it are
// zeroes or what was written.
//
// Guards I23, I25, I26, I37, T4.
func TestSF4_WriteToHoles(t *testing.T) {
	for _, commits := range []bool{false, true} {
		eachPMD(t, 1, func(t *testing.T, d *disk, _ *sim.Space) {
			must(t, d.truncate(nil, 3*pageSize))
			must(t, d.fsync())
			old := make([]byte, 3*pageSize)
			data := fill(9*pageSize, 3)
			now := append(make([]byte, pageSize+50), data...)
			steps := d.atEveryStep(func() { must(t, d.write(data, pageSize+50)) }, func() {
				if commits {
					must(t, d.tryCommit())
				}
				size := d.m.Size()
				d.crashed(2, func(f *found) {
					if f.size < int64(len(old)) || f.size > size {
						t.Fatalf("%d bytes, written were %d", f.size, size)
					}
					f.either(t, "during the write", make([]byte, f.size), now)
				})
			})
			if steps < 5 {
				t.Errorf("only %d steps", steps)
			}
			must(t, d.fsync())
			d.crashed(4, func(f *found) { f.is(t, "after fsync", now) })
		})
	}
}

// TestSF5_SyncViews: once a store through a sync view has been possible, its page is found
// after every crash, and a line that the user flushed has the user's bytes.
//
// Guards I36, T85.
func TestSF5_SyncViews(t *testing.T) {
	eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
		must(t, d.truncate(nil, 8*pageSize))
		v := d.mapView(s, 0, 8, sharedRW|vm.Sync)
		want := make([]byte, 8*pageSize)
		for i, off := range []int{0, 1 * pageSize, 7*pageSize + 64, 7*pageSize + 128} {
			load(t, v, int64(off), 1)
			store(t, v, []byte{byte(i) + 1}, int64(off))
			old := bytes.Clone(want)
			want[off] = byte(i) + 1
			d.crashed(4, func(f *found) {
				f.either(t, "after the store", old, want)
				if _, ok := f.blocks[uint64(off)/pageSize]; !ok {
					t.Fatalf("page %d: a store was possible, and a crash loses its block", off/pageSize)
				}
			})
			at := d.blocks[uint64(off)/pageSize]
			line := int64(at.page)*pageSize + int64(off)%pageSize
			must(t, errors.Join(d.devs[0].Flush(line, 1), d.devs[0].Barrier()))
			d.crashed(4, func(f *found) { f.is(t, "after the user's flush", want) })
		}
		// Loads do not commit, and neither do stores to what is durable.
		gen := d.gen
		load(t, v, 4*pageSize, 1)
		must(t, d.fsync())
		store(t, v, []byte{9}, 0)
		if d.gen != gen {
			t.Error("a commit for nothing")
		}
	})
}

// TestSF6_FailedSync: after an fsync that failed nothing is claimed: the next one flushes what
// the first could not, and each open file hears of the failure once.
//
// Guards I30, I35, T33.
func TestSF6_FailedSync(t *testing.T) {
	for _, op := range []psim.Op{psim.OpFlush, psim.OpBarrier} {
		eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
			old := fill(8*pageSize, 1)
			must(t, d.write(old, 0))
			must(t, d.fsync())
			seen, other := d.m.WritebackErrors(), d.m.WritebackErrors()
			v := d.mapView(s, 0, 8, sharedRW)
			want := bytes.Clone(old)
			for _, off := range []int{0, 5 * pageSize, 7 * pageSize} {
				want[off] = 2
				store(t, v, []byte{2}, int64(off))
			}
			fault := psim.Fault{Op: op, Off: int64(d.blocks[5].page) * pageSize, N: 1, Err: syscall.EIO}
			stop := d.devs[0].Inject(fault)
			isErr(t, d.fsync(), syscall.EIO)
			d.crashed(4, func(f *found) { f.either(t, "after the failed fsync", old, want) })
			isErr(t, d.fsync(), syscall.EIO)
			stop()
			isErr(t, d.m.WritebackError(&seen), syscall.EIO)
			must(t, d.m.WritebackError(&seen))
			must(t, d.fsync())
			d.crashed(4, func(f *found) { f.is(t, "after the fsync that succeeded", want) })
			isErr(t, d.m.WritebackError(&other), syscall.EIO)
		})
	}
}

// TestSF7_HalfPunched: what is left of a dirty huge entry that was partly punched, or cut by a
// truncate, is flushed by the next fsync.
//
// Guards I33, T13, T14.
func TestSF7_HalfPunched(t *testing.T) {
	for _, punch := range []bool{true, false} {
		eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
			want := fill(16*pageSize, 1)
			must(t, d.write(want, 0))
			v := d.mapView(s, 0, 16, sharedRW)
			for page := range int64(16) {
				want[page*pageSize] = 0
				store(t, v, []byte{0}, page*pageSize)
			}
			if punch {
				must(t, d.punch(2*pageSize+10, 3*pageSize))
				clear(want[2*pageSize+10:][:3*pageSize])
				must(t, d.punch(9*pageSize, 6*pageSize))
				clear(want[9*pageSize:][:6*pageSize])
			} else {
				must(t, d.truncate(nil, 9*pageSize+10))
				want = want[:9*pageSize+10]
			}
			must(t, d.fsync())
			d.crashed(4, func(f *found) { f.is(t, "after fsync", want) })
		})
	}
}

// TestSF9_TruncateWaits: while a truncate waits for a pin nothing has changed, whatever is
// committed meanwhile, and nothing is freed.
//
// Guards I17, I40, T35.
func TestSF9_TruncateWaits(t *testing.T) {
	eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
		want := fill(8*pageSize, 1)
		must(t, d.write(want, 0))
		must(t, d.fsync())
		pin, err := d.m.Pin(nil, 5*pageSize, pageSize, dax.PinWrite, d)
		must(t, err)
		cut := sched.Go(t, "truncate", func() error { return d.truncate(context.Background(), 100) })
		if !cut.Blocked() {
			t.Fatal("the truncate does not wait")
		}
		must(t, d.commit())
		free := len(d.free) + len(d.leaving)
		d.crashed(4, func(f *found) { f.is(t, "while the truncate waits", want) })
		copy(pin.Slices()[0], "transfer")
		if free != diskPages-dataPage-8 {
			t.Errorf("%d blocks are free", free)
		}
		pin.Release()
		must(t, cut.Err())
		must(t, d.fsync())
		d.crashed(4, func(f *found) { f.is(t, "after the truncate", want[:100]) })
	})
}

// TestSF12_TwoSyncs: of two fsyncs of one page, neither returns before the flush it depends on
// is durable.
//
// Guards I30, I32.
func TestSF12_TwoSyncs(t *testing.T) {
	for _, p := range []hook.Point{hook.TowriteCleared, hook.Protected, hook.Flushed} {
		eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
			old := fill(8*pageSize, 1)
			must(t, d.write(old, 0))
			must(t, d.fsync())
			want := bytes.Clone(old)
			v := d.mapView(s, 0, 8, sharedRW)
			want[6*pageSize] = 2
			store(t, v, []byte{2}, 6*pageSize)
			g := sched.Hold(t, p)
			a := sched.Go(t, "first", d.fsync)
			g.Wait()
			b := sched.Go(t, "second", d.fsync)
			if !b.Blocked() {
				t.Error("the second fsync does not wait for the flush of the first")
			}
			g.Open()
			must(t, b.Err())
			d.crashed(4, func(f *found) { f.is(t, "after the second fsync", want) })
			must(t, a.Err())
		})
	}
}
