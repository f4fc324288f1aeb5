package extfmt

import (
	"encoding/binary"
	"slices"
)

// Tags of ACL entries (ACL_USER_OBJ and so on).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

const (
	aclDiskVersion  = 1 // entries of 4 bytes, of 8 with an id for named users and groups
	aclValueVersion = 2 // entries of 8 bytes
	aclNoID         = 0xffffffff
)

// ACLFromDisk turns a stored ACL (struct ext4_acl_header) into the value that getxattr
// gives for system.posix_acl_* (struct posix_acl_xattr_header).
func ACLFromDisk(disk []byte) ([]byte, error) {
	bad := func(field string, at int, v uint64, reason string) ([]byte, error) {
		return nil, Corrupt("ACL", int64(at), field, v, reason)
	}
	if len(disk) < 4 {
		return bad("", 0, uint64(len(disk)), "too short")
	}
	if v := binary.LittleEndian.Uint32(disk); v != aclDiskVersion {
		return bad("a_version", 0, uint64(v), "not 1")
	}
	out := binary.LittleEndian.AppendUint32(make([]byte, 0, 2*len(disk)), aclValueVersion)
	for p := 4; p < len(disk); {
		if p > len(disk)-4 {
			return bad("", p, uint64(len(disk)-p), "entry cut off")
		}
		tag, id := binary.LittleEndian.Uint16(disk[p:]), uint32(aclNoID)
		entry := disk[p : p+4]
		p += 4
		switch tag {
		case aclUser, aclGroup:
			if p > len(disk)-4 {
				return bad("", p, uint64(len(disk)-p), "entry cut off")
			}
			id = binary.LittleEndian.Uint32(disk[p:])
			p += 4
		case aclUserObj, aclGroupObj, aclMask, aclOther:
		default:
			return bad("e_tag", p-4, uint64(tag), "no such tag")
		}
		out = append(out, entry...)
		out = binary.LittleEndian.AppendUint32(out, id)
	}
	return out, nil
}

// ACLToDisk is the inverse of ACLFromDisk; false if value is no ACL: wrong version or
// length, unknown tags, entries out of order, one of the three basic entries missing,
// or named entries without a mask.
func ACLToDisk(value []byte) (disk []byte, ok bool) {
	if len(value) < 4 || len(value)%8 != 4 || binary.LittleEndian.Uint32(value) != aclValueVersion {
		return nil, false
	}
	disk = binary.LittleEndian.AppendUint32(nil, aclDiskVersion)
	var seen, last uint16
	var lastID uint32
	for p := 4; p < len(value); p += 8 {
		tag, perm := binary.LittleEndian.Uint16(value[p:]), binary.LittleEndian.Uint16(value[p+2:])
		id := binary.LittleEndian.Uint32(value[p+4:])
		if perm > 7 || tag < last {
			return nil, false
		}
		disk = append(disk, value[p:p+4]...)
		switch tag {
		case aclUser, aclGroup:
			if id == aclNoID || tag == last && id <= lastID {
				return nil, false
			}
			disk = binary.LittleEndian.AppendUint32(disk, id)
		case aclUserObj, aclGroupObj, aclMask, aclOther:
			if tag == last {
				return nil, false
			}
		default:
			return nil, false
		}
		seen, last, lastID = seen|tag, tag, id
	}
	const basic = aclUserObj | aclGroupObj | aclOther
	if seen&basic != basic || seen&(aclUser|aclGroup) != 0 && seen&aclMask == 0 {
		return nil, false
	}
	return disk, true
}

// ACLPerm returns the permission bits that go with a stored access ACL: those of the
// owner, of the mask or else the group, and of all others. extended says whether the ACL
// holds more than that.
func ACLPerm(disk []byte) (perm uint16, extended bool) {
	for p := 4; p <= len(disk)-4; p += 4 {
		tag, bits := binary.LittleEndian.Uint16(disk[p:]), binary.LittleEndian.Uint16(disk[p+2:])&7
		switch tag {
		case aclUserObj:
			perm |= bits << 6
		case aclGroupObj:
			perm |= bits << 3
		case aclUser, aclGroup:
			extended = true
			p += 4
		case aclMask:
			extended = true
			perm = perm&^0o70 | bits<<3
		case aclOther:
			perm |= bits
		}
	}
	return perm, extended
}

// ACLSetPerm returns a stored access ACL changed to new permission bits: those of the
// owner, all others, and of the mask, or of the group if there is no mask.
func ACLSetPerm(disk []byte, perm uint16) []byte {
	out := slices.Clone(disk)
	_, extended := ACLPerm(disk)
	for p := 4; p <= len(out)-4; p += 4 {
		shift := -1
		switch tag := binary.LittleEndian.Uint16(out[p:]); {
		case tag == aclUserObj:
			shift = 6
		case tag == aclMask, tag == aclGroupObj && !extended:
			shift = 3
		case tag == aclOther:
			shift = 0
		case tag == aclUser, tag == aclGroup:
			p += 4
		}
		if shift >= 0 {
			binary.LittleEndian.PutUint16(out[p+2:], perm>>shift&7)
		}
	}
	return out
}
