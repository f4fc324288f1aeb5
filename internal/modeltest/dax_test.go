package modeltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"godax"
	"godax/dax"
	"godax/fs/ext"
	"godax/pmem"
	"godax/vfs"
)

// system is a file system that executes operations.
type system interface {
	do(o op) outcome
	close() error
}

// daxSystem is godax on a device.
type daxSystem struct {
	dev     pmem.Device
	carrier string
	now     func() time.Time
	trace   func(dax.Trace)
	huge    *hugeStats // looked for in new views, if not nil
	tracked bool       // views that store are mapped in small pages

	fs      *godax.FS
	handles [nhandles]*godax.File
	views   [nviews]*godax.Mapping
	pins    [npins]*godax.Pin
}

func (s *daxSystem) open() (err error) {
	s.fs, err = godax.OpenDevice(s.dev, godax.Options{
		Carrier: s.carrier, Now: s.now, Drivers: []vfs.Driver{ext.Traced(s.trace)},
	})
	return err
}

// close gives everything back, views and pins first.
func (s *daxSystem) close() error {
	var errs []error
	for i, v := range s.views {
		if v != nil {
			errs = append(errs, v.Close())
			s.views[i] = nil
		}
	}
	for i, p := range s.pins {
		if p != nil {
			p.Release()
			s.pins[i] = nil
		}
	}
	for i, h := range s.handles {
		if h != nil {
			errs = append(errs, h.Close())
			s.handles[i] = nil
		}
	}
	return errors.Join(append(errs, s.fs.Close())...)
}

// flags translates the flags of opOpen.
func flags(arg int64) int {
	f := os.O_RDONLY
	switch {
	case arg&openWrite != 0 && arg&openRead != 0:
		f = os.O_RDWR
	case arg&openWrite != 0:
		f = os.O_WRONLY
	}
	for _, x := range []struct {
		bit int64
		to  int
	}{{openCreate, os.O_CREATE}, {openExcl, os.O_EXCL}, {openTrunc, os.O_TRUNC}, {openAppend, os.O_APPEND}} {
		if arg&x.bit != 0 {
			f |= x.to
		}
	}
	return f
}

func only(err error) outcome { return outcome{err: class(err)} }

func (s *daxSystem) do(o op) outcome {
	switch {
	case o.Kind == opOpen:
		f, err := s.fs.OpenFile(o.Path, flags(o.Arg), o.Mode)
		if err == nil {
			s.handles[o.Slot] = f
		}
		return only(err)
	case o.Kind == opReopen:
		if err := s.close(); err != nil {
			return only(err)
		}
		return only(s.open())
	case o.Kind == opSync:
		return only(s.fs.Sync())
	case o.Kind <= opPinStore:
		return s.doHandle(o)
	case o.Kind <= opSymlink:
		return only(s.doName(o))
	}
	return s.doNode(o)
}

