package dax

import (
	"fmt"

	"godax/pmem"
)

// Source says where the bytes of a new storage come from: frames, or nowhere, and then
// they are zero.
type Source struct {
	Zero bool
	PFN  pmem.PFN // of the first page, unless Zero
}

// InsertCopy answers that the n file pages from page on get the frames pfn, pfn+1, ...
// in the place of src, which other files may go on using (copy on write, 4.2): it copies
// the bytes, whole pages always, and then does what Insert does. The pages count as
// DIRTY from then on.
//
// The copy is made under the lock of the page's slot, before anybody can see the new
// frames: so it cannot overwrite what a racing store has put there, and a copy that
// failed leaves no entry (hazards H1 and H2 of the DAX semantics). The file system
// changes its extent map after InsertCopy has returned nil, and not otherwise.
//
// Only pages of the slot that is held can be answered so. Somebody else may be asking
// about a page behind it at this moment, and be about to store the answer from before:
// it would go on leading to the old frames, which are no longer this file's.
//
// The old frames may be shown by views of the page until the operation that asked is over,
// and a read(2) may be copying from them. If nobody else has them, they are to be given
// out again only after a change of the layout by this mapping (BreakLayout and the like),
// which waits for both.
//
// Errors: as Insert; pmem.ErrPoisoned and others of the devices; EIO for frames that
// are copied onto themselves.
func (r *Request) InsertCopy(page uint64, pfn pmem.PFN, n uint64, attr Attr, src Source) error {
	if !r.Intent.allocates() {
		return badAnswer("page %d: a copy in answer to %v", page, r.Intent)
	}
	if first, size := r.First(), pages(r.Order); page < first || page-first >= size || n > size-(page-first) {
		return badAnswer("pages %d+%d: a copy of pages outside the slot %d+%d", page, n, first, size)
	}
	if attr&SharedPFN != 0 {
		return badAnswer("page %d: a copy that is shared", page)
	}
	if err := onDevice(page, pfn, n); err != nil {
		return err
	}
	if !src.Zero {
		if err := onDevice(page, src.PFN, n); err != nil {
			return err
		}
	}
	for i := uint64(0); i < n; {
		k, err := copyFrames(pfn+pmem.PFN(i), src, i, n-i)
		if err != nil {
			return err
		}
		i += k
	}
	if err := r.Insert(page, pfn, n, attr); err != nil {
		return err
	}
	r.answers[len(r.answers)-1].dirty = true
	return nil
}

// copyFrames copies up to n pages from page i of the source on, and returns how many.
func copyFrames(pfn pmem.PFN, src Source, i, n uint64) (uint64, error) {
	to, err := frameBytes(pfn, n, pmem.RecoveryWrite)
	if err != nil {
		return 0, err
	}
	if src.Zero {
		clear(to.Bytes)
		return to.Pages(), overwritten(pfn, to.Pages())
	}
	if src.PFN+pmem.PFN(i) == pfn {
		return 0, fmt.Errorf("dax: frame %#x: %w: copied onto itself", uint64(pfn), ErrBadAnswer)
	}
	from, err := frameBytes(src.PFN+pmem.PFN(i), to.Pages(), pmem.Normal)
	if err != nil {
		return 0, err
	}
	done := uint64(copy(to.Bytes, from.Bytes)) / pmem.PageSize
	return done, overwritten(pfn, done)
}

// overwritten declares frames good that were overwritten whole, if they were bad.
func overwritten(pfn pmem.PFN, n uint64) error {
	if _, err := frameBytes(pfn, n, pmem.Normal); err == nil {
		return nil
	}
	for i := range n {
		if err := clearPoison(pfn + pmem.PFN(i)); err != nil {
			return err
		}
	}
	return nil
}
