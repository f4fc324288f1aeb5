package ext

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"godax/internal/extfmt"
	"godax/vfs"
)

// Extended attributes lie in the inode, behind its fields, and in a block that the
// inode may share with others. A name in the inode hides the same name in the block,
// so an attribute moves from one to the other by being written first and removed
// second.
//
// A block is never changed where it is: a new one is filled, i_file_acl
// changes, the old one is given back. e2fsck stops at a shared block's reference count that
// does not match, so the count changes with i_file_acl in one switch-over.
//
// Every inode of the driver has them.
var _ vfs.Xattrs = (*inode)(nil)

// maxXattrValue is the longest value that Linux passes to a file system.
const maxXattrValue = 1 << 16

// xattrArea is the place for attributes in the inode, and its offset on the device;
// empty if there is none.
func (in *inode) xattrArea() (area []byte, off int64) {
	if len(in.raw) <= extfmt.InodeExtraIsize+extfmt.XattrInodeHeader {
		return nil, 0
	}
	n := int(in.get16(extfmt.InodeExtraIsize))
	start := extfmt.InodeExtraIsize + n
	if n == 0 || n%4 != 0 || start > len(in.raw)-extfmt.XattrInodeHeader {
		return nil, 0
	}
	return in.raw[start:], in.off + int64(start)
}

// xattrLists are an inode's attributes; values alias the medium.
type xattrLists struct {
	inode, block []extfmt.Xattr
}

func (in *inode) readXattrs() (l xattrLists, err error) {
	area, _ := in.xattrArea()
	if l.inode, err = extfmt.ParseXattrInode(area); err != nil {
		return l, fmt.Errorf("%s: %w", in.name(), err)
	}
	if in.fileACL() != 0 {
		l.block, _, err = in.readXattrBlock()
	}
	return l, err
}

// readXattrBlock decodes the attribute block, which the inode has.
func (in *inode) readXattrBlock() (list []extfmt.Xattr, refs uint32, err error) {
	b, err := in.fs.blockView(in.name(), uint64(in.fileACL()))
	if err != nil {
		return nil, 0, err
	}
	if list, refs, err = extfmt.ParseXattrBlock(b); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", in.name(), err)
	}
	return list, refs, nil
}

// xattrAt is the place of a name in a list, or -1.
func xattrAt(list []extfmt.Xattr, index uint8, rest string) int {
	return slices.IndexFunc(list, func(x extfmt.Xattr) bool { return x.Is(index, rest) })
}

// withXattr is a copy of list with x in place of the i-th, or at the end if i is -1.
func withXattr(list []extfmt.Xattr, i int, x extfmt.Xattr) []extfmt.Xattr {
	list = slices.Clone(list)
	if i < 0 {
		return append(list, x)
	}
	list[i] = x
	return list
}

// withoutXattr is a copy of list without the i-th.
func withoutXattr(list []extfmt.Xattr, i int) []extfmt.Xattr {
	return slices.Delete(slices.Clone(list), i, i+1)
}

// Xattr returns the value of an attribute: ENODATA.
func (in *inode) Xattr(name string) ([]byte, error) {
	index, rest, err := splitXattr(name)
	if err != nil {
		return nil, err
	}
	l, err := in.readXattrs()
	if err != nil {
		return nil, err
	}
	for _, list := range [...][]extfmt.Xattr{l.inode, l.block} {
		if i := xattrAt(list, index, rest); i >= 0 {
			if isACL(index) {
				return extfmt.ACLFromDisk(list[i].Value)
			}
			return append([]byte{}, list[i].Value...), nil
		}
	}
	return nil, syscall.ENODATA
}

