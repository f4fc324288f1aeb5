package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"godax"
)

// copyBuffer is the size of one read and one write: whole huge pages, so that the
// destination can give them whole ones.
const copyBuffer = 4 << 20

// copier is one run of cp.
type copier struct {
	*app
	recursive, archive bool

	src              source
	dstDir           string // host directory that dst is the root of
	dst              sink
	srcName, dstName name            // of the arguments, for messages
	mustDir          bool            // the destination was written as "new/": only a directory can become it
	special          bool            // the destination is a device, pipe or socket of the host, named by the user
	imageFiles       map[fileID]bool // host files of the open images; true: of the destination

	bar   *progress
	buf   []byte
	seen  map[fileID]bool    // directories of the source, to end cycles
	made  map[fileID]bool    // directories made in an image, to not copy them into themselves
	links map[fileKey]string // first copy of a file with several names

	lostXattrs int   // attributes that the destination did not take
	lostErr    error // why, for the first
}

var (
	errSameFile = errors.New("source and destination are the same file")
	errOwnImage = errors.New("is the image itself, which is open")
)

// fileKey tells files of all sources apart.
type fileKey struct {
	src source
	id  fileID
}

// measure adds up the sizes of the files below p, for the bar. Errors come again
// when the files are copied.
func (c *copier) measure(from source, p string) int64 {
	seen := make(map[fileID]bool)
	var add func(p string, at attrs) int64
	add = func(p string, at attrs) int64 {
		if at.mode.IsRegular() {
			return at.size
		}
		if !at.mode.IsDir() || seen[at.id] || c.stopped() {
			return 0
		}
		seen[at.id] = true
		total := int64(0)
		names, _ := from.ReadDir(p)
		for _, n := range names {
			if next, err := from.Lstat(from.Join(p, n)); err == nil {
				total += add(from.Join(p, n), next)
			}
		}
		return total
	}
	at, err := from.Stat(p)
	if err != nil {
		return 0
	}
	return add(p, at)
}

// summary reports what could not be kept.
func (c *copier) summary() error {
	if c.lostXattrs == 0 {
		return nil
	}
	return fmt.Errorf("cp: extended attributes that could not be kept: %d, the first: %w", c.lostXattrs, c.lostErr)
}

// complain reports an error with a file of the source.
func (c *copier) complain(p string, err error) {
	c.bar.clear()
	n := c.srcName
	n.path = p
	c.warn(failure("cp", n.String(), err))
}

// copy copies the file from to the path to and reports errors. top is set for an
// argument.
func (c *copier) copy(from, to string, top bool) {
	look := c.src.Lstat
	if top && !c.recursive {
		look = c.src.Stat
	}
	at, err := look(from)
	where := path.Clean("/" + to)
	switch {
	case err != nil:
	case top && c.mustDir && !at.mode.IsDir():
		err = c.destination(where, syscall.ENOTDIR)
	case top && c.special && at.mode.IsRegular():
		// Replacing it as below would take /dev/null or /dev/stdout from the host.
		err = c.destination(where, errors.New("not a regular file (use cat to write into it)"))
	default:
		err = c.copyFile(from, to, at, where)
	}
	if err != nil && !c.stopped() {
		c.complain(from, err)
	}
}

// copyFile makes to a copy of from. where is to for messages.
func (c *copier) copyFile(from, to string, at attrs, where string) error {
	if at.mode.IsDir() {
		return c.copyDir(from, to, at, where)
	}
	if _, host := c.src.(hostSource); host && c.imageFiles[at.id] {
		return errOwnImage // reading it while it is written gives no image
	}
	if _, host := c.src.(hostSource); host && !c.recursive && isStream(at.mode) {
		return c.copyStream(from, to, at, where)
	}
	if !c.recursive && !at.mode.IsRegular() {
		return errors.New("not a regular file (use -r or -a)")
	}
	if c.archive && at.nlink > 1 && c.fixed() == nil {
		if first, ok := c.links[fileKey{c.src, at.id}]; ok {
			if err := c.makeRoom(to, at, false); err != nil {
				return c.destination(where, err)
			}
			return c.destination(where, c.dst.Link(first, to))
		}
		c.links[fileKey{c.src, at.id}] = to
	}
	if err := c.makeRoom(to, at, at.mode.IsRegular()); err != nil {
		return c.destination(where, err)
	}
	switch {
	case at.mode.IsRegular():
		if err := c.copyData(from, to, at, where); err != nil {
			return err
		}
	case at.mode.Type() == fs.ModeSymlink:
		target, err := c.src.Readlink(from)
		if err != nil {
			return err
		}
		if err := c.dst.Symlink(target, to); err != nil {
			return c.destination(where, err)
		}
	default:
		if err := c.dst.Mknod(to, at.mode.Type()|c.newMode(at), at.major, at.minor); err != nil {
			return c.destination(where, err)
		}
	}
	return c.keep(from, to, at, where)
}

