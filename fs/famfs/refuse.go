package famfs

import "syscall"

// RefusedError is an operation that the format does not have, or that this mount may not do.
// It unwraps to a syscall.Errno: ENOTSUP (also errors.ErrUnsupported) for what the format
// does not have.
type RefusedError struct {
	Op    string
	Why   string
	Errno syscall.Errno
}

// Error says what was refused, and why.
func (e *RefusedError) Error() string { return "famfs has no " + e.Op + ": " + e.Why }

// Unwrap returns the Errno.
func (e *RefusedError) Unwrap() error { return e.Errno }

func refused(op, why string) error { return &RefusedError{op, why, syscall.ENOTSUP} }

// Why the format lacks what it lacks (section 5).
const (
	whySize = "size and place of a file are fixed when it is created, and other hosts map it without asking again (create it with its size)"
	whyFree = "storage is never given back, for a host that has not followed the log may still have it mapped"
	whyName = "an entry of the log never changes, and other hosts know the file by it"
	whyKind = "the log has entries for regular files and directories only"
	whyAttr = "an entry of the log never changes, and mode and owner are in it"
)
