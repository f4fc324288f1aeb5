package vfs

import (
	"errors"
	"io/fs"
	"syscall"
)

// xattrCaps are the capabilities of a program file.
const xattrCaps = "security.capability"

// DropPriv takes away what a changed file must not keep (Linux: file_remove_privs): its
// capabilities, and with setid the setuid bit, and the setgid bit of a file that its group
// may execute, or of any if the caller is no member of it. Front ends that have users call
// it before a write, a truncation and a change of the owner; directories keep their bits. It
// costs nothing if there is nothing to take.
func (n *Node) DropPriv(setid bool, member func(gid uint32) bool) error {
	if n.plain.Load() || n.dir != nil || n.m.readOnly {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.xattrs != nil {
		err := n.xattrs.RemoveXattr(xattrCaps)
		if err != nil && !errors.Is(err, syscall.ENODATA) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	a := n.inode.Attr()
	mode := a.Mode
	drop := mode & fs.ModeSetuid
	if mode&0o010 != 0 || !member(a.GID) {
		drop |= mode & fs.ModeSetgid
	}
	if drop != 0 && setid {
		mode &^= drop
		if err := n.inode.SetAttr(SetAttr{Mode: &mode}); err != nil {
			return err
		}
		drop = 0
	}
	n.plain.Store(drop == 0 && mode&fs.ModeSetgid == 0)
	return nil
}
