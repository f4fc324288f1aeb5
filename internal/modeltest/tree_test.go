package modeltest

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
)

const pageSize = 4096

// node is a file of any type in the model.
type node struct {
	mode                fs.FileMode // type and permission bits
	uid, gid            uint32
	nlink               uint32
	atime, mtime, ctime int64
	fuzzy               bool // mtime and ctime are what they are, because of stores through views
	major, minor        uint32
	target              string
	xattrs              map[string]string
	ino                 [2]uint64 // as first seen, of each system

	kids   map[string]*node // of a directory
	parent *node

	size    int64
	pages   map[int64]*[pageSize]byte
	uses    int // open handles
	pins    int
	writers int // views with stores, pins with stores
}

func (n *node) isDir() bool     { return n.mode.IsDir() }
func (n *node) isRegular() bool { return n.mode.IsRegular() }
func (n *node) isLink() bool    { return n.mode.Type() == fs.ModeSymlink }
func (n *node) names() []string { return slices.Sorted(maps.Keys(n.kids)) }

// read copies bytes of the file, zeros past its end.
func (n *node) read(b []byte, off int64) {
	for len(b) > 0 {
		in := off % pageSize
		k := min(int64(len(b)), pageSize-in)
		if p := n.pages[off/pageSize]; p != nil {
			copy(b[:k], p[in:])
		} else {
			clear(b[:k])
		}
		b, off = b[k:], off+k
	}
}

// write stores bytes, wherever the end is.
func (n *node) write(b []byte, off int64) {
	for len(b) > 0 {
		in := off % pageSize
		k := min(int64(len(b)), pageSize-in)
		p := n.pages[off/pageSize]
		if p == nil {
			p = new([pageSize]byte)
			n.pages[off/pageSize] = p
		}
		copy(p[in:], b[:k])
		b, off = b[k:], off+k
	}
}

// zero clears a range.
func (n *node) zero(off, end int64) {
	for page, p := range n.pages {
		from, to := max(off, page*pageSize), min(end, (page+1)*pageSize)
		switch {
		case from >= to:
		case to-from == pageSize:
			delete(n.pages, page)
		default:
			clear(p[from%pageSize:][:to-from])
		}
	}
}

// resize sets the size.
func (n *node) resize(size int64) {
	if size < n.size {
		n.zero(size, 1<<62)
	}
	n.size = size
}

// isZero reports whether a range reads as zero.
func (n *node) isZero(off, end int64) bool {
	for page, p := range n.pages {
		from, to := max(off, page*pageSize), min(end, (page+1)*pageSize)
		for i := from; i < to; i++ {
			if p[i%pageSize] != 0 {
				return false
			}
		}
	}
	return true
}

// place is where a path leads.
type place struct {
	dir   *node // nil for the root and for ".." as the last component
	name  string
	n     *node
	slash bool
}

// Ways to treat a link that is the last component.
type follow uint8

const (
	noFollow follow = iota
	followSlash
	followAll
)

// walk resolves a path as path_resolution(7) tells.
func (m *model) walk(path string, how follow) (place, string) {
	var rest []string
	cur, slash, links := m.root, false, 0
	push := func(path string) {
		var comps []string
		for c := range strings.SplitSeq(path, "/") {
			if c != "" {
				comps = append(comps, c)
			}
		}
		if len(rest) == 0 && strings.HasSuffix(path, "/") {
			slash = true
		}
		rest = append(comps, rest...)
	}
	push(path)
	for len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		last := len(rest) == 0
		switch {
		case !cur.isDir():
			return place{}, "ENOTDIR"
		case c == ".":
			continue
		case c == "..":
			cur = cur.parent
			continue
		case len(c) > 255:
			return place{}, "ENAMETOOLONG"
		}
		child := cur.kids[c]
		if child == nil {
			if last {
				return place{cur, c, nil, slash}, ""
			}
			return place{}, "ENOENT"
		}
		if child.isLink() && (!last || how == followAll || how == followSlash && slash) {
			if links++; links > 40 {
				return place{}, "ELOOP"
			}
			if strings.HasPrefix(child.target, "/") {
				cur = m.root
			}
			push(child.target)
			continue
		}
		if last {
			return place{cur, c, child, slash}, ""
		}
		cur = child
	}
	return place{n: cur, slash: slash}, ""
}

// resolve returns what a path leads to.
func (m *model) resolve(path string, how follow) (*node, string) {
	p, e := m.walk(path, how)
	switch {
	case e != "":
		return nil, e
	case p.n == nil:
		return nil, "ENOENT"
	case p.slash && !p.n.isDir():
		return nil, "ENOTDIR"
	}
	return p.n, ""
}

// isAbove reports whether n is d or above it.
func (m *model) isAbove(n, d *node) bool {
	for ; ; d = d.parent {
		if d == n {
			return true
		}
		if d == m.root {
			return false
		}
	}
}

// each calls do for every name below the root, parents first, sorted by name.
func (m *model) each(do func(path string, n *node)) { eachBelow(m.root, "", do) }

func eachBelow(d *node, path string, do func(string, *node)) {
	for _, name := range d.names() {
		kid := d.kids[name]
		p := path + "/" + name
		do(p, kid)
		if kid.isDir() {
			eachBelow(kid, p, do)
		}
	}
}
