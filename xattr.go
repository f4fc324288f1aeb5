package godax

// XattrFlag says whether [FS.SetXattr] may create or replace; the zero value allows
// both.
type XattrFlag int

const (
	XattrCreate  XattrFlag = 1 << iota // EEXIST if the attribute exists
	XattrReplace                       // ENODATA if it does not
)

// Xattr returns the value of an extended attribute; ENODATA if there is none. attr is
// a complete name ("user.comment"). The calls without an L follow a symbolic link at
// the end of name, those with an L act on it.
func (f *FS) Xattr(name, attr string) ([]byte, error)  { panic("soon") }
func (f *FS) LXattr(name, attr string) ([]byte, error) { panic("soon") }

// ListXattr returns the names of all extended attributes, sorted.
func (f *FS) ListXattr(name string) ([]string, error)  { panic("soon") }
func (f *FS) LListXattr(name string) ([]string, error) { panic("soon") }

// SetXattr sets an extended attribute. ENOSPC, ERANGE (name), E2BIG (value), ENOTSUP (the
// name's prefix, or the whole file system).
func (f *FS) SetXattr(name, attr string, value []byte, flag XattrFlag) error  { panic("soon") }
func (f *FS) LSetXattr(name, attr string, value []byte, flag XattrFlag) error { panic("soon") }

// RemoveXattr removes an extended attribute; ENODATA if there is none.
func (f *FS) RemoveXattr(name, attr string) error  { panic("soon") }
func (f *FS) LRemoveXattr(name, attr string) error { panic("soon") }
