package vfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"godax/dax"
	"godax/vm"
)

// Use is a kind of long-lived use that keeps an open file from being closed.
type Use uint8

const (
	UseMapping Use = iota
	UsePin
	useKinds
)

// useNames are the kinds as errors name them.
var useNames = [useKinds]string{"mapping", "pin"}

// Handle is an open file or directory: an inode, the flags it was opened with, and
// what it has yet to report. It keeps the inode, and by that the storage of an
// unlinked file, until Close.
type Handle struct {
	n    *Node
	file File // nil for a directory; immutable

	// mapping is that of file, if it is open for reading. It stays nil as long as the file has none.
	mapping atomic.Pointer[dax.Mapping]

	flag int // immutable
	name string

	// mu guards uses and since, and is held by Close. It comes before every inode lock.
	mu    sync.Mutex
	uses  [useKinds]int
	since uint64 // how many of the mapping's writeback errors were reported

	// closed is written with mu and the inode lock exclusive, so that holding either
	// keeps the file open.
	closed atomic.Bool
}

// accMode is the mask of the access mode in the open flags.
const accMode = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

// Open opens the inode n with flags of package os (O_CREATE and O_EXCL are the
// caller's), and syscall.O_DIRECTORY. name is what an [OpenError] calls it. The Handle has a
// reference of its own.
//
// Errors: EISDIR for a directory opened for writing, ENOTDIR, ELOOP for a symbolic
// link, ENXIO for a device, pipe or socket, EROFS, fs.ErrClosed.
func (n *Node) Open(ctx context.Context, flag int, name string) (*Handle, error) {
	write := flag&accMode != os.O_RDONLY
	switch {
	case n.typ == fs.ModeSymlink:
		return nil, syscall.ELOOP
	case n.dir != nil && (write || flag&os.O_TRUNC != 0):
		return nil, errIsDir
	case n.dir == nil && flag&syscall.O_DIRECTORY != 0:
		return nil, errNotDir
	case n.dir == nil && n.file == nil:
		return nil, syscall.ENXIO
	case write || flag&os.O_TRUNC != 0:
		if err := n.m.writable(); err != nil {
			return nil, err
		}
	}
	if o, ok := n.inode.(Opener); ok {
		if err := o.Open(write || flag&os.O_TRUNC != 0); err != nil {
			return nil, err
		}
	}
	h := &Handle{n: n, file: n.file, flag: flag, name: name}
	if n.file != nil {
		if index := n.index(); index != nil {
			h.since = index.WritebackErrors()
			if h.Readable() {
				h.mapping.Store(index)
			}
		}
		n.opened.Store(true)
	}
	m := n.m
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return nil, fs.ErrClosed
	}
	m.refLocked(n)
	m.handles[h] = struct{}{}
	if write {
		n.writers++
	}
	m.mu.Unlock()
	if flag&os.O_TRUNC != 0 {
		if err := n.Truncate(ctx, 0); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// Node is the open inode. It is the Handle's reference.
func (h *Handle) Node() *Node { return h.n }

// File is the driver's file; nil for a directory.
func (h *Handle) File() File { return h.file }

// Name is the name given to Open.
func (h *Handle) Name() string { return h.name }

// Readable reports whether the open flags allow reading.
func (h *Handle) Readable() bool { return h.flag&accMode != os.O_WRONLY }

// Writable reports whether the open flags allow writing.
func (h *Handle) Writable() bool { return h.flag&accMode != os.O_RDONLY }

// Append reports whether the file was opened with O_APPEND.
func (h *Handle) Append() bool { return h.flag&os.O_APPEND != 0 }

// Close closes the file, after calls that are running. With mappings or pins alive it
// is an [*OpenError] and the file stays open.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return fs.ErrClosed
	}
	if h.uses != [useKinds]int{} {
		return &OpenError{Open: []string{h.describeLocked()}}
	}
	h.n.mu.Lock()
	h.closed.Store(true)
	h.n.mu.Unlock()
	m := h.n.m
	m.mu.Lock()
	delete(m.handles, h)
	if h.Writable() {
		h.n.writers--
	}
	last := h.Writable() && h.n.writers == 0
	m.mu.Unlock()
	if r, ok := h.n.inode.(Releaser); ok && last {
		r.Release()
	}
	h.n.Put()
	return nil
}

// describeLocked is the file's name with its uses: "/a: 2 mappings, 1 pin".
func (h *Handle) describeLocked() string {
	var uses []string
	for kind, n := range h.uses {
		switch {
		case n == 1:
			uses = append(uses, "1 "+useNames[kind])
		case n > 1:
			uses = append(uses, fmt.Sprintf("%d %ss", n, useNames[kind]))
		}
	}
	if uses == nil {
		return h.name
	}
	return h.name + ": " + strings.Join(uses, ", ")
}

// Hold registers a use, to be given back with Release; fs.ErrClosed.
func (h *Handle) Hold(u Use) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return fs.ErrClosed
	}
	h.uses[u]++
	h.n.held.Add(1)
	return nil
}

// Release gives a use back.
func (h *Handle) Release(u Use) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uses[u]--
	h.n.held.Add(-1)
}

