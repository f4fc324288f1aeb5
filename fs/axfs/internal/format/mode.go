package format

import "io/fs"

// Bits of st_mode, as the table modes has them.
const (
	ModeType    = 0o170000
	ModeFIFO    = 0o010000
	ModeChar    = 0o020000
	ModeDir     = 0o040000
	ModeBlock   = 0o060000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
	ModeSocket  = 0o140000
	ModeSetuid  = 0o4000
	ModeSetgid  = 0o2000
	ModeSticky  = 0o1000
)

// modeTypes and modeFlags pair bits of st_mode with those of Go.
var modeTypes = []struct {
	unix uint32
	mode fs.FileMode
}{
	{ModeFIFO, fs.ModeNamedPipe},
	{ModeChar, fs.ModeDevice | fs.ModeCharDevice},
	{ModeDir, fs.ModeDir},
	{ModeBlock, fs.ModeDevice},
	{ModeRegular, 0},
	{ModeSymlink, fs.ModeSymlink},
	{ModeSocket, fs.ModeSocket},
}

var modeFlags = []struct {
	unix uint32
	mode fs.FileMode
}{
	{ModeSetuid, fs.ModeSetuid},
	{ModeSetgid, fs.ModeSetgid},
	{ModeSticky, fs.ModeSticky},
}

// FileMode converts an entry of the table modes. It reports false for type bits that are
// none of the seven types, and for a value that is no st_mode at all.
func FileMode(v uint64) (fs.FileMode, bool) {
	if v > 0o177777 {
		return 0, false
	}
	unix := uint32(v)
	for _, t := range modeTypes {
		if unix&ModeType != t.unix {
			continue
		}
		mode := t.mode | fs.FileMode(unix&0o777)
		for _, f := range modeFlags {
			if unix&f.unix != 0 {
				mode |= f.mode
			}
		}
		return mode, true
	}
	return 0, false
}

// UnixMode is the st_mode of a mode, the inverse of [FileMode]. It reports false for a
// type that AXFS does not have.
func UnixMode(mode fs.FileMode) (uint32, bool) {
	for _, t := range modeTypes {
		if mode.Type() != t.mode {
			continue
		}
		unix := t.unix | uint32(mode.Perm())
		for _, f := range modeFlags {
			if mode&f.mode != 0 {
				unix |= f.unix
			}
		}
		return unix, true
	}
	return 0, false
}

// Device splits a device number: the wide form of Linux, with 12 bits of major and 20 of
// minor number. Bits above 32 are left out.
func Device(v uint64) (major, minor uint32) {
	return uint32(v>>8) & 0xfff, uint32(v)&0xff | uint32(v>>12)&0xfff00
}

// DeviceNumber is the inverse of [Device]. It reports false for numbers with more bits
// than it has. narrow says that a driver which knows the 16-bit form only reads the same.
func DeviceNumber(major, minor uint32) (v uint64, narrow, ok bool) {
	v = uint64(minor&0xff) | uint64(major&0xfff)<<8 | uint64(minor&0xfff00)<<12
	return v, major <= 0xff && minor <= 0xff, major <= 0xfff && minor <= 0xfffff
}
