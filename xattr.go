package godax

import "godax/vfs"

// XattrFlag says whether [FS.SetXattr] may create or replace; the zero value allows
// both.
type XattrFlag int

const (
	XattrCreate  XattrFlag = 1 << iota // EEXIST if the attribute exists
	XattrReplace                       // ENODATA if it does not
)

// Xattr returns the value of an extended attribute; ENODATA if there is none. attr is
// a complete name ("user.comment").
//
// The calls without an L follow a symbolic link at the end of name.
func (f *FS) Xattr(name, attr string) ([]byte, error) {
	return f.xattr("getxattr", name, attr, vfs.FollowAll)
}

// LXattr is Xattr on a symbolic link itself.
func (f *FS) LXattr(name, attr string) ([]byte, error) {
	return f.xattr("lgetxattr", name, attr, vfs.FollowSlash)
}

func (f *FS) xattr(op, name, attr string, follow vfs.Follow) (value []byte, err error) {
	err = f.at(op, name, follow, func(n *vfs.Node) (err error) {
		value, err = n.Xattr(attr)
		return err
	})
	return value, err
}

// ListXattr returns the names of all extended attributes, sorted.
func (f *FS) ListXattr(name string) ([]string, error) {
	return f.listXattr("listxattr", name, vfs.FollowAll)
}

// LListXattr is ListXattr on a symbolic link itself.
func (f *FS) LListXattr(name string) ([]string, error) {
	return f.listXattr("llistxattr", name, vfs.FollowSlash)
}

func (f *FS) listXattr(op, name string, follow vfs.Follow) (attrs []string, err error) {
	err = f.at(op, name, follow, func(n *vfs.Node) (err error) {
		attrs, err = n.ListXattr()
		return err
	})
	return attrs, err
}

// SetXattr sets an extended attribute. ENOSPC, ERANGE (name), E2BIG (value), ENOTSUP
// (the name's prefix, or the whole file system).
func (f *FS) SetXattr(name, attr string, value []byte, flag XattrFlag) error {
	return f.setXattr("setxattr", name, attr, value, flag, vfs.FollowAll)
}

// LSetXattr is SetXattr on a symbolic link itself.
func (f *FS) LSetXattr(name, attr string, value []byte, flag XattrFlag) error {
	return f.setXattr("lsetxattr", name, attr, value, flag, vfs.FollowSlash)
}

func (f *FS) setXattr(op, name, attr string, value []byte, flag XattrFlag, follow vfs.Follow) error {
	return f.at(op, name, follow, func(n *vfs.Node) error {
		defer f.m.TellNode(n, 0, 0)
		return n.SetXattr(attr, value, flag&XattrCreate != 0, flag&XattrReplace != 0)
	})
}

// RemoveXattr removes an extended attribute; ENODATA if there is none.
func (f *FS) RemoveXattr(name, attr string) error {
	return f.removeXattr("removexattr", name, attr, vfs.FollowAll)
}

// LRemoveXattr is RemoveXattr on a symbolic link itself.
func (f *FS) LRemoveXattr(name, attr string) error {
	return f.removeXattr("lremovexattr", name, attr, vfs.FollowSlash)
}

func (f *FS) removeXattr(op, name, attr string, follow vfs.Follow) error {
	return f.at(op, name, follow, func(n *vfs.Node) error {
		defer f.m.TellNode(n, 0, 0)
		return n.RemoveXattr(attr)
	})
}
