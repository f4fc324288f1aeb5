package modeltest

import (
	"io/fs"
	"slices"
	"strings"
)

// handle is an open file of the model.
type handle struct {
	n                 *node
	read, write, appd bool
	uses              int // views and pins
}

// view is a shared mapping or a pin of the model.
type view struct {
	h      *handle
	off, n int64
	write  bool
}

// model is a file system that does what the real ones should.
type model struct {
	root      *node
	blockSize int
	now       int64
	handles   [nhandles]*handle
	views     [nviews]*view
	pins      [npins]*view

	// wholeUnits: the memory is mapped in units of 2 MiB only. Where a file does not have
	// such a unit of frames in a piece it cannot be mapped; [runner.unmappable] knows.
	wholeUnits bool
}

func newModel(blockSize int) *model {
	m := &model{blockSize: blockSize, root: &node{mode: fs.ModeDir | 0o755, nlink: 3, kids: map[string]*node{}, xattrs: map[string]string{}, fuzzy: true}}
	m.root.parent = m.root
	lost := m.newNode(fs.ModeDir | 0o700)
	lost.parent, lost.nlink, lost.fuzzy, lost.atime = m.root, 2, true, anyTime
	m.root.kids["lost+found"] = lost
	return m
}

func (m *model) newNode(mode fs.FileMode) *node {
	n := &node{mode: mode, nlink: 1, atime: m.now, mtime: m.now, ctime: m.now, xattrs: map[string]string{}}
	switch {
	case mode.IsDir():
		n.kids = map[string]*node{}
	case mode.IsRegular():
		n.pages = map[int64]*[pageSize]byte{}
	}
	return n
}

// changed stamps mtime and ctime; while stores through views can do so too nobody
// knows when they will.
func (m *model) changed(n *node) {
	n.mtime, n.ctime, n.fuzzy = m.now, m.now, n.writers > 0
}

func (m *model) touched(n *node) { n.ctime = m.now }

// skip reports whether an operation makes no sense now, and is left out. It also
// keeps from truncating what is pinned, which would wait for ever.
func (m *model) skip(o op) bool {
	h, v, p := m.handles[o.Slot%nhandles], m.views[o.Slot2%nviews], m.pins[o.Slot2%npins]
	switch o.Kind {
	case opOpen:
		if h != nil {
			return true
		}
		if o.Arg&openTrunc != 0 {
			q, _ := m.walk(o.Path, followAll)
			return q.n != nil && q.n.pins > 0
		}
	case opFtruncate, opPunch:
		return h == nil || h.n.pins > 0
	case opClose, opPwrite, opAppend, opPread, opAllocate, opZero, opFsync, opSeekData, opSeekHole, opFstat,
		opExtents, opPrivate:
		return h == nil || o.Kind == opPwrite && h.appd || o.Kind == opAppend && !h.appd ||
			o.Kind == opExtents && !h.n.isRegular()
	case opMmap:
		return h == nil || v != nil
	case opMunmap, opMsync:
		return v == nil
	case opLoad:
		// Bytes between the end of the file and that of its page are nobody's.
		return v == nil || o.Off >= v.n || v.off+o.Off >= v.h.n.size && v.off+o.Off < pageUp(v.h.n.size)
	case opStore:
		return v == nil || o.Off >= v.n || !v.write
	case opPin:
		return h == nil || p != nil
	case opUnpin, opPinLoad:
		return p == nil
	case opPinStore:
		return p == nil || !p.write || o.Off >= p.n
	case opTruncate:
		q, _ := m.walk(o.Path, followAll)
		return q.n != nil && q.n.pins > 0
	}
	return false
}

