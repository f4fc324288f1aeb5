// Package sim is a device for tests: memory that can be made to answer short, go
// bad, go away and fail, and that remembers which stores are durable.
//
// # What a crash leaves
//
// The device keeps a second image, the medium. A store reaches it in two steps:
//
//	store            the cache line is cached
//	Flush            the line, as it is now, is pending
//	Barrier          what was pending is on the medium: durable
//
// At a crash ([Device.Crash]) every durable line survives, and of the others any
// subset: each line has on the medium what it had, or any of its contents flushed
// since the last Barrier, or its present contents, because a cache may write a
// line back whenever it likes. Lines are 64 bytes. [Device.Evict] plays such a
// cache; it is the way to contents that were stored and overwritten without a
// Flush between them.
//
// Nothing traps a store: the device compares its bytes with the medium. A crash is
// therefore looked at from the outside, at a chosen moment; a hook
// ([Device.Hook]) gives one before every call.
package sim

import (
	"fmt"
	"io/fs"
	"sync"

	"godax/pmem"
)

// Device is a simulated device. Its memory is a memory file, so that views of other
// kinds can map it.
//
// Locks: mu guards everything below it. It is innermost: nothing is called with it
// held but the memory underneath. Reading the bytes while others store to them is
// what a cache does too.
type Device struct {
	id    pmem.DeviceID
	size  int64
	pages uint64
	under pmem.Device // the memory, a little larger if size is no whole pages
	mem   []byte      // its first size bytes

	mu       sync.Mutex
	maxRun   uint64 // 0 is no limit
	bad      map[uint64]struct{}
	removed  bool
	closed   bool
	readOnly bool
	faults   []*fault
	hook     func(Call)

	medium  []byte           // what is durable
	pending map[int64][]line // by number of the line, oldest first; what was flushed since the last Barrier

	counts  Counts
	flushed map[uint64]int64 // bytes flushed, by page
}

var (
	_ pmem.Device   = (*Device)(nil)
	_ pmem.Mappable = (*Device)(nil)
	_ pmem.Poisoner = (*Device)(nil)
)

// New makes a device of size zero bytes, all durable. size need not be whole pages.
func New(size int64) (*Device, error) {
	under, err := pmem.NewMemory(size, pmem.MemoryOptions{})
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	mem, err := under.Bytes(0, size)
	if err != nil {
		under.Close()
		return nil, fmt.Errorf("sim: %w", err)
	}
	d, err := pmem.Register(func(id pmem.DeviceID) (*Device, error) {
		return &Device{
			id:      id,
			size:    size,
			pages:   uint64(size) / pmem.PageSize,
			under:   under,
			mem:     mem,
			bad:     make(map[uint64]struct{}),
			medium:  make([]byte, size),
			pending: make(map[int64][]line),
			flushed: make(map[uint64]int64),
		}, nil
	})
	if err != nil {
		under.Close()
		return nil, fmt.Errorf("sim: %w", err)
	}
	return d, nil
}

// FromImage makes a device with the given contents, all durable: what
// [Device.Crash] left, for the next life.
func FromImage(image []byte) (*Device, error) {
	d, err := New(int64(len(image)))
	if err != nil {
		return nil, err
	}
	copy(d.mem, image)
	copy(d.medium, image)
	return d, nil
}

// ID implements [pmem.Device].
func (d *Device) ID() pmem.DeviceID { return d.id }

// Size implements [pmem.Device].
func (d *Device) Size() int64 { return d.size }

// ReadOnly implements [pmem.Device]; see [Device.SetReadOnly].
func (d *Device) ReadOnly() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readOnly
}

// SetReadOnly sets what ReadOnly says. Stores to the bytes still do not fault.
func (d *Device) SetReadOnly(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readOnly = on
}

// Info implements [pmem.Device].
func (d *Device) Info() pmem.Info {
	return pmem.Info{
		Kind:       pmem.KindSim,
		Flush:      "simulated",
		PageSize:   d.under.Info().PageSize,
		ReadOnly:   d.ReadOnly(),
		DeviceSize: d.size,
	}
}

// Backing implements [pmem.Mappable].
func (d *Device) Backing() (fd int, off int64, pageSize int64) {
	return d.under.(pmem.Mappable).Backing()
}

