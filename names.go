package godax

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"godax/vfs"
)

// at runs do on what name leads to.
func (f *FS) at(op, name string, follow vfs.Follow, do func(*vfs.Node) error) error {
	n, err := f.m.Resolve(name, follow)
	if err != nil {
		return wrap(op, name, err)
	}
	defer n.Put()
	return wrap(op, name, do(n))
}

// in runs do on the directory that holds the last component of name, for an operation
// that makes, removes or moves that name. A link there is not followed. EBUSY for the root,
// EINVAL for "." and "..", ENOTDIR for a slash behind what is no directory.
func (f *FS) in(name string, do func(p vfs.Place) error) error {
	return f.inDir(name, func(p vfs.Place) error {
		if p.Slash && p.Node != nil && !p.Node.IsDir() {
			return syscall.ENOTDIR
		}
		return do(p)
	})
}

// inDir is in without a look at trailing slashes.
func (f *FS) inDir(name string, do func(p vfs.Place) error) error {
	p, err := f.m.Walk(name, vfs.NoFollow)
	if err != nil {
		return err
	}
	defer p.Put()
	switch {
	case p.Dir == nil && p.Name == "/":
		return syscall.EBUSY
	case p.Dir == nil:
		return syscall.EINVAL
	}
	return do(p)
}

// create makes an inode at name, of the owner in Options.
func (f *FS) create(name string, ni vfs.NewInode) error {
	ni.UID, ni.GID = f.uid, f.gid
	return f.createAs(name, ni)
}

// createAs makes an inode at name; a trailing slash is allowed for a directory.
func (f *FS) createAs(name string, ni vfs.NewInode) error {
	err := f.inDir(name, func(p vfs.Place) error {
		if p.Slash && p.Node == nil && !ni.Mode.IsDir() {
			return fs.ErrNotExist
		}
		n, err := p.Dir.Create(p.Name, ni)
		if err != nil {
			return err
		}
		n.Put()
		f.m.TellEntry(p.Dir, p.Name)
		return nil
	})
	if err == syscall.EBUSY || err == syscall.EINVAL && isDots(name) {
		return fs.ErrExist
	}
	return err
}

// isDots reports whether the last component of name is "." or "..".
func isDots(name string) bool {
	last := path.Base(strings.TrimRight(name, "/"))
	return last == "." || last == ".."
}

// permBits are the bits of a mode that a caller sets.
const permBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Mkdir makes a directory.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return wrap("mkdir", name, f.create(name, vfs.NewInode{Mode: fs.ModeDir | perm&permBits}))
}

// MkdirAll makes a directory and its missing parents; one that exists is no error.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	n, err := f.m.Resolve(name, vfs.FollowAll)
	switch {
	case err == nil:
		defer n.Put()
		if !n.IsDir() {
			err = syscall.ENOTDIR
		}
		return wrap("mkdir", name, err)
	case !errors.Is(err, fs.ErrNotExist):
		return wrap("mkdir", name, err)
	}
	trimmed := strings.TrimRight(name, "/")
	if i := strings.LastIndexByte(trimmed, '/'); i > 0 {
		if err := f.MkdirAll(trimmed[:i], perm); err != nil {
			return err
		}
	}
	err = f.Mkdir(name, perm)
	if errors.Is(err, fs.ErrExist) { // made by another meanwhile, or a link that leads nowhere
		return f.at("mkdir", name, vfs.FollowAll, func(n *vfs.Node) error {
			if !n.IsDir() {
				return syscall.ENOTDIR
			}
			return nil
		})
	}
	return err
}

// Mknod makes a file of any type but directory and symlink: the type bits of mode are
// 0 (regular), ModeNamedPipe, ModeSocket, ModeDevice or ModeDevice|ModeCharDevice.
// EINVAL for other types.
func (f *FS) Mknod(name string, mode fs.FileMode, major, minor uint32) error {
	ni := vfs.NewInode{Mode: mode & (permBits | fs.ModeType), RdevMajor: major, RdevMinor: minor}
	switch mode.Type() {
	case 0, fs.ModeNamedPipe, fs.ModeSocket:
		ni.RdevMajor, ni.RdevMinor = 0, 0
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
	default:
		return wrap("mknod", name, syscall.EINVAL)
	}
	return wrap("mknod", name, f.create(name, ni))
}

