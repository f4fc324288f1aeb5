package vfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// The attributes that hold ACLs, in the form of Linux (struct posix_acl_xattr_header and
// posix_acl_xattr_entry in linux/posix_acl_xattr.h): a version, and entries of 8 bytes.
const (
	XattrACLAccess  = "system.posix_acl_access"
	XattrACLDefault = "system.posix_acl_default"

	aclVersion   = 2
	aclHeader    = 4
	aclEntry     = 8
	aclUserObj   = 0x01
	aclUser      = 0x02
	aclGroupObj  = 0x04
	aclGroup     = 0x08
	aclMask      = 0x10
	aclOther     = 0x20
	aclAllPerms  = 0o7
	aclGroupBits = 3 // where the group's permissions lie in a mode
	aclUserBits  = 6
)

// inherited are the ACLs of a new inode; nil is none.
type inherited struct{ access, dflt []byte }

// inheritLocked finds out what a new inode gets from its directory n: the group if that has the
// setgid bit, and the default ACL; that or the umask is applied to its mode. n.mu is held.
func (n *Node) inheritLocked(ni *NewInode) (*inherited, error) {
	if a := n.inode.Attr(); a.Mode&fs.ModeSetgid != 0 {
		ni.GID = a.GID
		if ni.Mode.IsDir() {
			ni.Mode |= fs.ModeSetgid
		}
	}
	if ni.Mode.Type() == fs.ModeSymlink {
		return nil, nil
	}
	var dflt []byte
	if n.xattrs != nil {
		var err error
		dflt, err = n.xattrs.Xattr(XattrACLDefault)
		if err != nil && !errors.Is(err, syscall.ENODATA) && !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}
	if len(dflt) <= aclHeader {
		ni.Mode &^= ni.Umask & fs.ModePerm
		return nil, nil
	}
	access, perm, extended, err := aclInherit(dflt, ni.Mode.Perm())
	if err != nil {
		return nil, fmt.Errorf("directory %d: default ACL: %w", n.ino, err)
	}
	ni.Mode = ni.Mode&^fs.ModePerm | perm
	in := &inherited{}
	if extended {
		in.access = access
	}
	if ni.Mode.IsDir() {
		in.dflt = dflt
	}
	return in, nil
}

// setInherited gives a new inode its ACLs. The directory's lock is held.
func (n *Node) setInherited(in *inherited) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range []struct {
		name  string
		value []byte
	}{{XattrACLAccess, in.access}, {XattrACLDefault, in.dflt}} {
		if x.value == nil {
			continue
		}
		if n.xattrs == nil {
			return syscall.ENOTSUP
		}
		if err := n.xattrs.SetXattr(x.name, x.value, false, false); err != nil {
			return err
		}
	}
	return nil
}

// aclInherit makes the access ACL of a new file from the default ACL of its directory and
// the mode that its maker wants: no class gets more than both say (acl(5), object
// creation). extended says that it is more than the mode perm.
func aclInherit(dflt []byte, mode fs.FileMode) (access []byte, perm fs.FileMode, extended bool, err error) {
	le := binary.LittleEndian
	if len(dflt) < aclHeader || (len(dflt)-aclHeader)%aclEntry != 0 || le.Uint32(dflt) != aclVersion {
		return nil, 0, false, fmt.Errorf("%d bytes that are no ACL: %w", len(dflt), syscall.EINVAL)
	}
	access = append([]byte{}, dflt...)
	perm = mode.Perm()
	// class lets one class of the mode and an entry agree on less.
	class := func(at int, shift uint) {
		both := le.Uint16(access[at+2:]) & uint16(perm>>shift) & aclAllPerms
		le.PutUint16(access[at+2:], both)
		perm = perm&^(aclAllPerms<<shift) | fs.FileMode(both)<<shift
	}
	group, mask := 0, 0
	for at := aclHeader; at < len(access); at += aclEntry {
		switch le.Uint16(access[at:]) {
		case aclUserObj:
			class(at, aclUserBits)
		case aclOther:
			class(at, 0)
		case aclGroupObj:
			group = at
		case aclMask:
			mask, extended = at, true
		case aclUser, aclGroup:
			extended = true
		default:
			return nil, 0, false, fmt.Errorf("entry with tag %#x: %w", le.Uint16(access[at:]), syscall.EINVAL)
		}
	}
	switch { // with a mask, the group's bits of the mode are the mask's
	case mask != 0:
		class(mask, aclGroupBits)
	case group != 0:
		class(group, aclGroupBits)
	}
	return access, perm, extended, nil
}
