package hostilefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/hostilefs"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize = hostilefs.PageSize

	sharedRW = vm.Read | vm.Write | vm.Shared
	sharedRO = vm.Read | vm.Shared
	private  = vm.Read | vm.Write
)

var ctx = context.Background()

// hostile makes a file of 16 pages and a view of it.
func hostile(t testing.TB, lie hostilefs.Lie, c dax.Config) (*hostilefs.File, *sim.View) {
	t.Helper()
	dev, err := psim.New(64 * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	f := hostilefs.New(dev, 16, c, lie)
	return f, mapped(t, f, 0, 16, sharedRW)
}

func mapped(t testing.TB, f *hostilefs.File, page, n uint64, flags vm.Flags) *sim.View {
	t.Helper()
	v, err := sim.New(sim.Config{PMDOrder: 2}).Map(f, page, n, flags)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.M.Attach(ctx, v, f); err != nil {
		t.Fatal(err)
	}
	return v
}

func isErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Answers that cannot be true are refused on every way that leads to a populate: EIO for a
// read, a write or a pin, SIGBUS for an access, at once, with nothing left behind; and the
// file can be used as soon as the file system tells the truth.
//
// Guards I58, I54, I2, P1, P4, P5, C1, Q6.
func TestSH1_SH2_SH4_SH5_SH9_SH20_Refused(t *testing.T) {
	const (
		reads = 1 << iota
		writes
	)
	for _, tt := range []struct {
		lie  hostilefs.Lie
		when int
		want error
	}{
		{hostilefs.Nothing, reads | writes, dax.ErrBadAnswer},
		{hostilefs.Neighbour, reads | writes, dax.ErrBadAnswer},
		{hostilefs.NoDevice, reads | writes, dax.ErrBadAnswer},
		{hostilefs.PastDevice, reads | writes, dax.ErrBadAnswer},
		{hostilefs.AcrossEnd, reads | writes, dax.ErrBadAnswer},
		{hostilefs.SharedWrite, reads | writes, dax.ErrBadAnswer},
		{hostilefs.NoWrite, writes, dax.ErrBadAnswer},
		{hostilefs.HoleForWrite, writes, dax.ErrBadAnswer},
		{hostilefs.Twice, reads | writes, dax.ErrBadAnswer},
		{hostilefs.Empty, reads | writes, dax.ErrBadAnswer},
		{hostilefs.Wraps, reads | writes, dax.ErrBadAnswer},
		{hostilefs.Delalloc, reads | writes, dax.ErrNotMappable},
		{hostilefs.Inline, reads | writes, dax.ErrNotMappable},
		{hostilefs.CopyOutside, writes, dax.ErrBadAnswer},
		{hostilefs.CopyShared, writes, dax.ErrBadAnswer},
		{hostilefs.CopyOnRead, reads, dax.ErrBadAnswer},
		{hostilefs.CopyOnto, writes, dax.ErrBadAnswer},
	} {
		t.Run(tt.lie.String(), func(t *testing.T) {
			f, v := hostile(t, tt.lie, dax.Config{})
			p := mapped(t, f, 0, 16, private)
			b := []byte{1, 2, 3}
			if tt.when&reads != 0 {
				_, err := f.M.ReadAt(ctx, make([]byte, 5), 3*pageSize, f)
				isErr(t, "read", err, tt.want)
				_, err = f.M.ReadTo(ctx, 3*pageSize, 5, f, func(b []byte) (int, error) { return len(b), nil })
				isErr(t, "read to", err, tt.want)
				isErr(t, "load", v.Load(ctx, make([]byte, 5), 5*pageSize), tt.want)
				isErr(t, "private store", p.Store(ctx, b, 6*pageSize), tt.want)
				_, err = f.M.Pin(ctx, 7*pageSize, 1, 0, f)
				isErr(t, "pin", err, tt.want)
				for _, err = range f.M.Entries(ctx, 1, 15, f) {
				}
				isErr(t, "entries", err, tt.want)
			}
			if tt.when&writes != 0 {
				n, err := f.M.WriteAt(ctx, b, 3*pageSize, f)
				isErr(t, fmt.Sprintf("write (%d)", n), err, tt.want)
				_, err = f.M.WriteFrom(ctx, 4*pageSize, 5, f, func(b []byte) (int, error) { return len(b), nil })
				isErr(t, "write from", err, tt.want)
				isErr(t, "store", v.Store(ctx, b, 8*pageSize), tt.want)
				_, err = f.M.Pin(ctx, 9*pageSize, 1, dax.PinWrite, f)
				isErr(t, "pin to write", err, tt.want)
			}
			if n := f.Calls(); n > 20 {
				t.Errorf("%d populates", n)
			}
			if _, pins := f.M.Busy(); pins != 0 {
				t.Errorf("%d pins", pins)
			}
			ok(t, f.M.CheckInvariants(true))
			f.Tell(hostilefs.Honest)
			ok(t, v.Store(ctx, b, 8*pageSize))
			ok(t, v.Load(ctx, b, 3*pageSize))
			ok(t, f.Check())
		})
	}
}

// A huge answer in a small slot makes small entries: the placeholder is not widened, and
// pages that have an entry keep it.
//
// Guards I1, P12, T44.
func TestSH3_AnswerAroundASmallSlot(t *testing.T) {
	f, _ := hostile(t, hostilefs.Widen, dax.Config{})
	small := mapped(t, f, 5, 2, sharedRW) // too small for a huge fault
	ok(t, small.Store(ctx, []byte{7}, 5*pageSize))
	ok(t, small.Store(ctx, []byte{8}, 6*pageSize))
	for e, err := range f.M.Entries(ctx, 5, 2, f) {
		ok(t, err)
		if e.Page != 5 || e.N != 2 || e.PFN.Page() != 5 {
			t.Errorf("entry %+v", e)
		}
	}
	if pages, entries := f.M.Pages(); pages != 3 || entries != 3 { // 5 to 7: nothing before the slot
		t.Errorf("%d pages in %d entries", pages, entries)
	}
	ok(t, f.M.CheckInvariants(true))
}

// Frames of a colour that no huge page can be made of give small pages, also where a huge
// slot was held.
//
// Guards I2, I18, C2.
func TestSH4_FramesOfAnotherColour(t *testing.T) {
	f, v := hostile(t, hostilefs.Misaligned, dax.Config{})
	ok(t, v.Store(ctx, bytes.Repeat([]byte{5}, 8*pageSize), 0))
	for _, l := range v.Translations() {
		if l.Order != 0 || l.PFN.Page() != l.Page+1 {
			t.Errorf("translation %+v", l)
		}
	}
	if n := f.M.Stats().Fallbacks[8].Load(); n == 0 {
		t.Error("no fallback for the alignment (F8)")
	}
	ok(t, f.M.CheckInvariants(true))
}

// One frame for two pages, not said to be shared: refused at once in debug builds, found by
// the checker in others. Said to be shared it is right.
//
// Guards P14, I44, T80.
func TestSH5_OneFrameForTwoPages(t *testing.T) {
	f, _ := hostile(t, hostilefs.OneFrame, dax.Config{})
	b := make([]byte, 1)
	_, err := f.M.ReadAt(ctx, b, 2*pageSize, f)
	ok(t, err)
	_, err = f.M.ReadAt(ctx, b, 5*pageSize, f)
	if hook.Enabled {
		isErr(t, "read", err, dax.ErrBadAnswer)
	} else if err := f.M.CheckInvariants(true); err == nil || !strings.Contains(err.Error(), "P14") {
		t.Errorf("the checker says %v", err)
	}
}

// A hole that is said to be larger than it is hides data: DAX cannot know, and the check
// of the index against the file system finds it.
//
// Guards I56, I22, P6, T15.
func TestSH6_HoleTooLarge(t *testing.T) {
	f, v := hostile(t, hostilefs.Honest, dax.Config{})
	ok(t, v.Store(ctx, []byte{9}, 6*pageSize))
	ok(t, f.M.Invalidate(4, 1)) // nothing there: harmless
	_, err := f.M.Writeback(ctx, 0, 1<<62)
	ok(t, err)
	ok(t, f.M.Invalidate(0, 16))
	f.Tell(hostilefs.BigHole)
	got := []byte{1}
	_, err = f.M.ReadAt(ctx, got, 4*pageSize, f)
	ok(t, err)
	_, err = f.M.ReadAt(ctx, got, 6*pageSize, f)
	ok(t, err)
	if got[0] != 0 {
		t.Errorf("read %d: the file system was not believed", got[0])
	}
	isErr(t, "check", f.Check(), hostilefs.ErrStale)
}

// A file system that knows holes one page at a time, and one that leaves the size of a
// hole as it was asked for, get small zero pages, and nobody is shown zeros for data.
//
// Guards I18, I22, P6, T15, T79.
func TestSH7_SH8_HolesOfOnePage(t *testing.T) {
	for _, lie := range []hostilefs.Lie{hostilefs.OnePage, hostilefs.StaleSize} {
		t.Run(lie.String(), func(t *testing.T) {
			f, v := hostile(t, lie, dax.Config{})
			ok(t, v.Store(ctx, []byte{9}, 2*pageSize))
			ok(t, v.Store(ctx, []byte{9}, 7*pageSize))
			r := mapped(t, f, 0, 16, sharedRO)
			for _, look := range []func(b []byte) error{
				func(b []byte) error { return v.Load(ctx, b, 0) },
				func(b []byte) error { return r.Load(ctx, b, 0) },
				func(b []byte) error { _, err := f.M.ReadAt(ctx, b, 0, f); return err },
			} {
				b := make([]byte, 16*pageSize)
				ok(t, look(b))
				for i, x := range b {
					if want := i == 2*pageSize || i == 7*pageSize; (x == 9) != want || !want && x != 0 {
						t.Fatalf("byte %d is %d", i, x)
					}
				}
			}
			for _, l := range r.Translations() {
				if l.Order != 0 {
					t.Errorf("translation %+v", l)
				}
			}
			if n := f.Allocated(); n != 2 {
				t.Errorf("%d pages were allocated", n)
			}
			ok(t, f.Check())
		})
	}
}

// A read that allocates shows in the count of blocks; an honest file system's reads, loads
// and private stores allocate nothing.
//
// Guards P3, I22.
func TestSH10_ReadsThatAllocate(t *testing.T) {
	for _, lie := range []hostilefs.Lie{hostilefs.Honest, hostilefs.ReadAllocs} {
		f, v := hostile(t, lie, dax.Config{})
		b := make([]byte, 3*pageSize)
		_, err := f.M.ReadAt(ctx, b, 0, f)
		ok(t, err)
		ok(t, v.Load(ctx, b, 5*pageSize))
		ok(t, mapped(t, f, 0, 16, private).Store(ctx, []byte{1}, 9*pageSize))
		if got := f.Allocated() > 0; got != (lie == hostilefs.ReadAllocs) {
			t.Errorf("%v: %d pages were allocated", lie, f.Allocated())
		}
	}
}

// A populate that hangs holds up whoever needs its page, and nobody else; those can give up.
//
// Guards I6, I7, I55, P9.
func TestSH11_PopulateHangs(t *testing.T) {
	sched.Enabled(t)
	for _, order := range []uint64{0, 2} {
		f, v := hostile(t, hostilefs.Honest, dax.Config{NoHuge: order == 0})
		goOn := make(chan struct{})
		f.During(func(r *dax.Request) {
			if r.Page == 5 {
				sched.Sleep(goOn)
			}
		})
		store := func(page int64) func() error {
			return func() error { return v.Store(ctx, []byte{byte(page)}, page*pageSize) }
		}
		a := sched.Go(t, "page 5", store(5))
		if !a.Blocked() {
			t.Fatal("populate does not hang")
		}
		short, cancel := context.WithCancel(ctx)
		same := sched.Go(t, "page 5 again", store(5))
		gives := sched.Go(t, "page 5, gives up", func() error { return v.Load(short, make([]byte, 1), 5*pageSize) })
		next := sched.Go(t, "page 6", store(6)) // in the same huge page
		other := sched.Go(t, "page 9", store(9))
		write := sched.Go(t, "write", func() error { _, err := f.M.WriteAt(ctx, make([]byte, pageSize), 12*pageSize, f); return err })
		fsync := sched.Go(t, "fsync", func() error { _, err := f.M.Writeback(ctx, 8*pageSize, 8*pageSize); return err })
		settled := next.Done() == (order == 0) && other.Done() && write.Done() && fsync.Done()
		truncate := sched.Go(t, "invalidate", func() error { return f.M.Invalidate(5, 1) })
		if !same.Blocked() || !gives.Blocked() || !settled || !truncate.Blocked() {
			t.Errorf("order %d: %v, %v, %v, %v, %v, %v, %v", order, same, gives, next, other, write, fsync, truncate)
		}
		cancel()
		if err := gives.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("gave up with %v", err)
		}
		close(goOn)
		ok(t, errors.Join(a.Err(), same.Err(), next.Err(), other.Err(), write.Err(), fsync.Err()))
		if err := truncate.Err(); err != nil && !errors.Is(err, dax.ErrBusy) {
			t.Error(err)
		}
		ok(t, f.Check())
	}
}

