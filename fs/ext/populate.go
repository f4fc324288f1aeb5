package ext

import (
	"godax/block"
	"godax/dax"
	"godax/pmem"
)

// This file is all that the driver does for DAX itself: step 4 of the design, and 5b
// on the way to block.CreatePFNs.

// PopulatePFNs finds the page frames of a part of the file. Blocks of the size of a
// page are its frames; smaller ones are put together in a cached page.
func (fl *file) PopulatePFNs(r *dax.Request) error {
	if fl.fs.blockSize() != pmem.PageSize {
		return fl.populateCached(r)
	}
	if r.Sync && fl.fs.st.pending() {
		r.MetadataPending()
	}
	if fl.fs.useBH {
		return block.GetBlock(fl.getBlock).Populate(r, pmem.PageSize)
	}
	create := r.Intent == dax.IntentWrite
	im, err := fl.iomap(r.From(), r.End()-r.From(), create)
	if err == nil && im.Offset+im.Length <= int64(r.Page)*pmem.PageSize {
		im, err = fl.iomap(r.Page, r.N, create) // the slot's first page lies in another extent
	}
	if err != nil {
		return err
	}
	e, err := im.Extent()
	if err != nil {
		return err
	}
	return block.CreatePFNs(r, e)
}

// iomap describes the run that starts at a page, at most n pages long.
func (fl *file) iomap(page, n uint64, create bool) (block.Iomap, error) {
	x, err := fl.blocks(page, n, create)
	im := block.Iomap{Addr: block.NullAddr, Offset: int64(page) * pmem.PageSize, Length: int64(x.n) * pmem.PageSize}
	if x.pblk != 0 {
		im.Type, im.Addr, im.Device = block.IomapMapped, fl.fs.blockOff(x.pblk), fl.fs.dev
	}
	if x.new {
		im.Flags = block.IomapNew
	}
	return im, err
}

// getBlock is iomap for the other carrier.
func (fl *file) getBlock(iblock uint64, bh *block.BufferHead, create bool) error {
	x, err := fl.blocks(iblock, uint64(bh.Size)/pmem.PageSize, create)
	bh.Size = int64(x.n) * pmem.PageSize
	bh.State = block.BHHoleSize
	if x.pblk != 0 {
		bh.State, bh.BlockNr, bh.Device = block.BHMapped, x.pblk, fl.fs.dev
	}
	if x.new {
		bh.State |= block.BHNew
	}
	return err
}

// populateCached puts a page together from its blocks. Those that are about to be written
// are allocated first; a page without any block is a hole.
func (fl *file) populateCached(r *dax.Request) error {
	per := uint64(pmem.PageSize / fl.fs.blockSize())
	if r.Intent == dax.IntentWrite {
		if err := fl.allocateBytes(r.Off, min(r.Len, int64(r.Page+1)*pmem.PageSize-r.Off)); err != nil || r.Held {
			return err
		}
	} else if x, err := fl.blocks(r.Page*per, r.N*per, false); err != nil {
		return err
	} else if x.pblk == 0 && x.n >= per {
		return r.Hole(r.Page, x.n/per)
	}
	return r.InsertCached(r.Page, func(b []byte) error { return fl.eachBlock(r.Page, b, fl.readBlock) })
}