func (s *daxSystem) doHandle(o op) outcome {
	f, v, p := s.handles[o.Slot%nhandles], s.views[o.Slot2%nviews], s.pins[o.Slot2%npins]
	switch o.Kind {
	case opClose:
		err := f.Close()
		if err == nil {
			s.handles[o.Slot] = nil
		}
		return only(err)
	case opPwrite:
		n, err := f.WriteAt(filled(max(o.N, 0), o.Arg), o.Off)
		return outcome{err: class(err), n: int64(n)}
	case opAppend:
		n, err := f.Write(filled(o.N, o.Arg))
		return outcome{err: class(err), n: int64(n)}
	case opPread:
		b := make([]byte, o.N)
		n, err := f.ReadAt(b, o.Off)
		return outcome{err: class(err), n: int64(n), data: string(b[:n])}
	case opFtruncate:
		return only(f.Truncate(o.N))
	case opAllocate:
		return only(f.Allocate(o.Off, o.N))
	case opPunch:
		return only(f.PunchHole(o.Off, o.N))
	case opZero:
		return only(f.ZeroRange(o.Off, o.N))
	case opFsync:
		return only(f.Sync())
	case opSeekData, opSeekHole:
		whence := godax.SeekData
		if o.Kind == opSeekHole {
			whence = godax.SeekHole
		}
		n, err := f.Seek(o.Off, whence)
		return outcome{err: class(err), n: n}
	case opFstat:
		fi, err := f.Stat()
		return outcome{err: class(err), st: attrsOf(fi)}
	case opExtents:
		return checkExtents(f)
	case opMmap:
		flags := godax.MapShared
		if o.Arg&1 != 0 {
			flags |= godax.MapWrite
		}
		v, err := f.Mmap(o.Off, int(o.N), flags)
		if err == nil {
			s.views[o.Slot2] = v
			if s.huge != nil && !(s.tracked && o.Arg&1 != 0) {
				err = s.huge.look(f, v, o)
			}
		}
		return only(err)
	case opMunmap:
		s.views[o.Slot2] = nil
		return only(v.Close())
	case opLoad:
		b := make([]byte, o.N)
		n, err := pieces(v, o.Off, b, func(mapped, b []byte) { copy(b, mapped) })
		return outcome{err: class(err), n: n, data: string(b[:n])}
	case opStore:
		n, err := pieces(v, o.Off, filled(o.N, o.Arg), func(mapped, b []byte) { copy(mapped, b) })
		return outcome{err: class(err), n: n}
	case opMsync:
		return only(v.Sync())
	case opPrivate:
		return private(f, o)
	case opPin:
		p, err := f.Pin(o.Off, int(o.N), o.Arg&1 != 0)
		if err == nil {
			s.pins[o.Slot2] = p
		}
		return only(err)
	case opUnpin:
		p.Release()
		s.pins[o.Slot2] = nil
		return outcome{}
	case opPinLoad:
		return outcome{data: string(slices.Concat(p.Slices()...))}
	}
	b, off := filled(o.N, o.Arg), o.Off // opPinStore
	for _, slice := range p.Slices() {
		if off < int64(len(slice)) {
			b = b[copy(slice[off:], b):]
			off = 0
		} else {
			off -= int64(len(slice))
		}
	}
	return only(p.Sync())
}