// capture is a test that remembers what it is failed with.
type capture struct {
	testing.TB
	errs []string
	ends []func()
}

func (c *capture) Helper()           {}
func (c *capture) Error(args ...any) { c.errs = append(c.errs, fmt.Sprint(args...)) }
func (c *capture) Cleanup(f func())  { c.ends = append(c.ends, f) }
func (c *capture) end() (errs []string) {
	for _, f := range c.ends {
		f()
	}
	return c.errs
}

// A populate that calls DAX again, and so waits for the invalidate lock or for another
// entry while it has one, is reported, also where nobody was in its way; and so is one
// that takes the inode lock.
//
// Guards I55, P9, T18.
func TestSH12_PopulateReenters(t *testing.T) {
	sched.Enabled(t)
	var inode hook.Mutex
	inode.SetRank(hook.Inode)
	for what, tt := range map[string]struct {
		do   func(f *hostilefs.File) error
		want string
	}{
		"fault":      {func(f *hostilefs.File) error { _, err := f.M.ReadAt(ctx, make([]byte, 1), 9*pageSize, f); return err }, "waits for inval lock while it holds entry lock"},
		"invalidate": {func(f *hostilefs.File) error { f.M.WriteFrom(ctx, 9*pageSize, 1, f, nil); return nil }, "waits for inval lock while it holds entry lock"},
		"inode lock": {func(f *hostilefs.File) error { inode.Lock(); defer inode.Unlock(); return nil }, "waits for inode lock while it holds"},
		"nothing":    {func(f *hostilefs.File) error { return nil }, ""},
	} {
		t.Run(what, func(t *testing.T) {
			f, v := hostile(t, hostilefs.Honest, dax.Config{})
			c := &capture{TB: t}
			sched.Record(c)
			entered := false
			f.During(func(r *dax.Request) {
				if r.Page == 1 && !entered {
					entered = true
					defer func() { _ = recover() }()
					_ = tt.do(f)
				}
			})
			ok(t, v.Load(ctx, make([]byte, 1), pageSize))
			got := strings.Join(c.end(), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("reported %q, want %q", got, tt.want)
			}
		})
	}
}

