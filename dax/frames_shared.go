package dax

import (
	"errors"
	"fmt"

	"godax/pmem"
)

// FrameKey names the bytes of a cached page that several file pages can have. Its words
// mean what the file system likes.
type FrameKey [2]uint64

// InsertCachedShared answers that the page asked for, Page, has no frame of its own, and
// has the bytes that key names. All pages of all files with the same [Frames] that are
// answered with one key have one frame, which fill is called for once, as in InsertCached;
// who asks meanwhile waits for it, and gets its error. The frame is given up when no page
// refers to it any more. It is for mappings that are read-only: nobody stores to it.
//
// Errors: as InsertCached; ErrBadAnswer for a mapping that can be written; ErrWouldBlock
// with NoWait, if another file's page is just being filled.
func (r *Request) InsertCachedShared(key FrameKey, fill func(b []byte) error) error {
	m := r.Mapping
	switch {
	case !m.cfg.ReadOnly:
		return badAnswer("page %d: a shared cached page of a file that can be written", r.Page)
	case m.cfg.Frames == nil:
		return fmt.Errorf("dax: page %d: %w", r.Page, ErrNotMappable)
	}
	pfn, err := m.cfg.Frames.share(resident{m: m, page: r.Page}, key, fill, r.NoWait)
	if err != nil {
		return err
	}
	err = r.add(answer{page: r.Page, n: 1, word: word(pfn) | wMapped | wCached | wShared})
	if err != nil {
		m.cfg.Frames.free(m, r.Page, pfn)
	}
	return err
}

// sharedFrame is a frame that a key leads to, and the pages that refer to it. A page counts
// as often as it was answered with the frame: an answer that is not applied is given back.
//
// Locks: Frames.mu guards first, n and more. pfn and err are immutable once ready is closed.
type sharedFrame struct {
	key   FrameKey
	ready chan struct{} // closed when filled, or not (err)
	pfn   pmem.PFN
	err   error

	first resident            // counts n times; most frames have no other
	n     uint64              // may be 0
	more  map[resident]uint64 // the others
}

// add notes a page that refers to the frame.
func (s *sharedFrame) add(r resident) {
	switch {
	case s.n == 0 && s.more[r] == 0:
		s.first, s.n = r, 1
	case s.n > 0 && s.first == r:
		s.n++
	default:
		if s.more == nil {
			s.more = make(map[resident]uint64)
		}
		s.more[r]++
	}
}

// remove takes one reference of a page away, and returns how many pages refer to the frame
// still.
func (s *sharedFrame) remove(r resident) int {
	if s.n > 0 && s.first == r {
		s.n--
	} else if s.more[r]--; s.more[r] == 0 {
		delete(s.more, r)
	}
	return s.pages()
}

// pages is the number of pages that refer to the frame.
func (s *sharedFrame) pages() int {
	if s.n > 0 {
		return len(s.more) + 1
	}
	return len(s.more)
}

// any returns one of the pages that refer to the frame; there is one.
func (s *sharedFrame) any() resident {
	if s.n > 0 {
		return s.first
	}
	for r := range s.more {
		return r
	}
	return resident{}
}

// share returns the frame that key leads to, with a reference of r. It is filled first if
// there is none yet.
func (f *Frames) share(r resident, key FrameKey, fill func(b []byte) error, noWait bool) (pmem.PFN, error) {
	f.mu.Lock()
	s := f.keys[key]
	if s == nil {
		s = &sharedFrame{key: key, ready: make(chan struct{})}
		s.add(r)
		f.keys[key] = s
		f.mu.Unlock()
		f.fillShared(s, r, fill)
		return s.pfn, s.err
	}
	s.add(r)
	f.mu.Unlock()
	select {
	case <-s.ready:
		return s.pfn, s.err
	default:
	}
	if noWait {
		f.leave(s, r)
		return 0, ErrWouldBlock
	}
	<-s.ready
	return s.pfn, s.err
}

// leave takes a reference back that was never answered with. The frame may have been
// filled, and everybody else's reference may be gone, meanwhile.
func (f *Frames) leave(s *sharedFrame, r resident) {
	f.mu.Lock()
	if f.keys[s.key] == s && s.pages() == 1 {
		// The last one, so the frame is filled: who fills it has a reference.
		f.mu.Unlock()
		f.free(r.m, r.page, s.pfn)
		return
	}
	s.remove(r)
	f.mu.Unlock()
}

// errPanicked is what those get who waited for a fill that panicked.
var errPanicked = errors.New("dax: filling a cached page panicked")

// fillShared gets the frame and fills it. r is the page that asked first.
func (f *Frames) fillShared(s *sharedFrame, r resident, fill func(b []byte) error) {
	pfn, b, err := f.alloc(r.m, r.page)
	got := err == nil
	if got {
		err = errPanicked
	}
	defer func() {
		f.mu.Lock()
		if s.pfn, s.err = pfn, err; err != nil {
			s.pfn = 0
			delete(f.keys, s.key)
		} else {
			f.users[pfn.Page()] = resident{shared: s}
		}
		f.mu.Unlock()
		if err != nil && got {
			f.free(r.m, r.page, pfn) // before anybody else has seen it
		}
		close(s.ready)
	}()
	if got {
		err = fill(b)
	}
}

// evictShared takes a frame from the pages that refer to it, and reports whether none does
// now. It stops at the first that is in use; those before it have lost it then.
func (f *Frames) evictShared(s *sharedFrame, pfn pmem.PFN) bool {
	for {
		f.mu.Lock()
		if f.keys[s.key] != s {
			f.mu.Unlock()
			return false
		}
		r := s.any()
		f.mu.Unlock()
		if !r.m.evictCached(r.page, pfn) {
			return false
		}
		if f.free(r.m, r.page, pfn) {
			return true
		}
	}
}
