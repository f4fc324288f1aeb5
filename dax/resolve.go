package dax

import (
	"context"
	"sync"

	"godax/internal/hook"
	"godax/vm"
)

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
	order  uint // of a fault, at most the slot's
	whole  bool // whole pages are overwritten
	fault  bool // asked by a fault, not by a read or write
	store  bool // with IntentWrite: through a view, without the file system hearing of it
}

// resolve makes the locked slot answer the question: as it stands (Q2), or by
// asking p. It returns the slot that now holds the page, still locked, which may
// be a smaller one inside s; then why says for what reason (F6 to F8). On an error the
// slot is unlocked. ctx says whether p may sleep.
//
// Locks: inval shared, or the inode lock exclusive with inval exclusive.
func (m *Mapping) resolve(ctx context.Context, s slot, q question, p Populator) (out slot, found finding, err error) {
	hit := s.word.answers(q.intent)
	if hit && !q.sync && !m.asksAgain(s, q) {
		return s, finding{}, nil
	}
	r := requests.Get().(*Request)
	answers := r.answers[:0]
	*r = Request{
		Mapping: m, Page: q.page, N: m.widest(s, q), Order: s.order,
		Intent: q.intent, NoWait: !mayWait(ctx), Sync: q.sync, Off: q.off, Len: q.length,
		Overwrite: q.whole, Held: hit && s.word.is(wCached), answers: answers, evicted: m.stats.Evicted.Load(),
	}
	done := false
	defer func() {
		if !done { // PopulatePFNs panicked
			m.giveUp(s)
			m.freeAnswers(r.answers)
		}
	}()
	m.stats.Populates.Add(1)
	hook.At(hook.SlotLocked, m, q.page)
	err = p.PopulatePFNs(r)
	done = true
	if q.intent == IntentWrite && !q.fault {
		hook.At(hook.WriteAllocated, m, q.page)
	} else {
		hook.At(hook.ExtentKnown, m, q.page)
	}
	if m.cfg.Trace != nil {
		m.cfg.Trace(r.trace(err))
	}
	found.pending = r.pending
	if err == nil {
		err = m.debugCheckAnswers(r)
	}
	switch {
	case err == nil && hit && (!m.cfg.AlwaysAsk || r.confirms(s)):
		// The slot answers already; it, or only the state of the metadata, was in question.
		m.freeAnswers(r.answers)
		out = s
	case err == nil && r.answered():
		if hit {
			m.stats.Stale.Add(1)
		}
		found.why = r.shortBy(slot{page: base(q.page, q.order), order: q.order})
		out = m.apply(s, r)
	default:
		m.freeAnswers(r.answers)
		m.giveUp(s)
		if err == nil {
			err = badAnswer("page %d, asked for to %v, is not among %d answers", q.page, q.intent, len(r.answers))
		}
	}
	requests.Put(r)
	return out, found, err
}

// finding is what resolve found out beside the slot.
type finding struct {
	pending bool // the metadata of the answer is not durable
	why     int  // if the slot became smaller: the reason, F6 to F8
}

// asksAgain reports whether the file system is asked although the entry answers. A cached
// page has frames whether its blocks have storage or not; a write through the file system
// gives it some, a store must not come without.
func (m *Mapping) asksAgain(s slot, q question) bool {
	if s.word.is(wCached) && q.store {
		return true
	}
	return m.cfg.AlwaysAsk && q.fault && !s.word.is(wCached)
}

// widest is the widest run from the page on that an answer may cover. What allocates
// or unshares must not reach pages beyond the slot that have entries: those would still
// say what was true before.
func (m *Mapping) widest(s slot, q question) uint64 {
	n := max(q.n, s.end()-q.page)
	if !q.intent.allocates() || n == s.end()-q.page {
		return n
	}
	if first, _, _, ok := m.index.Next(s.end(), q.page+n-1); ok {
		n = first - q.page
	}
	return n
}

// confirms reports whether the answers say of r.Page what the entry says.
func (r *Request) confirms(s slot) bool {
	for _, a := range r.answers {
		if a.covers(r.Page) {
			return s.word.sameFrames(s.page, a) || s.word.is(wZero) && a.word.is(wZero)
		}
	}
	return false
}

// shortBy is the reason why the answers do not fill the run s with one entry: F6 the
// extent is too short, F7 the device answers in pieces, F8 the frames are not aligned;
// 0 if they do.
func (r *Request) shortBy(s slot) int {
	covered := uint64(0) // pages of the run that have frames, in pieces
	for _, a := range r.answers {
		if a.page <= s.page && a.page+a.n >= s.end() {
			if !a.fills(s, a.word.at(s.page-a.page)) {
				return 8
			}
			return 0
		}
		if first, end := max(a.page, s.page), min(a.page+a.n, s.end()); first < end && a.word.is(wMapped) {
			covered += end - first
		}
	}
	if covered == pages(s.order) {
		return 7
	}
	return 6
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
			m.cfg.Frames.free(m, a.page, a.word.pfn())
		}
	}
}