// destination says that the trouble is at the other side.
func (c *copier) destination(where string, err error) error {
	if err == nil {
		return nil
	}
	n := c.dstName
	if n.inImage() {
		n.path = where
	} else {
		n.path = filepath.Join(c.dstDir, where)
	}
	return &destError{n.String(), err}
}

// destError is an error with the destination of a copy.
type destError struct {
	name string
	err  error
}

func (e *destError) Error() string { return "to " + printable(e.name) + ": " + reason(e.err) }
func (e *destError) Unwrap() error { return e.err }

// makeRoom removes what is at to, unless keep is set and it is a regular file. A
// directory is an error.
func (c *copier) makeRoom(to string, at attrs, keep bool) error {
	old, err := c.dst.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.sameFile(old, at) {
		return errSameFile
	}
	if _, host := c.dst.(hostSink); host {
		if _, own := c.imageFiles[old.id]; own {
			return errOwnImage // cutting it takes the memory away under the mapping
		}
	}
	if old.mode.IsDir() {
		return syscall.EISDIR
	}
	if keep && old.mode.IsRegular() {
		return nil
	}
	return c.dst.Remove(to)
}

// sameFile reports whether the destination's file is the source's.
func (c *copier) sameFile(dst, src attrs) bool {
	return c.sameStore() && dst.id == src.id
}

// newMode is the permissions that a file is made with.
func (c *copier) newMode(at attrs) fs.FileMode {
	switch {
	case !c.archive:
		return at.mode.Perm() &^ 0o022
	case at.mode.IsDir():
		return 0o700 // the final mode comes last
	}
	return 0o600
}

// copyDir copies a directory and what is below it.
func (c *copier) copyDir(from, to string, at attrs, where string) error {
	if !c.recursive {
		return errors.New("is a directory (use -r or -a)")
	}
	if c.seen[at.id] || len(c.seen) > 0 && c.made[at.id] && c.sameStore() {
		return errors.New("directory was copied before, or is the copy itself")
	}
	c.seen[at.id] = true
	mode, mkdir := c.newMode(at), c.dst.Mkdir
	switch sink := c.fixed(); {
	case sink != nil:
		mkdir = func(p string, _ fs.FileMode) error { return sink.MkdirOwned(p, c.final(at)) }
	case !c.archive:
		mode |= 0o700
	}
	switch err := mkdir(to, mode); {
	case errors.Is(err, fs.ErrExist):
		old, lerr := c.dst.Lstat(to)
		if lerr == nil && !old.mode.IsDir() {
			lerr = errors.New("exists and is not a directory")
		} else if lerr == nil && c.sameFile(old, at) {
			lerr = errSameFile
		}
		if lerr != nil {
			return c.destination(where, lerr)
		}
	case err != nil:
		return c.destination(where, err)
	}
	if made, err := c.dst.Lstat(to); err == nil && c.sameStore() {
		if c.made == nil {
			c.made = make(map[fileID]bool)
		}
		c.made[made.id] = true
	}
	names, err := c.src.ReadDir(from)
	if err != nil {
		c.complain(from, err)
	}
	for _, n := range names {
		if c.stopped() {
			return c.ctx.Err()
		}
		if badName(n) {
			c.complain(from, fmt.Errorf("entry %q is not a file name", n))
			continue
		}
		c.copy(c.src.Join(from, n), path.Join(to, n), false)
	}
	if !c.archive {
		if mode == c.newMode(at) {
			return nil
		}
		return c.destination(where, c.dst.Chmod(to, c.newMode(at)))
	}
	return c.keep(from, to, at, where)
}

// sameStore reports whether source and destination are one image.
func (c *copier) sameStore() bool {
	from, okFrom := c.src.(imageStore)
	to, okTo := c.dst.(imageStore)
	return okFrom && okTo && from.fsys == to.fsys
}

