package vm

import (
	"fmt"
	"math/bits"
	"slices"

	"godax/pmem"
)

var _ FailureNotifier = (*ProcessView)(nil)

// NotifyFailure implements [FailureNotifier]. The pages become [Gone] until something
// else is installed: an access raises SIGBUS, and in [ProcessView.Do] becomes a
// [BusError] that is [pmem.ErrPoisoned]. Memory on larger pages is lost a whole page at
// a time; what pages the kernel put together by itself is not known, so for other
// memory each Failure is of a single page.
func (v *ProcessView) NotifyFailure(page, n uint64) {
	page, end := v.clip(page, n)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || page == end {
		return
	}
	_ = v.flushLocked() // an error made the pages Gone
	var bad []segment
	// An error leaves nothing known to be a copy.
	_ = v.apartFromCopiesLocked(page, end, func(page, n uint64) error {
		v.segs.each(page, page+n, func(s segment) {
			if s.kind == Frames {
				bad = append(bad, s)
			}
		})
		return nil
	})
	for _, s := range bad {
		for s.n > 0 {
			whole := v.wholeLocked(s.page)
			f := Failure{
				Addr: uint64(v.area.addr(v.offset(s.page))), Page: s.page,
				N: min(s.n, whole.end()-s.page), Order: uint(bits.Len64(whole.n) - 1),
			}
			v.failures = append(v.failures, f)
			v.failed.add(whole.page, whole.n)
			_ = v.mapLocked(segment{page: whole.page, n: whole.n, kind: Gone}) // an error dropped the pages
			s.page, s.n = s.page+f.N, s.n-f.N
		}
	}
}

// Failures returns what the view was told by NotifyFailure, in that order.
func (v *ProcessView) Failures() []Failure {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.failures)
}

// cause is why an access to a page raised the fault.
func (v *ProcessView) cause(page uint64, fault error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := v.failed.find(page + 1); i < len(v.failed) && v.failed[i].page <= page {
		return fmt.Errorf("%w: %w", pmem.ErrPoisoned, fault)
	}
	return fault
}
