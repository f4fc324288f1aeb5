package vfs

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels that every driver shares. Drivers return the typed errors below,
// which unwrap to them.
var (
	// ErrCorrupt: the image breaks its format. Found with errors.Is; details are in a
	// [CorruptError].
	ErrCorrupt = errors.New("corrupt file system")

	// ErrUnsupported: the image is valid but needs something the driver does not
	// have. It is also errors.ErrUnsupported.
	ErrUnsupported error = fmt.Errorf("file system not supported: %w", errors.ErrUnsupported)

	// ErrNotClean: the file system was not closed properly, or is marked as having
	// errors, and must be checked before it can be written.
	ErrNotClean = errors.New("file system not clean")
)

// CorruptError says what is wrong with an image, and where. It unwraps to
// [ErrCorrupt].
type CorruptError struct {
	Format    string // "ext"
	Structure string // "superblock", "inode 12"
	Offset    int64  // of the structure, in bytes from the start of the device; -1 if unknown
	Field     string // as the format's documentation names it; may be empty
	Value     uint64 // what the field holds
	Reason    string
}

// Error is the one-line message with all fields.
func (e *CorruptError) Error() string {
	s := e.Format + ": " + e.Structure
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at %#x", e.Offset)
	}
	if e.Field != "" {
		s += fmt.Sprintf(": %s is %d", e.Field, e.Value)
	}
	return s + ": " + e.Reason
}

// Unwrap returns [ErrCorrupt].
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// UnsupportedError names what the driver lacks. It unwraps to [ErrUnsupported].
type UnsupportedError struct {
	Format  string // "ext"
	Feature string // as the format's own tools name it; several with ", " between them
	Reason  string // further explanation; may be empty
}

// Error is the one-line message.
func (e *UnsupportedError) Error() string {
	s := e.Format + ": feature " + e.Feature + " is not supported"
	if strings.Contains(e.Feature, ", ") {
		s = e.Format + ": features " + e.Feature + " are not supported"
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns [ErrUnsupported].
func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }
