// Package famfsfmt has the on-media structures of famfs: superblock, log header and log
// entries, with their decoders and encoders. It knows nothing of devices; the caller hands
// in bytes, and checks what a single structure cannot know of (other entries, devices).
//
// Section numbers in comments are those of the format description (superblock versions 47
// and 48, formats 2.1 and 2.2). All integers are little-endian.
package famfsfmt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"

	"godax/vfs"
)

// Sizes and places in bytes.
const (
	SuperSize  = 200     // used part of the superblock, at offset 0 (section 2)
	LogOffset  = 2 << 20 // of the log header
	HeaderSize = 48      // log header (section 3)
	EntrySize  = 544     // log entry (section 4)
	MinLogLen  = 8 << 20
	PathMax    = 79 // longest path

	// SeqOffset and IndexOffset are the places of next_seqnum and next_index in the log
	// header. They lie in one cache line.
	SeqOffset   = 32
	IndexOffset = 40

	UnitHuge  = 2 << 20 // allocation unit, the default
	UnitSmall = 4096
)

// Magic numbers and versions.
const (
	Magic      = 0x87b282ff
	LogMagic   = 0xbadcafef00d
	Version    = 48
	OldVersion = 47
)

// UUID has its bytes in the order of RFC 4122.
type UUID [16]byte

// String is the UUID with hyphens.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseUUID reads 32 hexadecimal digits, with or without the hyphens of a UUID.
func ParseUUID(s string) (u UUID, err error) {
	digits := s
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		digits = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(digits) == 32 {
		_, err = hex.Decode(u[:], []byte(digits))
		if err == nil {
			return u, nil
		}
	}
	return UUID{}, fmt.Errorf("%q is not a UUID", s)
}

// le is the byte order of the format.
var le = binary.LittleEndian

// checksum is the format's CRC as it is stored: in 64 bits, the upper half zero.
func checksum(b []byte) uint64 { return uint64(crc32.ChecksumIEEE(b)) }

// corrupt describes damage. off is the place of the structure on the device.
func corrupt(structure string, off int64, field string, value uint64, reason string) *vfs.CorruptError {
	return &vfs.CorruptError{Format: "famfs", Structure: structure, Offset: off, Field: field, Value: value, Reason: reason}
}

// fits reports whether [off, off+n) lies in [0, size), and all of it below the signed range.
func fits(off, n, size uint64) bool {
	return size <= math.MaxInt64 && off <= size && n <= size-off
}
