package dax_test

import (
	"context"
	"errors"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/vm"
)

// Calls that must not sleep, and calls whose sleep is ended: every call of a mapping in
// every state in which it might have to wait.

// call is one call of a mapping that takes a context. removes: it takes entries away.
type call struct {
	name    string
	removes bool
	do      func(ctx context.Context) error
}

// calls are about page 0 of the file; w is a view that maps nothing.
func (f *file) callsOf(w vm.View) []call {
	fault := func(a vm.Access) func(context.Context) error {
		return func(ctx context.Context) error {
			ft := &vm.Fault{Ctx: ctx, View: w, Page: 0, Access: a, NoWait: isNoWait(ctx)}
			if ft.NoWait {
				ft.Ctx = nil // the flag alone has to do
			}
			return f.m.Fault(ft, f)
		}
	}
	whole := func(b []byte) (int, error) { return len(b), nil }
	nothing := func() error { return nil }
	pin := func(flags dax.PinFlags) func(context.Context) error {
		return func(ctx context.Context) error {
			p, err := f.m.Pin(ctx, 0, 8, flags, f)
			if err == nil {
				p.Release()
			}
			return err
		}
	}
	return []call{
		{"ReadAt", false, func(ctx context.Context) error { _, err := f.m.ReadAt(ctx, make([]byte, 8), 0, f); return err }},
		{"ReadTo", false, func(ctx context.Context) error { _, err := f.m.ReadTo(ctx, 0, 8, f, whole); return err }},
		{"WriteAt", false, func(ctx context.Context) error { _, err := f.m.WriteAt(ctx, []byte("8 bytes."), 0, f); return err }},
		{"WriteFrom", false, func(ctx context.Context) error { _, err := f.m.WriteFrom(ctx, 0, 8, f, whole); return err }},
		{"ZeroRange", false, func(ctx context.Context) error { return f.m.ZeroRange(ctx, 100, 8, f) }},
		{"Pin", false, pin(0)},
		{"Pin to write", false, pin(dax.PinWrite)},
		{"Writeback", false, func(ctx context.Context) error { _, err := f.m.Writeback(ctx, 0, pageSize); return err }},
		{"Unshare", false, func(ctx context.Context) error { return f.m.Unshare(ctx, 0, pageSize, f) }},
		{"load", false, fault(vm.Load)},
		{"store", false, fault(vm.Store)},
		{"Truncate", true, func(ctx context.Context) error { return f.m.Truncate(ctx, 0, f, nothing) }},
		{"PunchHole", true, func(ctx context.Context) error { return f.m.PunchHole(ctx, 0, pageSize, f, nothing) }},
		{"BreakLayout", true, func(ctx context.Context) error { return f.m.BreakLayout(ctx, 0, 1, nothing) }},
		{"CollapseRange", true, func(ctx context.Context) error { return f.m.CollapseRange(ctx, 0, pageSize, nothing) }},
		{"InsertRange", true, func(ctx context.Context) error { return f.m.InsertRange(ctx, 0, pageSize, nothing) }},
		{"Evict", true, func(ctx context.Context) error { return f.m.Evict(ctx, false) }},
	}
}

// isNoWait reports whether the context is one of NoWait's.
func isNoWait(ctx context.Context) bool { return ctx.Value(noWaitMark{}) != nil }

type noWaitMark struct{}

// pinned stands for the state in which the holder sleeps until a pin is released.
const pinned = hook.Point(0)

// waitState is a situation in which calls have to wait.
type waitState struct {
	name  string
	point hook.Point                           // where the holder is held
	hold  func(f *file) error                  // the holder
	waits func(name string, removes bool) bool // which calls have to wait for it
}

func waitStates() []waitState {
	return []waitState{
		{"a fault holds the entry", hook.SlotLocked,
			func(f *file) error { _, err := f.read(make([]byte, 1), 0); return err },
			func(name string, removes bool) bool { return name != "Writeback" }},
		{"a punch holds the invalidate lock", hook.LayoutRemoved,
			func(f *file) error { return f.punch(ctx, 0, run) },
			func(name string, removes bool) bool { return name != "Writeback" }},
		{"a writeback holds the entry", hook.Protected,
			func(f *file) error { _, err := f.m.Writeback(ctx, 0, run); return err },
			func(name string, removes bool) bool {
				switch name {
				case "ReadAt", "ReadTo", "WriteAt", "WriteFrom", "ZeroRange":
					return false
				}
				return true
			}},
		{"a truncate waits for a pin", pinned,
			func(f *file) error { return f.truncate(ctx, pageSize) },
			func(name string, removes bool) bool { return false }},
	}
}

