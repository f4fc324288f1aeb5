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
// [ErrClosed], [ErrNoProgress]; b is then filled up to the page that failed.
// A fault waits no longer than ctx allows.
func (v *View) Load(ctx context.Context, b []byte, off int64) error {
	return v.copyPages(ctx, b, off, vm.Load)
}

// Store copies b to the file's bytes at off, or to private copies of their pages.
// See [View.Load].
func (v *View) Store(ctx context.Context, b []byte, off int64) error {
	return v.copyPages(ctx, b, off, vm.Store)
}

func (v *View) copyPages(ctx context.Context, b []byte, off int64, a vm.Access) error {
	if off < 0 {
		return fmt.Errorf("%w: offset %d", ErrSegv, off)
	}
	for len(b) > 0 {
		in := int(off % pmem.PageSize)
		n := min(len(b), pmem.PageSize-in)
		if err := v.access(ctx, uint64(off)/pmem.PageSize, in, b[:n], a); err != nil {
			return err
		}
		b = b[n:]
		off += int64(n)
	}
	return nil
}

// access does one access inside one page, with as many faults as it takes.
func (v *View) access(ctx context.Context, page uint64, in int, b []byte, a vm.Access) error {
	if !v.contains(page, 1) || a == vm.Store && v.flags&vm.Write == 0 || a == vm.Load && v.flags&vm.Read == 0 {
		return fmt.Errorf("%w: page %d of view [%d, %d)", ErrSegv, page, v.page, v.page+v.n)
	}
	for total, idle := 0, 0; ; total++ {
		done, changes, err := v.try(ctx, page, in, b, a)
		if done || err != nil {
			return err
		}
		v.mu.Lock()
		progress := v.changes != changes
		v.mu.Unlock()
		if progress && total < 10*v.space.maxRetries {
			idle = 0
			continue
		}
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if idle++; idle > v.space.maxRetries {
			return fmt.Errorf("%w: page %d, %d times", ErrNoProgress, page, idle)
		}
		if idle < 100 || hook.Active() {
			// A test that sets hooks decides itself who runs next.
			runtime.Gosched()
		} else {
			time.Sleep(100 * time.Microsecond)
		}
	}
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
	switch {
	case v.space.tryAll && !present:
		// every order for which there is room
	case a == vm.Store && v.flags&vm.Shared == 0:
		level = 0 // a huge page cannot be copied (F2)
	case present:
		a = vm.MkWrite // at the order of what is there
	}
	return false, changes, v.fault(ctx, page, level, a)
}

// copyLocked does the access through the leaf s if it permits it.
func (v *View) copyLocked(s *slot, level int, page uint64, in int, b []byte, a vm.Access) (done bool, err error) {
	if a == vm.Store && !s.write && s.kind != vm.Gone {
		return false, nil
	}
	var bytes []byte
	switch s.kind {
	case vm.Gone:
		return false, &vm.BusError{Page: page, Err: errors.New("the page is gone")}
	case vm.Zero:
		clear(b)
		return true, nil
	case vm.Private:
		bytes = s.copy
	default:
		inside := v.addrOf(page) & (1<<v.order(level) - 1)
		if bytes, err = v.space.resolve(s.pfn + pmem.PFN(inside)); err != nil {
			return false, &vm.BusError{Page: page, Err: err}
		}
	}
	if a == vm.Load {
		copy(b, bytes[in:])
		return true, nil
	}
	copy(bytes[in:], b)
	s.dirty = true
	return true, nil
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
