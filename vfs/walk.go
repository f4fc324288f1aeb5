package vfs

import (
	"io/fs"
	"strings"
	"syscall"
)

// Bounds of a path walk.
const (
	maxSymlinks = 40      // as in Linux: the next one is ELOOP
	maxPathLen  = 1 << 16 // bytes of a path with its links expanded; longer is ENAMETOOLONG
)

const (
	errNotDir = syscall.ENOTDIR
	errIsDir  = syscall.EISDIR
)

// Follow says what a walk does when the last component is a symbolic link.
type Follow uint8

const (
	NoFollow    Follow = iota // stop at the link, trailing slash or not
	FollowSlash               // follow it if slashes come after it
	FollowAll                 // follow it
)

// Place is where a path leads. Put gives its references back.
type Place struct {
	Dir   *Node  // the directory that holds the last component; nil for the root, "." and ".."
	Name  string // the last component, or "/", ".", ".."
	Node  *Node  // what is there; nil if nothing is
	Slash bool   // the path ends with a slash, so that it means a directory
}

// Put gives the references back.
func (p Place) Put() {
	if p.Dir != nil {
		p.Dir.Put()
	}
	if p.Node != nil {
		p.Node.Put()
	}
}

// Walk resolves a path, from the image's root whether it starts with a slash or not.
// A last component that does not exist is no error. What it found may change as soon as it
// returns.
//
// Errors: fs.ErrNotExist, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL for a NUL byte,
// fs.ErrClosed.
func (m *Mount) Walk(path string, follow Follow) (Place, error) {
	if strings.IndexByte(path, 0) >= 0 {
		return Place{}, syscall.EINVAL
	}
	root, err := m.Root()
	if err != nil {
		return Place{}, err
	}
	w := walk{m: m, cur: root, rest: path}
	p, err := w.run(follow)
	if err != nil {
		w.cur.Put()
		return Place{}, err
	}
	return p, nil
}

// Resolve returns the Node that a path leads to; fs.ErrNotExist if there is none. The
// last component may be a symbolic link only with NoFollow or FollowSlash.
func (m *Mount) Resolve(path string, follow Follow) (*Node, error) {
	p, err := m.Walk(path, follow)
	if err != nil {
		return nil, err
	}
	if p.Dir != nil {
		p.Dir.Put()
	}
	if p.Node == nil {
		return nil, fs.ErrNotExist
	}
	if p.Slash && p.Node.dir == nil {
		p.Node.Put()
		return nil, errNotDir
	}
	return p.Node, nil
}

// walk is a path walk on its way. It has a reference to cur, until run returns nil.
type walk struct {
	m     *Mount
	cur   *Node
	rest  string
	links int
}

// run walks to the end.
func (w *walk) run(follow Follow) (Place, error) {
	special := "/" // name of cur if no component is left
	slash := false
	for {
		trimmed := strings.TrimLeft(w.rest, "/")
		if trimmed == "" {
			return Place{Name: special, Node: w.cur, Slash: slash || w.rest != ""}, nil
		}
		var name string
		name, w.rest, _ = strings.Cut(trimmed, "/")
		slash = len(name) < len(trimmed)
		last := strings.TrimLeft(w.rest, "/") == ""
		if w.cur.dir == nil {
			return Place{}, errNotDir
		}
		switch name {
		case ".":
			special = name
			continue
		case "..":
			special = name
			if err := w.up(); err != nil {
				return Place{}, err
			}
			continue
		}
		next, err := w.cur.Lookup(name)
		if err != nil {
			if last && isNotExist(err) {
				return Place{Dir: w.cur, Name: name, Slash: slash}, nil
			}
			return Place{}, err
		}
		followed := !last || follow == FollowAll || follow == FollowSlash && slash
		if next.typ == fs.ModeSymlink && followed {
			// The slashes after the link stay, so that what it leads to must be a directory.
			if slash {
				w.rest = "/" + w.rest
			}
			if err := w.expand(next); err != nil {
				return Place{}, err
			}
			special = "/"
			continue
		}
		if last {
			return Place{Dir: w.cur, Name: name, Node: next, Slash: slash}, nil
		}
		w.cur.Put()
		w.cur = next
	}
}

// up moves to the parent directory; above the root is the root.
func (w *walk) up() error {
	parent, err := w.cur.Parent()
	if err != nil {
		return err
	}
	w.cur.Put()
	w.cur = parent
	return nil
}

// expand puts the link's target before the rest of the path, and takes the reference.
func (w *walk) expand(link *Node) error {
	target, err := link.Readlink()
	link.Put()
	if err != nil {
		return err
	}
	if w.links++; w.links > maxSymlinks {
		return syscall.ELOOP
	}
	if target == "" {
		return fs.ErrNotExist
	}
	if strings.IndexByte(target, 0) >= 0 {
		return corrupt("inode %d: symbolic link with a NUL byte", link.ino)
	}
	if len(target)+len(w.rest) > maxPathLen {
		return syscall.ENAMETOOLONG
	}
	if target[0] == '/' {
		root, err := w.m.Root()
		if err != nil {
			return err
		}
		w.cur.Put()
		w.cur = root
	}
	w.rest = target + w.rest
	return nil
}
