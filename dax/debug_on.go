//go:build daxdebug || race

package dax

import (
	"errors"

	"godax/vm"
)

// debugLimit is how many entries an index may have for every change of it to be
// checked: those of tests.
const debugLimit = 64

// debugCheckLocked checks the index after a change, while the goroutine still holds the
// entry it changed. A violation is a bug of this package.
func (m *Mapping) debugCheckLocked() {
	if m.index.Len() > debugLimit {
		return
	}
	var errs []error
	m.checkIndexLocked(func(format string, args ...any) { errs = append(errs, violation(format, args...)) })
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}

// debugCheckAnswers refuses frames that other pages of the file have, if neither side is
// said to be shared (P14).
func (m *Mapping) debugCheckAnswers(r *Request) error {
	if m.index.Len() > debugLimit {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			return nil
		}
		w := word(val)
		for _, a := range r.answers {
			twice := w.is(wMapped) && a.word.is(wMapped) && vm.Overlap(uint64(w.pfn()), pages(order), uint64(a.word.pfn()), a.n)
			if twice && !w.is(wShared) && !a.word.is(wShared) && !w.sameFrames(first, a) {
				return badAnswer("pages %d+%d have frames of pages %d+%d, and are not said to share them", a.page, a.n, first, pages(order))
			}
		}
		if next = first + pages(order); next == 0 {
			return nil
		}
	}
}