// Ref takes a reference to the inode, to be Put, for a call that runs without its
// lock; fs.ErrClosed.
func (h *Handle) Ref() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return fs.ErrClosed
	}
	h.n.Ref()
	return nil
}

// Attr returns the attributes.
func (h *Handle) Attr() (Attr, error) {
	h.n.mu.RLock()
	defer h.n.mu.RUnlock()
	if h.closed.Load() {
		return Attr{}, fs.ErrClosed
	}
	return h.n.inode.Attr(), nil
}

// checkIO returns why the file cannot be read or written, if so. The inode lock is held.
func (h *Handle) checkIO(allowed bool, off int64) error {
	switch {
	case h.closed.Load():
		return fs.ErrClosed
	case h.file == nil:
		return errIsDir
	case !allowed:
		return syscall.EBADF
	case off < 0:
		return syscall.EINVAL
	}
	return nil
}

// ReadAt reads len(b) bytes at off; fewer without an error at the end of the file.
// Errors: EISDIR, EBADF, EINVAL, fs.ErrClosed, and those of the driver.
//
// Bytes that the file's mapping knows the frames of are copied without the inode lock,
// which is looked at before and after; the driver does not hear of it.
func (h *Handle) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	h.Touched(off, int64(len(b)))
	if h.readHit(b, off) {
		return len(b), nil
	}
	if err := h.n.mu.RW.RLock(ctx); err != nil {
		return 0, err
	}
	defer h.n.mu.RUnlock()
	if err := h.checkIO(h.Readable(), off); err != nil || len(b) == 0 {
		return 0, err
	}
	n, err := h.file.ReadAt(ctx, b, off)
	if err == io.EOF {
		err = nil
	}
	h.findMapping()
	return n, err
}

// findMapping notes the file's index for readHit, if it has one.
func (h *Handle) findMapping() {
	if h.mapping.Load() == nil && h.Readable() {
		h.mapping.Store(h.n.index())
	}
}

// Touched tells Config.Touched of n bytes at off, for uses that give their bytes away without
// ReadAt: a view, a pin.
func (h *Handle) Touched(off, n int64) {
	if t := h.n.m.touched; t != nil && h.file != nil && off >= 0 && n > 0 {
		t(h.n.ino, off, n)
	}
}

// readHit reads all of b without the lock, or does nothing and returns false. Closing takes
// the lock, and so shows as well.
func (h *Handle) readHit(b []byte, off int64) bool {
	v, ok := h.n.mu.Version()
	m := h.mapping.Load()
	return ok && m != nil && !h.closed.Load() && m.ReadHit(b, off) && h.n.mu.Unchanged(v)
}

// ReadPieces is ReadAt for who can use the bytes where they are, in the frames of the file, see
// [dax.Mapping.ReadPieces]. Unless n is 0 the inode is locked, shared, until [Handle.ReadDone]:
// the caller uses the pieces and calls it, and nothing else of the Mount in between.
func (h *Handle) ReadPieces(ctx context.Context, b []byte, off int64, pieces [][]byte) (_ [][]byte, n int, err error) {
	h.Touched(off, int64(len(b)))
	if err := h.n.mu.RW.RLock(ctx); err != nil {
		return pieces, 0, err
	}
	if err = h.checkIO(h.Readable(), off); err == nil {
		pieces, n, err = h.file.Mapping().ReadPieces(ctx, b, off, h.file, pieces)
	}
	if n == 0 {
		h.n.mu.RUnlock()
	}
	return pieces, n, err
}

// ReadDone ends the use of what ReadPieces returned.
func (h *Handle) ReadDone() { h.n.mu.RUnlock() }

// WriteAt writes b at off, or at the end with O_APPEND. With O_SYNC it is durable when
// it returns. Errors: as ReadAt, EFBIG, ENOSPC.
func (h *Handle) WriteAt(ctx context.Context, b []byte, off int64) (int, error) {
	n, _, err := h.Write(ctx, b, off)
	return n, err
}

// Write is WriteAt that also returns the offset after what it wrote.
func (h *Handle) Write(ctx context.Context, b []byte, off int64) (n int, end int64, err error) {
	return h.write(ctx, b, off, h.Append())
}

// WriteEnd writes b at the end of the file, however it was opened, and returns the offset
// after it.
func (h *Handle) WriteEnd(ctx context.Context, b []byte) (n int, end int64, err error) {
	return h.write(ctx, b, 0, true)
}

func (h *Handle) write(ctx context.Context, b []byte, off int64, atEnd bool) (n int, end int64, err error) {
	n, end, err = h.writeLocked(ctx, b, off, atEnd)
	if err == nil && n > 0 && h.flag&os.O_SYNC != 0 {
		err = h.Sync(ctx, true)
	}
	return n, end, err
}

