package ext

import (
	"fmt"
	"io/fs"
	"syscall"

	"godax/internal/extfmt"
	"godax/vfs"
)

// renaming is one rename: what is moved, from where, to where.
type renaming struct {
	from, to      *dir
	name, newName string
	in            *inode
	old           record // of name
	isDir         bool
	replaced      vfs.Inode // nil if newName is new
	mode          fs.FileMode
}

// Rename moves child from name to newName in newDir. Names of the same inode are
// left alone, as POSIX wants it.
func (d *dir) Rename(name string, child vfs.Inode, newDir vfs.Dir, newName string, replaced vfs.Inode) error {
	in, old, err := d.toRemove(name, child)
	if err != nil {
		return err
	}
	to, ok := newDir.(*dir)
	if !ok || to.fs != d.fs {
		return syscall.EXDEV
	}
	if to == d && newName == name {
		return nil
	}
	if to.inode == in {
		return fmt.Errorf("ext: directory into itself: %w", syscall.EINVAL)
	}
	mode, _ := extfmt.ToMode(in.mode())
	r := &renaming{from: d, to: to, name: name, newName: newName, in: in, old: old, isDir: in.isDir(), replaced: replaced, mode: mode}
	if replaced == nil {
		err = r.toNew()
	} else {
		err = r.over()
	}
	if err != nil {
		return err
	}
	if err := in.touch(stampCtime); err != nil {
		return err
	}
	if err := d.changed(); err != nil || to == d {
		return err
	}
	return to.changed()
}

// toNew gives the inode a name that is not in use. A file has both names for a moment, with
// the links to match; a directory changes over.
func (r *renaming) toNew() error {
	if err := r.to.mayAdd(r.newName); err != nil {
		return err
	}
	moves := r.isDir && r.to != r.from
	if moves && r.to.links() >= extfmt.MaxLinks {
		return syscall.EMLINK
	}
	dotdot, err := r.dotdotPut(moves)
	if err != nil {
		return err
	}
	s, err := r.to.makeRoom(r.newName)
	if err != nil {
		return err
	}
	staged, err := r.to.stage(s, r.newName, r.in.ino, r.to.fileType(r.mode))
	if err != nil {
		return err
	}
	if r.isDir {
		if moves {
			if err := r.to.setLinks(r.to.links() + 1); err != nil {
				return err
			}
		}
		if err := r.st().switchOver(append([]put{staged.publish, unlinkPut(r.old)}, dotdot...)...); err != nil {
			return err
		}
		r.to.published(staged)
		if moves {
			if err := r.from.lostChild(); err != nil {
				return err
			}
		}
		return r.from.removed(r.old, r.name)
	}
	links := r.in.links()
	if err := r.in.setLinks(links + 1); err != nil {
		return err
	}
	if err := r.st().put32(staged.publish.off, staged.publish.v); err != nil {
		return err
	}
	r.to.published(staged)
	return r.dropOld(links)
}

// dropOld removes the old name of a file and the link that was added for the time it
// had both.
func (r *renaming) dropOld(links uint16) error {
	p := unlinkPut(r.old)
	if err := r.st().put32(p.off, p.v); err != nil {
		return err
	}
	if err := r.in.setLinks(links); err != nil {
		return err
	}
	return r.from.removed(r.old, r.name)
}

func (r *renaming) st() *store { return r.from.fs.st }

// dotdotPut is the store that changes ".." of a directory that moves to another one.
func (r *renaming) dotdotPut(moves bool) ([]put, error) {
	if !moves {
		return nil, nil
	}
	child, err := newDir(r.in)
	if err != nil {
		return nil, err
	}
	e, err := child.(*dir).dotdot()
	if err != nil {
		return nil, err
	}
	return []put{{e.dev, 4, r.to.ino}}, nil
}

// over gives the inode the name of another, which loses it.
func (r *renaming) over() error {
	rin, err := baseOf(r.replaced)
	if err != nil {
		return err
	}
	target, err := r.to.child(r.newName, rin)
	if err != nil {
		return err
	}
	switch {
	case rin.ino == r.in.ino:
		return nil
	case r.isDir && !rin.isDir():
		return syscall.ENOTDIR
	case !r.isDir && rin.isDir():
		return syscall.EISDIR
	case r.isDir:
		return r.overDir(rin, target)
	}
	return r.overFile(rin, target)
}

// overDir replaces an empty directory. The new parent loses one child and gets one.
func (r *renaming) overDir(rin *inode, target record) error {
	if err := mustBeEmpty(r.replaced); err != nil {
		return err
	}
	dotdot, err := r.dotdotPut(r.to != r.from)
	if err != nil {
		return err
	}
	then := append([]put{{target.dev, 4, r.in.ino}, unlinkPut(r.old)}, dotdot...)
	if err := r.from.fs.orphanAdd(rin, then...); err != nil {
		return err
	}
	if err := r.from.lostChild(); err != nil {
		return err
	}
	if err := r.from.removed(r.old, r.name); err != nil {
		return err
	}
	return rin.touch(stampCtime)
}

// overFile replaces a file by a file. Before the switch-over the entry's type is one that
// fits both, and the inode has a link for each of its two names.
func (r *renaming) overFile(rin *inode, target record) error {
	newType := r.to.fileType(r.mode)
	word := load32(target.blk[target.Off+4:]) & 0x00ffffff
	if target.Type != newType {
		if err := r.st().put32(target.dev+4, word|extfmt.FTUnknown<<24); err != nil {
			return err
		}
	}
	links := r.in.links()
	if err := r.in.setLinks(links + 1); err != nil {
		return err
	}
	if err := r.from.fs.dropLink(rin, put{target.dev, 4, r.in.ino}); err != nil {
		return err
	}
	if target.Type != newType {
		if err := r.st().put32(target.dev+4, word|uint32(newType)<<24); err != nil {
			return err
		}
	}
	if err := rin.touch(stampCtime); err != nil {
		return err
	}
	return r.dropOld(links)
}
