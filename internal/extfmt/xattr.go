package extfmt

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// Extended attributes: kernel documentation filesystems/ext4/attributes. They live
// in two places: behind the fields of a large inode, and in one block that several
// inodes may share. Both hold a list of entries that grows up, ended by four zero
// bytes, and values that grow down from the end.
//
//	0  e_name_len   u8
//	1  e_name_index u8   stands for the name's prefix
//	2  e_value_offs u16  from the block's start; in an inode from the first entry
//	4  e_value_inum u32  0: the value is here
//	8  e_value_size u32
//	12 e_hash       u32
//	16 name, padded to 4
const (
	XattrMagic       = 0xEA020000
	XattrBlockHeader = 32 // bytes: magic, refcount, blocks, hash, checksum, reserved
	XattrInodeHeader = 4  // bytes: magic
	xattrEntryLen    = 16
	xattrEnd         = 4 // bytes of the end mark

	// Places in the header of a block.
	XattrOffMagic    = 0
	XattrOffRefcount = 4
	XattrOffBlocks   = 8
	XattrOffHash     = 12

	// XattrMaxRefcount is the largest number of inodes that share a block.
	XattrMaxRefcount = 1024
)

// Name indexes.
const (
	XattrUser       = 1
	XattrACLAccess  = 2
	XattrACLDefault = 3
	XattrTrusted    = 4
	XattrSecurity   = 6
	XattrSystem     = 7
)

// Names of the attributes that hold ACLs. On the medium they have an index and no
// name.
const (
	NameACLAccess  = "system.posix_acl_access"
	NameACLDefault = "system.posix_acl_default"
)

// Xattr is one attribute as stored.
type Xattr struct {
	Index uint8
	Name  string // without the prefix
	Value []byte // after decoding it aliases the medium
}

// SplitXattrName returns the index and the rest of a complete name; ok is false if
// the format has no index for it, or the rest is empty or longer than 255 bytes.
func SplitXattrName(name string) (index uint8, rest string, ok bool) {
	switch name {
	case NameACLAccess:
		return XattrACLAccess, "", true
	case NameACLDefault:
		return XattrACLDefault, "", true
	}
	prefix, rest, _ := strings.Cut(name, ".")
	switch prefix {
	case "user":
		index = XattrUser
	case "trusted":
		index = XattrTrusted
	case "security":
		index = XattrSecurity
	case "system":
		index = XattrSystem
	}
	return index, rest, index != 0 && rest != "" && len(rest) <= 255
}

// FullName is the complete name, "" for an index that is not known.
func (x *Xattr) FullName() string {
	switch x.Index {
	case XattrUser:
		return "user." + x.Name
	case XattrACLAccess:
		return NameACLAccess
	case XattrACLDefault:
		return NameACLDefault
	case XattrTrusted:
		return "trusted." + x.Name
	case XattrSecurity:
		return "security." + x.Name
	case XattrSystem:
		return "system." + x.Name
	}
	return ""
}

// ParseXattrInode decodes the area behind an inode's fields: from 128 + i_extra_isize
// to the inode's end. Without the magic number there are no attributes.
func ParseXattrInode(area []byte) ([]Xattr, error) {
	if len(area) < XattrInodeHeader+xattrEnd || binary.LittleEndian.Uint32(area) != XattrMagic {
		return nil, nil
	}
	return parseXattrs("inode xattrs", area, XattrInodeHeader, XattrInodeHeader)
}

// ParseXattrBlock decodes an attribute block and returns its reference count too.
func ParseXattrBlock(b []byte) (list []Xattr, refcount uint32, err error) {
	const what = "xattr block"
	if len(b) < XattrBlockHeader+xattrEnd {
		return nil, 0, Corrupt(what, 0, "", uint64(len(b)), "block too small")
	}
	if v := binary.LittleEndian.Uint32(b[XattrOffMagic:]); v != XattrMagic {
		return nil, 0, Corrupt(what, XattrOffMagic, "h_magic", uint64(v), "not 0xEA020000")
	}
	if v := binary.LittleEndian.Uint32(b[XattrOffBlocks:]); v != 1 {
		return nil, 0, Corrupt(what, XattrOffBlocks, "h_blocks", uint64(v), "not 1")
	}
	refcount = binary.LittleEndian.Uint32(b[XattrOffRefcount:])
	if refcount == 0 || refcount > XattrMaxRefcount {
		return nil, 0, Corrupt(what, XattrOffRefcount, "h_refcount", uint64(refcount), "outside 1 to 1024")
	}
	list, err = parseXattrs(what, b, XattrBlockHeader, 0)
	return list, refcount, err
}

