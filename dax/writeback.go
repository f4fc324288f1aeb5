package dax

import (
	"context"
	"errors"
	"fmt"
	"math"

	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
)

// WritebackStats says what one Writeback did.
type WritebackStats struct {
	Collected uint64 // pages that views were found to have written
	Entries   uint64 // dirty entries cleaned
	Pages     uint64 // pages flushed: those of the entries
}

// Writeback makes the pages of the n bytes at off durable that were dirty when it
// began (5.7): it collects what views wrote, tags the dirty entries, and for each
// one takes the permission to store away, flushes it, and only then clears DIRTY.
// The devices' barriers come last; the file system's metadata is the caller's to
// sync after that. n may reach past the end of the file.
//
// A page that cannot be flushed stays dirty, the others go on; the first error is
// returned and kept for WritebackError. ctx may be nil.
//
// Locks: none needed; takes wbMu, entry locks, and the views' locks.
func (m *Mapping) Writeback(ctx context.Context, off, n int64) (WritebackStats, error) {
	if off < 0 || n < 0 {
		return WritebackStats{}, fmt.Errorf("dax: writeback of %d bytes at %d", n, off)
	}
	if n == 0 {
		return WritebackStats{}, nil
	}
	if n > math.MaxInt64-off {
		n = math.MaxInt64 - off
	}
	first, last := pageOf(off), pageOf(off+n-1)

	var st WritebackStats
	var firstErr error
	seen := m.WritebackErrors()
	collected, err := m.collect(ctx, first, last-first+1)
	st.Collected = collected
	if err != nil {
		return st, err
	}
	m.mu.Lock()
	m.index.TagMarked(first, last, markDirty, markToWrite)
	m.mu.Unlock()
	hook.At(hook.WritebackTagged, m, first)

	var b batch
	for next := first; ; {
		if err := m.takeTagged(ctx, next, last, &b); err != nil {
			firstErr = err
			break
		}
		if len(b.taken()) == 0 {
			break
		}
		m.clean(&b)
		for _, e := range b.taken() {
			if e.err == nil {
				st.Entries++
				st.Pages += pages(e.order)
			} else if firstErr == nil {
				firstErr = e.err
			}
		}
		if next = b.end(); next > last || next == 0 {
			break
		}
	}
	m.stats.Cleaned.Add(st.Pages)
	if firstErr == nil {
		firstErr = m.awaitOthers(ctx, first, last, seen)
	}
	if err := m.barrier(); err != nil {
		m.dirtyAll(first, last)
		m.wbErr.set(err)
		firstErr = errors.Join(firstErr, err)
	}
	return st, firstErr
}

// run is a run of pages.
type run struct{ page, n uint64 }

// collect asks the views that know from the hardware what was written, and marks
// it DIRTY. Bits and marks change hands in one step: wbMu.
func (m *Mapping) collect(ctx context.Context, page, n uint64) (uint64, error) {
	if m.views.Len() == 0 {
		return 0, nil
	}
	if err := m.wbMu.Lock(ctx); err != nil {
		return 0, lockErr(err)
	}
	defer m.wbMu.Unlock()
	var found []run
	var err error
	m.views.Each(page, n, func(v vm.View) bool {
		c, ok := v.(vm.Collector)
		if ok {
			err = c.Collect(page, n, func(page, n uint64) { found = append(found, run{page, n}) })
		}
		return err == nil
	})
	total := m.markCollected(found)
	if err == nil {
		err = canceled(ctx)
	}
	m.stats.Collected.Add(total)
	return total, err
}

// markCollected marks the entries of the found pages. The holder of a locked one may be
// another writeback that flushed before these stores.
func (m *Mapping) markCollected(found []run) (total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range found {
		total += r.n
		for page, end := r.page, r.page+r.n; page < end; {
			first, order, val, ok := m.index.Next(page, end-1)
			if !ok {
				break
			}
			if word(val).is(wMapped) {
				m.dirtyLocked(first, word(val))
			}
			page = first + pages(order)
		}
	}
	return total
}

// awaitOthers waits for entries that other writebacks are cleaning. The tags are everybody's:
// an entry that this pass had tagged may have been taken by another one, whose flush need
// not be over (I32). Each entry is waited for once. The error is theirs, if one of them has
// failed since seen.
func (m *Mapping) awaitOthers(ctx context.Context, first, last uint64, seen uint64) error {
	waited := false
	m.mu.Lock()
	for next := first; ; {
		at, order, val, ok := m.index.NextMarked(next, last, markDirty)
		if !ok {
			break
		}
		if word(val).is(wLocked) {
			waited = true
			if err := m.waitLocked(ctx, at, false); err != nil {
				m.mu.Unlock()
				return err
			}
		}
		if next = at + pages(order); next > last || next == 0 {
			break
		}
	}
	m.mu.Unlock()
	if !waited {
		return nil
	}
	return m.WritebackError(&seen)
}

// flushed is a device that entries of a mapping were flushed to. Guarded by
// Mapping.mu.
type flushed struct {
	dev     pmem.Device
	flushes uint64 // entries flushed so far
	durable uint64 // how many of them had been when the last Barrier began
}

// noteFlushLocked remembers that the device needs a barrier. It comes in
// one step with the clearing of DIRTY: a writeback that finds the entry clean must find
// this.
func (m *Mapping) noteFlushLocked(dev pmem.Device) {
	for i := range m.devices {
		if m.devices[i].dev == dev {
			m.devices[i].flushes++
			return
		}
	}
	m.devices = append(m.devices, flushed{dev: dev, flushes: 1})
}

// barrier waits until what was flushed is durable, by whichever writeback.
func (m *Mapping) barrier() (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := 0; i < len(m.devices); i++ {
		d := m.devices[i]
		if d.durable == d.flushes {
			continue
		}
		m.mu.Unlock()
		e := d.dev.Barrier()
		m.mu.Lock()
		if err = errors.Join(err, e); e == nil {
			m.devices[i].durable = max(m.devices[i].durable, d.flushes)
		}
	}
	return err
}

// dirtyAll marks every mapped entry in [first, last]: it is not known which of them
// have reached the medium.
func (m *Mapping) dirtyAll(first, last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := first; ; {
		at, order, val, ok := m.index.Next(next, last)
		if !ok {
			return
		}
		if word(val).is(wMapped) {
			m.index.SetMark(at, markDirty)
		}
		if next = at + pages(order); next > last || next == 0 {
			return
		}
	}
}
