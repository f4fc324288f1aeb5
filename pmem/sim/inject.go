package sim

import (
	"slices"

	"godax/pmem"
)

// Op is a kind of call, or a set of kinds.
type Op uint8

const (
	OpDirectAccess Op = 1 << iota
	OpBytes
	OpFlush
	OpBarrier
)

// Call is one call of a device's method that was in range. Off and N are bytes; a
// Barrier has none.
type Call struct {
	Op  Op
	Off int64
	N   int64
}

// Fault says which calls fail, and how.
type Fault struct {
	Op  Op    // one of these
	Off int64 // the first of the bytes meant; not for OpBarrier
	N   int64 // number of bytes meant: calls that touch one of them; 0 is the whole device

	Skip  int // so many of these calls succeed first
	Times int // then so many fail; 0 is all

	Err error // what they fail with
}

// fault is a Fault at work. Guarded by the device's mu.
type fault struct {
	Fault
	seen int // calls met so far
}

// meets reports whether the call is one of those that f is about.
func (f *fault) meets(c Call) bool {
	if f.Op&c.Op == 0 {
		return false
	}
	if f.N == 0 || c.Op == OpBarrier {
		return true
	}
	if c.Off <= f.Off {
		return f.Off-c.Off < c.N
	}
	return c.Off-f.Off < f.N
}

// Inject makes calls fail. A call that several faults are about counts for each,
// and fails with the first that wants it to. A failed call has no other effect: what
// was to be flushed is still cached, what was pending still pending. stop ends it.
func (d *Device) Inject(f Fault) (stop func()) {
	at := &fault{Fault: f}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, at)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.faults = slices.DeleteFunc(d.faults, func(other *fault) bool { return other == at })
	}
}

func (d *Device) injectedLocked(c Call) (err error) {
	for _, f := range d.faults {
		if !f.meets(c) {
			continue
		}
		f.seen++
		if n := f.seen - f.Skip; n > 0 && (f.Times == 0 || n <= f.Times) && err == nil {
			err = f.Err
		}
	}
	return err
}

// Hook makes the device call f before every call that is in range, with no lock
// held, by the goroutine that makes it: f may look at the device, take a crash
// image, inject, park. nil takes the hook away.
func (d *Device) Hook(f func(Call)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = f
}

// enter begins a call. It returns with mu held, or with the call's error and mu
// not held.
func (d *Device) enter(c Call) error {
	d.mu.Lock()
	if hook := d.hook; hook != nil {
		d.mu.Unlock()
		hook(c)
		d.mu.Lock()
	}
	d.counts.add(c.Op)
	err := d.injectedLocked(c)
	if d.removed {
		err = pmem.ErrRemoved
	}
	if err != nil {
		d.mu.Unlock()
	}
	return err
}

// Counts are numbers of calls that were in range, failed ones included, and of
// bytes that were flushed.
type Counts struct {
	DirectAccess int64
	Bytes        int64
	Flush        int64
	Barrier      int64
	FlushedBytes int64
}

func (c *Counts) add(op Op) {
	switch op {
	case OpDirectAccess:
		c.DirectAccess++
	case OpBytes:
		c.Bytes++
	case OpFlush:
		c.Flush++
	case OpBarrier:
		c.Barrier++
	}
}

// Counts returns what was counted since New or [Device.ResetCounts].
func (d *Device) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// FlushedBytes is how many bytes of the page were flushed since New or
// [Device.ResetCounts]; a byte flushed twice counts twice.
func (d *Device) FlushedBytes(page uint64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushed[page]
}

// ResetCounts sets all counts to 0.
func (d *Device) ResetCounts() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts = Counts{}
	clear(d.flushed)
}
