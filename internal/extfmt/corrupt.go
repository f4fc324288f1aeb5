package extfmt

import (
	"errors"
	"fmt"
)

// ErrCorrupt is what every [*CorruptError] is to errors.Is: the image breaks its
// format.
var ErrCorrupt = errors.New("ext: corrupt")

// CorruptError says what in an image breaks the format and where.
type CorruptError struct {
	Structure string // "directory block", "xattr block", ...
	Field     string // the field that is wrong: "rec_len"; may be empty
	Off       int64  // bytes from the start of the structure
	Value     uint64 // what the field holds
	Reason    string // why that cannot be
}

// Error describes the damage in one line.
func (e *CorruptError) Error() string {
	field := e.Field
	if field == "" {
		field = "bytes"
	}
	return fmt.Sprintf("ext: corrupt %s: %s at %d is %d: %s", e.Structure, field, e.Off, e.Value, e.Reason)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
