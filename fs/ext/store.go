package ext

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"godax/internal/extfmt"
	"godax/pmem"
)

// store is the only way metadata on the medium changes. The device's bytes are
// the metadata; there is no copy of them.
//
// A process may be killed after any store, and the image must then be one that
// e2fsck -p repairs without a question. Hence two kinds of methods: those for
// bytes that nothing on the medium leads to yet (write, zero), and those that
// publish, each a single machine store (put16, put32).
//
// Locks: mu is a leaf; it guards dirty only. Who may write which bytes is the
// callers' business: the inode's lock, the group's lock, the super lock.
//
// A store to a device that lacks room for it would be a SIGBUS. So every method makes
// sure of the room first, and leaves the medium as it is with ENOSPC. Whoever
// takes blocks does so early and for more than one store (see room.go); here it
// costs no system call then.
type store struct {
	dev  pmem.Device
	room pmem.Reserver // dev, if its stores need room; immutable
	size int64         // bytes of the file system on dev; immutable

	// hook is called after every store with the place of the bytes that changed. Nil
	// except in crash tests, which take a snapshot of the image there.
	hook func(off int64, n int)

	// between is called between the stores of a switch-over. Nil except in crash tests.
	between func()

	mu    sync.Mutex
	dirty map[int64]uint64 // page -> one bit per line: stored to since the last flush
}

// lineSize is the unit in which the store remembers what changed.
const (
	lineSize     = 64
	linesPerPage = pmem.PageSize / lineSize
)

func newStore(dev pmem.Device, size int64) *store {
	room, _ := dev.(pmem.Reserver)
	return &store{dev: dev, room: room, size: size, dirty: make(map[int64]uint64)}
}

// view returns the n bytes at off, to be read only. Hostile images are read
// through it, so every range is checked here; a field should be read once, since
// the bytes can change under the reader. Errors: vfs.ErrCorrupt for a range outside the
// file system, those of pmem.Device.Bytes.
func (st *store) view(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > st.size || n > st.size-off {
		return nil, extfmt.Corrupt("image", off, "", uint64(n), "range outside the file system")
	}
	return st.dev.Bytes(off, n)
}

// changed records that the n bytes at off were stored to, and runs the hook.
func (st *store) changed(off, n int64) {
	st.record(off, n)
	if st.hook != nil {
		st.hook(off, int(n))
	}
}