// copyData copies the data of a regular file; holes stay holes.
func (c *copier) copyData(from, to string, at attrs, where string) (err error) {
	in, err := c.src.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, fresh, err := c.create(to, at)
	if err != nil {
		return c.destination(where, err)
	}
	defer func() {
		if cerr := out.Close(); cerr != nil && err == nil {
			err = c.destination(where, cerr)
		}
	}()
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	copied := int64(0)
	for off := int64(0); off < at.size; {
		start, end := segment(in, off, at.size)
		if z, ok := out.(zeroer); ok && !fresh && start > off {
			if err := z.ZeroRange(off, start-off); err != nil {
				return c.destination(where, err)
			}
		}
		for off = start; off < end; {
			if c.stopped() {
				return c.ctx.Err()
			}
			n, rerr := in.ReadAt(c.buf[:min(int64(len(c.buf)), end-off)], off)
			if n > 0 {
				if _, err := out.WriteAt(c.buf[:n], off); err != nil {
					return c.destination(where, err)
				}
				off += int64(n)
				c.bar.add(int64(n))
				copied += int64(n)
			}
			if rerr == io.EOF && off < end {
				at.size = off // it became shorter meanwhile
				end = off
			} else if rerr != nil && rerr != io.EOF {
				return rerr
			}
		}
	}
	c.bar.add(at.size - copied)
	if err := out.Truncate(at.size); err != nil {
		return c.destination(where, err)
	}
	return nil
}

// isStream reports whether a file of the host gives bytes until it ends: a pipe, or
// a character device as a terminal is.
func isStream(m fs.FileMode) bool {
	return m.Type() == fs.ModeNamedPipe || m.Type() == fs.ModeDevice|fs.ModeCharDevice
}

// copyStream makes to a regular file of what from gives until its end.
func (c *copier) copyStream(from, to string, at attrs, where string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	// A signal ends a read that waits.
	defer context.AfterFunc(c.ctx, func() { in.Close() })()
	at.mode = at.mode.Perm()
	if c.fixed() != nil {
		return c.destination(where, errors.New("files keep the size they are made with, and that of a stream is not known (copy it to a file of the host first)"))
	}
	if err := c.makeRoom(to, at, true); err != nil {
		return c.destination(where, err)
	}
	out, err := c.dst.Create(to, c.newMode(at))
	if err != nil {
		return c.destination(where, err)
	}
	defer func() { err = cmp.Or(err, c.destination(where, out.Close())) }()
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	for off := int64(0); ; {
		n, rerr := io.ReadFull(in, c.buf)
		if c.stopped() {
			return c.ctx.Err()
		}
		if _, err := out.WriteAt(c.buf[:n], off); err != nil {
			return c.destination(where, err)
		}
		off += int64(n)
		c.bar.add(int64(n))
		if rerr == io.EOF || rerr == io.ErrUnexpectedEOF {
			return nil
		}
		if rerr != nil {
			return rerr
		}
	}
}

// segment finds the next data at or after off: [start, end), or size, size. Files
// that cannot tell are data throughout.
func segment(in io.Seeker, off, size int64) (start, end int64) {
	start, err := in.Seek(off, godax.SeekData)
	if errors.Is(err, syscall.ENXIO) {
		return size, size
	}
	if err != nil || start < off {
		return off, size
	}
	end, err = in.Seek(start, godax.SeekHole)
	if err != nil || end <= start {
		end = size
	}
	return min(start, size), min(end, size)
}

// keep gives the copy what -a keeps: owner, extended attributes, mode and times, in
// the order in which none undoes another.
func (c *copier) keep(from, to string, at attrs, where string) error {
	if !c.archive {
		return nil
	}
	_, onHost := c.dst.(hostSink)
	mode := at.mode
	if err := c.dst.Chown(to, at.uid, at.gid); err != nil {
		if !onHost || os.Geteuid() == 0 {
			return c.destination(where, err)
		}
		mode &^= fs.ModeSetuid | fs.ModeSetgid // they would hand out the caller's rights
	}
	all, err := c.src.Xattrs(from)
	if err != nil {
		return err
	}
	for attr, value := range all {
		if err := c.dst.SetXattr(to, attr, value); err != nil {
			if c.lostXattrs++; c.lostErr == nil {
				n := c.srcName
				n.path = from
				c.lostErr = failure(attr+" of", n.String(), err)
			}
		}
	}
	if mode.Type() != fs.ModeSymlink {
		if err := c.dst.Chmod(to, mode); err != nil {
			return c.destination(where, err)
		}
	}
	return c.destination(where, c.dst.Chtimes(to, at.atime, at.mtime))
}
