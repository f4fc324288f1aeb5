package dax

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
)

// Pin keeps a range of a file's frames in place and gives their bytes. Everything
// that would take the frames away (truncate, punch, eviction, unmount) waits for
// Release, so a pin is to be held for the length of one transfer.
type Pin struct {
	m      *Mapping
	page   uint64
	n      uint64
	write  bool
	frame  bool // taken through a translation: by PinFrame
	slices [][]byte
}

// Slices are the pinned bytes in order, one slice for each contiguous run. They
// must not be used after Release.
func (p *Pin) Slices() [][]byte { return p.slices }

// pinSet is the pins of one mapping. Guarded by Mapping.mu.
type pinSet struct {
	list    []*Pin
	changed chan struct{} // closed at the next release; nil if nobody waits
}

func (ps *pinSet) overlaps(page, n uint64) bool {
	for _, p := range ps.list {
		if vm.Overlap(p.page, p.n, page, n) {
			return true
		}
	}
	return false
}

// written reports whether a pin for writing overlaps: stores through it go on
// unseen, so the pages stay dirty.
func (ps *pinSet) written(page, n uint64) bool {
	for _, p := range ps.list {
		if p.write && vm.Overlap(p.page, p.n, page, n) {
			return true
		}
	}
	return false
}

// PinFlags say what a pin is for.
type PinFlags uint8

const (
	// PinWrite: the holder stores. Holes are allocated, and the pages count as dirty until
	// the writeback after Release.
	PinWrite PinFlags = 1 << iota
	// PinLongTerm: the pin would be held for as long as somebody likes, as a registered
	// buffer is. Always refused: truncate would have to wait for ever (I42).
	PinLongTerm
)

// Pin pins the n bytes at off, which must lie before the end of the file. Storage that is
// shared with other files is unshared first, also for a pin that only reads; unless the
// mapping is read-only.
//
// Errors: ErrBeyondEnd; ErrNotMappable for a hole in a pin that does not write;
// EROFS; EOPNOTSUPP for PinLongTerm; pmem.ErrPoisoned; what the file system says. ctx may
// be nil.
//
// Locks: takes the invalidate lock shared and entry locks.
func (m *Mapping) Pin(ctx context.Context, off, n int64, flags PinFlags, p Populator) (*Pin, error) {
	write := flags&PinWrite != 0
	if flags&PinLongTerm != 0 {
		return nil, fmt.Errorf("dax: long-term pin: %w", syscall.EOPNOTSUPP)
	}
	if off < 0 || n <= 0 {
		return nil, fmt.Errorf("dax: pin of %d bytes at %d: %w", n, off, syscall.EINVAL)
	}
	if write && m.cfg.ReadOnly {
		return nil, syscall.EROFS
	}
	if write {
		if m.mustRefill(ctx) {
			return nil, ErrWouldBlock
		}
		defer m.settle() // holes that get storage were zero pages in views
	}
	if err := m.lockShared(ctx); err != nil {
		return nil, err
	}
	defer m.inval.RUnlock()
	if size := m.size.Load(); off > size || n > size-off {
		return nil, fmt.Errorf("dax: pin of %d bytes at %d of %d: %w", n, off, size, ErrBeyondEnd)
	}
	pin := &Pin{m: m, page: pageOf(off), write: write}
	pin.n = pagesUp(off+n) - pin.page
	// The pin is in force before the first frame is looked up: an eviction of a cached
	// page that misses it has removed the page, and the lookup will find that.
	m.mu.Lock()
	m.pins.list = append(m.pins.list, pin)
	m.mu.Unlock()
	pinned := false
	defer func() {
		if !pinned { // an error, or a PopulatePFNs that panicked
			pin.Release()
		}
	}()
	for end := off + n; off < end; {
		b, err := m.pinPiece(ctx, off, end-off, write, p)
		if err != nil {
			return nil, err
		}
		pin.slices = append(pin.slices, b)
		off += int64(len(b))
	}
	pinned = true
	return pin, nil
}

