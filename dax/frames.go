package dax

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"godax/internal/hook"
	"godax/pmem"
)

// Frames is the store of cached pages of one file system: frames of an anonymous
// memory device, for pages whose own storage cannot be mapped. Clean cached pages
// above the limit are given up, oldest first, while new ones are made.
//
// Locks: mu guards the fields below it. It comes after an entry lock; Mapping.mu
// is never taken inside it.
type Frames struct {
	dev   pmem.Device
	limit uint64 // frames in use above which clean pages are given up
	max   uint64

	inUse atomic.Uint64

	mu    sync.Mutex
	users []resident // by frame; its length is the number of frames ever used
	keys  map[FrameKey]*sharedFrame
	spare []uint64 // used and freed, to be zeroed before use
	hand  uint64   // where giveOneUp goes on looking
}

// resident says which page of which file a frame was given to, or that several pages can
// share it. Both are nil if it is free.
type resident struct {
	m      *Mapping
	page   uint64
	shared *sharedFrame
}

// NewFrames makes a store that keeps at most limit bytes of clean cached pages and
// never holds more than max bytes, dirty, mapped and pinned ones included. Memory
// is taken as it is needed.
func NewFrames(limit, max int64) (*Frames, error) {
	max -= max % pmem.PageSize
	if max < pmem.PageSize || limit < 0 {
		return nil, fmt.Errorf("dax: cached pages: limit %d, maximum %d: %w", limit, max, syscall.EINVAL)
	}
	dev, err := pmem.NewMemory(max, pmem.MemoryOptions{})
	if err != nil {
		return nil, fmt.Errorf("dax: memory for cached pages: %w", err)
	}
	return &Frames{dev: dev, keys: make(map[FrameKey]*sharedFrame), limit: uint64(limit) / pmem.PageSize, max: uint64(max) / pmem.PageSize}, nil
}

// Close gives the memory back. All mappings that use it have been evicted.
func (f *Frames) Close() error {
	if n := f.inUse.Load(); n != 0 {
		return fmt.Errorf("dax: %d cached pages in use: %w", n, ErrBusy)
	}
	return f.dev.Close()
}

// InUse is the number of frames that hold cached pages.
func (f *Frames) InUse() uint64 { return f.inUse.Load() }

// alloc returns a zeroed frame for a page of m, and its bytes; ENOMEM if all are in
// use.
func (f *Frames) alloc(m *Mapping, page uint64) (pmem.PFN, []byte, error) {
	if f.inUse.Load() >= f.limit {
		f.giveOneUp(32)
	}
	frame, used, ok := f.take(resident{m: m, page: page})
	if !ok && f.giveOneUp(f.max) {
		frame, used, ok = f.take(resident{m: m, page: page})
	}
	if !ok {
		return 0, nil, fmt.Errorf("dax: all %d frames for cached pages are in use: %w", f.max, syscall.ENOMEM)
	}
	f.inUse.Add(1)
	run, err := f.dev.DirectAccess(frame, 1, pmem.Normal)
	if err != nil {
		f.free(m, page, pmem.MakePFN(f.dev.ID(), frame))
		return 0, nil, err
	}
	if used {
		clear(run.Bytes)
	}
	return run.PFN, run.Bytes, nil
}

// take gives a free frame to r; used says that it has to be zeroed.
func (f *Frames) take(r resident) (frame uint64, used, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(f.spare) > 0:
		frame, used = f.spare[len(f.spare)-1], true
		f.spare = f.spare[:len(f.spare)-1]
	case uint64(len(f.users)) < f.max:
		frame = uint64(len(f.users))
		f.users = append(f.users, resident{})
	default:
		return 0, false, false
	}
	f.users[frame] = r
	return frame, used, true
}

// free takes a frame back from a page that does not refer to it any more. It reports
// whether nothing does now.
func (f *Frames) free(m *Mapping, page uint64, pfn pmem.PFN) bool {
	f.mu.Lock()
	if s := f.users[pfn.Page()].shared; s != nil {
		if s.remove(resident{m: m, page: page}) > 0 {
			f.mu.Unlock()
			return false
		}
		delete(f.keys, s.key)
	}
	f.users[pfn.Page()] = resident{}
	f.spare = append(f.spare, pfn.Page())
	f.mu.Unlock()
	f.inUse.Add(^uint64(0))
	return true
}

// giveOneUp goes round the frames, at most look of them, frees the first that is
// clean and unused, and reports whether there was one.
func (f *Frames) giveOneUp(look uint64) bool {
	for range look {
		f.mu.Lock()
		if len(f.users) == 0 {
			f.mu.Unlock()
			return false
		}
		frame := f.hand % uint64(len(f.users))
		f.hand = frame + 1
		r := f.users[frame]
		f.mu.Unlock()
		pfn := pmem.MakePFN(f.dev.ID(), frame)
		switch {
		case r.shared != nil:
			if f.evictShared(r.shared, pfn) {
				return true
			}
		case r.m != nil && r.m.evictCached(r.page, pfn):
			f.free(r.m, r.page, pfn)
			return true
		}
	}
	return false
}

// evictCached removes the entry of a clean cached page if nothing but the index
// refers to its frame, and reports whether it did. It never waits: an entry lock
// may be held by the caller.
//
// The entry is locked while the views are counted: translations are made under the
// entry lock only, so a view that is not seen here finds the page absent.
func (m *Mapping) evictCached(page uint64, pfn pmem.PFN) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	val, order, ok := m.index.Load(page)
	w := word(val)
	if !ok || !w.is(wCached) || w.pfn() != pfn || w.is(wLocked) || !m.idleCachedLocked(page) {
		return false
	}
	s, ok := m.claimLocked(page, order, w)
	if !ok {
		return false
	}
	hook.Acquire(hook.Entry, m, page, true)
	m.mu.Unlock()
	mapped := m.views.Len() > 0
	m.mu.Lock()
	if mapped || !m.idleCachedLocked(page) {
		m.ungrabLocked(s)
		return false
	}
	m.eraseLocked(page)
	m.stats.Evicted.Add(1)
	return true
}

// idleCachedLocked reports whether a cached page is clean and not pinned.
func (m *Mapping) idleCachedLocked(page uint64) bool {
	return !m.index.Marked(page, markDirty) && !m.pins.overlaps(page, 1)
}