// Symlink makes newname a symbolic link with the target oldname, which is stored as
// it is.
func (f *FS) Symlink(oldname, newname string) error {
	if oldname == "" || strings.IndexByte(oldname, 0) >= 0 {
		return wrap2("symlink", oldname, newname, syscall.EINVAL)
	}
	err := f.create(newname, vfs.NewInode{Mode: fs.ModeSymlink | 0o777, Target: oldname})
	return wrap2("symlink", oldname, newname, err)
}

// Link makes newname another name of the file oldname; a symbolic link is linked
// itself. A directory is EPERM.
func (f *FS) Link(oldname, newname string) error {
	n, err := f.m.Resolve(oldname, vfs.FollowSlash)
	if err == nil {
		defer n.Put()
		err = f.inDir(newname, func(p vfs.Place) error {
			if p.Slash && p.Node == nil {
				return fs.ErrNotExist
			}
			if err := p.Dir.Link(p.Name, n); err != nil {
				return err
			}
			f.m.TellEntry(p.Dir, p.Name)
			f.m.TellNode(n, 0, 0)
			return nil
		})
	}
	return wrap2("link", oldname, newname, err)
}

// Rename moves oldname to newname, over what newname is if the kinds fit: a file over
// a file, a directory over an empty directory. Two names of one file stay as they
// are.
func (f *FS) Rename(oldname, newname string) error {
	err := f.inDir(oldname, func(from vfs.Place) error {
		return f.inDir(newname, func(to vfs.Place) error {
			switch { // errors in the order of Linux
			case from.Node == nil:
				return fs.ErrNotExist
			case (from.Slash || to.Slash) && !from.Node.IsDir():
				return syscall.ENOTDIR
			}
			if err := from.Dir.Rename(from.Name, to.Dir, to.Name, 0); err != nil {
				return err
			}
			f.tellRename(from, to)
			return nil
		})
	})
	return wrap2("rename", oldname, newname, err)
}

// tellRename lets other front ends know of a rename.
func (f *FS) tellRename(from, to vfs.Place) {
	f.m.TellEntry(from.Dir, from.Name)
	f.m.TellEntry(to.Dir, to.Name)
	f.m.TellNode(from.Node, 0, 0)
	if to.Node != nil {
		f.m.TellNode(to.Node, 0, 0)
	}
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	return wrap("remove", name, f.in(name, func(p vfs.Place) error {
		err := p.Dir.Unlink(p.Name)
		if err == syscall.EISDIR {
			err = p.Dir.Rmdir(p.Name)
		}
		if err == nil {
			f.m.TellEntry(p.Dir, p.Name)
			if p.Node != nil {
				f.m.TellNode(p.Node, 0, 0)
			}
		}
		return err
	}))
}

