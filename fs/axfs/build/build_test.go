package build

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"godax/internal/axfsdec"
)

// memFile is a file of a tree in memory.
type memFile struct {
	attr   Attr
	data   []byte
	target string
	holes  bool // runs of zeros are holes
}

// memTree is a tree in memory: files by their path, "." is the root.
type memTree map[string]*memFile

// newTree makes a tree with an empty root.
func newTree() memTree { return memTree{".": {attr: Attr{Mode: fs.ModeDir | 0o755}}} }

// add puts a file into the tree, and the directories that it needs.
func (t memTree) add(p string, f *memFile) {
	if dir := path.Dir(p); t[dir] == nil {
		t.add(dir, &memFile{attr: Attr{Mode: fs.ModeDir | 0o755}})
	}
	f.attr.ID = ID{1, uint64(len(t)) + 1}
	if f.attr.Mode.IsRegular() {
		f.attr.Size = int64(len(f.data))
	}
	t[p] = f
}

// file puts a regular file into the tree.
func (t memTree) file(p string, data []byte) { t.add(p, &memFile{attr: Attr{Mode: 0o644}, data: data}) }

func (t memTree) get(p string) (*memFile, error) {
	if f := t[p]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

func (t memTree) Lstat(p string) (Attr, error) {
	f, err := t.get(p)
	if err != nil {
		return Attr{}, err
	}
	return f.attr, nil
}

// ReadDir returns names in the order of a map: none.
func (t memTree) ReadDir(p string) ([]string, error) {
	var names []string
	for q := range t {
		if q != "." && path.Dir(q) == p {
			names = append(names, path.Base(q))
		}
	}
	return names, nil
}

func (t memTree) Readlink(p string) (string, error) {
	f, err := t.get(p)
	if err != nil {
		return "", err
	}
	return f.target, nil
}

func (t memTree) Open(p string) (Reader, error) {
	f, err := t.get(p)
	if err != nil {
		return nil, err
	}
	return &memReader{bytes.NewReader(f.data), f}, nil
}

// memReader reads a memFile; holes are blocks of 4096 zeros.
type memReader struct {
	*bytes.Reader
	f *memFile
}

func (r *memReader) Close() error { return nil }

func (r *memReader) Seek(off int64, whence int) (int64, error) {
	if whence != SeekData && whence != SeekHole {
		return r.Reader.Seek(off, whence)
	}
	size := int64(len(r.f.data))
	for at := off; at < size; at = at/4096*4096 + 4096 {
		hole := r.f.holes && isZero(r.f.data[at/4096*4096:min(size, at/4096*4096+4096)])
		if hole == (whence == SeekHole) {
			return at, nil
		}
	}
	if whence == SeekData || off >= size {
		return 0, syscall.ENXIO
	}
	return size, nil
}

func isZero(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

// memTarget is an image in memory.
type memTarget struct {
	mu sync.Mutex // guards b
	b  []byte
}

func (m *memTarget) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if need := int(off) + len(p); need > len(m.b) {
		m.b = append(m.b, make([]byte, need-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memTarget) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = append(m.b, make([]byte, max(0, int(size)-len(m.b)))...)[:size]
	return nil
}

// image builds an image of a tree in memory.
func image(t testing.TB, src Source, o Options) ([]byte, *Stats) {
	t.Helper()
	o.TempDir = t.TempDir()
	var out memTarget
	st, err := Build(t.Context(), src, &out, o)
	if err != nil {
		t.Fatal(err)
	}
	return out.b, st
}

// check decodes an image and compares it with the tree it was made of.
func (t memTree) check(tb testing.TB, o Options, parts ...[]byte) *axfsdec.Image {
	tb.Helper()
	im, err := axfsdec.Decode(parts...)
	if err != nil {
		tb.Fatal(err)
	}
	if len(im.Entries) != len(t) {
		tb.Errorf("%d inodes for %d files", len(im.Entries), len(t))
	}
	for _, e := range im.Entries {
		f := t[path.Join(".", e.Path)]
		if f == nil {
			tb.Errorf("%q is in no tree", e.Path)
			continue
		}
		mode := uint32(f.attr.Mode.Perm())
		for _, bit := range []struct {
			mode fs.FileMode
			unix uint32
		}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
			if f.attr.Mode&bit.mode != 0 {
				mode |= bit.unix
			}
		}
		kind, size, want := uint32(axfsdec.TypeFile), uint64(len(f.data)), f.data
		switch f.attr.Mode.Type() {
		case fs.ModeDir:
			kind, size = axfsdec.TypeDir, e.Size
		case fs.ModeSymlink:
			kind, size, want = axfsdec.TypeSymlink, uint64(len(f.target)), []byte(f.target)
		case fs.ModeNamedPipe:
			kind = axfsdec.TypeFIFO
		case fs.ModeSocket:
			kind = axfsdec.TypeSocket
		case fs.ModeDevice:
			kind = axfsdec.TypeBlock
		case fs.ModeDevice | fs.ModeCharDevice:
			kind = axfsdec.TypeChar
		}
		if f.attr.Mode&fs.ModeDevice != 0 {
			major, minor := uint64(f.attr.Major), uint64(f.attr.Minor)
			size = minor&0xff | major<<8 | minor>>8<<20
		}
		uid, gid := uint64(f.attr.UID), uint64(f.attr.GID)
		if o.AllRoot {
			uid, gid = 0, 0
		}
		if e.Mode != kind|mode || e.UID != uid || e.GID != gid || e.Size != size {
			tb.Errorf("%q is %#o, %d:%d, size %d; want %v, %d:%d, %d", e.Path, e.Mode, e.UID, e.GID, e.Size, f.attr.Mode, uid, gid, size)
		}
		got, err := im.Data(e)
		if err != nil {
			tb.Error(err)
		} else if !bytes.Equal(got, want) {
			tb.Errorf("%q: contents differ", e.Path)
		}
		checkTail(tb, im, e)
	}
	return im
}

// checkTail checks that an XIP page has zeros after the end of the file.
func checkTail(tb testing.TB, im *axfsdec.Image, e *axfsdec.Entry) {
	tb.Helper()
	last := len(e.Nodes) - 1
	if last < 0 || e.Nodes[last].Kind != 'X' {
		return
	}
	page, _, err := im.XIPPage(e.Nodes[last].Index)
	if err != nil {
		tb.Fatal(err)
	}
	if n := e.Size % im.PageSize; n != 0 && !isZero(page[n:]) {
		tb.Errorf("%q: the last page goes on after the end of the file", e.Path)
	}
}

// entry is the entry at a path.
func entry(tb testing.TB, im *axfsdec.Image, p string) *axfsdec.Entry {
	tb.Helper()
	i := slices.IndexFunc(im.Entries, func(e *axfsdec.Entry) bool { return e.Path == p })
	if i < 0 {
		tb.Fatalf("no %q in the image", p)
	}
	return im.Entries[i]
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed, n int) []byte {
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	b := make([]byte, n)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

// prose returns n bytes that compress.
func prose(seed, n int) []byte {
	words := strings.Fields("page frame image direct cached block table region inode node zlib tree depth name")
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		b.WriteString(words[(i*7+seed+i*i/5)%len(words)])
		b.WriteByte(" \n"[i%9/8])
	}
	return b.Bytes()[:n]
}

func TestCancelled(t *testing.T) {
	src := newTree()
	for i := range 50 {
		src.file(path.Join("d", string(rune('a'+i))), noise(i, 300<<10))
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	o := Options{TempDir: t.TempDir(), Progress: func(int64, int64) {
		if n++; n == 20 {
			cancel()
		}
	}}
	if _, err := Build(ctx, src, new(memTarget), o); err != context.Canceled {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

// failing fails after some bytes.
type failing struct {
	memTarget
	after int
}

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	f.after -= len(p)
	full := f.after < 0
	f.mu.Unlock()
	if full {
		return 0, io.ErrShortWrite
	}
	return f.memTarget.WriteAt(p, off)
}

func TestTargetFails(t *testing.T) {
	src := newTree()
	src.file("a", noise(1, 3<<20))
	src.file("b", prose(1, 3<<20))
	for _, mode := range []Mode{ModeNone, ModeAll} {
		_, err := Build(t.Context(), src, &failing{after: 1 << 20}, Options{TempDir: t.TempDir(), XIP: XIP{Mode: mode}})
		if err == nil || !strings.Contains(err.Error(), io.ErrShortWrite.Error()) {
			t.Errorf("mode %d: error is %v, want %v", mode, err, io.ErrShortWrite)
		}
	}
}