// apply puts the answers of r into the index and returns the locked slot that
// holds r.Page. Old translations of the slot go before its entry changes (rows 6
// and 7).
func (m *Mapping) apply(s slot, r *Request) slot {
	if s.word.is(wMapped|wZero) && !r.keepsFrames(s) {
		m.unmap(s.page, pages(s.order), false)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.replaceLocked(s, r)
	for _, a := range r.answers {
		if r.outdated(a) {
			m.cfg.Frames.free(m, a.page, a.word.pfn())
			continue
		}
		m.insertLocked(a)
	}
	m.debugCheckLocked()
	return out
}

// keepsFrames reports whether the entry of the slot stays one entry with the frames that it
// has: only its attributes change. An entry that is cut leaves no translation of its size.
func (r *Request) keepsFrames(s slot) bool {
	for _, a := range r.answers {
		if vm.Overlap(a.page, a.n, s.page, pages(s.order)) && !(s.word.sameFrames(s.page, a) && a.fills(s, s.word)) {
			return false
		}
	}
	return true
}

// outdated reports whether a cached answer, for another page than the one asked for,
// may be older than the page: it may have been cached, changed and given up since it was
// filled.
func (r *Request) outdated(a answer) bool {
	return a.word.is(wCached) && !a.covers(r.Page) && r.evicted != r.Mapping.stats.Evicted.Load()
}

// sameFrames reports whether the answer leads to the frames that the entry at page
// has already: only its attributes change.
func (w word) sameFrames(page uint64, a answer) bool {
	if !w.is(wMapped) || !a.word.is(wMapped) {
		return false
	}
	return uint64(w.pfn())-page == uint64(a.word.pfn())-a.page
}

// replaceLocked puts the parts of the answers that lie in the locked slot there, and
// returns the slot that r.Page is in now. If one answer fills the slot, and its frames
// are aligned to it, that is the same slot; otherwise a smaller one, and what the old
// entry said about pages that have no answer is kept, since it is still true; but not
// that they are holes, if they may have been allocated with the page that was asked for.
func (m *Mapping) replaceLocked(s slot, r *Request) slot {
	for _, a := range r.answers {
		if w := a.word.at(s.page - a.page); a.covers(r.Page) && a.fills(s, w) {
			m.setLocked(&s, w)
			if a.dirty {
				m.index.SetMark(s.page, markDirty)
			}
			return s
		}
	}
	keep := m.marksLocked(s.page)
	m.eraseLocked(s.page)
	out := slot{}
	for _, a := range r.answers {
		first, end := max(a.page, s.page), min(a.page+a.n, s.end())
		if first >= end || r.outdated(a) {
			continue
		}
		have := keep
		have.dirty = have.dirty || a.dirty
		m.pieces(first, end-first, a.word.at(first-a.page), func(at uint64, order uint, w word) {
			if r.Page >= at && r.Page-at < pages(order) {
				w |= wLocked
				out = slot{at, order, w}
				hook.Acquire(hook.Entry, m, at, true)
			}
			m.storeLocked(at, order, w, have)
		})
	}
	kept := s.word.is(wMapped) || s.word.is(wZero) && !r.Intent.allocates()
	for at := s.page; kept && at < s.end(); {
		first, order, _, ok := m.index.Next(at, s.end()-1)
		if !ok {
			m.restoreLocked(s, at, s.end(), keep)
			break
		}
		m.restoreLocked(s, at, first, keep)
		at = first + pages(order)
	}
	return out
}

// fills reports whether the answer can be the one entry of the slot, with the word w.
func (a answer) fills(s slot, w word) bool {
	return a.page <= s.page && a.page+a.n >= s.end() && (!w.is(wMapped) || uint64(w.pfn())&(pages(s.order)-1) == 0)
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
				m.storeLocked(at, order, w, marks{dirty: a.dirty})
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
	m.cfg.Frames.free(m, a.page, a.word.pfn())
}

// pieces cuts a run into entries: the largest aligned ones, up to the PMD order.
func (m *Mapping) pieces(page, n uint64, w word, store func(at uint64, order uint, w word)) {
	for n > 0 {
		order := alignedOrder(page, n, m.maxOrder())
		if w.is(wMapped) {
			order = min(order, alignedOrder(uint64(w.pfn()), n, order))
		}
		store(page, order, w)
		page, n, w = page+pages(order), n-pages(order), w.at(pages(order))
	}
}
