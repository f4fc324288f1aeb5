package dax

import "sync"

// errSeq keeps the last writeback error and how many there were, so that every
// open file can report it once (Linux: errseq_t).
type errSeq struct {
	mu  sync.Mutex // guards seq and err; a leaf
	seq uint64
	err error
}

func (e *errSeq) set(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	e.err = err
}

// since returns the last error if there was one after *seen, and moves *seen on.
func (e *errSeq) since(seen *uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if *seen == e.seq {
		return nil
	}
	*seen = e.seq
	return e.err
}

// WritebackError returns the last error of a writeback, by whomever, after the
// point *seen, and moves *seen to now: each open file keeps a seen of its own and
// so reports each error once. Start with the value that WritebackErrors returns at
// open.
func (m *Mapping) WritebackError(seen *uint64) error { return m.wbErr.since(seen) }

// WritebackErrors is the number of writeback errors so far.
func (m *Mapping) WritebackErrors() uint64 {
	m.wbErr.mu.Lock()
	defer m.wbErr.mu.Unlock()
	return m.wbErr.seq
}
