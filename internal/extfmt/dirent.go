package extfmt

import (
	"bytes"
	"encoding/binary"
	"io/fs"
)

// Directory entries: struct ext2_dir_entry_2, kernel documentation
// filesystems/ext4/directory. A directory block is a chain of records that covers
// the block exactly; a record with inode 0 is unused space.
//
//	0  inode     u32
//	4  rec_len   u16  bytes to the next record, a multiple of 4
//	6  name_len  u8
//	7  file_type u8   only with the filetype feature; without it the high byte of name_len, 0
//	8  name
const (
	DirentHeader = 8   // bytes before the name
	DirentMin    = 12  // the smallest rec_len: header and a name of up to 4 bytes
	MaxName      = 255 // bytes

	// MaxDirentLen is the largest rec_len a record needs for itself.
	MaxDirentLen = (DirentHeader + MaxName + 3) &^ 3
)

// File types in directory entries (EXT2_FT_*).
const (
	FTUnknown = 0
	FTRegular = 1
	FTDir     = 2
	FTChar    = 3
	FTBlock   = 4
	FTFifo    = 5
	FTSocket  = 6
	FTSymlink = 7
)

// FileType returns the EXT2_FT_* value of a mode's type bits, FTUnknown for a mode
// that the format has no type for.
func FileType(m fs.FileMode) uint8 {
	switch m.Type() {
	case 0:
		return FTRegular
	case fs.ModeDir:
		return FTDir
	case fs.ModeDevice | fs.ModeCharDevice:
		return FTChar
	case fs.ModeDevice:
		return FTBlock
	case fs.ModeNamedPipe:
		return FTFifo
	case fs.ModeSocket:
		return FTSocket
	case fs.ModeSymlink:
		return FTSymlink
	}
	return FTUnknown
}

// TypeMode is the inverse of FileType: the mode's type bits, fs.ModeIrregular for
// FTUnknown and values the format does not define.
func TypeMode(t uint8) fs.FileMode {
	switch t {
	case FTRegular:
		return 0
	case FTDir:
		return fs.ModeDir
	case FTChar:
		return fs.ModeDevice | fs.ModeCharDevice
	case FTBlock:
		return fs.ModeDevice
	case FTFifo:
		return fs.ModeNamedPipe
	case FTSocket:
		return fs.ModeSocket
	case FTSymlink:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}

// DirentLen is the bytes a record with a name of n bytes needs.
func DirentLen(n int) int { return (DirentHeader + n + 3) &^ 3 }

// Dirent is one record of a directory block.
type Dirent struct {
	Ino    uint32 // 0: unused
	Off    int    // bytes from the start of the block
	RecLen int
	Type   uint8  // FT*; FTUnknown without the filetype feature
	Name   []byte // aliases the block; empty in an unused record
}

// Used is the bytes of the record that its own header and name need: 0 if unused.
func (d *Dirent) Used() int {
	if d.Ino == 0 {
		return 0
	}
	return DirentLen(len(d.Name))
}

// Free is the largest rec_len that a new record placed in this one can have.
func (d *Dirent) Free() int { return d.RecLen - d.Used() }

// DirFormat is what a directory block's decoding depends on.
type DirFormat struct {
	FileType bool   // the filetype feature
	Inodes   uint32 // s_inodes_count: the largest valid inode number
}

// At decodes the record at off of a directory block, which must be a record's
// start: 0, or Off+RecLen of another. Each field is read once. Records that the
// kernel or e2fsck refuse are errors (ErrCorrupt): a rec_len below 12, not a multiple
// of 4, beyond the block or too small for the name; a used record with no name, with a
// NUL or slash in it, or with an inode number out of range.
//
// Without the filetype feature the high byte of name_len is ignored, as the kernel
// does.
func (f DirFormat) At(block []byte, off int) (Dirent, error) {
	bad := func(field string, at int, v uint64, reason string) (Dirent, error) {
		return Dirent{}, Corrupt("directory block", int64(off+at), field, v, reason)
	}
	if off < 0 || off > len(block)-DirentMin || off&3 != 0 {
		return bad("rec_len", 0, uint64(off), "the chain of records leaves the block")
	}
	ino := binary.LittleEndian.Uint32(block[off:])
	word := binary.LittleEndian.Uint32(block[off+4:])
	recLen, nameLen := int(word&0xffff), int(word>>16&0xff)
	switch {
	case recLen < DirentMin:
		return bad("rec_len", 4, uint64(recLen), "smaller than a record")
	case recLen&3 != 0:
		return bad("rec_len", 4, uint64(recLen), "not a multiple of 4")
	case recLen > len(block)-off:
		return bad("rec_len", 4, uint64(recLen), "reaches beyond the block")
	case DirentHeader+nameLen > recLen:
		return bad("name_len", 6, uint64(nameLen), "longer than the record")
	}
	d := Dirent{Ino: ino, Off: off, RecLen: recLen}
	if ino == 0 {
		return d, nil
	}
	if ino > f.Inodes {
		return bad("inode", 0, uint64(ino), "no such inode")
	}
	if nameLen == 0 {
		return bad("name_len", 6, 0, "empty name")
	}
	if f.FileType {
		d.Type = uint8(word >> 24)
	}
	start := off + DirentHeader
	d.Name = block[start : start+nameLen : start+nameLen]
	for _, c := range [...]byte{0, '/'} {
		if i := bytes.IndexByte(d.Name, c); i >= 0 {
			return bad("name", DirentHeader+i, uint64(c), "byte that no name can have")
		}
	}
	return d, nil
}

// Word is the second word of a record: rec_len, name_len and type, as one aligned
// store changes them. Without the filetype feature the type must be 0.
func Word(recLen, nameLen int, fileType uint8) uint32 {
	return uint32(recLen) | uint32(nameLen)<<16 | uint32(fileType)<<24
}

// PutDirent encodes a record at b's start; b holds at least DirentLen(len(name))
// bytes and rec_len is at least that. Padding behind the name is zeroed.
func PutDirent(b []byte, ino uint32, recLen int, name string, fileType uint8) {
	binary.LittleEndian.PutUint32(b, ino)
	binary.LittleEndian.PutUint32(b[4:], Word(recLen, len(name), fileType))
	n := copy(b[DirentHeader:], name)
	clear(b[DirentHeader+n : DirentLen(len(name))])
}
