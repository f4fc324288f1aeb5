package dax

import (
	"fmt"
	"sync"

	"godax/pmem"
)

// answer is one Insert, InsertCached or Hole call: n pages from page on. Its word
// is that of the first page.
type answer struct {
	page, n uint64
	word    word
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
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return badAnswer("page %d: frame %#x is on no device", page, uint64(pfn))
	}
	if frames := uint64(dev.Size()) / pmem.PageSize; n > frames || pfn.Page() > frames-n {
		return badAnswer("page %d: frames %#x+%d reach past the device's %d", page, uint64(pfn), n, frames)
	}
	w := word(pfn) | wMapped
	if attr&Writable != 0 && !r.Mapping.cfg.ReadOnly {
		w |= wWrite
	}
	if attr&SharedPFN != 0 {
		w |= wShared
	}
	return r.add(answer{page, n, w})
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
		err = r.add(answer{page, 1, w})
	}
	if err != nil {
		frames.free(pfn)
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
	return r.add(answer{page, n, wZero})
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

// requests keeps Requests and their answer slices between calls.
var requests = sync.Pool{New: func() any { return new(Request) }}

// question is what resolve asks on behalf of an operation.
type question struct {
	page   uint64
	n      uint64 // run hint
	intent Intent
	off    int64 // bytes to be written, for IntentWrite
	length int64
	sync   bool
	nowait bool
	whole  bool // whole pages are overwritten
}

// resolve makes the locked slot answer the question: as it stands (Q2), or by
// asking p. It returns the slot that now holds the page, still locked, which may
// be a smaller one inside s. On an error the slot is unlocked.
//
// Locks: inval shared, or the inode lock exclusive with inval exclusive.
func (m *Mapping) resolve(s slot, q question, p Populator) (out slot, pending bool, err error) {
	if s.word.answers(q.intent) && !q.sync {
		return s, false, nil
	}
	r := requests.Get().(*Request)
	answers := r.answers[:0]
	*r = Request{
		Mapping: m, Page: q.page, N: max(q.n, s.end()-q.page), Order: s.order,
		Intent: q.intent, NoWait: q.nowait, Sync: q.sync, Off: q.off, Len: q.length,
		Overwrite: q.whole, answers: answers, evicted: m.stats.Evicted.Load(),
	}
	done := false
	defer func() {
		if !done { // PopulatePFNs panicked
			m.giveUp(s)
			m.freeAnswers(r.answers)
		}
	}()
	m.stats.Populates.Add(1)
	err = p.PopulatePFNs(r)
	done = true
	if m.cfg.Trace != nil {
		m.cfg.Trace(r.trace(err))
	}
	if err == nil && s.word.answers(q.intent) {
		// The slot answers already; only the state of the metadata was in question.
		pending = r.pending
		m.freeAnswers(r.answers)
		requests.Put(r)
		return s, pending, nil
	}
	if err != nil || !r.answered() {
		m.freeAnswers(r.answers)
		m.giveUp(s)
		if err == nil {
			err = badAnswer("page %d, asked for by intent %d, is not among %d answers", q.page, q.intent, len(r.answers))
		}
		requests.Put(r)
		return slot{}, false, err
	}
	out = m.apply(s, r)
	pending = r.pending
	requests.Put(r)
	return out, pending, nil
}

// answered reports whether the page asked for is among the answers, with what the
// intent needs.
func (r *Request) answered() bool {
	for _, a := range r.answers {
		if a.covers(r.Page) {
			return a.word.answers(r.Intent)
		}
	}
	return false
}

// trace copies what was asked and answered.
func (r *Request) trace(err error) Trace {
	t := Trace{Page: r.Page, N: r.N, Order: r.Order, Intent: r.Intent, Err: err}
	for _, a := range r.answers {
		t.Answers = append(t.Answers, entryOf(a.page, a.n, a.word, false))
	}
	return t
}

// giveUp unlocks a slot after a failure. A placeholder is not left behind.
func (m *Mapping) giveUp(s slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.word.is(wMapped | wZero) {
		m.ungrabLocked(s)
		return
	}
	m.eraseLocked(s.page)
}

// freeAnswers gives the frames of cached answers back that were not applied.
func (m *Mapping) freeAnswers(answers []answer) {
	for _, a := range answers {
		if a.word.is(wCached) {
			m.cfg.Frames.free(a.word.pfn())
		}
	}
}

// apply puts the answers of r into the index and returns the locked slot that
// holds r.Page. Old translations of the slot go before its entry changes (rows 6
// and 7).
func (m *Mapping) apply(s slot, r *Request) slot {
	if s.word.is(wMapped | wZero) {
		for _, a := range r.answers {
			if a.covers(r.Page) && !s.word.sameFrames(s.page, a) {
				m.views.Unmap(s.page, pages(s.order), false)
				break
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := s
	for _, a := range r.answers {
		if a.covers(r.Page) {
			out = m.replaceLocked(s, a, r.Page)
		}
	}
	for _, a := range r.answers {
		if a.word.is(wCached) && !a.covers(r.Page) && r.evicted != m.stats.Evicted.Load() {
			// The page may have been cached, changed and given up since it was filled.
			m.cfg.Frames.free(a.word.pfn())
			continue
		}
		m.insertLocked(a)
	}
	return out
}

// sameFrames reports whether the answer leads to the frames that the entry at page
// has already: only its attributes change.
func (w word) sameFrames(page uint64, a answer) bool {
	if !w.is(wMapped) || !a.word.is(wMapped) {
		return false
	}
	return uint64(w.pfn())-page == uint64(a.word.pfn())-a.page
}

// replaceLocked puts the part of the answer that holds page into the locked slot,
// and returns the slot that page is in now. If the answer does not fill the slot,
// or its frames are not aligned to it, the slot becomes smaller, with the old
// entry's remainder kept where it was an answer.
func (m *Mapping) replaceLocked(s slot, a answer, page uint64) slot {
	if a.page <= s.page && a.page+a.n >= s.end() {
		w := a.word.at(s.page - a.page)
		if !w.is(wMapped) || uint64(w.pfn())&(pages(s.order)-1) == 0 {
			m.setLocked(&s, w)
			return s
		}
	}
	keep := m.marksLocked(s.page)
	old := s
	m.eraseLocked(s.page)
	first, n := max(a.page, s.page), min(a.page+a.n, s.end())
	n -= first
	out := slot{}
	m.pieces(first, n, a.word.at(first-a.page), func(at uint64, order uint, w word) {
		if page >= at && page-at < pages(order) {
			out = slot{at, order, w | wLocked}
			w |= wLocked
		}
		m.storeLocked(at, order, w, keep)
	})
	// What the old entry said about the rest of its run is still true.
	if old.word.is(wMapped | wZero) {
		m.restoreLocked(old, old.page, first, keep)
		m.restoreLocked(old, first+n, old.end(), keep)
	}
	return out
}

// marks are the marks of one entry. Both must outlive the entry's cutting: a
// writeback that has tagged it is to find the parts.
type marks struct{ dirty, toWrite bool }

func (m *Mapping) marksLocked(page uint64) marks {
	return marks{m.index.Marked(page, markDirty), m.index.Marked(page, markToWrite)}
}

// storeLocked stores an entry with marks, if it is of a kind that can have any.
func (m *Mapping) storeLocked(at uint64, order uint, w word, k marks) {
	m.index.Store(at, order, uint64(w))
	if k.dirty && w.is(wMapped) {
		m.index.SetMark(at, markDirty)
	}
	if k.toWrite && w.is(wMapped) {
		m.index.SetMark(at, markToWrite)
	}
}

// restoreLocked stores the pages [first, end) of a removed entry again.
func (m *Mapping) restoreLocked(old slot, first, end uint64, keep marks) {
	if first >= end {
		return
	}
	w := old.word.at(first-old.page) &^ wLocked
	m.pieces(first, end-first, w, func(at uint64, order uint, w word) {
		m.storeLocked(at, order, w, keep)
	})
}

// insertLocked stores the parts of an answer that the index has nothing for.
func (m *Mapping) insertLocked(a answer) {
	page, end := a.page, a.page+a.n
	for page < end {
		first, order, _, ok := m.index.Next(page, end-1)
		gap := end
		if ok {
			gap = max(first, page)
		}
		if page < gap {
			m.pieces(page, gap-page, a.word.at(page-a.page), func(at uint64, order uint, w word) {
				m.index.Store(at, order, uint64(w))
			})
		}
		if !ok {
			return
		}
		m.unusedLocked(a, first)
		page = first + pages(order)
	}
}

// unusedLocked frees the frame of a cached answer whose page has an entry already,
// unless that entry is the answer.
func (m *Mapping) unusedLocked(a answer, page uint64) {
	if !a.word.is(wCached) {
		return
	}
	if val, _, ok := m.index.Load(page); ok && word(val).pfn() == a.word.pfn() {
		return
	}
	m.cfg.Frames.free(a.word.pfn())
}

// pieces cuts a run into entries: the largest aligned ones, up to the PMD order.
func (m *Mapping) pieces(page, n uint64, w word, store func(at uint64, order uint, w word)) {
	for n > 0 {
		order := alignedOrder(page, n, m.cfg.PMDOrder)
		if w.is(wMapped) {
			order = min(order, alignedOrder(uint64(w.pfn()), n, order))
		}
		store(page, order, w)
		page, n, w = page+pages(order), n-pages(order), w.at(pages(order))
	}
}