// A populate that panics leaves nothing locked, no lock held and nothing half done; the
// panic goes on to the caller.
//
// Guards I6, I7, I47, L12, Q6.
func TestSH13_PopulatePanics(t *testing.T) {
	f, v := hostile(t, hostilefs.Panics, dax.Config{})
	b := make([]byte, 1)
	for what, do := range map[string]func(){
		"read":  func() { f.M.ReadAt(ctx, b, pageSize, f) },
		"write": func() { f.M.WriteAt(ctx, b, pageSize, f) },
		"fault": func() { f.M.Fault(&vm.Fault{View: v, Page: 1, Access: vm.Store}, f) },
		"huge":  func() { f.M.Fault(&vm.Fault{View: v, Page: 4, Order: 2, Access: vm.Store}, f) },
		"pin":   func() { f.M.Pin(ctx, pageSize, 1, 0, f) },
		"share": func() { f.M.Unshare(ctx, pageSize, 1, f) },
		"entry": func() {
			for range f.M.Entries(ctx, 1, 1, f) {
			}
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the panic is gone", what)
				}
			}()
			do()
		}()
		ok(t, f.M.CheckInvariants(true))
		if views, pins := f.M.Busy(); views != 1 || pins != 0 {
			t.Errorf("%s: %d views, %d pins", what, views, pins)
		}
	}
	f.Tell(hostilefs.Honest)
	ok(t, v.Store(ctx, b, pageSize))
	ok(t, f.M.Truncate(ctx, 0, f, func() error { return nil })) // no lock is held
}

