package block

import (
	"fmt"

	"godax/dax"
	"godax/pmem"
)

// State is the set of flags of a [BufferHead] (Linux: enum bh_state_bits).
type State uint8

const (
	BHMapped    State = 1 << iota // Device and BlockNr are valid
	BHNew                         // allocated by this call, and zeroed
	BHUnwritten                   // storage without content
	BHDelay                       // promised, not allocated
	// BHHoleSize: the file system has filled Size in for a hole as well. Without it the
	// size of a hole is not believed: a file system that leaves Size alone would make
	// every hole as large as the request.
	BHHoleSize
)

// BufferHead carries the answer of a [GetBlock]: the state of the blocks from one
// block of a file on (Linux: struct buffer_head as get_block_t uses it).
type BufferHead struct {
	State   State
	Size    int64       // in: most bytes wanted; out: bytes that the answer is true for
	BlockNr uint64      // block on Device
	Device  pmem.Device // never assumed from the file

	off, blockSize, asked int64
}

// GetBlock fills bh in for the given block of a file, allocating if create is set.
type GetBlock func(iblock uint64, bh *BufferHead, create bool) error

// Populate answers r through g: it asks for the block that the first page which the
// answer can use starts in, or if that extent ends before r.Page for the one of r.Page,
// and hands the extent to [CreatePFNs]. blockSize is the file system's, which has to
// be PageSize or a multiple.
func (g GetBlock) Populate(r *dax.Request, blockSize int64) error {
	page := r.From()
	bh := BufferHead{}
	for {
		if err := g.ask(r, &bh, page, blockSize); err != nil {
			return err
		}
		if page == r.Page || bh.off+bh.Size > int64(r.Page)*pmem.PageSize {
			break
		}
		page = r.Page // the slot's first page lies in another extent
	}
	e, err := bh.Extent()
	if err != nil {
		return err
	}
	return CreatePFNs(r, e)
}

// ask calls g for the block that holds the given page.
func (g GetBlock) ask(r *dax.Request, bh *BufferHead, page uint64, blockSize int64) error {
	off := int64(page) * pmem.PageSize
	off -= off % blockSize
	want := int64(r.Page+r.N)*pmem.PageSize - off
	*bh = BufferHead{Size: want, off: off, blockSize: blockSize, asked: want}
	return g(uint64(off/blockSize), bh, r.Intent == dax.IntentWrite)
}

// Extent translates the buffer head by the table of the DAX semantics, section
// 4.2. The size of a hole is believed only with BHHoleSize; a size that is not a
// positive number of whole blocks, or more than was asked for, is an error.
func (bh *BufferHead) Extent() (Extent, error) {
	e := Extent{Off: bh.off, Len: bh.Size, Device: bh.Device}
	switch {
	case bh.State&BHDelay != 0:
		e.Kind = Delalloc
	case bh.State&BHUnwritten != 0:
		e.Kind = Unwritten
	case bh.State&BHMapped != 0:
		e.Kind = Mapped
		e.Addr = int64(bh.BlockNr) * bh.blockSize
		if bh.State&BHNew != 0 {
			e.Flags |= New
		}
		if bh.Device == nil || bh.BlockNr >= uint64(bh.Device.Size()/bh.blockSize) {
			return Extent{}, fmt.Errorf("block: buffer head: block %d is not on the device", bh.BlockNr)
		}
	default:
		e.Kind = Hole
		if bh.State&BHHoleSize == 0 {
			e.Len = bh.blockSize
		}
	}
	if e.Len <= 0 || e.Len%bh.blockSize != 0 || e.Len > max(bh.asked, bh.blockSize) {
		return Extent{}, fmt.Errorf("block: buffer head: size %d for %d asked, in blocks of %d", e.Len, bh.asked, bh.blockSize)
	}
	return e, nil
}
