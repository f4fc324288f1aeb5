package dax

import (
	"errors"
	"fmt"
	"syscall"
)

// Decisions that a caller can take. Errors of the file system and the device
// (ENOSPC, pmem.ErrPoisoned, ...) are passed up unchanged.
var (
	// ErrNotMappable: the page has no page frame that may be handed out directly.
	ErrNotMappable = errors.New("dax: not mappable")

	// ErrWouldBlock: NoWait was asked for and the call would have to sleep. It is
	// also EAGAIN to errors.Is.
	ErrWouldBlock error = errno{"dax: would block", syscall.EAGAIN}

	// ErrBeyondEnd: the page lies wholly past the end of the file.
	ErrBeyondEnd = errors.New("dax: beyond the end of the file")

	// ErrBusy: dirty or pinned pages forbid the removal. It is also EBUSY.
	ErrBusy error = errno{"dax: busy", syscall.EBUSY}

	// ErrBadAnswer: a PopulatePFNs inserted nothing, or something that cannot be
	// true. It is also EIO.
	ErrBadAnswer error = errno{"dax: bad answer from PopulatePFNs", syscall.EIO}

	// ErrGone: the mapping was evicted while the caller waited.
	ErrGone = errors.New("dax: mapping evicted")
)

// errno is a sentinel that also matches an errno.
type errno struct {
	text string
	no   syscall.Errno
}

func (e errno) Error() string        { return e.text }
func (e errno) Is(target error) bool { return target == error(e.no) }

// badAnswer describes a broken promise of a PopulatePFNs.
func badAnswer(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadAnswer, fmt.Sprintf(format, args...))
}
