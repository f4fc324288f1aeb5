package sim

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	"godax/vm"
)

// Load copies the file's bytes at off, seen through the view, to b. The range may
// cross pages; each page is one access. Errors: [*vm.BusError], [ErrSegv],
// [ErrClosed], [ErrNoProgress], the context's; b is then filled up to the page that
// failed. A fault waits no longer than ctx allows, which may be nil.
func (v *View) Load(ctx context.Context, b []byte, off int64) error {
	_, err := v.copyPages(ctx, b, off, vm.Load)
	return err
}

// Store copies b to the file's bytes at off, or to private copies of their pages.
// See [View.Load].
func (v *View) Store(ctx context.Context, b []byte, off int64) error {
	_, err := v.copyPages(ctx, b, off, vm.Store)
	return err
}

// LoadN is [View.Load] that also returns how many bytes of b are filled: len(b) if and
// only if the error is nil. A read(2) from the view's bytes as a user buffer counts so.
func (v *View) LoadN(ctx context.Context, b []byte, off int64) (int, error) {
	return v.copyPages(ctx, b, off, vm.Load)
}

// StoreN is [View.Store] that also returns how many bytes of b were stored.
func (v *View) StoreN(ctx context.Context, b []byte, off int64) (int, error) {
	return v.copyPages(ctx, b, off, vm.Store)
}

func (v *View) copyPages(ctx context.Context, b []byte, off int64, a vm.Access) (done int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrSegv, off)
	}
	for at := uint64(off); done < len(b); {
		in := int(at % pmem.PageSize)
		n := min(len(b)-done, pmem.PageSize-in)
		if err := v.access(ctx, at/pmem.PageSize, in, b[done:done+n], a); err != nil {
			return done, err
		}
		done += n
		at += uint64(n)
	}
	return done, nil
}

// Load copies the bytes at a byte address to b, through whatever views are there: an
// access as a process makes it, which goes on when a view has been split, or grown, or
// has moved elsewhere and back. Where no view is, it is [ErrSegv]. n is how many bytes
// of b are filled. See [View.Load].
func (s *Space) Load(ctx context.Context, b []byte, addr uint64) (n int, err error) {
	return s.copyPages(ctx, b, addr, vm.Load)
}

// Store copies b to a byte address; see [Space.Load].
func (s *Space) Store(ctx context.Context, b []byte, addr uint64) (n int, err error) {
	return s.copyPages(ctx, b, addr, vm.Store)
}

func (s *Space) copyPages(ctx context.Context, b []byte, addr uint64, a vm.Access) (done int, err error) {
	for done < len(b) {
		v := s.at(addr / pmem.PageSize)
		if v == nil {
			return done, fmt.Errorf("%w: address %#x", ErrSegv, addr)
		}
		in := int(addr % pmem.PageSize)
		n := min(len(b)-done, pmem.PageSize-in)
		err := v.access(ctx, v.pageOf(addr/pmem.PageSize), in, b[done:done+n], a)
		if errors.Is(err, ErrClosed) {
			continue // another view has its place, or none
		}
		if err != nil {
			return done, err
		}
		done += n
		addr += uint64(n)
	}
	return done, nil
}

// allow says whether the view is there for an access.
func (v *View) allow(page uint64, a vm.Access) error {
	if !v.contains(page, 1) || a == vm.Store && v.flags&vm.Write == 0 || a == vm.Load && v.flags&vm.Read == 0 {
		return fmt.Errorf("%w: page %d of view [%d, %d)", ErrSegv, page, v.page, v.page+v.n)
	}
	return nil
}

// access does one access inside one page, with as many faults as it takes.
func (v *View) access(ctx context.Context, page uint64, in int, b []byte, a vm.Access) error {
	if err := v.allow(page, a); err != nil {
		return err
	}
	var p pace
	for {
		done, changes, err := v.try(ctx, page, in, b, a)
		if done || err != nil {
			return err
		}
		if err := p.again(ctx, v, page, changes); err != nil {
			return err
		}
	}
}

// pace counts the attempts at one access.
type pace struct{ total, idle int }

