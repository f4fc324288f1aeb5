// Package profile learns which pages of which files a program touches, and what it would
// cost and save to have them in place in an AXFS image.
package profile

import (
	"errors"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"sync"

	"godax/fs/axfs/build"
	"godax/vfs"
)

// pageSize is the unit of a recorder: the smallest page of the format.
const pageSize = 4096

// manyPages is how many pages a range may have to be counted page by page at once.
const manyPages = 256

// Recorder notes which pages are touched. Its method Touched is made for
// godax.Options.Touched and vfs.Config.Touched. The zero value is ready.
//
// What it sees depends on who asks. A program over a FUSE mount without read-ahead asks for
// each page once, when it touches it first: the kernel keeps it. A mapping of this process
// is filled when it is made, so all its pages count.
type Recorder struct {
	mu    sync.Mutex // guards what follows
	files map[uint64]*touches
}

// touches are the pages of one file.
type touches struct {
	count map[uint64]uint64 // by page
	long  []pageRange       // ranges that were too long for count, which may reach past the end
}

type pageRange struct{ first, last uint64 }

// Touched notes that n bytes at off were asked for.
func (r *Recorder) Touched(ino uint64, off, n int64) {
	if off < 0 || n <= 0 {
		return
	}
	last := off + min(n, math.MaxInt64-off) - 1
	p := pageRange{uint64(off) / pageSize, uint64(last) / pageSize}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		r.files = make(map[uint64]*touches)
	}
	t := r.files[ino]
	if t == nil {
		t = &touches{count: make(map[uint64]uint64)}
		r.files[ino] = t
	}
	if p.last-p.first >= manyPages {
		t.long = append(t.long, p)
		return
	}
	t.add(p)
}

// add counts the pages of a range.
func (t *touches) add(p pageRange) {
	for page := p.first; page <= p.last; page++ {
		t.count[page]++
	}
}

// lines are the touched pages of a file of size bytes.
func (t *touches) lines(p string, size int64) build.Profile {
	if size <= 0 {
		return nil
	}
	end := uint64(size-1) / pageSize
	for _, l := range t.long {
		if l.first <= end {
			t.add(pageRange{l.first, min(l.last, end)})
		}
	}
	t.long = nil
	var list build.Profile
	for page, count := range t.count {
		if page <= end {
			list = append(list, build.ProfileLine{Path: p, Offset: int64(page * pageSize), Count: count})
		}
	}
	slices.SortFunc(list, func(a, b build.ProfileLine) int { return int(min(1, max(-1, a.Offset-b.Offset))) })
	return list
}

// errTwice is a directory in itself, in a damaged file system.
var errTwice = errors.New("directory was met before under another name")

// Profile is the page list of what was touched so far. It walks the file system for the
// names; a file with several gets all its pages under the first one.
func (r *Recorder) Profile(m *vfs.Mount) (build.Profile, error) {
	root, err := m.Root()
	if err != nil {
		return nil, err
	}
	defer root.Put()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := walker{r: r, seen: make(map[uint64]bool)}
	if err := w.dir(root, ""); err != nil {
		return nil, err
	}
	return w.list, nil
}

// walker looks for the names of touched files.
type walker struct {
	r    *Recorder
	seen map[uint64]bool // inodes
	list build.Profile
}

// dir looks into a directory.
func (w *walker) dir(dir *vfs.Node, p string) error {
	if w.seen[dir.Ino()] {
		return &fs.PathError{Op: "readdir", Path: p, Err: errTwice}
	}
	w.seen[dir.Ino()] = true
	var entries []vfs.Dirent
	if err := dir.ReadDir(0, func(e vfs.Dirent) bool { entries = append(entries, e); return true }); err != nil {
		return &fs.PathError{Op: "readdir", Path: p, Err: err}
	}
	slices.SortFunc(entries, func(a, b vfs.Dirent) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		if err := w.entry(dir, e, path.Join(p, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// entry looks at one file.
func (w *walker) entry(dir *vfs.Node, e vfs.Dirent, p string) error {
	t := w.r.files[e.Ino]
	if t == nil && !e.Type.IsDir() && e.Type != fs.ModeIrregular {
		return nil
	}
	n, err := dir.Lookup(e.Name)
	if err != nil {
		return &fs.PathError{Op: "lookup", Path: p, Err: err}
	}
	defer n.Put()
	if n.IsDir() {
		return w.dir(n, p)
	}
	if t != nil && !w.seen[n.Ino()] {
		w.seen[n.Ino()] = true
		w.list = append(w.list, t.lines(p, n.Attr().Size)...)
	}
	return nil
}
