package godax

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"godax/vfs"
)

// Stripe says over how many runs of storage a file is spread; see [vfs.Stripe].
type Stripe = vfs.Stripe

// CreateOptions are the choices for [FS.CreateSized].
type CreateOptions struct {
	Perm     fs.FileMode // permission bits; there is no umask
	UID, GID *uint32     // nil: those of Options
	Stripe   Stripe      // the zero value: as the file system likes
}

// CreateSized makes a new file of size bytes, which read as zero, with all its storage
// allocated, and opens it for reading and writing. On a file system whose files keep the
// size they were created with (famfs) it is the only way to make one.
//
// Errors: fs.ErrExist, EINVAL for a negative size, ENOSPC, errors.ErrUnsupported for a Stripe
// on file systems that have none.
func (f *FS) CreateSized(name string, size int64, o CreateOptions) (*File, error) {
	file, err := f.createSized(name, size, o)
	return file, wrap("create", name, err)
}

func (f *FS) createSized(name string, size int64, o CreateOptions) (*File, error) {
	if size < 0 {
		return nil, syscall.EINVAL
	}
	fixed := f.FixedSize()
	if !fixed && o.Stripe != (Stripe{}) {
		return nil, syscall.ENOTSUP
	}
	p, err := f.m.Walk(name, vfs.NoFollow)
	if err != nil {
		return nil, err
	}
	defer p.Put()
	switch {
	case p.Node != nil || p.Dir == nil:
		return nil, fs.ErrExist
	case p.Slash:
		return nil, syscall.EISDIR
	}
	ni := vfs.NewInode{Mode: o.Perm & permBits, UID: f.uid, GID: f.gid, Size: size, Stripe: o.Stripe}
	if o.UID != nil {
		ni.UID = *o.UID
	}
	if o.GID != nil {
		ni.GID = *o.GID
	}
	n, err := p.Dir.Create(p.Name, ni)
	if err != nil {
		return nil, err
	}
	defer n.Put()
	h, err := n.Open(background, os.O_RDWR, name)
	if err != nil {
		return nil, err
	}
	file := &File{fs: f, h: h}
	if !fixed && size > 0 {
		if err := h.Allocate(background, vfs.AllocReserve, 0, size); err != nil {
			return nil, errors.Join(err, h.Close(), p.Dir.Unlink(p.Name))
		}
	}
	return file, nil
}

// MkdirOwned is [FS.Mkdir] for an owner.
func (f *FS) MkdirOwned(name string, perm fs.FileMode, uid, gid uint32) error {
	return wrap("mkdir", name, f.createAs(name, vfs.NewInode{Mode: fs.ModeDir | perm&permBits, UID: uid, GID: gid}))
}

// FixedSize reports whether files keep the size they were created with: then [FS.CreateSized]
// makes them, and nothing makes them longer or shorter.
func (f *FS) FixedSize() bool { return f.m.FixedSize() }

// Change is a file or directory that others have published; see [vfs.Change].
type Change = vfs.Change

// Follow returns what was published on the medium from position pos on, 0 being the beginning,
// and the position to go on from. It never waits. Lookups see new files without it: it is
// for those who wait for them.
//
// Errors: ESTALE if the medium was formatted anew, errors.ErrUnsupported if the file system
// is not one that others write while it is open.
func (f *FS) Follow(pos uint64) (changes []Change, next uint64, err error) {
	w, ok := f.m.FS().(vfs.Follower)
	if !ok {
		return nil, pos, f.wrapDevice("follow", syscall.ENOTSUP)
	}
	next, err = w.Follow(pos, func(c Change) bool {
		changes = append(changes, c)
		return true
	})
	return changes, next, f.wrapDevice("follow", err)
}