// Extents that change behind the back of DAX, in either direction, are found by the check
// of the index: the checker works.
//
// Guards I56.
func TestSH18_BehindTheBack(t *testing.T) {
	f, v := hostile(t, hostilefs.Honest, dax.Config{})
	ok(t, v.Store(ctx, []byte{1}, pageSize))
	ok(t, v.Load(ctx, []byte{1}, 8*pageSize))
	ok(t, f.Check())
	f.Give(9)
	isErr(t, "given", f.Check(), hostilefs.ErrStale)
	ok(t, f.M.Invalidate(9, 1)) // the protocol of 5.9, late
	ok(t, f.Check())
	f.Take(1)
	isErr(t, "taken", f.Check(), hostilefs.ErrStale)
	isErr(t, "dirty", f.M.Invalidate(1, 1), dax.ErrBusy)
	ok(t, f.M.BreakLayout(ctx, 1, 1, func() error { return nil }))
	ok(t, f.Check())
}

// A file system that is asked again says something else than the index: with AlwaysAsk
// the answer wins, and is counted.
//
// Guards I56, I28.
func TestSH18_AskedAgain(t *testing.T) {
	f, v := hostile(t, hostilefs.Honest, dax.Config{AlwaysAsk: true, NoHuge: true})
	b := []byte{7}
	ok(t, v.Load(ctx, b, pageSize))
	f.Give(1)
	copied, err := f.Dev.Bytes(pageSize, 1)
	ok(t, err)
	copied[0] = 77
	ok(t, mapped(t, f, 1, 1, sharedRO).Load(ctx, b, pageSize))
	if b[0] != 77 || f.M.Stats().Stale.Load() != 1 {
		t.Errorf("loaded %d, %d stale", b[0], f.M.Stats().Stale.Load())
	}
	ok(t, v.Load(ctx, b, pageSize))
	if b[0] != 77 {
		t.Errorf("the old view shows %d", b[0])
	}
	ok(t, f.Check())
}