// DirectAccess implements [pmem.Device].
func (d *Device) DirectAccess(page, n uint64, mode pmem.Mode) (pmem.Run, error) {
	if err := pmem.CheckPages(d.pages, page, n); err != nil {
		return pmem.Run{}, d.outOfRange(err)
	}
	off, length := int64(page*pmem.PageSize), int64(n*pmem.PageSize)
	if err := d.enter(Call{OpDirectAccess, off, length}); err != nil {
		return pmem.Run{}, err
	}
	defer d.mu.Unlock()
	if mode != pmem.RecoveryWrite {
		if err := d.poisonedLocked(off, length); err != nil {
			return pmem.Run{}, err
		}
	}
	if d.maxRun > 0 {
		n = min(n, d.maxRun)
	}
	from, to := page*pmem.PageSize, (page+n)*pmem.PageSize
	return pmem.Run{PFN: pmem.MakePFN(d.id, page), Bytes: d.mem[from:to:to]}, nil
}

// Bytes implements [pmem.Device].
func (d *Device) Bytes(off, n int64) ([]byte, error) {
	if err := pmem.CheckBytes(d.size, off, n); err != nil {
		return nil, d.outOfRange(err)
	}
	if err := d.enter(Call{OpBytes, off, n}); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := d.poisonedLocked(off, n); err != nil {
		return nil, err
	}
	return d.mem[off : off+n : off+n], nil
}

// Flush implements [pmem.Device]: the lines of the range become pending.
func (d *Device) Flush(off, n int64) error {
	if err := pmem.CheckBytes(d.size, off, n); err != nil {
		return d.outOfRange(err)
	}
	if err := d.enter(Call{OpFlush, off, n}); err != nil {
		return err
	}
	defer d.mu.Unlock()
	d.flushLocked(off, n)
	return nil
}

// Barrier implements [pmem.Device]: what was pending is durable.
func (d *Device) Barrier() error {
	if err := d.enter(Call{Op: OpBarrier}); err != nil {
		return err
	}
	defer d.mu.Unlock()
	d.barrierLocked()
	return nil
}

// Close implements [pmem.Device].
func (d *Device) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed, d.removed = true, true
	d.mu.Unlock()
	if closed {
		return fs.ErrClosed
	}
	err := d.under.Close()
	pmem.Unregister(d)
	return err
}

// outOfRange is the error of a request out of range; a removed device has no range.
func (d *Device) outOfRange(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.removed {
		return pmem.ErrRemoved
	}
	return err
}

// Poison makes the n pages at page bad: they fail with [pmem.ErrPoisoned] in Normal
// mode, and their contents are lost, on the medium too (every byte becomes 0xbd,
// which no reader may ever be given). The holders are told ([pmem.Hold]).
func (d *Device) Poison(page, n uint64) error {
	if err := pmem.CheckPages(d.pages, page, n); err != nil {
		return err
	}
	if err := d.spoil(page, n); err != nil {
		return err
	}
	pmem.NotifyFailure(d, page, n)
	return nil
}

// spoil is Poison without telling anybody.
func (d *Device) spoil(page, n uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return pmem.ErrRemoved
	}
	for p := page; p < page+n; p++ {
		d.bad[p] = struct{}{}
	}
	d.loseLocked(int64(page*pmem.PageSize), int64(n*pmem.PageSize))
	return nil
}

// ClearPoison implements [pmem.Poisoner]. It does not touch the contents.
func (d *Device) ClearPoison(page, n uint64) error {
	if err := pmem.CheckPages(d.pages, page, n); err != nil {
		return d.outOfRange(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.removed {
		return pmem.ErrRemoved
	}
	for p := page; p < page+n; p++ {
		delete(d.bad, p)
	}
	return nil
}

// Poisoned reports whether the page is bad.
func (d *Device) Poisoned(page uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, bad := d.bad[page]
	return bad
}

// poisonedLocked is an error if one of the n bytes at off is on a bad page.
func (d *Device) poisonedLocked(off, n int64) error {
	if n == 0 || len(d.bad) == 0 {
		return nil
	}
	first, last := uint64(off)/pmem.PageSize, uint64(off+n-1)/pmem.PageSize
	for p := first; p <= last; p++ {
		if _, bad := d.bad[p]; bad {
			return fmt.Errorf("%w: page %d", pmem.ErrPoisoned, p)
		}
	}
	return nil
}

// Remove takes the device away, as if it were unplugged: every call fails with
// [pmem.ErrRemoved]. Slices given out before stay readable until Close, so that a
// use of them is a wrong result in a test and not its end. The holders are told.
func (d *Device) Remove() {
	d.mu.Lock()
	d.removed = true
	d.mu.Unlock()
	pmem.NotifyRemoval(d)
}

// SetMaxRun limits the answers of DirectAccess to n pages; 0 is no limit.
func (d *Device) SetMaxRun(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.maxRun = n
}
