package famfsfmt

import (
	"bytes"
	"fmt"

	"godax/vfs"
)

// Flags of a superblock (outside the checksum).
const (
	FlagPrimary   = 1
	FlagSecondary = 2
)

// superCRC is where the checksum is, and how many bytes it covers.
const superCRC = 96

// Superblock is the structure at offset 0 (section 2).
type Superblock struct {
	Version      uint64
	LogOffset    uint64
	LogLen       uint64
	AllocUnit    uint64
	Major, Minor uint32
	FS           UUID // the file system's
	Device       UUID
	System       UUID // the host that made it, its master
	Flags        uint32
	DeviceSize   uint64 // outside the checksum: a hint
	DeviceCopy   UUID   // second copy of Device, left zero
	Name         string // what the device was called once; means nothing
}

// IsSuper reports whether b begins with the magic number.
func IsSuper(b []byte) bool { return len(b) >= 8 && le.Uint64(b) == Magic }

// DecodeSuperblock reads a superblock of any device of a file system: magic, version
// and checksum are right, the rest is not looked at. Errors: [*vfs.CorruptError];
// [*vfs.UnsupportedError] for other versions, whatever their checksum.
func DecodeSuperblock(raw []byte) (*Superblock, error) {
	if len(raw) < SuperSize {
		return nil, corrupt("superblock", 0, "", uint64(len(raw)), "device is too short for it")
	}
	var b [SuperSize]byte // the medium can change under us
	copy(b[:], raw)
	if got := le.Uint64(b[0:]); got != Magic {
		return nil, corrupt("superblock", 0, "magic", got, "not a famfs")
	}
	version := le.Uint64(b[8:])
	if version != Version && version != OldVersion {
		return nil, &vfs.UnsupportedError{
			Format: "famfs", Feature: fmt.Sprintf("version %d", version),
			Reason: fmt.Sprintf("only %d and %d are known", OldVersion, Version),
		}
	}
	if got, want := le.Uint64(b[superCRC:]), checksum(b[:superCRC]); got != want {
		return nil, corrupt("superblock", 0, "crc", got, fmt.Sprintf("checksum is %d", want))
	}
	s := &Superblock{
		Version: version, LogOffset: le.Uint64(b[16:]), LogLen: le.Uint64(b[24:]), AllocUnit: le.Uint64(b[32:]),
		Major: le.Uint32(b[40:]), Minor: le.Uint32(b[44:]),
		FS: UUID(b[48:64]), Device: UUID(b[64:80]), System: UUID(b[80:96]),
		Flags: le.Uint32(b[104:]), DeviceSize: le.Uint64(b[112:]), DeviceCopy: UUID(b[120:136]),
	}
	name, _, _ := bytes.Cut(b[136:200], []byte{0})
	s.Name = string(name)
	return s, nil
}

// CheckPrimary checks the geometry of a device with a log. size is the device's real size;
// the result is the part of it that the file system may use.
func (s *Superblock) CheckPrimary(size int64) (int64, error) {
	bad := func(field string, value uint64, reason string) (int64, error) {
		return 0, corrupt("superblock", 0, field, value, reason)
	}
	switch {
	case s.LogOffset == 0 && s.LogLen == 0 && s.Flags == FlagSecondary:
		return bad("flags", uint64(s.Flags), "a further device of file system "+s.FS.String()+", which is opened by its first device")
	case s.LogOffset != LogOffset:
		return bad("log_offset", s.LogOffset, "not 2 MiB")
	case s.LogLen < MinLogLen || s.LogLen&(s.LogLen-1) != 0:
		return bad("log_len", s.LogLen, "not a power of two of 8 MiB or more")
	case s.AllocUnit != UnitHuge && s.AllocUnit != UnitSmall:
		return bad("alloc_unit", s.AllocUnit, "neither 2 MiB nor 4096")
	case s.DeviceSize == 0:
		return bad("device size", 0, "no device is that small")
	}
	usable := uint64(size)
	if s.DeviceSize < usable {
		usable = s.DeviceSize
	}
	if size < 0 || !fits(LogOffset, s.LogLen, usable) {
		return bad("log_len", s.LogLen, fmt.Sprintf("log ends outside the %d bytes of the device", usable))
	}
	return int64(usable), nil
}

