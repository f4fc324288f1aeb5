package extfmt

import (
	"io/fs"
	"time"
)

// Offsets of an inode's fields (kernel documentation, filesystems/ext4, "Index
// Nodes").
const (
	InodeMode        = 0
	InodeUID         = 2
	InodeSizeLow     = 4
	InodeAtime       = 8
	InodeCtime       = 12
	InodeMtime       = 16
	InodeDtime       = 20
	InodeGID         = 24
	InodeLinks       = 26
	InodeBlocks      = 28
	InodeFlags       = 32
	InodeBlock       = 40 // i_block: 15 pointers
	InodeGeneration  = 100
	InodeFileACL     = 104
	InodeSizeHigh    = 108
	InodeBlocksHigh  = 116
	InodeUIDHigh     = 120
	InodeGIDHigh     = 122
	InodeExtraIsize  = 128 // this and the rest: inodes larger than 128 bytes
	InodeCtimeExtra  = 132
	InodeMtimeExtra  = 136
	InodeAtimeExtra  = 140
	InodeCrtime      = 144
	InodeCrtimeExtra = 148

	NDirect    = 12 // direct pointers in i_block
	NPointers  = 15
	BlockBytes = NPointers * 4 // bytes of i_block, also the longest fast symlink plus one
	MaxLinks   = 32000

	DefaultExtraIsize = 32 // of mke2fs and the kernel, in inodes of 256 bytes
)

// Bits of i_flags.
const (
	InodeFlagImmutable = 0x10
	InodeFlagAppend    = 0x20
	InodeFlagIndex     = 0x1000 // htree directory
	InodeFlagExtents   = 0x80000
	InodeFlagEAInode   = 0x200000
	InodeFlagInline    = 0x10000000
)

// Type bits of i_mode.
const (
	ModeType   = 0xF000
	ModeFIFO   = 0x1000
	ModeChar   = 0x2000
	ModeDir    = 0x4000
	ModeBlock  = 0x6000
	ModeFile   = 0x8000
	ModeLink   = 0xA000
	ModeSocket = 0xC000
)

// ToMode turns i_mode into Go's mode. ok is false for a type that does not exist.
func ToMode(m uint16) (mode fs.FileMode, ok bool) {
	mode = fs.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	switch m & ModeType {
	case ModeFIFO:
		mode |= fs.ModeNamedPipe
	case ModeChar:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case ModeDir:
		mode |= fs.ModeDir
	case ModeBlock:
		mode |= fs.ModeDevice
	case ModeFile:
	case ModeLink:
		mode |= fs.ModeSymlink
	case ModeSocket:
		mode |= fs.ModeSocket
	default:
		return mode | fs.ModeIrregular, false
	}
	return mode, true
}

// FromMode turns Go's mode into i_mode. A type that the format does not have
// becomes a regular file.
func FromMode(mode fs.FileMode) uint16 {
	m := uint16(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		m |= 0o4000
	}
	if mode&fs.ModeSetgid != 0 {
		m |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		m |= 0o1000
	}
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return m | ModeFIFO
	case mode&fs.ModeCharDevice != 0:
		return m | ModeChar
	case mode&fs.ModeDevice != 0:
		return m | ModeBlock
	case mode&fs.ModeDir != 0:
		return m | ModeDir
	case mode&fs.ModeSymlink != 0:
		return m | ModeLink
	case mode&fs.ModeSocket != 0:
		return m | ModeSocket
	}
	return m | ModeFile
}

// DecodeTime joins a 32-bit signed seconds field and its extra word: bits 0-1
// extend the seconds, the rest are nanoseconds. A value of a second or more of
// nanoseconds is taken as zero.
func DecodeTime(sec, extra uint32) time.Time {
	s := int64(int32(sec)) + int64(extra&3)<<32
	nsec := int64(extra >> 2)
	if nsec >= 1e9 {
		nsec = 0
	}
	return time.Unix(s, nsec)
}

// EncodeTime is the inverse of [DecodeTime]. Without room for the extra word
// (wide false) the seconds are limited to 1901 to 2038, with it to 1901 to 2446.
func EncodeTime(t time.Time, wide bool) (sec, extra uint32) {
	const minSec, maxSec = -1 << 31, 1<<31 - 1
	s := t.Unix()
	if !wide {
		return uint32(min(max(s, minSec), maxSec)), 0
	}
	nsec := uint32(t.Nanosecond())
	switch {
	case s < minSec:
		s, nsec = minSec, 0
	case s > maxSec+3<<32:
		s, nsec = maxSec+3<<32, 999999999
	}
	sec = uint32(s)
	epoch := uint32((s-int64(int32(sec)))>>32) & 3
	return sec, nsec<<2 | epoch
}

// DecodeRdev returns a device number from the first two words of i_block: the old
// encoding (8 bits each) in the first, or the new one in the second.
func DecodeRdev(old, new uint32) (major, minor uint32) {
	if old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	return new >> 8 & 0xfff, new&0xff | new>>12&0xfff00
}

// EncodeRdev is the inverse of [DecodeRdev]. Majors have 12 bits, minors 20.
func EncodeRdev(major, minor uint32) (old, new uint32) {
	major, minor = major&0xfff, minor&0xfffff
	if major < 256 && minor < 256 {
		return major<<8 | minor, 0
	}
	return 0, minor&0xff | major<<8 | (minor&^0xff)<<12
}
