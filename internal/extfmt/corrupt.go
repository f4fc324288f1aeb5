package extfmt

import "godax/vfs"

// ErrCorrupt is what every [*CorruptError] is to errors.Is: the image breaks its
// format. It is vfs.ErrCorrupt.
var ErrCorrupt = vfs.ErrCorrupt

// CorruptError says what in an image breaks the format and where.
type CorruptError = vfs.CorruptError

// Corrupt makes the error for a broken structure of the ext format. off is in
// bytes from the start of the device for structures with a fixed place, and from the
// start of the structure where the decoder does not know its place; field is the
// name that the format's documentation uses, and may be empty.
func Corrupt(structure string, off int64, field string, value uint64, reason string) error {
	return &vfs.CorruptError{Format: "ext", Structure: structure, Offset: off, Field: field, Value: value, Reason: reason}
}
