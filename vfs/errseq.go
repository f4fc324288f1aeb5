package vfs

import "sync"

// errseq remembers the last error of writing an inode back, so that each open file
// reports it once. The zero value holds none.
type errseq struct {
	mu   sync.Mutex // guards the rest; nothing is locked inside it
	n    uint64     // errors so far
	seen bool       // somebody has reported error n
	err  error
}

// record stores an error that happened.
func (e *errseq) record(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	e.seen = false
	e.err = err
}

// sample is where a newly opened file starts: it reports the last error if nobody has
// reported that yet.
func (e *errseq) sample() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n > 0 && !e.seen {
		return e.n - 1
	}
	return e.n
}

// check returns the last error if it came after *since, and moves *since up.
func (e *errseq) check(since *uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n == *since {
		return nil
	}
	*since = e.n
	e.seen = true
	return e.err
}
