package dax

import (
	"fmt"

	"godax/pmem"
)

// answer is one Insert, InsertCopy, InsertCached or Hole call: n pages from page on.
// Its word is that of the first page.
type answer struct {
	page, n uint64
	word    word
	dirty   bool // the frames were stored to, by the copy
}

func (a answer) covers(page uint64) bool { return page >= a.page && page-a.page < a.n }

// Insert answers that the n file pages from page on are the frames pfn, pfn+1, ...
// It is the helper for file systems without blocks (step 5a); block.CreatePFNs
// ends here too.
//
// The frames must lie on one open device. Pages behind the slot that is held are
// taken where the index has nothing yet. Writable is taken back on a read-only
// mapping.
//
// Errors: ErrBadAnswer for an empty or wrapping run, frames that no device has,
// Writable with SharedPFN, or a page that is answered already.
func (r *Request) Insert(page uint64, pfn pmem.PFN, n uint64, attr Attr) error {
	if attr&(Writable|SharedPFN) == Writable|SharedPFN {
		return badAnswer("page %d: shared frame %#x with permission to store", page, uint64(pfn))
	}
	if err := onDevice(page, pfn, n); err != nil {
		return err
	}
	w := word(pfn) | wMapped
	if attr&Writable != 0 && !r.Mapping.cfg.ReadOnly {
		w |= wWrite
	}
	if attr&SharedPFN != 0 {
		w |= wShared
	}
	return r.add(answer{page: page, n: n, word: w})
}

// onDevice checks that the n frames from pfn on lie on one open device.
func onDevice(page uint64, pfn pmem.PFN, n uint64) error {
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return badAnswer("page %d: frame %#x is on no device", page, uint64(pfn))
	}
	if frames := uint64(dev.Size()) / pmem.PageSize; n > frames || pfn.Page() > frames-n {
		return badAnswer("page %d: frames %#x+%d reach past the device's %d", page, uint64(pfn), n, frames)
	}
	return nil
}

// InsertCached answers that the page has no frame of its own: it gets a frame of
// memory that fill puts the page's bytes into (all PageSize of them; what fill
// leaves alone is zero). Dirty cached pages go back through [Host.WriteCached].
//
// Errors: ErrNotMappable if the mapping has no frames for cached pages, ENOMEM,
// whatever fill returns.
func (r *Request) InsertCached(page uint64, fill func(b []byte) error) error {
	frames := r.Mapping.cfg.Frames
	if frames == nil {
		return fmt.Errorf("dax: page %d: %w", page, ErrNotMappable)
	}
	if page >= r.End() {
		return nil
	}
	pfn, b, err := frames.alloc(r.Mapping, page)
	if err != nil {
		return err
	}
	w := word(pfn) | wMapped | wCached
	if !r.Mapping.cfg.ReadOnly {
		w |= wWrite
	}
	if err = fill(b); err == nil {
		err = r.add(answer{page: page, n: 1, word: w})
	}
	if err != nil {
		frames.free(r.Mapping, page, pfn)
	}
	return err
}

// Hole answers that the n file pages from page on have no storage, or storage that
// was never written: they read as zero. The run may be shorter than the hole,
// never longer.
func (r *Request) Hole(page, n uint64) error {
	if r.Intent == IntentWrite {
		return badAnswer("page %d: a hole in answer to a write", page)
	}
	return r.add(answer{page: page, n: n, word: wZero})
}

// MetadataPending says that a crash now could lose the answer: the metadata that
// leads to the frames is not durable yet. Only asked for with Sync.
func (r *Request) MetadataPending() { r.pending = true }

// add checks that the answer is a run of its own, and cuts off what nobody asked
// for: a page past the end of the file must not get into the index.
func (r *Request) add(a answer) error {
	if a.n == 0 || a.page+a.n < a.page {
		return badAnswer("run of %d pages at page %d", a.n, a.page)
	}
	if a.page >= r.End() {
		return nil
	}
	a.n = min(a.n, r.End()-a.page)
	for _, b := range r.answers {
		if a.page < b.page+b.n && b.page < a.page+a.n {
			return badAnswer("pages %d+%d answered twice", a.page, a.n)
		}
	}
	r.answers = append(r.answers, a)
	return nil
}
