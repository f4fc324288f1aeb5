package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// durability is how a device's stores become durable.
type durability uint8

const (
	flushNothing durability = iota // volatile memory
	flushPages                     // msync of what was flushed, in Barrier
	flushLines                     // cache lines, in Flush
)

// mapped is a [Device] that is a shared mapping of an open file.
//
// Everything but gone and the fields under a lock is immutable. The memory is
// unmapped by Close: a store or load through a slice after that is a fault that
// nothing catches, as the Device contract says.
type mapped struct {
	id         DeviceID
	size       int64
	pages      uint64
	mem        []byte // the size bytes of the device
	mapping    region
	fd         int // open until Close; holds the flock
	durability durability
	info       Info

	gone atomic.Bool // closed

	room room // what stores have room for

	// barrier makes one Barrier wait for another, which may have taken the range
	// that both are responsible for. It guards failed, and is outside of mu.
	barrier sync.Mutex
	failed  error // what the first failed Barrier returned, for flushPages only

	// mu guards the bytes [flushFrom, flushTo) that were flushed since the last
	// Barrier; they are for flushPages only. A leaf.
	mu        sync.Mutex
	flushFrom int64
	flushTo   int64
}

var (
	_ Device   = (*mapped)(nil)
	_ Mappable = (*mapped)(nil)
	_ Reserver = (*mapped)(nil)

	_ Invalidator = (*mapped)(nil)
)

// ID implements [Device].
func (d *mapped) ID() DeviceID { return d.id }

// Size implements [Device].
func (d *mapped) Size() int64 { return d.size }

// ReadOnly implements [Device].
func (d *mapped) ReadOnly() bool { return d.info.ReadOnly }

// Info implements [Device].
func (d *mapped) Info() Info { return d.info }

// Backing implements [Mappable].
func (d *mapped) Backing() (fd int, off int64, pageSize int64) {
	return d.fd, 0, d.info.PageSize
}

// DirectAccess implements [Device]. The whole device is one run.
func (d *mapped) DirectAccess(page, n uint64, _ Mode) (Run, error) {
	if n == 0 || n > d.pages || page > d.pages-n || d.gone.Load() {
		return Run{}, d.refuse(CheckPages(d.pages, page, n))
	}
	from, to := page*PageSize, (page+n)*PageSize
	return Run{PFN: MakePFN(d.id, page), Bytes: d.mem[from:to:to]}, nil
}

// Bytes implements [Device].
func (d *mapped) Bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || n > d.size || off > d.size-n || d.gone.Load() {
		return nil, d.refuse(CheckBytes(d.size, off, n))
	}
	return d.mem[off : off+n : off+n], nil
}

// refuse is the error of a request that was not served: that the device is gone,
// or else what is wrong with the range.
func (d *mapped) refuse(outOfRange error) error {
	if d.gone.Load() {
		return ErrRemoved
	}
	return outOfRange
}

// Flush implements [Device].
//
//   - Volatile memory and a device open for reading: it does nothing.
//   - Persistent memory: it writes the cache lines back and waits for that.
//   - A file in the page cache: it notes the range. Writing it here would make
//     every flushed range wait for the disk; [mapped.Barrier] waits once for all of
//     them.
func (d *mapped) Flush(off, n int64) error {
	if off < 0 || n < 0 || n > d.size || off > d.size-n || d.gone.Load() {
		return d.refuse(CheckBytes(d.size, off, n))
	}
	if n == 0 || d.info.ReadOnly {
		return nil
	}
	switch d.durability {
	case flushLines:
		FlushCPU(d.mem[off : off+n])
	case flushPages:
		d.mu.Lock()
		d.noteLocked(off, off+n)
		d.mu.Unlock()
	}
	return nil
}

// Invalidate implements [Invalidator]: it drops cache lines of persistent and CXL memory,
// which other hosts may have too. Other memory is this host's, whose caches are coherent.
func (d *mapped) Invalidate(off, n int64) error {
	if off < 0 || n < 0 || n > d.size || off > d.size-n || d.gone.Load() {
		return d.refuse(CheckBytes(d.size, off, n))
	}
	if d.durability == flushLines && !DropCPU(d.mem[off:off+n]) {
		return fmt.Errorf("drop cache lines: %w", errors.ErrUnsupported)
	}
	return nil
}