// Secondary reports whether s marks a further device of a file system. Such superblocks
// are godax's own: the format plans them, with log offset and length 0, and does not have
// them yet. They give the device its UUID.
func (s *Superblock) Secondary() bool {
	return s.LogOffset == 0 && s.LogLen == 0 && s.Flags == FlagSecondary
}

// Encode returns the bytes for the medium, with the checksum.
func (s *Superblock) Encode() (b [SuperSize]byte) {
	le.PutUint64(b[0:], Magic)
	le.PutUint64(b[8:], s.Version)
	le.PutUint64(b[16:], s.LogOffset)
	le.PutUint64(b[24:], s.LogLen)
	le.PutUint64(b[32:], s.AllocUnit)
	le.PutUint32(b[40:], s.Major)
	le.PutUint32(b[44:], s.Minor)
	copy(b[48:], s.FS[:])
	copy(b[64:], s.Device[:])
	copy(b[80:], s.System[:])
	le.PutUint64(b[superCRC:], checksum(b[:superCRC]))
	le.PutUint32(b[104:], s.Flags)
	le.PutUint64(b[112:], s.DeviceSize)
	copy(b[120:], s.DeviceCopy[:])
	copy(b[136:], s.Name)
	return b
}

// LogHeader is the structure in front of the log's entries (section 3).
type LogHeader struct {
	Len       uint64
	LastIndex uint64
	NextSeq   uint64 // outside the checksum, as NextIndex is
	NextIndex uint64
}

// LastIndex is the highest index of an entry in a log of n bytes, at least MinLogLen.
func LastIndex(n uint64) uint64 { return (n-HeaderSize)/EntrySize - 1 }

// EntryOffset is the place on the device of an entry, whose index is below LastIndex+1 of
// a log that lies on a device.
func EntryOffset(index uint64) int64 {
	return LogOffset + HeaderSize + int64(index)*EntrySize
}

// DecodeLogHeader reads the header of a log of logLen bytes. That NextSeq differs from NextIndex is
// no error here.
func DecodeLogHeader(raw []byte, logLen uint64) (h LogHeader, err error) {
	bad := func(field string, value uint64, reason string) (LogHeader, error) {
		return LogHeader{}, corrupt("log header", LogOffset, field, value, reason)
	}
	if len(raw) < HeaderSize {
		return bad("", uint64(len(raw)), "cut off")
	}
	var b [HeaderSize]byte
	copy(b[:], raw)
	if got := le.Uint64(b[0:]); got != LogMagic {
		return bad("magic", got, "not a log")
	}
	if got, want := le.Uint64(b[24:]), checksum(b[:24]); got != want {
		return bad("crc", got, fmt.Sprintf("checksum is %d", want))
	}
	h = LogHeader{Len: le.Uint64(b[8:]), LastIndex: le.Uint64(b[16:]), NextSeq: le.Uint64(b[SeqOffset:]), NextIndex: le.Uint64(b[IndexOffset:])}
	switch {
	case h.Len != logLen:
		return bad("len", h.Len, fmt.Sprintf("the superblock says %d", logLen))
	case h.LastIndex != LastIndex(logLen):
		return bad("last_index", h.LastIndex, fmt.Sprintf("a log of %d bytes has %d", logLen, LastIndex(logLen)))
	case h.NextIndex > h.LastIndex+1:
		return bad("next_index", h.NextIndex, fmt.Sprintf("past the last entry, %d", h.LastIndex))
	}
	return h, nil
}

// Encode returns the bytes for the medium, with the checksum.
func (h LogHeader) Encode() (b [HeaderSize]byte) {
	le.PutUint64(b[0:], LogMagic)
	le.PutUint64(b[8:], h.Len)
	le.PutUint64(b[16:], h.LastIndex)
	le.PutUint64(b[24:], checksum(b[:24]))
	le.PutUint64(b[SeqOffset:], h.NextSeq)
	le.PutUint64(b[IndexOffset:], h.NextIndex)
	return b
}