// writeLocked takes the inode lock and writes.
func (h *Handle) writeLocked(ctx context.Context, b []byte, off int64, atEnd bool) (n int, end int64, err error) {
	if err := h.n.mu.RW.Lock(ctx); err != nil {
		return 0, off, err
	}
	defer h.n.mu.Unlock()
	if err := h.checkIO(h.Writable(), off); err != nil {
		return 0, off, err
	}
	if atEnd {
		off = h.file.Attr().Size
	}
	if len(b) == 0 {
		return 0, off, nil
	}
	if int64(len(b)) > math.MaxInt64-off {
		return 0, off, syscall.EFBIG
	}
	n, err = h.file.WriteAt(ctx, b, off)
	return n, off + int64(n), err
}

// change runs f with the inode lock exclusive, for a file open for writing.
func (h *Handle) change(ctx context.Context, f func(File) error) error {
	if err := h.n.mu.RW.Lock(ctx); err != nil {
		return err
	}
	defer h.n.mu.Unlock()
	if err := h.checkIO(h.Writable(), 0); err != nil {
		return err
	}
	return f(h.file)
}

// Truncate changes the size. It waits for pins of what is cut off.
func (h *Handle) Truncate(ctx context.Context, size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	return h.change(ctx, func(f File) error { return f.Truncate(ctx, size) })
}

// Allocate changes what holds the n bytes at off; see [AllocMode]. EINVAL for an empty range,
// EFBIG.
func (h *Handle) Allocate(ctx context.Context, mode AllocMode, off, n int64) error {
	switch {
	case off < 0 || n <= 0:
		return syscall.EINVAL
	case n > math.MaxInt64-off:
		return syscall.EFBIG
	}
	return h.change(ctx, func(f File) error { return f.Allocate(ctx, mode, off, n) })
}

// SetAttr changes attributes of the open inode.
func (h *Handle) SetAttr(a SetAttr) error {
	if err := h.Ref(); err != nil {
		return err
	}
	defer h.n.Put()
	return h.n.SetAttr(a)
}

// ReadDir is [Node.ReadDir] of the open directory.
func (h *Handle) ReadDir(pos uint64, yield func(Dirent) bool) error {
	if err := h.Ref(); err != nil {
		return err
	}
	defer h.n.Put()
	return h.n.ReadDir(pos, yield)
}

// Sync makes the file durable; with dataOnly times may be left out. Besides its own error it returns
// one of writing back that happened since this Handle last looked, once.
func (h *Handle) Sync(ctx context.Context, dataOnly bool) error {
	return h.syncWith(func() error { return h.n.sync(ctx, dataOnly) })
}

// SyncRange makes the n bytes at off durable, with the metadata needed to find them, and says
// what it had to do. Errors as Sync.
func (h *Handle) SyncRange(ctx context.Context, off, n int64) (st dax.WritebackStats, err error) {
	if h.file == nil {
		return st, errIsDir
	}
	err = h.syncWith(func() error {
		var err error
		if st, err = h.n.writeback(ctx, off, n); err != nil || h.n.m.readOnly {
			return err
		}
		return h.n.m.fs.Sync(ctx)
	})
	return st, err
}

// Detach takes a view off the file. If it turns out to have stored to the file, that
// changes the file's times.
func (h *Handle) Detach(v vm.View) error {
	collected := &h.file.Mapping().Stats().Collected
	before := collected.Load()
	err := h.file.Mapping().Detach(v)
	if v.Flags().SharedWrite() && collected.Load() != before {
		err = cmp.Or(err, h.n.stored())
	}
	return err
}

// syncWith runs one form of sync and reports each error once.
func (h *Handle) syncWith(sync func() error) error {
	if err := h.Ref(); err != nil {
		return err
	}
	defer h.n.Put()
	err := sync()
	if h.file == nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return cmp.Or(err, h.file.Mapping().WritebackError(&h.since))
}

// Extent returns the extent that byte off lies in; ENXIO at or past the end.
func (h *Handle) Extent(off int64) (Extent, error) {
	h.n.mu.RLock()
	defer h.n.mu.RUnlock()
	return h.extentLocked(off)
}

// extentLocked is Extent with the inode lock held.
func (h *Handle) extentLocked(off int64) (Extent, error) {
	if err := h.checkIO(true, off); err != nil {
		return Extent{}, err
	}
	size := h.file.Attr().Size
	if off >= size {
		return Extent{}, syscall.ENXIO
	}
	e, err := h.file.Extent(off)
	if err != nil {
		return Extent{}, err
	}
	if e.Off > off || e.Len <= off-e.Off {
		return Extent{}, corrupt("inode %d: extent at %d of %d bytes does not hold offset %d", h.n.ino, e.Off, e.Len, off)
	}
	e.Len = min(e.Len, size-e.Off)
	return e, nil
}

// SeekExtent returns the first offset at or after off that is in a hole (or unwritten), or is
// not. The end of the file counts as a hole. ENXIO: off is at or past the end, or no
// data follows.
func (h *Handle) SeekExtent(off int64, hole bool) (int64, error) {
	h.n.mu.RLock()
	defer h.n.mu.RUnlock()
	e, err := h.extentLocked(off)
	for err == nil && (e.Kind != ExtentData) != hole {
		off = e.Off + e.Len
		if hole && off >= h.file.Attr().Size {
			return off, nil
		}
		e, err = h.extentLocked(off)
	}
	if err != nil {
		return 0, err
	}
	return off, nil
}