// again waits a little, if nothing has changed in the view since changes, before the
// next attempt, or says that there shall be none. Time plays no part while hooks are
// set: a test that sets them decides itself who runs next, and counts on the same
// number of attempts each time.
func (p *pace) again(ctx context.Context, v *View, page, changes uint64) error {
	v.mu.Lock()
	progress := v.changes != changes
	v.mu.Unlock()
	p.total++
	if progress && p.total <= 10*v.space.maxRetries {
		p.idle = 0
		return nil
	}
	if ctx != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if p.idle++; p.idle > v.space.maxRetries {
		return fmt.Errorf("%w: page %d, %d times", ErrNoProgress, page, p.idle)
	}
	if p.idle < 100 || hook.Active() {
		runtime.Gosched()
	} else {
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// try makes one attempt: the access itself if the translation is there, else one
// round of faults. Not done and no error: start over. changes is the view's count
// from before the attempt.
func (v *View) try(ctx context.Context, page uint64, in int, b []byte, a vm.Access) (done bool, changes uint64, err error) {
	if err := v.mm.RLock(ctx); err != nil {
		return false, 0, err
	}
	defer v.mm.RUnlock()
	if v.closed {
		return false, 0, ErrClosed
	}
	v.mu.Lock()
	changes = v.changes
	s, level := v.walkLocked(v.addrOf(page))
	present := s != nil && s.state == leaf
	if present {
		done, err = v.copyLocked(s, level, page, in, b, a)
	}
	v.mu.Unlock()
	if done || err != nil {
		return done, changes, err
	}
	return false, changes, v.faultFor(ctx, page, level, present, a)
}

// faultFor raises the faults for an access that met a place at the level, empty or with
// a translation that does not permit it.
func (v *View) faultFor(ctx context.Context, page uint64, level int, present bool, a vm.Access) error {
	switch {
	case v.space.tryAll && !present:
		// every order for which there is room
	case a == vm.Store && v.flags&vm.Shared == 0:
		level = 0 // a huge page cannot be copied (F2)
	case present:
		a = vm.MkWrite // at the order of what is there
	}
	return v.fault(ctx, page, level, a)
}

// copyLocked does the access through the leaf s if it permits it.
func (v *View) copyLocked(s *slot, level int, page uint64, in int, b []byte, a vm.Access) (done bool, err error) {
	if a == vm.Store && !s.write && s.kind != vm.Gone {
		return false, nil
	}
	bytes, err := v.bytesLocked(s, level, page)
	if err != nil {
		return false, err
	}
	if a == vm.Load {
		copy(b, bytes[in:])
		return true, nil
	}
	copy(bytes[in:], b)
	s.dirty = true
	return true, nil
}

// zeroPage is what zero translations lead to. Nobody stores to it.
var zeroPage = make([]byte, pmem.PageSize)

// bytesLocked returns the page that the leaf leads to.
func (v *View) bytesLocked(s *slot, level int, page uint64) ([]byte, error) {
	switch s.kind {
	case vm.Gone:
		return nil, &vm.BusError{Page: page, Err: errors.New("the page is gone")}
	case vm.Zero:
		return zeroPage, nil
	case vm.Private:
		return s.copy, nil
	}
	bytes, err := v.space.resolve(s.pfn + pmem.PFN(v.addrOf(page)&(1<<v.order(level)-1)))
	if err != nil {
		return nil, &vm.BusError{Page: page, Err: err}
	}
	return bytes, nil
}

// fault raises faults for the page, from the order of the level downwards, until
// one is not answered by a fallback. nil: repeat the access.
func (v *View) fault(ctx context.Context, page uint64, level int, a vm.Access) error {
	private := a == vm.Store && v.flags&vm.Shared == 0
	for ; level >= 0; level-- {
		order := v.order(level)
		if level > 0 && !v.space.tryAll && (v.flags&vm.NoHuge != 0 || !v.Congruent(page, order)) {
			continue
		}
		f := vm.Fault{Ctx: ctx, View: v, Page: page, Order: order, Access: a, NoWait: !rwsem.MayWait(ctx)}
		if level == 0 {
			if a != vm.MkWrite || private {
				v.split(page)
			}
			if private {
				f.CowPage = make([]byte, pmem.PageSize)
			}
		}
		v.space.stats.faults[a][level].Add(1)
		hook.At(hook.OrderChosen, v, page)
		err := v.handler.Fault(&f)
		if f.Major {
			v.space.stats.majors.Add(1)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, vm.ErrRetry):
			v.space.stats.retries.Add(1)
			return nil
		case errors.Is(err, vm.ErrFallback) && level > 0:
			v.space.stats.fallbacks.Add(1)
			v.split(page)
			if a == vm.MkWrite {
				a = vm.Store // nothing is mapped any more
			}
		case ctx != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return err // interrupted: no signal of its own
		default:
			v.space.stats.errors.Add(1)
			return &vm.BusError{Page: page, Err: err}
		}
	}
	return &vm.BusError{Page: page, Err: errors.New("no order left to ask for")}
}

// split takes away a huge translation over the page, so that small ones can take
// its place: after every fallback, or the small fault would meet it again.
func (v *View) split(page uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.eachLocked(v.addrOf(page), 1, func(_ uint64, level int, _ *slot) bool {
		if level == 0 {
			return false
		}
		v.space.stats.splits.Add(1)
		v.changes++
		return true
	})
}