// inState calls test while the holder of the state is held.
func inState(t *testing.T, st waitState, huge bool, test func(f *file, calls []call)) {
	f := newFile(t, 64, dax.Config{})
	f.onePage = !huge
	f.sized(3 * run)
	if st.point != hook.SlotLocked {
		f.mustWrite(fill(3*run, 1), 0) // the entry is there, and dirty
	}
	if st.point == hook.LayoutRemoved || st.point == pinned {
		f.sync()
	}
	release := func() {}
	if st.point == pinned {
		pin, err := f.m.Pin(ctx, 2*run, 8, 0, f)
		must(t, err)
		release = pin.Release
	}
	w, err := newSpace().Map(f, 0, 3*pmdPages, sharedRW)
	must(t, err)
	var g *sched.Gate
	if st.point != pinned {
		g = sched.Hold(t, st.point, sched.By("holder"))
	}
	holder := sched.Go(t, "holder", func() error { return st.hold(f) })
	if g != nil {
		g.Wait()
	} else if !holder.Blocked() {
		t.Fatal("the truncate does not wait for the pin")
	}
	test(f, f.callsOf(w))
	release()
	if g != nil {
		g.Open()
	}
	must(t, holder.Err())
	f.check()
}

// eachWait runs a test for every call in every state, at both orders.
func eachWait(t *testing.T, test func(t *testing.T, f *file, c call, waits bool)) {
	sched.Enabled(t)
	for _, st := range waitStates() {
		for _, huge := range []bool{false, true} {
			for i := range (&file{}).callsOf(nil) {
				name := ""
				inState(t, st, huge, func(f *file, calls []call) {
					name = st.name + "/" + calls[i].name
					if st.point == pinned && calls[i].removes {
						return // for the pin; see TestSG12_PinWait
					}
					test(t, f, calls[i], st.waits(calls[i].name, calls[i].removes))
				})
				if t.Failed() {
					t.Fatalf("in %s, huge %t", name, huge)
				}
			}
		}
	}
}

// TestSG11_NoWait: a call that must not sleep does not: it does its work, or it answers
// ErrWouldBlock and has changed nothing.
//
// Guards I54, I55, T73.
func TestSG11_NoWait(t *testing.T) {
	eachWait(t, func(t *testing.T, f *file, c call, waits bool) {
		before, _ := f.m.Pages()
		op := sched.Go(t, c.name, func() error {
			return c.do(dax.NoWait(context.WithValue(ctx, noWaitMark{}, true)))
		})
		if !op.Done() {
			t.Fatalf("%s sleeps", c.name)
		}
		err := op.Err()
		if waits != errors.Is(err, dax.ErrWouldBlock) || !waits && err != nil {
			t.Fatalf("%s: %v; would have to wait: %t", c.name, err, waits)
		}
		if after, _ := f.m.Pages(); waits && after != before {
			t.Errorf("%s: %d pages in the index, before %d", c.name, after, before)
		}
	})
}

// TestSG12_Interrupted: every wait that its caller can end ends with the context's error,
// and leaves nobody asleep.
//
// Guards I6, I7, T45.
func TestSG12_Interrupted(t *testing.T) {
	eachWait(t, func(t *testing.T, f *file, c call, waits bool) {
		if !waits || c.removes && mustFlush(f) {
			return // removal waits for the flush of what it removes, whatever happens
		}
		short, cancel := context.WithCancel(ctx)
		defer cancel()
		op := sched.Go(t, c.name, func() error { return c.do(short) })
		if !op.Blocked() {
			t.Fatalf("%s does not wait: %v", c.name, op)
		}
		cancel()
		if err := op.Err(); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", c.name, err)
		}
	})
}

// mustFlush reports whether page 0 is dirty.
func mustFlush(f *file) bool {
	_, _, dirty := dax.Dirty(f.m, 0)
	return dirty
}

