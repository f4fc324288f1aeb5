package famfs

import (
	"errors"

	"godax/dax"
	"godax/pmem"
)

// This file is all that the driver does for DAX itself: steps 4 and 5a of the design. Where a
// byte lies is arithmetic over what the entry says, and an entry never changes: so an answer
// is never a hole, and is never taken back.

// maxRuns bounds how many runs one answer has, beyond those up to the page asked for.
const maxRuns = 64

// piece is one extent of a file, or one strip.
type piece struct {
	dev  pmem.Device
	off  int64 // on the device
	file int64 // of its first byte in the file; means nothing for a strip
}

// PopulatePFNs finds the page frames of a part of the file.
func (fl *file) PopulatePFNs(r *dax.Request) error {
	if fl.node.broken != nil {
		return fl.node.broken
	}
	mode := pmem.Normal
	if r.Overwrite {
		mode = pmem.RecoveryWrite
	}
	end := min(r.End(), uint64(fl.size()+pmem.PageSize-1)/pmem.PageSize)
	if r.Page >= end {
		return refused("append", whySize)
	}
	for page, n := r.From(), 0; page < end && (page <= r.Page || n < maxRuns); n++ {
		dev, at, want := fl.node.find(int64(page)*pmem.PageSize, int64(end-page)*pmem.PageSize)
		first := uint64(at) / pmem.PageSize
		run, err := dev.DirectAccess(first, uint64(want)/pmem.PageSize, mode)
		if errors.Is(err, pmem.ErrPoisoned) && want > pmem.PageSize {
			run, err = dev.DirectAccess(first, 1, mode) // a later page may be the bad one
		}
		switch {
		case err != nil && page > r.Page:
			return nil // what was asked for is answered
		case err != nil && page < r.Page:
			page = r.Page
			continue
		case err != nil:
			return err
		}
		if err := r.Insert(page, run.PFN, run.Pages(), dax.Writable); err != nil {
			return err
		}
		page += run.Pages()
	}
	return nil
}

// find returns where byte pos of the file lies, and how many of the n bytes from there lie
// side by side. pos is a multiple of the page, n of its size, and [pos, pos+n) in the file's
// last page at most: a unit is whole pages, and the extents cover the size.
func (n *node) find(pos, want int64) (dev pmem.Device, off, got int64) {
	if chunk := int64(n.entry.Chunk); chunk > 0 {
		k, strips := pos/chunk, int64(len(n.runs))
		strip := n.runs[k%strips]
		return strip.dev, strip.off + k/strips*chunk + pos%chunk, min(want, chunk-pos%chunk)
	}
	i := len(n.runs) - 1
	for n.runs[i].file > pos {
		i--
	}
	in := pos - n.runs[i].file
	return n.runs[i].dev, n.runs[i].off + in, min(want, int64(n.entry.Extents[i].Len)-in)
}