// record notes that the n bytes at off wait for a flush.
func (st *store) record(off, n int64) {
	if n <= 0 {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for at, end := off, off+n; at < end; {
		page := at / pmem.PageSize
		first := at % pmem.PageSize / lineSize
		last := (min(end, (page+1)*pmem.PageSize) - 1) % pmem.PageSize / lineSize
		st.dirty[page] |= ^uint64(0) >> (linesPerPage - 1 - (last - first)) << first
		at = (page + 1) * pmem.PageSize
	}
}

// put32 stores a 32-bit field with one machine store. off is a multiple of 4.
func (st *store) put32(off int64, v uint32) error {
	if err := st.set32(off, v); err != nil {
		return err
	}
	st.changed(off, 4)
	return nil
}

// put16 stores a 16-bit field with one machine store. off is a multiple of 2.
func (st *store) put16(off int64, v uint16) error {
	if err := st.set16(off, v); err != nil {
		return err
	}
	st.changed(off, 2)
	return nil
}

// publish32 stores the numbers first, first+1, ... in n consecutive 32-bit fields,
// each with one machine store.
func (st *store) publish32(off int64, first uint32, n int) error {
	b, err := st.target(off, 4*int64(n))
	if err != nil {
		return err
	}
	for i := range n {
		store32(b[4*i:], first+uint32(i))
		if st.hook != nil {
			st.hook(off+4*int64(i), 4)
		}
	}
	st.record(off, 4*int64(n))
	return nil
}

// set32 is put32 without the record.
func (st *store) set32(off int64, v uint32) error {
	b, err := st.target(off, 4)
	if err != nil {
		return err
	}
	store32(b, v)
	return nil
}

// set16 is put16 without the record. The word around the field is exchanged as a
// whole, since there is no atomic store of 16 bits; the other half keeps its value.
func (st *store) set16(off int64, v uint16) error {
	b, err := st.target(off&^3, 4)
	if err != nil {
		return err
	}
	shift := uint(off&2) * 8
	for {
		old := load32(b)
		if cas32(b, old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return nil
		}
	}
}

// write copies b to off. The bytes are not reachable yet, or any mix of old and
// new in them is harmless.
func (st *store) write(off int64, b []byte) error {
	dst, err := st.target(off, int64(len(b)))
	if err != nil {
		return err
	}
	copy(dst, b)
	st.changed(off, int64(len(b)))
	return nil
}

// zero clears the n bytes at off, which are not reachable yet.
func (st *store) zero(off, n int64) error {
	dst, err := st.target(off, n)
	if err != nil {
		return err
	}
	clear(dst)
	st.changed(off, n)
	return nil
}

// zeroQuiet is zero for blocks of data: the caller flushes them itself.
func (st *store) zeroQuiet(off, n int64) error {
	dst, err := st.target(off, n)
	if err != nil {
		return err
	}
	clear(dst)
	if st.hook != nil {
		st.hook(off, int(n))
	}
	return nil
}

// put is one store of a switch-over: size 2 or 4 bytes, off a multiple of size.
type put struct {
	off  int64
	size int
	v    uint32
}

// switchOver performs a handful of stores back to back, for a change that no
// single store can make: all places are checked and touched first, so that nothing
// but the stores themselves stands between the first and the last: a few nanoseconds, in which
// a kill is possible all the same. So the order matters here too: what e2fsck -p does not repair
// is one thing only half done, of two that the format has no order for (a directory
// with two names, or a ".." that is not the one above it; a shared attribute block
// with one owner more or less than it counts). The hook sees the stores as one.
func (st *store) switchOver(ops ...put) error {
	for _, op := range ops {
		b, err := st.target(op.off&^3, 4)
		if err != nil {
			return err
		}
		if op.size != 2 && op.size != 4 {
			return fmt.Errorf("ext: switch-over with a store of %d bytes", op.size)
		}
		touch32(b)
	}
	for i, op := range ops {
		if i > 0 && st.between != nil {
			st.between()
		}
		// Cannot fail: the ranges were viewed just now, and a device that goes away in
		// between takes the medium with it.
		if op.size == 2 {
			if err := st.set16(op.off, uint16(op.v)); err != nil {
				return err
			}
		} else if err := st.set32(op.off, op.v); err != nil {
			return err
		}
	}
	hook := st.hook
	for i, op := range ops {
		st.record(op.off, int64(op.size))
		if i == len(ops)-1 && hook != nil {
			hook(op.off, op.size)
		}
	}
	return nil
}

// pending reports whether there is anything for flush to do.
func (st *store) pending() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.dirty) > 0
}

// flush makes every store before it durable.
func (st *store) flush() error {
	st.mu.Lock()
	dirty := st.dirty
	st.dirty = make(map[int64]uint64)
	st.mu.Unlock()
	if err := st.flushLines(dirty); err != nil {
		// Nothing is lost: the next flush tries them all again.
		st.mu.Lock()
		for page, lines := range dirty {
			st.dirty[page] |= lines
		}
		st.mu.Unlock()
		return err
	}
	return st.dev.Barrier()
}

// flushLines flushes the given lines in ascending order, adjacent ones together.
func (st *store) flushLines(dirty map[int64]uint64) error {
	pages := make([]int64, 0, len(dirty))
	for page := range dirty {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	var from, to int64 // the run that is not flushed yet
	for _, page := range pages {
		for lines := dirty[page]; lines != 0; {
			first := bits.TrailingZeros64(lines)
			n := bits.TrailingZeros64(^(lines >> first))
			if n < linesPerPage {
				lines &^= (1<<n - 1) << first
			} else {
				lines = 0
			}
			start := page*pmem.PageSize + int64(first)*lineSize
			end := min(start+int64(n)*lineSize, st.dev.Size())
			if start == to {
				to = end
				continue
			}
			if err := st.flushRange(from, to); err != nil {
				return err
			}
			from, to = start, end
		}
	}
	return st.flushRange(from, to)
}

func (st *store) flushRange(from, to int64) error {
	if to <= from {
		return nil
	}
	return st.dev.Flush(from, to-from)
}

// le is the byte order of the format.
var le = binary.LittleEndian