// TestSG11_SG12_PinWait: whatever takes blocks away waits for pins; not at all if it must
// not, and no longer than its context allows. Then nothing has changed.
//
// Guards I40, I41, T35, T66, T68.
func TestSG11_SG12_PinWait(t *testing.T) {
	sched.Enabled(t)
	f := newFile(t, 64, dax.Config{})
	data := fill(3*run, 1)
	f.mustWrite(data, 0)
	f.sync()
	pin, err := f.m.Pin(ctx, 0, 8, 0, f)
	must(t, err)
	w, err := newSpace().Map(f, 0, 3*pmdPages, sharedRW)
	must(t, err)
	for _, c := range f.callsOf(w) {
		if !c.removes {
			continue
		}
		op := sched.Go(t, c.name, func() error { return c.do(dax.NoWait(ctx)) })
		if !op.Done() {
			t.Fatalf("%s sleeps", c.name)
		}
		isErr(t, op.Err(), dax.ErrWouldBlock)
		short, cancel := context.WithCancel(ctx)
		op = sched.Go(t, c.name, func() error { return c.do(short) })
		if !op.Blocked() {
			t.Fatalf("%s does not wait for the pin", c.name)
		}
		cancel()
		isErr(t, op.Err(), context.Canceled)
		equal(t, "after "+c.name, f.mustRead(0, len(data)), data)
	}
	pin.Release()
	f.check()
}

// TestSG11_WriteDuringFlush: a write does not wait for a writeback that has locked its page,
// and the next writeback flushes what it wrote.
//
// Guards I30, I31, I32, T24.
func TestSG11_WriteDuringFlush(t *testing.T) {
	for _, p := range []hook.Point{hook.TowriteCleared, hook.Protected, hook.Flushed} {
		for _, huge := range []bool{false, true} {
			sched.Enabled(t)
			f, dev := newSimFile(t, 64, dax.Config{})
			f.onePage = !huge
			f.mustWrite(fill(run, 1), 0)
			g := sched.Hold(t, p)
			first := sched.Go(t, "writeback", func() error { _, err := f.m.Writeback(ctx, 0, run); return err })
			g.Wait()
			second := sched.Go(t, "write", func() error { _, err := f.write([]byte{0}, 5); return err })
			if !second.Done() {
				t.Fatal("the write waits for the flush")
			}
			g.Open()
			must(t, errors.Join(first.Err(), second.Err()))
			if _, _, dirty := dax.Dirty(f.m, 0); !dirty {
				t.Fatal("the page counts as clean, and was stored to after its flush")
			}
			f.sync()
			if _, _, dirty := dax.Dirty(f.m, 0); dirty {
				t.Error("still dirty after a second writeback")
			}
			d, _ := f.device(0)
			if b := dev.Durable()[d*pageSize+5]; b != 0 {
				t.Errorf("%#x on the medium, want 0", b)
			}
			f.check()
		}
	}
}

// TestSG11_CachedPages: reads and writes of cached pages, which take the page's lock, do not
// wait for a writeback of it either if they must not.
//
// Guards I55, T73.
func TestSG11_CachedPages(t *testing.T) {
	sched.Enabled(t)
	c := newCached(t, 2, 8, 8)
	_, err := c.m.WriteAt(ctx, []byte{1}, 0, c)
	must(t, err)
	g := sched.Hold(t, hook.Protected)
	first := sched.Go(t, "writeback", func() error { _, err := c.m.Writeback(ctx, 0, pageSize); return err })
	g.Wait()
	for name, do := range map[string]func(ctx context.Context) error{
		"read":  func(ctx context.Context) error { _, err := c.m.ReadAt(ctx, make([]byte, 8), 0, c); return err },
		"write": func(ctx context.Context) error { _, err := c.m.WriteAt(ctx, make([]byte, 8), 0, c); return err },
	} {
		op := sched.Go(t, name, func() error { return do(dax.NoWait(ctx)) })
		if !op.Done() {
			t.Fatalf("%s sleeps", name)
		}
		isErr(t, op.Err(), dax.ErrWouldBlock)
		short, cancel := context.WithCancel(ctx)
		op = sched.Go(t, name, func() error { return do(short) })
		if !op.Blocked() {
			t.Fatalf("%s does not wait", name)
		}
		cancel()
		isErr(t, op.Err(), context.Canceled)
	}
	g.Open()
	must(t, first.Err())
}
