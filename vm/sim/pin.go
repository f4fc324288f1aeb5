package sim

import (
	"context"

	"godax/pmem"
	"godax/vm"
)

// Pinned is a page held by [View.PinFrame].
type Pinned struct {
	Leaf  vm.Leaf // the translation that it was reached through
	Bytes []byte  // the page, PageSize bytes; only a pin for writing may store to it

	pinner vm.Pinner
	page   uint64
	write  bool
}

// Release ends the pin. Once.
func (p *Pinned) Release() {
	if p.pinner != nil {
		p.pinner.UnpinFrame(p.page, p.pfn(), p.write)
	}
}

// pfn is the frame of the page itself.
func (p *Pinned) pfn() pmem.PFN { return p.Leaf.PFN + pmem.PFN(p.page-p.Leaf.Page) }

// PinFrame takes a reference to the page that the view has at a file page, for a
// transfer from it, or with write to it, that goes round the page tables (Linux: the
// fast path of get_user_pages). It counts only if a translation was there, before and
// after p had registered the pin, that leads to the same frame and allows the access;
// without one the page is faulted in first. So whoever takes translations away, and
// only then looks for pins, finds this one or has it refused. Private copies and zero
// pages are nobody's frames, and p is not asked.
//
// Errors: [ErrSegv] (EFAULT) for a write pin in a view without vm.Write; as
// [View.Load]; what p says.
//
// Locks: p is called with the view's mm held shared, never the page-table lock.
func (v *View) PinFrame(ctx context.Context, p vm.Pinner, page uint64, write bool) (Pinned, error) {
	a := vm.Load
	if write {
		a = vm.Store
	}
	if err := v.allow(page, a); err != nil {
		return Pinned{}, err
	}
	var again pace
	for {
		pin, done, changes, err := v.tryPin(ctx, p, page, a)
		if done || err != nil {
			return pin, err
		}
		if err := again.again(ctx, v, page, changes); err != nil {
			return Pinned{}, err
		}
	}
}

// tryPin makes one attempt, as try does.
func (v *View) tryPin(ctx context.Context, p vm.Pinner, page uint64, a vm.Access) (pin Pinned, done bool, changes uint64, err error) {
	if err := v.mm.RLock(ctx); err != nil {
		return Pinned{}, false, 0, err
	}
	defer v.mm.RUnlock()
	if v.closed {
		return Pinned{}, false, 0, ErrClosed
	}
	pin = Pinned{page: page, write: a == vm.Store}
	v.mu.Lock()
	changes = v.changes
	s, level := v.walkLocked(v.addrOf(page))
	present := s != nil && s.state == leaf
	permits := present && (s.write || a == vm.Load || s.kind == vm.Gone)
	if permits {
		pin.Leaf = v.leafLocked(v.addrOf(page), s, level)
		pin.Bytes, err = v.bytesLocked(s, level, page)
	}
	v.mu.Unlock()
	switch {
	case err != nil:
		return Pinned{}, false, changes, err
	case !permits:
		return Pinned{}, false, changes, v.faultFor(ctx, page, level, present, a)
	case pin.Leaf.Kind != vm.Frames:
		return pin, true, changes, nil
	}
	if err := p.PinFrame(page, pin.pfn(), pin.write); err != nil {
		return Pinned{}, false, changes, err
	}
	pin.pinner = p
	v.mu.Lock()
	s, level = v.walkLocked(v.addrOf(page))
	same := s != nil && s.state == leaf && s.kind == vm.Frames && (s.write || a == vm.Load) &&
		s.pfn+pmem.PFN(v.addrOf(page)&(1<<v.order(level)-1)) == pin.pfn()
	v.mu.Unlock()
	if !same {
		pin.Release()
		return Pinned{}, false, changes, nil
	}
	return pin, true, changes, nil
}
