package block

import (
	"errors"
	"fmt"
	"syscall"

	"godax/dax"
	"godax/pmem"
)

// CreatePFNs answers r from the extent e that the access lands in (Linux's sketch:
// dax_create_pfns): it clips e to the pages the request can use, asks the extent's
// device for their frames, and inserts them. Rules C1 to C6 of the DAX semantics.
//
// Errors: dax.ErrNotMappable for delalloc and inline data and for an extent whose
// offset and address disagree modulo the page; EIO for an extent that cannot be
// the answer (it does not cover the page, or is a hole for a write); those of
// DirectAccess, unchanged. A device that fails behind the page asked for shortens
// the answer.
//
// An extent with a [Extent.Source] is copied, the whole of it, before CreatePFNs returns
// nil; so it has to lie inside the slot that is held (see [dax.Request.InsertCopy]), and the
// file system makes it the file's only if there is no error.
func CreatePFNs(r *dax.Request, e Extent) error {
	switch e.Kind {
	case Delalloc, Inline:
		return fmt.Errorf("block: %v data at %d: %w", e.Kind, e.Off, dax.ErrNotMappable)
	case Hole, Unwritten, Mapped:
	default:
		return fmt.Errorf("block: extent at %d: %v: %w", e.Off, e.Kind, syscall.EIO)
	}
	first, end, err := clip(r, e)
	if err != nil {
		return err
	}
	if e.Kind != Mapped {
		if r.Intent == dax.IntentWrite {
			return fmt.Errorf("block: %v at %d in answer to a write: %w", e.Kind, e.Off, syscall.EIO)
		}
		return r.Hole(first, end-first)
	}
	if e.Device == nil || e.Addr < 0 || (e.Addr-e.Off)%pmem.PageSize != 0 {
		return fmt.Errorf("block: extent at %d: address %d is not congruent modulo %d: %w", e.Off, e.Addr, pmem.PageSize, dax.ErrNotMappable)
	}
	if e.Source != nil {
		return insertCopies(r, e)
	}
	return insertMapped(r, e, first, end)
}

// clip returns the pages [first, end) that e covers whole and r can use. They
// contain r.Page.
func clip(r *dax.Request, e Extent) (first, end uint64, err error) {
	if e.Off < 0 || e.Len <= 0 || e.Off > maxInt64-e.Len {
		return 0, 0, fmt.Errorf("block: extent at %d, length %d: %w", e.Off, e.Len, syscall.EIO)
	}
	first = max(pagesUp(e.Off), r.First())
	end = min(uint64(e.Off+e.Len)/pmem.PageSize, r.End())
	if r.Page < first || r.Page >= end {
		return 0, 0, fmt.Errorf("block: extent at %d, length %d does not cover page %d: %w", e.Off, e.Len, r.Page, syscall.EIO)
	}
	return first, end, nil
}

// insertMapped asks the device for the frames of the pages [first, end), in as
// many pieces as it answers in.
func insertMapped(r *dax.Request, e Extent, first, end uint64) error {
	attr := dax.Writable
	if e.Flags&(Shared|ReadOnly) != 0 {
		attr = 0
	}
	if e.Flags&Shared != 0 {
		attr |= dax.SharedPFN
	}
	if e.Flags&New != 0 {
		attr |= dax.New
	}
	mode := pmem.Normal
	if r.Overwrite {
		mode = pmem.RecoveryWrite
	}
	for page := first; page < end; {
		run, err := e.Device.DirectAccess(devicePage(e, page), end-page, mode)
		if err != nil && page > r.Page {
			return nil // what was asked for is answered
		}
		if err != nil && page < r.Page {
			page = r.Page
			continue
		}
		if err != nil && end-page > 1 && !errors.Is(err, pmem.ErrOutOfRange) {
			end = page + 1 // the page that fails may be a later one; no extent reaches past the device
			continue
		}
		if err != nil {
			return err
		}
		n := min(run.Pages(), end-page)
		if n == 0 {
			return fmt.Errorf("block: device page %d: empty answer: %w", devicePage(e, page), syscall.EIO)
		}
		if err := r.Insert(page, run.PFN, n, attr); err != nil {
			return err
		}
		page += n
	}
	return nil
}

// insertCopies answers with the frames of e after copying the source's bytes to them.
func insertCopies(r *dax.Request, e Extent) error {
	src := e.Source
	first, end := pagesUp(e.Off), uint64(e.Off+e.Len)/pmem.PageSize
	switch {
	case e.Off%pmem.PageSize != 0 || e.Len%pmem.PageSize != 0:
		return fmt.Errorf("block: copy of %d bytes at %d: %w", e.Len, e.Off, syscall.EIO)
	case src.Source != nil || src.Off < 0 || src.Len <= 0 || src.Off > e.Off || src.Off > maxInt64-src.Len || src.Off+src.Len < e.Off+e.Len:
		return fmt.Errorf("block: source at %d, length %d of a copy at %d, length %d: %w", src.Off, src.Len, e.Off, e.Len, syscall.EIO)
	case src.Kind == Mapped && (src.Device == nil || src.Addr < 0 || (src.Addr-src.Off)%pmem.PageSize != 0):
		return fmt.Errorf("block: source at %d: address %d: %w", src.Off, src.Addr, dax.ErrNotMappable)
	case src.Kind != Mapped && src.Kind != Hole && src.Kind != Unwritten:
		return fmt.Errorf("block: source at %d: %v data: %w", src.Off, src.Kind, dax.ErrNotMappable)
	}
	for page := first; page < end; {
		to, err := e.Device.DirectAccess(devicePage(e, page), end-page, pmem.RecoveryWrite)
		if err != nil {
			return err
		}
		from, n := dax.Source{Zero: true}, min(to.Pages(), end-page)
		if src.Kind == Mapped {
			run, err := src.Device.DirectAccess(devicePage(*src, page), n, pmem.Normal)
			if err != nil {
				return err
			}
			from, n = dax.Source{PFN: run.PFN}, min(n, run.Pages())
		}
		if n == 0 {
			return fmt.Errorf("block: device page %d: empty answer: %w", devicePage(e, page), syscall.EIO)
		}
		if err := r.InsertCopy(page, to.PFN, n, dax.Writable, from); err != nil {
			return err
		}
		page += n
	}
	return nil
}

// devicePage is the device page that holds a page of the file.
func devicePage(e Extent, page uint64) uint64 {
	return uint64(e.Addr)/pmem.PageSize + page - uint64(e.Off)/pmem.PageSize
}

// pagesUp is the number of the first page that starts at or after off.
func pagesUp(off int64) uint64 {
	return (uint64(off) + pmem.PageSize - 1) / pmem.PageSize
}
