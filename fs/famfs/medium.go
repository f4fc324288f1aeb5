package famfs

import (
	"errors"
	"fmt"

	"godax/pmem"
)

// medium is the first device with the order of stores to it: the only way superblock and
// log change.
type medium struct {
	dev   pmem.Device
	inval pmem.Invalidator // dev, if other hosts may store to it behind our caches; else nil
	room  pmem.Reserver    // dev, if stores may need room; else nil

	// hook is called after every store, flush and barrier. Nil except in crash tests.
	hook func()
}

func newMedium(dev pmem.Device) medium {
	m := medium{dev: dev}
	m.inval, _ = dev.(pmem.Invalidator)
	m.room, _ = dev.(pmem.Reserver)
	return m
}

// zeroPiece is how many bytes are cleared between two flushes: enough to be fast, and few
// enough to be in the cache still when they are flushed.
const zeroPiece = 256 << 10

// fresh returns bytes as they are in memory now, whatever host stored them. Their contents
// can change under the caller, who copies what he checks.
func (m *medium) fresh(off, n int64) ([]byte, error) {
	if m.inval != nil {
		if err := m.inval.Invalidate(off, n); err != nil {
			return nil, err
		}
	}
	return m.dev.Bytes(off, n)
}

// reserve makes sure that stores to the range cannot fail for lack of room.
func (m *medium) reserve(off, n int64) error {
	if m.room == nil {
		return nil
	}
	return m.room.Reserve(off, n, 0)
}

// done runs the hook.
func (m *medium) done() {
	if m.hook != nil {
		m.hook()
	}
}

// write copies b to off, where nothing leads yet.
func (m *medium) write(off int64, b []byte) error {
	dst, err := m.dev.Bytes(off, int64(len(b)))
	if err != nil {
		return err
	}
	copy(dst, b)
	m.done()
	return nil
}

// put64 stores a number with one machine store. off is a multiple of 8.
func (m *medium) put64(off int64, v uint64) error {
	dst, err := m.dev.Bytes(off, 8)
	if err != nil {
		return err
	}
	store64(dst, v)
	m.done()
	return nil
}

// zero clears the n bytes at off and flushes them, piece by piece. Both are multiples of the
// page, so that it makes bad memory good where the device can do that.
func (m *medium) zero(off, n int64) error {
	for n > 0 {
		k := min(n, zeroPiece)
		dst, err := m.dev.Bytes(off, k)
		if errors.Is(err, pmem.ErrPoisoned) {
			dst, err = m.recover(off, k)
		}
		if err != nil {
			return err
		}
		clear(dst)
		m.done()
		if err := m.flush(off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// recover returns whole pages of which some are bad, to be cleared. Where a device keeps a list
// of its bad pages they leave it now; what they hold is lost either way.
func (m *medium) recover(off, n int64) ([]byte, error) {
	page, pages := uint64(off)/pmem.PageSize, uint64(n)/pmem.PageSize
	run, err := m.dev.DirectAccess(page, pages, pmem.RecoveryWrite)
	if err != nil {
		return nil, err
	}
	if run.Pages() < pages {
		return nil, fmt.Errorf("famfs: %d of %d pages at page %d in one run: %w", run.Pages(), pages, page, pmem.ErrPoisoned)
	}
	if p, ok := m.dev.(pmem.Poisoner); ok {
		clear(run.Bytes)
		if err := p.ClearPoison(page, pages); err != nil {
			return nil, err
		}
	}
	return run.Bytes[:n], nil
}

// flush pushes the n bytes at off towards the medium.
func (m *medium) flush(off, n int64) error {
	if err := m.dev.Flush(off, n); err != nil {
		return err
	}
	m.done()
	return nil
}

// barrier waits until what was flushed is durable, and in memory for other hosts.
func (m *medium) barrier() error {
	if err := m.dev.Barrier(); err != nil {
		return err
	}
	m.done()
	return nil
}

// commit is flush and barrier.
func (m *medium) commit(off, n int64) error {
	if err := m.flush(off, n); err != nil {
		return err
	}
	return m.barrier()
}
