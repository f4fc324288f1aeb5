package modeltest

import (
	"io/fs"
	"maps"
	"slices"
	"strings"

	"godax"
)

// doName executes the operations that make, remove and move names.
func (m *model) doName(o op) outcome {
	switch o.Kind {
	case opTruncate:
		n, e := m.resolve(o.Path, followAll)
		switch {
		case e != "":
		case n.isDir():
			e = "EISDIR"
		case !n.isRegular() || o.N < 0:
			e = "EINVAL"
		default:
			n.resize(o.N)
			m.changed(n)
		}
		return fails(e)
	case opMkdir:
		return fails(m.make(o.Path, m.newNode(fs.ModeDir|o.Mode)))
	case opMknod:
		n := m.newNode(o.Mode)
		if o.Mode&fs.ModeDevice != 0 {
			n.major, n.minor = uint32(o.Arg>>8), uint32(o.Arg&0xff)
		}
		return fails(m.make(o.Path, n))
	case opSymlink:
		n := m.newNode(fs.ModeSymlink | 0o777)
		n.target = o.Path
		return fails(m.make(o.Path2, n))
	case opRemove:
		return fails(m.remove(o.Path))
	case opRemoveAll:
		return fails(m.removeAll(o.Path))
	case opRename:
		return fails(m.rename(o.Path, o.Path2))
	}
	return fails(m.link(o.Path, o.Path2))
}

// make gives a new node a name.
func (m *model) make(path string, n *node) string {
	p, e := m.in(path)
	switch {
	case e == "EBUSY":
		return "EEXIST"
	case e != "":
		return e
	case p.n != nil:
		return "EEXIST"
	case p.slash && !n.isDir():
		return "ENOENT"
	case len(n.target) >= m.blockSize:
		return "ENAMETOOLONG"
	}
	m.add(p, n)
	return ""
}

func (m *model) remove(path string) string {
	p, e := m.in(path)
	switch {
	case e != "":
		return e
	case p.n == nil:
		return "ENOENT"
	case p.slash && !p.n.isDir():
		return "ENOTDIR"
	case len(p.n.kids) > 0:
		return "ENOTEMPTY"
	}
	m.drop(p.dir, p.name)
	return ""
}

func (m *model) removeAll(path string) string {
	p, e := m.in(path)
	switch {
	case e == "ENOENT" || e == "" && p.n == nil:
		return ""
	case e != "":
		return e
	case p.slash && !p.n.isDir():
		return "ENOTDIR"
	}
	var clear func(d *node, name string)
	clear = func(d *node, name string) {
		n := d.kids[name]
		for _, kid := range n.names() {
			clear(n, kid)
		}
		m.drop(d, name)
	}
	clear(p.dir, p.name)
	return ""
}

func (m *model) rename(from, to string) string {
	p, e := m.in(from)
	if e != "" {
		return e
	}
	q, e := m.in(to)
	switch {
	case e != "":
		return e
	case p.n == nil:
		return "ENOENT"
	case !p.n.isDir() && (p.slash || q.slash):
		return "ENOTDIR"
	case p.n.isDir() && m.isAbove(p.n, q.dir):
		return "EINVAL"
	case q.n != nil && q.n.isDir() && m.isAbove(q.n, p.dir):
		return "ENOTEMPTY"
	case p.n == q.n:
		return ""
	case q.n == nil:
	case p.n.isDir() && !q.n.isDir():
		return "ENOTDIR"
	case !p.n.isDir() && q.n.isDir():
		return "EISDIR"
	case len(q.n.kids) > 0:
		return "ENOTEMPTY"
	}
	delete(p.dir.kids, p.name)
	if q.n != nil {
		m.gone(q.dir, q.n)
	}
	q.dir.kids[q.name] = p.n
	if p.n.isDir() {
		p.n.parent = q.dir
		p.dir.nlink--
		q.dir.nlink++
	}
	m.changed(p.dir)
	m.changed(q.dir)
	m.touched(p.n)
	return ""
}

func (m *model) link(from, to string) string {
	n, e := m.resolve(from, followSlash)
	if e != "" {
		return e
	}
	p, e := m.in(to)
	switch {
	case e == "EBUSY" || e == "" && p.n != nil:
		return "EEXIST"
	case e != "":
		return e
	case p.slash:
		return "ENOENT"
	case n.isDir():
		return "EPERM"
	}
	p.dir.kids[p.name] = n
	n.nlink++
	m.changed(p.dir)
	m.touched(n)
	return ""
}

// doNode executes the operations on what a path leads to.
func (m *model) doNode(o op) outcome {
	how := followAll
	switch o.Kind {
	case opReadlink, opLchown, opSetXattr, opXattr, opListXattr, opRemoveXattr, opLstat:
		how = followSlash
	case opSync, opReopen:
		return outcome{}
	}
	n, e := m.resolve(o.Path, how)
	if e != "" {
		return fails(e)
	}
	switch o.Kind {
	case opReadlink:
		if !n.isLink() {
			return fails("EINVAL")
		}
		return outcome{data: n.target}
	case opChmod:
		n.mode = n.mode.Type() | o.Mode
		m.touched(n)
	case opChown, opLchown:
		if o.Arg >= 0 {
			n.uid = uint32(o.Arg)
		}
		if o.N >= 0 {
			n.gid = uint32(o.N)
		}
		m.touched(n)
	case opChtimes:
		if o.Arg != 0 {
			n.atime = o.Arg
		}
		if o.N != 0 {
			n.mtime = o.N
			n.fuzzy = n.writers > 0
		}
		n.ctime = m.now
	case opReadDir:
		if !n.isDir() {
			return fails("ENOTDIR")
		}
		var b strings.Builder
		for _, name := range n.names() {
			b.WriteString(name + " " + n.kids[name].mode.Type().String() + "\n")
		}
		return outcome{data: b.String()}
	case opStat, opLstat:
		return m.stat(n)
	case opListXattr:
		return outcome{data: strings.Join(slices.Sorted(maps.Keys(n.xattrs)), "\n")}
	default:
		return m.xattr(n, o)
	}
	return outcome{}
}

func (m *model) xattr(n *node, o op) outcome {
	value, exists := n.xattrs[o.Name]
	known := strings.HasPrefix(o.Name, "user.") || strings.HasPrefix(o.Name, "trusted.") || strings.HasPrefix(o.Name, "security.")
	flag := godax.XattrFlag(o.Mode)
	switch {
	case !known:
		return fails("ENOTSUP")
	case o.Kind == opSetXattr && exists && flag&godax.XattrCreate != 0:
		return fails("EEXIST")
	case o.Kind == opSetXattr && !exists && flag&godax.XattrReplace != 0, o.Kind != opSetXattr && !exists:
		return fails("ENODATA")
	}
	switch o.Kind {
	case opXattr:
		return outcome{data: value}
	case opSetXattr:
		n.xattrs[o.Name] = string(filled(o.N, o.Arg))
	case opRemoveXattr:
		delete(n.xattrs, o.Name)
	}
	m.touched(n)
	return outcome{}
}
