package godax

import (
	"syscall"

	"godax/dax"
	"godax/pmem"
)

// Errors that a caller can decide on, beside those of io/fs and syscall.Errno.
var (
	// ErrNotMappable: the page has no frame that can be handed out directly.
	ErrNotMappable = dax.ErrNotMappable
	// ErrPoisoned: bad memory. Also EIO.
	ErrPoisoned = pmem.ErrPoisoned
	// ErrWouldBlock: the call would have to wait. Also EAGAIN.
	ErrWouldBlock = dax.ErrWouldBlock
	// ErrBeyondEnd: past the end of the file.
	ErrBeyondEnd = dax.ErrBeyondEnd
	// ErrInUse: another process has the image open. Also EBUSY.
	ErrInUse = pmem.ErrInUse
)

// OpenError says what is still open. It is EBUSY to errors.Is.
type OpenError struct {
	Open []string // what: paths of files, and "path: 2 mappings, 1 pin"
}

// Error lists what is open.
func (e *OpenError) Error() string { panic("soon") }

// Is reports whether target is EBUSY.
func (e *OpenError) Is(target error) bool { return target == syscall.EBUSY }
