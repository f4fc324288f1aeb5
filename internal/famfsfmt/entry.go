package famfsfmt

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// Types of log entries (section 4).
const (
	TypeFile      = 0
	TypeDir       = 1
	TypeDelete    = 2 // reserved
	TypeAddDevice = 3
)

// Limits of a file's place (section 4.1).
const (
	MaxExtents = 16
	MaxStrips  = 16
)

// File flags.
const (
	FlagReadOnly = 1 // on all hosts
	FlagWritable = 2
)

// Extent is a run of bytes on a device.
type Extent struct{ Device, Off, Len uint64 }

// Entry is one log entry; which fields mean something follows from Type.
type Entry struct {
	Seq  uint64
	Type uint32

	// Files and directories.
	Path           string
	UID, GID, Mode uint32 // permission bits only

	// Files.
	Size    uint64
	Flags   uint32
	Chunk   uint64   // bytes of a stripe's piece; 0 for a file that is not striped
	Extents []Extent // in the order of the file's bytes; the strips if it is striped

	// Add device.
	DevSize  uint64
	DevUUID  UUID
	DevIndex uint32
}

const (
	entryCRC  = 536
	extentLen = 24
	pathSize  = PathMax + 1
)

// CheckEntry checks the sequence number and the checksum of the entry with an index: without
// them nothing in it can be trusted. raw has EntrySize bytes that do not change.
func CheckEntry(raw []byte, index uint64) error {
	bad := func(field string, value uint64, reason string) error {
		return corrupt(entryName(index), EntryOffset(index), field, value, reason)
	}
	if len(raw) != EntrySize {
		return bad("", uint64(len(raw)), "cut off")
	}
	if got, want := le.Uint64(raw[entryCRC:]), checksum(raw[:entryCRC]); got != want {
		return bad("crc", got, fmt.Sprintf("checksum is %d", want))
	}
	if got := le.Uint64(raw); got != index {
		return bad("seqnum", got, "not the entry's index")
	}
	return nil
}

// entryName is what errors call an entry.
func entryName(index uint64) string { return fmt.Sprintf("log entry %d", index) }

// UnknownTypeError is an entry of a type that does not exist, or is reserved.
type UnknownTypeError struct{ Err error }

func (e *UnknownTypeError) Error() string { return e.Err.Error() }

// Unwrap returns the [*vfs.CorruptError].
func (e *UnknownTypeError) Unwrap() error { return e.Err }

// DecodeEntry reads an entry that passed CheckEntry, and checks what can be checked without
// other entries: path, size, the form of the extents, that they cover the size. unit is the
// allocation unit. An error means that the entry has no effect. Errors: [*vfs.CorruptError],
// [*UnknownTypeError].
func DecodeEntry(raw []byte, index, unit uint64) (*Entry, error) {
	d := decoder{b: raw, index: index, unit: unit}
	e := &Entry{Seq: le.Uint64(raw), Type: le.Uint32(raw[8:])}
	switch e.Type {
	case TypeFile:
		e.Size, e.Flags = le.Uint64(raw[16:]), le.Uint32(raw[24:])
		e.UID, e.GID, e.Mode = le.Uint32(raw[28:]), le.Uint32(raw[32:]), le.Uint32(raw[36:])&0o777
		e.Path = d.path(raw[40:120])
		d.extents(e)
	case TypeDir:
		e.UID, e.GID, e.Mode = le.Uint32(raw[16:]), le.Uint32(raw[20:]), le.Uint32(raw[24:])&0o777
		e.Path = d.path(raw[28:108])
	case TypeAddDevice:
		e.DevSize, e.DevUUID, e.DevIndex = le.Uint64(raw[16:]), UUID(raw[24:40]), le.Uint32(raw[40:])
		d.device(e)
	default:
		d.fail("type", uint64(e.Type), "unknown or reserved")
		return nil, &UnknownTypeError{d.err}
	}
	return e, d.err
}

// decoder keeps the first error.
type decoder struct {
	b     []byte
	index uint64
	unit  uint64
	err   error
}

func (d *decoder) fail(field string, value uint64, reason string) {
	if d.err == nil {
		d.err = corrupt(entryName(d.index), EntryOffset(d.index), field, value, reason)
	}
}

// path reads a path field.
func (d *decoder) path(field []byte) string {
	n := bytes.IndexByte(field, 0)
	if n < 0 {
		d.fail("path", pathSize, "not terminated inside its field")
		return ""
	}
	p := string(field[:n])
	if reason := BadPath(p); reason != "" {
		d.fail("path", uint64(n), fmt.Sprintf("%q: %s", p, reason))
		return ""
	}
	return p
}

// BadPath says what is wrong with a path of an entry; "" if nothing is.
func BadPath(p string) string {
	switch {
	case p == "":
		return "empty"
	case len(p) > PathMax:
		return fmt.Sprintf("longer than %d bytes", PathMax)
	case p[0] == '/':
		return "absolute"
	case strings.IndexByte(p, 0) >= 0:
		return "has a NUL"
	case strings.HasSuffix(p, "/"):
		return "ends with a slash"
	}
	first := true
	for name := range strings.SplitSeq(p, "/") {
		switch {
		case name == "":
			return "has an empty component"
		case name == "." || name == "..":
			return "has a component " + name
		case first && name == ".meta":
			return "lies in .meta, which is not on the medium"
		}
		first = false
	}
	return ""
}