// RemoveAll removes name and everything below it; what does not exist is no error.
func (f *FS) RemoveAll(name string) error {
	err := f.in(name, func(p vfs.Place) error { return f.removeTree(p.Dir, p.Name, name) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrap("removeall", name, err)
}

// removeBatch is how many entries removeTree lists at a time.
const removeBatch = 256

// removeTree removes an entry of dir and, if that is a directory, everything below.
// Its errors name the path of what could not be removed. Directories are a tree (vfs
// refuses others), so it ends.
func (f *FS) removeTree(dir *vfs.Node, name, where string) error {
	err := dir.Unlink(name)
	if err != syscall.EISDIR {
		f.m.TellEntry(dir, name)
		return ignoreGone(where, err)
	}
	for {
		if err = dir.Rmdir(name); !errors.Is(err, syscall.ENOTEMPTY) {
			f.m.TellEntry(dir, name)
			return ignoreGone(where, err)
		}
		if n, err := f.removeEntries(dir, name, where); err != nil {
			return err
		} else if n == 0 {
			return wrap("removeall", where, syscall.ENOTEMPTY)
		}
	}
}

// removeEntries removes a batch of the entries of the directory name in dir.
func (f *FS) removeEntries(dir *vfs.Node, name, where string) (int, error) {
	child, err := dir.Lookup(name)
	if err != nil {
		return 1, ignoreGone(where, err)
	}
	defer child.Put()
	var names []string
	err = child.ReadDir(0, func(e vfs.Dirent) bool {
		names = append(names, e.Name)
		return len(names) < removeBatch
	})
	if err != nil {
		return 0, wrap("removeall", where, err)
	}
	for _, n := range names {
		if err := f.removeTree(child, n, path.Join(where, n)); err != nil {
			return 0, err
		}
	}
	return len(names), nil
}

// ignoreGone wraps an error, unless it is that somebody else was faster.
func ignoreGone(where string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrap("removeall", where, err)
}

// Readlink returns the target of a symbolic link; EINVAL for anything else.
func (f *FS) Readlink(name string) (target string, err error) {
	err = f.at("readlink", name, vfs.FollowSlash, func(n *vfs.Node) error {
		target, err = n.Readlink()
		return err
	})
	return target, err
}

// Chmod changes the permission bits and setuid, setgid, sticky.
func (f *FS) Chmod(name string, mode fs.FileMode) error {
	return f.setAttr("chmod", name, vfs.FollowAll, vfs.SetAttr{Mode: &mode})
}

// Chown changes the owner; -1 keeps an id.
func (f *FS) Chown(name string, uid, gid int) error {
	return f.chown("chown", name, vfs.FollowAll, uid, gid)
}

// Lchown is Chown on a symbolic link itself.
func (f *FS) Lchown(name string, uid, gid int) error {
	return f.chown("lchown", name, vfs.FollowSlash, uid, gid)
}

func (f *FS) chown(op, name string, follow vfs.Follow, uid, gid int) error {
	a, err := owner(uid, gid)
	if err != nil {
		return wrap(op, name, err)
	}
	return f.setAttr(op, name, follow, a)
}

// owner makes a SetAttr of ids; EINVAL for what is no id.
func owner(uid, gid int) (a vfs.SetAttr, err error) {
	for _, id := range []struct {
		from int
		to   **uint32
	}{{uid, &a.UID}, {gid, &a.GID}} {
		if id.from == -1 {
			continue
		}
		v := uint32(id.from)
		if int64(v) != int64(id.from) {
			return a, syscall.EINVAL
		}
		*id.to = &v
	}
	return a, nil
}

// Chtimes changes access and modification time; a zero time keeps one.
func (f *FS) Chtimes(name string, atime, mtime time.Time) error {
	return f.setAttr("chtimes", name, vfs.FollowAll, times(atime, mtime))
}

// Lchtimes is Chtimes on a symbolic link itself.
func (f *FS) Lchtimes(name string, atime, mtime time.Time) error {
	return f.setAttr("lchtimes", name, vfs.FollowSlash, times(atime, mtime))
}

func times(atime, mtime time.Time) (a vfs.SetAttr) {
	if !atime.IsZero() {
		a.Atime = &atime
	}
	if !mtime.IsZero() {
		a.Mtime = &mtime
	}
	return a
}

func (f *FS) setAttr(op, name string, follow vfs.Follow, a vfs.SetAttr) error {
	return f.at(op, name, follow, func(n *vfs.Node) error {
		defer f.m.TellNode(n, 0, 0)
		return n.SetAttr(a)
	})
}

// Truncate changes a file's size.
func (f *FS) Truncate(name string, size int64) error {
	return f.at("truncate", name, vfs.FollowAll, func(n *vfs.Node) error {
		defer f.m.TellNode(n, 0, -1)
		return n.Truncate(context.Background(), size)
	})
}