func pageUp(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// prepare fits an operation to the state: loads end with the file.
func (m *model) prepare(o op) op {
	switch o.Kind {
	case opLoad:
		v := m.views[o.Slot2%nviews]
		o.N = min(o.N, v.n-o.Off)
		if at := v.off + o.Off; at < v.h.n.size {
			o.N = min(o.N, v.h.n.size-at)
		}
	case opStore:
		o.N = min(o.N, m.views[o.Slot2%nviews].n-o.Off)
	case opPinStore:
		o.N = min(o.N, m.pins[o.Slot2%npins].n-o.Off)
	}
	return o
}

// canFill are the operations that may need storage, and so fail with ENOSPC.
var canFill = []kind{
	opOpen, opPwrite, opAppend, opAllocate, opMmap, opPin, opMkdir, opMknod, opRename, opLink, opSymlink, opSetXattr,
}

// mayFill reports whether an operation may need storage. A file that grows does if a view
// has its last page, and that is put together from smaller blocks.
func (m *model) mayFill(o op) bool {
	var n *node
	switch {
	case slices.Contains(canFill, o.Kind):
		return true
	case o.Kind == opFtruncate:
		if h := m.handles[o.Slot%nhandles]; h != nil {
			n = h.n
		}
	case o.Kind == opTruncate:
		n, _ = m.resolve(o.Path, followAll)
	}
	return n != nil && m.blockSize < pageSize && n.size%pageSize != 0 && o.N > n.size && m.used(n)
}

// used reports whether there are views or pins of a file.
func (m *model) used(n *node) bool {
	is := func(v *view) bool { return v != nil && v.h.n == n }
	return slices.ContainsFunc(m.views[:], is) || slices.ContainsFunc(m.pins[:], is)
}

func fails(e string) outcome { return outcome{err: e} }

// do executes an operation. got is what the file system said: the model does not know how
// much room there is, and where holes are.
func (m *model) do(o op, got outcome) outcome {
	if got.err == "ENOSPC" && m.mayFill(o) {
		if o.Kind == opPwrite || o.Kind == opAppend {
			o.N = got.n
			if want := m.doHandle(o, got); want.err != "" {
				return want
			}
		}
		return outcome{err: "ENOSPC", n: got.n}
	}
	switch {
	case o.Kind <= opPinStore:
		return m.doHandle(o, got)
	case o.Kind <= opSymlink:
		return m.doName(o)
	}
	return m.doNode(o)
}

func (m *model) doHandle(o op, got outcome) outcome {
	switch o.Kind {
	case opOpen:
		return fails(m.open(o))
	case opMunmap, opLoad, opStore, opMsync:
		return m.doView(o, got)
	case opUnpin, opPinLoad, opPinStore:
		return m.doPin(o)
	}
	h := m.handles[o.Slot]
	n := h.n
	switch o.Kind {
	case opClose:
		if h.uses > 0 {
			return fails("EBUSY")
		}
		m.handles[o.Slot] = nil
		n.uses--
		return outcome{}
	case opFstat:
		return m.stat(n)
	case opFsync, opExtents:
		return outcome{}
	}
	switch o.Kind {
	case opAllocate, opPunch, opZero:
		if o.N <= 0 || o.Off < 0 {
			return fails("EINVAL")
		}
	case opFtruncate:
		if o.N < 0 {
			return fails("EINVAL")
		}
	}
	if !n.isRegular() {
		if o.Kind == opSeekData || o.Kind == opSeekHole {
			return fails("EINVAL") // a directory can only be rewound
		}
		return fails("EISDIR")
	}
	switch o.Kind {
	case opPread, opMmap, opPin, opPrivate:
		if !h.read {
			return fails("EBADF")
		}
	}
	switch o.Kind {
	case opPwrite, opAppend, opFtruncate, opAllocate, opPunch, opZero:
		if !h.write {
			return fails("EBADF")
		}
	case opMmap, opPin:
		if o.Arg&1 != 0 && !h.write {
			return fails("EBADF")
		}
	}
	if o.Off < 0 {
		return fails("EINVAL")
	}
	switch o.Kind {
	case opPread:
		k := max(min(o.N, n.size-o.Off), 0)
		b := make([]byte, k)
		n.read(b, o.Off)
		return outcome{n: k, data: string(b)}
	case opPwrite, opAppend:
		off := o.Off
		if h.appd {
			off = n.size
		}
		if o.N > 0 {
			n.write(filled(o.N, o.Arg), off)
			n.resize(max(n.size, off+o.N))
			m.changed(n)
		}
		return outcome{n: o.N}
	case opFtruncate:
		n.resize(o.N)
		m.changed(n)
	case opAllocate:
		n.resize(max(n.size, o.Off+o.N))
		m.changed(n)
	case opPunch, opZero:
		n.zero(o.Off, o.Off+o.N)
		m.changed(n)
	case opSeekData, opSeekHole:
		return m.seek(n, o, got)
	case opMmap:
		if m.wholeUnits && got.err == errNotMappable {
			n.fuzzy = n.fuzzy || o.Arg&1 != 0 // holes may have been filled before
			return got
		}
		m.views[o.Slot2] = m.use(h, o)
	case opPrivate:
		if m.wholeUnits && got.err == errNotMappable {
			return got
		}
		b := make([]byte, max(min(o.N, n.size-o.Off), 0))
		n.read(b, o.Off)
		return outcome{data: string(b)}
	case opPin:
		if o.N > n.size-o.Off {
			return fails(errBeyond)
		}
		if got.err == errNotMappable && o.Arg&1 == 0 && m.mayHaveHole(n, o.Off, o.N) {
			return got
		}
		m.pins[o.Slot2] = m.use(h, o)
		n.pins++
	}
	return outcome{}
}

// mayHaveHole reports whether a page of the range is all zeros.
func (m *model) mayHaveHole(n *node, off, length int64) bool {
	for page := off / pageSize; page*pageSize < off+length; page++ {
		if n.isZero(page*pageSize, (page+1)*pageSize) {
			return true
		}
	}
	return false
}

// seek accepts every answer that the bytes allow: a hole is where the file system
// says that it is, if only zeros are there.
func (m *model) seek(n *node, o op, got outcome) outcome {
	switch {
	case o.Off >= n.size:
		return fails("ENXIO")
	case o.Kind == opSeekData && got.err == "ENXIO":
		if n.isZero(o.Off, n.size) {
			return got
		}
		return outcome{n: -1}
	case got.err != "" || got.n < o.Off || got.n > n.size:
		return outcome{n: -1}
	case o.Kind == opSeekData && (got.n == n.size || !n.isZero(o.Off, got.n)):
		return outcome{n: -1}
	case o.Kind == opSeekHole && got.n < n.size && !n.isZero(got.n, min(got.n/512*512+512, n.size)):
		return outcome{n: -1}
	}
	return got
}

// open opens a file, and returns the error's class.
func (m *model) open(o op) string {
	create, excl := o.Arg&openCreate != 0, o.Arg&(openCreate|openExcl) == openCreate|openExcl
	write, trunc := o.Arg&openWrite != 0, o.Arg&openTrunc != 0
	how := followAll
	if excl {
		how = noFollow
	}
	p, e := m.walk(o.Path, how)
	n := p.n
	switch {
	case e != "":
		return e
	case create && p.slash:
		return "EISDIR"
	case n == nil && !create:
		return "ENOENT"
	case n == nil:
		n = m.newNode(o.Mode)
		m.add(p, n)
		trunc = false
	case excl:
		return "EEXIST"
	case n.isDir() && (create || write || trunc):
		return "EISDIR"
	case p.slash && !n.isDir():
		return "ENOTDIR"
	case !n.isDir() && !n.isRegular():
		return "ENXIO"
	}
	if trunc {
		n.resize(0)
		m.changed(n)
	}
	m.handles[o.Slot] = &handle{n: n, read: !write || o.Arg&openRead != 0, write: write, appd: o.Arg&openAppend != 0}
	n.uses++
	return ""
}

// add gives a new node its name.
func (m *model) add(p place, n *node) {
	if p.dir.mode&fs.ModeSetgid != 0 {
		n.gid = p.dir.gid
		if n.isDir() {
			n.mode |= fs.ModeSetgid
		}
	}
	p.dir.kids[p.name] = n
	if n.isDir() {
		n.parent = p.dir
		n.nlink = 2
		p.dir.nlink++
	}
	m.changed(p.dir)
}

// drop removes a name.
func (m *model) drop(d *node, name string) {
	n := d.kids[name]
	delete(d.kids, name)
	m.gone(d, n)
	m.changed(d)
}

// gone notes that n has lost a name in d.
func (m *model) gone(d, n *node) {
	n.nlink--
	if n.isDir() {
		n.nlink = 0
		d.nlink--
	}
	m.touched(n)
}

// in is the walk to a name that is to be made, removed or moved.
func (m *model) in(path string) (place, string) {
	p, e := m.walk(path, noFollow)
	if e == "" && p.dir == nil {
		e = "EBUSY"
	}
	return p, e
}

// stat is what stat says of a node.
func (m *model) stat(n *node) outcome {
	st := &attrs{
		mode: n.mode, nlink: n.nlink, uid: n.uid, gid: n.gid, major: n.major, minor: n.minor, size: n.size,
		atime: n.atime, mtime: n.mtime, ctime: n.ctime,
	}
	if n.isLink() {
		st.size = int64(len(n.target))
	}
	if n.fuzzy {
		st.mtime, st.ctime = anyTime, anyTime
	}
	return outcome{st: st, node: n}
}

// anyTime in an expectation is met by every time.
const anyTime = -1 << 40

// pathOf returns the path that leads to n, for messages.
func (m *model) pathOf(n *node) string {
	var found []string
	m.each(func(p string, k *node) {
		if k == n {
			found = append(found, p)
		}
	})
	return strings.Join(found, " ")
}
