package ext

import (
	"errors"

	"godax/pmem"
)

// zeroData clears n blocks at pblk that nothing leads to yet, durably. Bad media in
// blocks of the size of a page is overwritten, and declared good again: this is how a
// file gets a page back that was punched out because it was bad. Smaller blocks on bad
// media cannot be used: pmem.ErrPoisoned.
func (f *FS) zeroData(pblk, n uint64) error {
	off, size := f.blockOff(pblk), f.blockOff(n)
	err := f.st.zeroQuiet(off, size)
	if errors.Is(err, pmem.ErrPoisoned) && f.blockSize() == pmem.PageSize {
		for b := pblk; b < pblk+n; b++ {
			if err := f.heal(b); err != nil {
				return err
			}
		}
		err = f.st.zeroQuiet(off, size)
	}
	if err != nil {
		return err
	}
	return f.dev.Flush(off, size)
}

// heal overwrites one page of bad media. The device's pages are counted from its
// start, as the blocks are.
func (f *FS) heal(page uint64) error {
	if _, err := f.dev.DirectAccess(page, 1, pmem.Normal); !errors.Is(err, pmem.ErrPoisoned) {
		return err
	}
	run, err := f.dev.DirectAccess(page, 1, pmem.RecoveryWrite)
	if err != nil {
		return err
	}
	clear(run.Bytes)
	if err := f.dev.Flush(int64(page)*pmem.PageSize, pmem.PageSize); err != nil {
		return err
	}
	p, ok := f.dev.(pmem.Poisoner)
	if !ok {
		return pmem.ErrPoisoned
	}
	return p.ClearPoison(page, 1)
}