// ListXattr returns the names of all attributes, sorted.
func (in *inode) ListXattr() ([]string, error) {
	l, err := in.readXattrs()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, list := range [...][]extfmt.Xattr{l.inode, l.block} {
		for i := range list {
			if name := list[i].FullName(); name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func isACL(index uint8) bool {
	return index == extfmt.XattrACLAccess || index == extfmt.XattrACLDefault
}

// splitXattr is extfmt.SplitXattrName with errors as Linux has them: ENOTSUP, EINVAL,
// ERANGE.
func splitXattr(name string) (index uint8, rest string, err error) {
	index, rest, ok := extfmt.SplitXattrName(name)
	switch {
	case ok && bytes.IndexByte([]byte(rest), 0) >= 0:
		return 0, "", fmt.Errorf("ext: NUL in the name of an attribute: %w", syscall.EINVAL)
	case ok:
		return index, rest, nil
	case index == 0:
		return 0, "", fmt.Errorf("ext: attribute %q: %w", name, syscall.ENOTSUP)
	case rest == "":
		return 0, "", fmt.Errorf("ext: attribute %q: %w", name, syscall.EINVAL)
	}
	return 0, "", fmt.Errorf("ext: name of an attribute has %d bytes: %w", len(rest), syscall.ERANGE)
}

// SetXattr sets an attribute: EEXIST with create if there is one, ENODATA with replace
// if there is none, ENOSPC if inode and block cannot hold it, E2BIG, ENOTSUP.
//
// An access ACL sets the permission bits too, and is not stored if it says no more than
// they do. ACLs are checked: EINVAL; EACCES for a default ACL of what is no directory.
func (in *inode) SetXattr(name string, value []byte, create, replace bool) error {
	index, rest, err := in.changeXattr(name)
	switch {
	case err != nil:
		return err
	case len(value) > maxXattrValue:
		return syscall.E2BIG
	case isACL(index):
		done, disk, err := in.checkACL(index, value)
		if done || err != nil {
			return err
		}
		value = disk
	}
	l, err := in.readXattrs()
	if err != nil {
		return err
	}
	x := extfmt.Xattr{Index: index, Name: rest, Value: value}
	i, b := xattrAt(l.inode, index, rest), xattrAt(l.block, index, rest)
	if i >= 0 || b >= 0 {
		if create {
			return syscall.EEXIST
		}
	} else if replace {
		return syscall.ENODATA
	}
	if err := in.fs.setExtAttr(); err != nil {
		return err
	}
	if err := in.placeXattr(l, i, b, x); err != nil {
		return err
	}
	return in.touch(stampCtime)
}

// placeXattr puts an attribute where it fits; it is now at i in the inode's list and b in the
// block's, or -1. An attribute in the block only stays there if it can.
func (in *inode) placeXattr(l xattrLists, i, b int, x extfmt.Xattr) error {
	inodeList, blockList := withXattr(l.inode, i, x), withXattr(l.block, b, x)
	area, _ := in.xattrArea()
	fitsInode := extfmt.EncodeXattrInode(make([]byte, len(area)), inodeList)
	fitsBlock := extfmt.EncodeXattrBlock(make([]byte, in.fs.blockSize()), blockList)
	switch {
	case fitsInode && (i >= 0 || b < 0 || !fitsBlock):
		if err := in.putXattrArea(l.inode, inodeList); err != nil || b < 0 {
			return err
		}
		return in.putXattrBlock(withoutXattr(l.block, b))
	case fitsBlock:
		if err := in.putXattrBlock(blockList); err != nil || i < 0 {
			return err
		}
		return in.putXattrArea(l.inode, withoutXattr(l.inode, i))
	}
	return syscall.ENOSPC
}

// changeXattr splits the name of an attribute that is to be changed.
func (in *inode) changeXattr(name string) (index uint8, rest string, err error) {
	if in.fs.readOnly {
		return 0, "", syscall.EROFS
	}
	return splitXattr(name)
}

// RemoveXattr removes an attribute: ENODATA.
func (in *inode) RemoveXattr(name string) error {
	index, rest, err := in.changeXattr(name)
	if err != nil {
		return err
	}
	l, err := in.readXattrs()
	if err != nil {
		return err
	}
	i, b := xattrAt(l.inode, index, rest), xattrAt(l.block, index, rest)
	if i < 0 && b < 0 {
		return syscall.ENODATA
	}
	if b >= 0 { // first, since it would come out from behind the other
		if err := in.putXattrBlock(withoutXattr(l.block, b)); err != nil {
			return err
		}
	}
	if i >= 0 {
		if err := in.putXattrArea(l.inode, withoutXattr(l.inode, i)); err != nil {
			return err
		}
	}
	return in.touch(stampCtime)
}

// checkACL turns the value of an ACL into what is stored, and lets the permission bits
// follow an access ACL. done says that nothing remains to be stored.
func (in *inode) checkACL(index uint8, value []byte) (done bool, disk []byte, err error) {
	switch {
	case in.isType(extfmt.ModeLink):
		return false, nil, fmt.Errorf("ext: ACL of a symbolic link: %w", syscall.ENOTSUP)
	case index == extfmt.XattrACLDefault && !in.isDir():
		return false, nil, fmt.Errorf("ext: default ACL of what is no directory: %w", syscall.EACCES)
	}
	disk, ok := extfmt.ACLToDisk(value)
	if !ok {
		return false, nil, fmt.Errorf("ext: %d bytes that are no ACL: %w", len(value), syscall.EINVAL)
	}
	if index == extfmt.XattrACLDefault {
		return false, disk, nil
	}
	perm, extended := extfmt.ACLPerm(disk)
	if err := in.put16(extfmt.InodeMode, in.mode()&^0o777|perm); err != nil {
		return false, nil, err
	}
	if extended {
		return false, disk, nil
	}
	err = in.RemoveXattr(extfmt.NameACLAccess)
	if errors.Is(err, syscall.ENODATA) {
		err = in.touch(stampCtime)
	}
	return true, nil, err
}

// chmodACL lets an access ACL follow new permission bits.
func (in *inode) chmodACL(perm uint16) error {
	l, err := in.readXattrs()
	if err != nil {
		return err
	}
	i, b := xattrAt(l.inode, extfmt.XattrACLAccess, ""), xattrAt(l.block, extfmt.XattrACLAccess, "")
	if i < 0 && b < 0 {
		return nil
	}
	list, at := l.inode, i
	if i < 0 {
		list, at = l.block, b
	}
	x := list[at]
	x.Value = extfmt.ACLSetPerm(x.Value, perm)
	return in.placeXattr(l, i, b, x)
}

// diffPuts are the stores that make old, which lies at off, what new is.
func diffPuts(off int64, old, new []byte) (ops []put) {
	for p := 0; p < len(new); p += 4 {
		if v := le.Uint32(new[p:]); v != load32(old[p:]) {
			ops = append(ops, put{off + int64(p), 4, v})
		}
	}
	return ops
}

// putXattrArea changes the attributes in the inode from one list to another that fits.
// What is added to the end is published by one store, as are the first and the
// removal of the last; the rest is a switch-over.
func (in *inode) putXattrArea(old, list []extfmt.Xattr) error {
	area, off := in.xattrArea()
	st := in.fs.st
	buf := make([]byte, len(area))
	if !extfmt.EncodeXattrInode(buf, list) {
		return syscall.ENOSPC
	}
	switch mark := extfmt.XattrEndMark(old); {
	case len(list) == 0:
		return st.put32(off, 0)
	case load32(area) != extfmt.XattrMagic:
		mark = 0
		fallthrough
	case bytes.Equal(area[:mark], buf[:mark]):
		if err := st.write(off+int64(mark)+4, buf[mark+4:]); err != nil {
			return err
		}
		return st.put32(off+int64(mark), le.Uint32(buf[mark:]))
	}
	return st.switchOver(diffPuts(off, area, buf)...)
}

// putXattrBlock makes list, which fits, the content of the inode's attribute block.
func (in *inode) putXattrBlock(list []extfmt.Xattr) error {
	if len(list) == 0 {
		return in.fs.dropXattrs(in)
	}
	f := in.fs
	buf := make([]byte, f.blockSize())
	if !extfmt.EncodeXattrBlock(buf, list) {
		return syscall.ENOSPC
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	pblk, err := in.allocMeta()
	if errors.Is(err, syscall.ENOSPC) && in.fileACL() != 0 {
		return in.rewriteXattrBlock(buf)
	}
	if err != nil {
		return err
	}
	if err := f.st.write(f.blockOff(pblk), buf); err != nil {
		return errors.Join(err, f.freeRun(in.name(), pblk, 1))
	}
	if in.fileACL() != 0 {
		return in.switchXattrBlock(uint32(pblk))
	}
	if err := in.setFileACL(uint32(pblk)); err != nil {
		return err
	}
	return in.addBlocks(1)
}

// rewriteXattrBlock changes the attribute block in place, for a full file system.
func (in *inode) rewriteXattrBlock(buf []byte) error {
	f, old := in.fs, uint64(in.fileACL())
	f.xattrMu.Lock()
	defer f.xattrMu.Unlock()
	_, refs, err := in.readXattrBlock()
	if err != nil {
		return err
	}
	if refs > 1 {
		return syscall.ENOSPC
	}
	b, err := f.blockView(in.name(), old)
	if err != nil {
		return err
	}
	return f.st.switchOver(diffPuts(f.blockOff(old), b, buf)...)
}

// switchXattrBlock makes another block, or with 0 none, the attribute block of an inode
// that has one, and gives that up.
//
// Locks: in.mu.
func (in *inode) switchXattrBlock(pblk uint32) error {
	f, old := in.fs, uint64(in.fileACL())
	f.xattrMu.Lock()
	defer f.xattrMu.Unlock()
	_, refs, err := in.readXattrBlock()
	if err != nil {
		return err
	}
	if refs > 1 {
		return f.st.switchOver(
			put{in.off + extfmt.InodeFileACL, 4, pblk},
			put{f.blockOff(old) + extfmt.XattrOffRefcount, 4, refs - 1})
	}
	if err := in.setFileACL(pblk); err != nil {
		return err
	}
	return f.freeRun(in.name(), old, 1)
}

// dropXattrs gives back the attribute block of an inode, if it has one.
//
// Locks: takes in.mu.
func (f *FS) dropXattrs(in *inode) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.fileACL() == 0 {
		return nil
	}
	if err := in.switchXattrBlock(0); err != nil {
		return err
	}
	return in.addBlocks(-1)
}
