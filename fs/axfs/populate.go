package axfs

import (
	"syscall"

	"godax/dax"
	"godax/pmem"
)

// This file is all that the driver does for DAX itself: step 4 of the design, and 5a, the
// one for file systems without blocks.

// PopulatePFNs finds the page frames of a part of the file: those of the image, as many as
// lie side by side, or the frame of a cached page.
func (fl *file) PopulatePFNs(r *dax.Request) error {
	if r.Intent == dax.IntentWrite || r.Intent == dax.IntentUnshare {
		return syscall.EROFS
	}
	for _, page := range [...]uint64{r.From(), r.Page} { // the slot's first page may be of another run
		if at, n := fl.direct(page, r.End()-page); page+n > r.Page {
			return fl.insert(r, page, at, n)
		}
	}
	p, err := fl.piece(r.Page)
	if err != nil {
		return err
	}
	return r.InsertCachedShared(p.key(), func(b []byte) error { return fl.fs.read(b[:p.n], p) })
}

// insert answers with the n pages of the xip region from page at on.
func (fl *file) insert(r *dax.Request, page, at, n uint64) error {
	f := fl.fs
	run, err := f.mapDev.DirectAccess(f.mapFirst+at, n, pmem.Normal)
	if err != nil || page+run.Pages() <= r.Page {
		// A page of the run is bad, or the device answers in pieces: only what was asked for.
		at, page = at+r.Page-page, r.Page
		if run, err = f.mapDev.DirectAccess(f.mapFirst+at, 1, pmem.Normal); err != nil {
			return err
		}
	}
	var attr dax.Attr
	if f.sharedPages(at, run.Pages()) {
		attr = dax.SharedPFN
	}
	return r.Insert(page, run.PFN, run.Pages(), attr)
}
