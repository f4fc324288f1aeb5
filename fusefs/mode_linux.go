package fusefs

import (
	"io/fs"
	"syscall"
)

// modeTypes are the kernel's type bits for those of package fs.
var modeTypes = map[fs.FileMode]uint32{
	0:                                 syscall.S_IFREG,
	fs.ModeDir:                        syscall.S_IFDIR,
	fs.ModeSymlink:                    syscall.S_IFLNK,
	fs.ModeNamedPipe:                  syscall.S_IFIFO,
	fs.ModeSocket:                     syscall.S_IFSOCK,
	fs.ModeDevice:                     syscall.S_IFBLK,
	fs.ModeDevice | fs.ModeCharDevice: syscall.S_IFCHR,
}

// modeBits are the other bits that are not the same in both.
var modeBits = [...]struct {
	mode fs.FileMode
	bit  uint32
}{
	{fs.ModeSetuid, syscall.S_ISUID},
	{fs.ModeSetgid, syscall.S_ISGID},
	{fs.ModeSticky, syscall.S_ISVTX},
}

// typeOf is the kernel's type bits of a mode; 0 if the type is not known.
func typeOf(m fs.FileMode) uint32 { return modeTypes[m.Type()] }

// toKernel turns a mode into the kernel's.
func toKernel(m fs.FileMode) uint32 {
	k := typeOf(m) | uint32(m.Perm())
	for _, b := range modeBits {
		if m&b.mode != 0 {
			k |= b.bit
		}
	}
	return k
}

// fromKernel is the inverse of toKernel; false for a type that does not exist.
func fromKernel(k uint32) (fs.FileMode, bool) {
	m := fs.FileMode(k & 0o777)
	for _, b := range modeBits {
		if k&b.bit != 0 {
			m |= b.mode
		}
	}
	if k&syscall.S_IFMT == 0 {
		return m, true // a plain file, to mknod(2)
	}
	for t, bits := range modeTypes {
		if bits == k&syscall.S_IFMT {
			return m | t, true
		}
	}
	return 0, false
}

// encodeDev is a device number in the kernel's 32 bits.
func encodeDev(major, minor uint32) uint32 {
	return minor&0xff | major&0xfff<<8 | minor&^0xff<<12
}

// decodeDev is the inverse of encodeDev.
func decodeDev(dev uint32) (major, minor uint32) {
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}