// extents reads the place of a file.
func (d *decoder) extents(e *Entry) {
	switch {
	case e.Size == 0:
		d.fail("size", 0, "a file has bytes")
	case e.Size > math.MaxInt64:
		d.fail("size", e.Size, "above the signed range")
	}
	count := le.Uint32(d.b[128:])
	switch typ := le.Uint32(d.b[120:]); typ {
	case 0:
		if count < 1 || count > MaxExtents {
			d.fail("extent count", uint64(count), fmt.Sprintf("not 1 to %d", MaxExtents))
			return
		}
		e.Extents = d.list(d.b[136:], int(count))
		d.cover(e)
	case 1:
		if count != 1 {
			d.fail("extent count", uint64(count), "a striped file has one record")
			return
		}
		n := le.Uint64(d.b[136:])
		if n < 1 || n > MaxStrips {
			d.fail("strips", n, fmt.Sprintf("not 1 to %d", MaxStrips))
			return
		}
		c := le.Uint64(d.b[144:])
		if c == 0 || c&(c-1) != 0 || c%d.unit != 0 || c > math.MaxInt64 {
			d.fail("chunk size", c, "not a power of two that is a multiple of the allocation unit")
			return
		}
		e.Chunk = c
		e.Extents = d.list(d.b[152:], int(n))
		d.coverStrips(e)
	default:
		d.fail("extent type", uint64(typ), "neither simple nor interleaved")
	}
}

// list reads n extents and checks their form: that they lie on a device is for the caller.
func (d *decoder) list(b []byte, n int) []Extent {
	list := make([]Extent, n)
	for i := range list {
		at := b[i*extentLen:]
		x := Extent{le.Uint64(at), le.Uint64(at[8:]), le.Uint64(at[16:])}
		switch {
		case x.Off%d.unit != 0:
			d.fail("extent offset", x.Off, "not a multiple of the allocation unit")
		case x.Len == 0 || x.Len%d.unit != 0:
			d.fail("extent length", x.Len, "not a multiple of the allocation unit, or 0")
		case !fits(x.Off, x.Len, math.MaxInt64):
			d.fail("extent length", x.Len, fmt.Sprintf("runs past the range of offsets from %d", x.Off))
		}
		list[i] = x
	}
	return list
}

// cover checks that simple extents have room for the size.
func (d *decoder) cover(e *Entry) {
	if d.err != nil {
		return
	}
	var sum uint64 // at most 16 numbers below 2^63
	for _, x := range e.Extents {
		if sum += x.Len; sum >= e.Size {
			return
		}
	}
	d.fail("size", e.Size, fmt.Sprintf("the extents hold %d bytes", sum))
}

// coverStrips checks that every strip is as long as its share.
func (d *decoder) coverStrips(e *Entry) {
	if d.err != nil {
		return
	}
	need, ok := StripLen(e.Size, e.Chunk, d.unit, uint64(len(e.Extents)))
	if !ok {
		d.fail("size", e.Size, "too large for its strips")
		return
	}
	for _, x := range e.Extents {
		if x.Len < need {
			d.fail("strip length", x.Len, fmt.Sprintf("%d bytes in %d strips need %d in each", e.Size, len(e.Extents), need))
		}
	}
}

// StripLen is the length of each of n strips of a file of size bytes (section 4.1); false
// if it is no length.
func StripLen(size, chunk, unit, n uint64) (uint64, bool) {
	if size > math.MaxInt64 || unit == 0 || n == 0 || n > MaxStrips || chunk == 0 || chunk > math.MaxInt64/MaxStrips {
		return 0, false
	}
	units := (size + unit - 1) / unit
	perRow := chunk / unit * n
	if perRow == 0 {
		return 0, false
	}
	rows := (units + perRow - 1) / perRow
	if rows > math.MaxInt64/chunk {
		return 0, false
	}
	return rows * chunk, true
}

// device checks an announcement of a device, but not its index.
func (d *decoder) device(e *Entry) {
	switch {
	case e.DevUUID == UUID{}:
		d.fail("device uuid", 0, "null")
	case e.DevSize == 0 || e.DevSize%d.unit != 0 || e.DevSize > math.MaxInt64:
		d.fail("device size", e.DevSize, "not a multiple of the allocation unit, or 0")
	}
}

// Encode returns the bytes for the medium, with the checksum. The entry is one that
// DecodeEntry would take.
func (e *Entry) Encode() (b [EntrySize]byte) {
	le.PutUint64(b[0:], e.Seq)
	le.PutUint32(b[8:], e.Type)
	switch e.Type {
	case TypeFile:
		le.PutUint64(b[16:], e.Size)
		le.PutUint32(b[24:], e.Flags)
		le.PutUint32(b[28:], e.UID)
		le.PutUint32(b[32:], e.GID)
		le.PutUint32(b[36:], e.Mode)
		copy(b[40:40+PathMax], e.Path)
		at := b[136:]
		if e.Chunk == 0 {
			le.PutUint32(b[128:], uint32(len(e.Extents)))
		} else {
			le.PutUint32(b[120:], 1)
			le.PutUint32(b[128:], 1)
			le.PutUint64(b[136:], uint64(len(e.Extents)))
			le.PutUint64(b[144:], e.Chunk)
			at = b[152:]
		}
		for i, x := range e.Extents {
			le.PutUint64(at[i*extentLen:], x.Device)
			le.PutUint64(at[i*extentLen+8:], x.Off)
			le.PutUint64(at[i*extentLen+16:], x.Len)
		}
	case TypeDir:
		le.PutUint32(b[16:], e.UID)
		le.PutUint32(b[20:], e.GID)
		le.PutUint32(b[24:], e.Mode)
		copy(b[28:28+PathMax], e.Path)
	case TypeAddDevice:
		le.PutUint64(b[16:], e.DevSize)
		copy(b[24:], e.DevUUID[:])
		le.PutUint32(b[40:], e.DevIndex)
	}
	le.PutUint64(b[entryCRC:], checksum(b[:entryCRC]))
	return b
}