// pinPiece returns the bytes of the entry that off lies in, at most n.
func (m *Mapping) pinPiece(ctx context.Context, off, n int64, write bool, p Populator) ([]byte, error) {
	page := pageOf(off)
	end := m.pageEnd()
	q := question{page: page, n: min(runHint, end-page)}
	order := m.readOrder(page, end)
	if write {
		q.intent, q.off, q.length = IntentWrite, off, n
		q.n, order = pagesUp(off%pmem.PageSize+n), 0
	}
	s, err := m.answer(ctx, q, order, p)
	if err == nil && s.word.is(wShared) && !m.cfg.ReadOnly {
		// The next store would give the file other frames, and whoever has the old ones as well
		// could free them without a look at the pins here (I17).
		m.ungrab(s)
		q.intent, q.n, q.off, q.length = IntentUnshare, pagesUp(off%pmem.PageSize+n), off, n
		s, err = m.answer(ctx, q, 0, p)
	}
	if err != nil {
		return nil, err
	}
	defer func() { m.ungrab(s) }()
	if s.word.is(wZero) {
		return nil, fmt.Errorf("dax: pin at %d: a hole: %w", off, ErrNotMappable)
	}
	if write {
		m.mu.Lock()
		m.index.SetMark(s.page, markDirty)
		m.mu.Unlock()
	}
	n = min(n, int64(s.end())*pmem.PageSize-off)
	inPage := off % pmem.PageSize
	run, err := frameBytes(s.word.at(page-s.page).pfn(), pagesUp(inPage+n), pmem.Normal)
	if err != nil {
		return nil, fmt.Errorf("dax: pin at %d: %w", off, err)
	}
	b := run.Bytes[inPage:]
	return b[:min(n, int64(len(b)))], nil
}

// Release ends the pin. Further calls do nothing.
func (p *Pin) Release() {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.dropPinLocked(p)
}

// dropPinLocked takes a pin off the list, if it is on it, and wakes who waits for that.
func (m *Mapping) dropPinLocked(p *Pin) {
	for i, have := range m.pins.list {
		if have != p {
			continue
		}
		m.pins.list = append(m.pins.list[:i:i], m.pins.list[i+1:]...)
		p.slices = nil
		if m.pins.changed != nil {
			close(m.pins.changed)
			m.pins.changed = nil
		}
		return
	}
}

var _ vm.Pinner = (*Mapping)(nil)

// PinFrame implements [vm.Pinner]: it registers a pin that a view takes through one of
// its translations, without the invalidate lock. Layout changes take translations away
// first and look for pins then; the view registers first and looks at its translation
// then: one of them sees the other.
//
// Errors: ErrGone.
func (m *Mapping) PinFrame(page uint64, _ pmem.PFN, write bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return ErrGone
	}
	m.pins.list = append(m.pins.list, &Pin{m: m, page: page, n: 1, write: write, frame: true})
	return nil
}

// UnpinFrame implements [vm.Pinner].
func (m *Mapping) UnpinFrame(page uint64, _ pmem.PFN, write bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pins.list {
		if p.n == 1 && p.page == page && p.write == write && p.frame {
			m.dropPinLocked(p)
			return
		}
	}
	panic(fmt.Sprintf("dax: unpin of page %d, which no view has pinned", page))
}

// waitUnpinnedLocked sleeps until a pin is released, on behalf of a layout change from
// page on; called and returning with mu held.
func (m *Mapping) waitUnpinnedLocked(ctx context.Context, page uint64) error {
	if m.pins.changed == nil {
		m.pins.changed = make(chan struct{})
	}
	changed := m.pins.changed
	m.mu.Unlock()
	defer m.mu.Lock()
	hook.At(hook.LayoutWaits, m, page)
	if !mayWait(ctx) {
		return ErrWouldBlock
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	hook.Block(changed, done)
	select {
	case <-changed:
		return nil
	case <-done:
		return ctx.Err()
	}
}

// errPinned: pins overlap the range.
var errPinned = errors.New("dax: pinned")