// parseXattrs decodes the entries from first on; value offsets count from base.
func parseXattrs(what string, b []byte, first, base int) ([]Xattr, error) {
	bad := func(field string, at int, v uint64, reason string) ([]Xattr, error) {
		return nil, Corrupt(what, int64(at), field, v, reason)
	}
	var list []Xattr
	lowest, p := len(b), first
	for {
		if p > len(b)-xattrEnd {
			return bad("", p, 0, "the list of entries does not end")
		}
		head := binary.LittleEndian.Uint32(b[p:])
		if head == 0 {
			break
		}
		if p > len(b)-xattrEntryLen {
			return bad("", p, uint64(head), "entry beyond the end")
		}
		nameLen, index, offs := int(head&0xff), uint8(head>>8), int(head>>16)
		inum := binary.LittleEndian.Uint32(b[p+4:])
		size := binary.LittleEndian.Uint32(b[p+8:])
		if nameLen > len(b)-xattrEnd-p-xattrEntryLen {
			return bad("e_name_len", p, uint64(nameLen), "name beyond the end")
		}
		if index == 0 {
			return bad("e_name_index", p+1, 0, "no such index")
		}
		if inum != 0 {
			return bad("e_value_inum", p+4, uint64(inum), "value in another inode")
		}
		x := Xattr{Index: index, Name: string(b[p+xattrEntryLen : p+xattrEntryLen+nameLen])}
		if strings.IndexByte(x.Name, 0) >= 0 {
			return bad("name", p+xattrEntryLen, 0, "NUL in the name")
		}
		if size > 0 {
			if offs > len(b)-base || uint64(size) > uint64(len(b)-base-offs) {
				return bad("e_value_size", p+8, uint64(size), "value beyond the end")
			}
			x.Value = b[base+offs : base+offs+int(size) : base+offs+int(size)]
			lowest = min(lowest, base+offs)
		}
		list = append(list, x)
		p += pad4(xattrEntryLen + nameLen)
	}
	if lowest < p+xattrEnd {
		return bad("e_value_offs", lowest, uint64(lowest), "value inside the list of entries")
	}
	return list, nil
}

func pad4(n int) int { return (n + 3) &^ 3 }

// fits reports whether room bytes hold the entries, their end mark and values.
func fits(list []Xattr, room int) bool {
	need := xattrEnd
	for i := range list {
		need += pad4(xattrEntryLen+len(list[i].Name)) + pad4(len(list[i].Value))
		if need > room {
			return false
		}
	}
	return need <= room
}

// EncodeXattrInode fills area, which it may overwrite wholly, with the magic number and
// the attributes; false if they do not fit. With no attributes the magic number is left out.
// Order and places are stable: an attribute added at the end of the list moves no other.
func EncodeXattrInode(area []byte, list []Xattr) bool {
	if len(area) < XattrInodeHeader || !fits(list, len(area)-XattrInodeHeader) {
		return len(list) == 0
	}
	clear(area)
	if len(list) > 0 {
		binary.LittleEndian.PutUint32(area, XattrMagic)
		encodeXattrs(area, list, XattrInodeHeader, XattrInodeHeader)
	}
	return true
}

// EncodeXattrBlock fills b, a whole block, with the attributes and a reference count
// of 1; false if they do not fit. It sorts the list as the format demands: by index,
// length of the name, name.
func EncodeXattrBlock(b []byte, list []Xattr) bool {
	if !fits(list, len(b)-XattrBlockHeader) {
		return false
	}
	slices.SortStableFunc(list, func(x, y Xattr) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(len(x.Name), len(y.Name)), cmp.Compare(x.Name, y.Name))
	})
	clear(b)
	binary.LittleEndian.PutUint32(b[XattrOffMagic:], XattrMagic)
	binary.LittleEndian.PutUint32(b[XattrOffRefcount:], 1)
	binary.LittleEndian.PutUint32(b[XattrOffBlocks:], 1)
	hash := encodeXattrs(b, list, XattrBlockHeader, 0)
	binary.LittleEndian.PutUint32(b[XattrOffHash:], hash)
	return true
}

// encodeXattrs writes entries and values into zeroed memory and returns the hash over all entries
// that the header of a block holds.
func encodeXattrs(b []byte, list []Xattr, first, base int) (blockHash uint32) {
	p, end, shared := first, len(b), true
	for i := range list {
		x := &list[i]
		offs := 0
		if n := len(x.Value); n > 0 {
			end -= pad4(n)
			copy(b[end:], x.Value)
			offs = end - base
		}
		hash := xattrHash(x.Name, x.Value)
		binary.LittleEndian.PutUint32(b[p:], uint32(len(x.Name))|uint32(x.Index)<<8|uint32(offs)<<16)
		binary.LittleEndian.PutUint32(b[p+8:], uint32(len(x.Value)))
		binary.LittleEndian.PutUint32(b[p+12:], hash)
		copy(b[p+xattrEntryLen:], x.Name)
		p += pad4(xattrEntryLen + len(x.Name))
		if hash == 0 { // an entry without hash makes the block unfit for sharing
			shared = false
		}
		blockHash = blockHash<<16 ^ blockHash>>16 ^ hash
	}
	if !shared {
		return 0
	}
	return blockHash
}

// xattrHash is e_hash: over the bytes of the name, then the words of the value,
// padded with zeros.
func xattrHash(name string, value []byte) uint32 {
	var h uint32
	for i := range len(name) {
		h = h<<5 ^ h>>27 ^ uint32(name[i])
	}
	for len(value) > 0 {
		var w [4]byte
		value = value[copy(w[:], value):]
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(w[:])
	}
	return h
}

// XattrEndMark is where the end mark of an inode's list lies in the area.
func XattrEndMark(list []Xattr) int {
	p := XattrInodeHeader
	for i := range list {
		p += pad4(xattrEntryLen + len(list[i].Name))
	}
	return p
}

// Is reports whether the attribute has this name.
func (x *Xattr) Is(index uint8, name string) bool { return x.Index == index && x.Name == name }