// noteLocked adds [from, to) to what the next Barrier has to write. What lies
// between two ranges is written too if it is dirty, which does no harm.
func (d *mapped) noteLocked(from, to int64) {
	if d.flushTo == 0 {
		d.flushFrom, d.flushTo = from, to
		return
	}
	d.flushFrom, d.flushTo = min(d.flushFrom, from), max(d.flushTo, to)
}

// Barrier implements [Device]. For a file it is msync(MS_SYNC) of the smallest run
// of pages with everything flushed since the last Barrier, and nothing if nothing
// was. A file that another program has made shorter is [ErrRemoved], for stores
// beyond its new end are lost.
//
// The first error stays: every later Barrier returns it. After a failed write the
// kernel may hold the pages for clean, so that the next msync would succeed
// without having written them.
func (d *mapped) Barrier() error {
	if d.gone.Load() {
		return ErrRemoved
	}
	switch d.durability {
	case flushLines:
		flushFence()
	case flushPages:
		return d.sync()
	}
	return nil
}

func (d *mapped) sync() error {
	d.barrier.Lock()
	defer d.barrier.Unlock()
	if d.failed != nil {
		return d.failed
	}
	d.mu.Lock()
	from, to := d.flushFrom, d.flushTo
	d.flushFrom, d.flushTo = 0, 0
	d.mu.Unlock()
	if to > 0 {
		d.failed = d.writeRange(from, to)
	}
	return d.failed
}

// writeRange writes the pages of the bytes [from, to) to the file and waits.
func (d *mapped) writeRange(from, to int64) error {
	if err := d.mapping.sync(from, to); err != nil {
		return fmt.Errorf("msync of bytes %d to %d: %w", from, to, err)
	}
	// The size is read last: a file that was cut during the msync shows.
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return fmt.Errorf("size after msync: %w", err)
	}
	if st.Size < d.size {
		return fmt.Errorf("%w: file cut from %d to %d bytes", ErrRemoved, d.size, st.Size)
	}
	return nil
}

// Close implements [Device]. A second Close is [fs.ErrClosed]. What was flushed but
// not followed by a Barrier is not waited for.
func (d *mapped) Close() error {
	if !d.gone.CompareAndSwap(false, true) {
		return fs.ErrClosed
	}
	d.mapping.retire(d)
	var err error
	if e := unix.Close(d.fd); err == nil { // and with it goes the flock
		err = os.NewSyscallError("close", e)
	}
	Unregister(d)
	return err
}

// newMapped maps the first size bytes of fd and registers them as a device. info's
// Kind, Path, PageSize, ReadOnly and MapSync are set by the caller, the rest here.
// The descriptor belongs to the device if there is no error.
func newMapped(fd int, size int64, how durability, info Info) (*mapped, error) {
	if most := min(int64(maxSize), math.MaxInt&^(info.PageSize-1)); size > most {
		return nil, fmt.Errorf("size %d is more than the %d bytes a device can have: %w", size, most, syscall.EFBIG)
	}
	m, err := mapRegion(fd, size, info.PageSize, info.ReadOnly, info.MapSync)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	info.DeviceSize = size
	info.Flush = "none"
	switch how {
	case flushNothing:
		info.Volatile = true
	case flushPages:
		info.Flush = "msync"
	case flushLines:
		if name := FlushInstruction(); name != "" { // a reader does without
			info.Flush = name
		}
	}
	d, err := Register(func(id DeviceID) (*mapped, error) {
		d := &mapped{
			id:         id,
			size:       size,
			pages:      uint64(size) / PageSize,
			mem:        m.bytes(size),
			mapping:    m,
			fd:         fd,
			durability: how,
			info:       info,
		}
		switch info.Kind {
		case KindTmpfs, KindFile, KindDAXFile:
			if !info.ReadOnly {
				d.room.init(size)
			}
		}
		return d, nil
	})
	if err != nil {
		m.unmap()
		return nil, err
	}
	return d, nil
}
