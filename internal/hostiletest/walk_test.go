package hostiletest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"godax"
	"godax/internal/daxtest"
	"godax/pmem"
)

// Bounds of what one walk does. An image can claim more names than it has blocks
// (a directory linked into itself, a block listed by every pointer of an indirect
// block): a careful reader stops somewhere, and so does this one.
const (
	maxNames = 50_000
	maxBytes = 1 << 30
)

// walker reads everything an image has to offer and counts.
type walker struct {
	f        *godax.FS
	names    int
	errors   int
	bytes    int64
	deadline time.Duration // of the processor time
	buf      []byte
	seen     map[uint64]bool
}

var errDeadline = errors.New("too slow")

// readAll opens the image on dev, walks it and reads all there is. What the image
// answers with is its own business; the error is errDeadline if it took too long.
func readAll(dev pmem.Device, limit time.Duration) (w walker, err error) {
	w = walker{deadline: daxtest.CPUTime() + limit, buf: make([]byte, 256<<10), seen: map[uint64]bool{}}
	w.f, err = godax.OpenDevice(dev, godax.Options{ReadOnly: true, CacheBytes: 8 << 20})
	if err != nil {
		return w, w.late()
	}
	w.f.Info()
	w.dir("/")
	if err := w.f.Close(); err != nil {
		return w, fmt.Errorf("close: %w", err)
	}
	return w, w.late()
}

func (w *walker) late() error {
	if daxtest.CPUTime() > w.deadline {
		return errDeadline
	}
	return nil
}

func (w *walker) note(err error) bool {
	if err != nil {
		w.errors++
	}
	return err == nil
}

// dir walks one directory; a directory met again is not entered.
func (w *walker) dir(name string) {
	entries, err := w.f.ReadDir(name)
	w.note(err)
	for _, e := range entries {
		if w.names++; w.names > maxNames || w.late() != nil {
			return
		}
		p := path.Join(name, e.Name())
		info, err := w.f.Lstat(p)
		if !w.note(err) {
			continue
		}
		w.xattrs(p)
		switch info.Mode().Type() {
		case fs.ModeDir:
			if st, ok := info.Sys().(*godax.Stat); ok && !w.seen[st.Ino] {
				w.seen[st.Ino] = true
				w.dir(p)
			}
		case fs.ModeSymlink:
			_, err := w.f.Readlink(p)
			w.note(err)
			_, err = w.f.Stat(p)
			w.note(err)
		case 0:
			w.file(p)
		}
	}
}

func (w *walker) xattrs(p string) {
	names, err := w.f.LListXattr(p)
	w.note(err)
	for _, n := range names {
		_, err := w.f.LXattr(p, n)
		w.note(err)
	}
}

// file reads the data of a file, hole after hole.
func (w *walker) file(p string) {
	f, err := w.f.Open(p)
	if !w.note(err) {
		return
	}
	defer f.Close()
	n := 0
	for _, err := range f.Extents() {
		if n++; !w.note(err) || n > 1000 || w.late() != nil {
			break
		}
	}
	if m, err := f.Mmap(0, 16*pmem.PageSize, godax.MapShared); w.note(err) {
		w.note(m.Do(func(b []byte) error { w.bytes += int64(b[0]) & 1; return nil }))
		w.note(m.Close())
	}
	const seekData, seekHole = 3, 4
	for off := int64(0); w.bytes < maxBytes && w.late() == nil; {
		data, err := f.Seek(off, seekData)
		if err != nil {
			return
		}
		hole, err := f.Seek(data, seekHole)
		if !w.note(err) {
			return
		}
		for off = data; off < hole && w.bytes < maxBytes && w.late() == nil; {
			n, err := f.ReadAt(w.buf[:min(int64(len(w.buf)), hole-off)], off)
			w.bytes += int64(n)
			off += int64(n)
			if err != nil && err != io.EOF {
				w.errors++
				off += pmem.PageSize - off%pmem.PageSize
			} else if n == 0 {
				return
			}
		}
	}
}

// writeSome opens the image for writing and changes a little of everything. Errors
// are fine.
func writeSome(dev pmem.Device, limit time.Duration) error {
	deadline := daxtest.CPUTime() + limit
	f, err := godax.OpenDevice(dev, godax.Options{CacheBytes: 8 << 20})
	if err != nil {
		return nil
	}
	names := []string{"a new file"}
	if entries, err := f.ReadDir("/"); err == nil {
		for _, e := range entries[:min(len(entries), 20)] {
			names = append(names, e.Name())
		}
	}
	b := make([]byte, 20_000)
	for _, n := range names {
		_ = f.Mkdir(path.Join(n, "dir"), 0o755)
		_ = f.Rename(path.Join(n, "dir"), "moved dir")
		_ = f.SetXattr(n, "user.test", b[:300], 0)
		if h, err := f.CreateSized(n+" sized", 5000, godax.CreateOptions{}); err == nil {
			_, _ = h.WriteAt(b[:100], 4000)
			_ = h.Close()
		}
		if h, err := f.OpenFile(n, os.O_RDWR|os.O_CREATE, 0o644); err == nil {
			_, _ = h.WriteAt(b, 5000)
			_ = h.PunchHole(4000, 9000)
			_ = h.Truncate(7000)
			_, _ = h.WriteAt(b, 100_000)
			_ = h.Sync()
			_ = h.Close()
		}
		_ = f.Link(n, n+" link")
		_ = f.Rename(n, n+" renamed")
		_ = f.Remove(n + " link")
		_ = f.RemoveAll(n + " renamed")
		if daxtest.CPUTime() > deadline {
			return errDeadline
		}
	}
	if err := f.Close(); err != nil {
		var open *godax.OpenError
		if errors.As(err, &open) {
			return err // something leaked a reference
		}
	}
	if daxtest.CPUTime() > deadline {
		return errDeadline
	}
	return nil
}