// pieces copies between a view and b page by page, until an access fails. It returns
// how many bytes were copied before.
func pieces(v *godax.Mapping, off int64, b []byte, move func(mapped, b []byte)) (n int64, err error) {
	for n < int64(len(b)) {
		k := min(int64(len(b))-n, pageSize-(off+n)%pageSize)
		err := v.Do(func(m []byte) error {
			move(m[off+n:][:k], b[n:][:k])
			return nil
		})
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// private maps a range, stores over it, and returns what was there. The stores must not
// reach the file, which later reads find out.
func private(f *godax.File, o op) outcome {
	v, err := f.Mmap(o.Off, int(o.N), godax.MapPrivate|godax.MapWrite)
	if err != nil {
		return only(err)
	}
	fi, err := f.Stat()
	if err != nil {
		return only(err)
	}
	b := make([]byte, max(min(o.N, fi.Size()-o.Off), 0))
	_, err = pieces(v, 0, b, func(mapped, b []byte) {
		copy(b, mapped)
		for i := range mapped {
			mapped[i] ^= 0xff
		}
	})
	return outcome{err: class(errors.Join(err, v.Close())), data: string(b)}
}

// checkExtents looks at the rules for Extents: no gaps, up to the last page, and holes read
// as zero.
func checkExtents(f *godax.File) outcome {
	fi, err := f.Stat()
	if err != nil {
		return only(err)
	}
	var end int64
	var zero [64 << 10]byte
	for e, err := range f.Extents() {
		switch {
		case err != nil:
			return only(err)
		case e.Off != end || e.Len <= 0 || e.Len%pageSize != 0:
			return fails(fmt.Sprintf("extent %+v does not follow %d", e, end))
		case (e.Kind == godax.Direct || e.Kind == godax.Cached) != (e.PFN != 0):
			return fails(fmt.Sprintf("extent %+v with this frame", e))
		}
		end = e.Off + e.Len
		if e.Kind == godax.Hole {
			n := min(e.Len, int64(len(zero)))
			b := make([]byte, n)
			if _, err := f.ReadAt(b, e.Off); err != nil && err != io.EOF && class(err) != "EBADF" {
				return only(err)
			}
			if string(b) != string(zero[:n]) {
				return fails(fmt.Sprintf("hole %+v does not read as zero", e))
			}
		}
	}
	if end != pageUp(fi.Size()) {
		return fails(fmt.Sprintf("extents end at %d, file at %d", end, fi.Size()))
	}
	return outcome{}
}

func (s *daxSystem) doName(o op) error {
	switch o.Kind {
	case opTruncate:
		return s.fs.Truncate(o.Path, o.N)
	case opMkdir:
		return s.fs.Mkdir(o.Path, o.Mode)
	case opMknod:
		return s.fs.Mknod(o.Path, o.Mode, uint32(o.Arg>>8), uint32(o.Arg&0xff))
	case opRemove:
		return s.fs.Remove(o.Path)
	case opRemoveAll:
		return s.fs.RemoveAll(o.Path)
	case opRename:
		return s.fs.Rename(o.Path, o.Path2)
	case opLink:
		return s.fs.Link(o.Path, o.Path2)
	}
	return s.fs.Symlink(o.Path, o.Path2)
}

func (s *daxSystem) doNode(o op) outcome {
	var data string
	var err error
	switch o.Kind {
	case opReadlink:
		data, err = s.fs.Readlink(o.Path)
	case opChmod:
		err = s.fs.Chmod(o.Path, o.Mode)
	case opChown:
		err = s.fs.Chown(o.Path, int(o.Arg), int(o.N))
	case opLchown:
		err = s.fs.Lchown(o.Path, int(o.Arg), int(o.N))
	case opChtimes:
		err = s.fs.Chtimes(o.Path, unixTime(o.Arg), unixTime(o.N))
	case opSetXattr:
		err = s.fs.LSetXattr(o.Path, o.Name, filled(o.N, o.Arg), godax.XattrFlag(o.Mode))
	case opXattr:
		var b []byte
		b, err = s.fs.LXattr(o.Path, o.Name)
		data = string(b)
	case opListXattr:
		var names []string
		names, err = s.fs.LListXattr(o.Path)
		data = strings.Join(names, "\n")
	case opRemoveXattr:
		err = s.fs.LRemoveXattr(o.Path, o.Name)
	case opReadDir:
		data, err = s.readDir(o.Path, int(o.N))
	case opStat, opLstat:
		stat := s.fs.Stat
		if o.Kind == opLstat {
			stat = s.fs.Lstat
		}
		fi, err := stat(o.Path)
		return outcome{err: class(err), st: attrsOf(fi)}
	}
	return outcome{err: class(err), data: data}
}

// readDir lists a directory, n entries at a time or with 0 all at once.
func (s *daxSystem) readDir(path string, n int) (string, error) {
	f, err := s.fs.OpenFile(path+"/", os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var all []fs.DirEntry
	for {
		entries, err := f.ReadDir(n)
		all = append(all, entries...)
		if err != nil && err != io.EOF {
			return "", err
		}
		if n <= 0 || err == io.EOF {
			return listing(all), nil
		}
	}
}

// listing is the names and types, sorted.
func listing(entries []fs.DirEntry) string {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.Name() + " " + e.Type().String() + "\n")
	}
	return b.String()
}

// unixTime is the zero time for 0.
func unixTime(sec int64) (t time.Time) {
	if sec != 0 {
		t = time.Unix(sec, 0)
	}
	return t
}

// attrsOf takes what can be compared; nil of nil.
func attrsOf(fi fs.FileInfo) *attrs {
	if fi == nil {
		return nil
	}
	st := fi.Sys().(*godax.Stat)
	a := &attrs{
		mode: fi.Mode(), nlink: st.Nlink, uid: st.UID, gid: st.GID, major: st.RdevMajor, minor: st.RdevMinor,
		size: fi.Size(), atime: st.Atime.Unix(), mtime: fi.ModTime().Unix(), ctime: st.Ctime.Unix(), ino: st.Ino,
	}
	if fi.IsDir() {
		a.size = 0
	}
	return a
}
