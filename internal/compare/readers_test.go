package compare

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"testing"
	"time"

	"godax"
	"godax/fs/axfs"
	"godax/pmem"
	"godax/vfs"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"
	"gvisor.dev/gvisor/pkg/erofs"
)

// reader is what the benchmarks do with an open image.
type reader interface {
	// walk visits everything with its attributes, reads small files whole into buf if that is
	// not nil, and returns the number of names.
	walk(b *testing.B, buf []byte) int
	// open opens a file for positioned reads.
	open(b *testing.B, name string) func(p []byte, off int64) error
	close(b *testing.B)
}

// readers are the ways to open an image.
var readers = []struct {
	name  string
	image func(*images) string
	open  func(b *testing.B, path string) reader
}{
	{"axfs-driver/direct", func(im *images) string { return im.direct }, openDriver},
	{"axfs-api/direct", func(im *images) string { return im.direct }, openAPI},
	{"erofs-gvisor/direct", func(im *images) string { return im.erofs }, openErofs},
	{"erofs-gvisor/tails", func(im *images) string { return im.tails }, openErofs},
	{"axfs-driver/packed", func(im *images) string { return im.packed }, openDriver},
	{"axfs-api/packed", func(im *images) string { return im.packed }, openAPI},
	{"squashfs-diskfs/128k", func(im *images) string { return im.squash }, openSquash},
	{"squashfs-diskfs/4k", func(im *images) string { return im.squash4 }, openSquash},
}

// stat is what a walk learns of each file, besides its name, from all readers but squashfs's, which
// does not tell the owner at once. gVisor's reader decodes an inode and leaves it at that, so its
// walk puts the values into the same structure, with a time that package time can use.
type stat struct {
	mode            fs.FileMode
	size            int64
	uid, gid, nlink uint32
	mtime           time.Time
}

// last is where the walks leave what they have learnt, so that it cannot be left out.
var last stat

func check(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// driver is the AXFS driver without anything above it: what compares with gVisor's reader,
// which has nothing above it either. Both make a string of each name. Who wants attributes
// only asks for no inode; gVisor's reader has one way for both, by value.
type driver struct {
	dev pmem.Device
	fs  *axfs.FS
}

func openDriver(b *testing.B, path string) reader {
	dev, err := pmem.Open(path, pmem.Options{ReadOnly: true})
	check(b, err)
	f, err := axfs.Driver.Mount(dev, vfs.MountOptions{ReadOnly: true})
	check(b, err)
	return &driver{dev, f.(*axfs.FS)}
}

func (d *driver) walk(b *testing.B, buf []byte) int { return d.dir(b, d.fs.Root(), buf) }

func (d *driver) dir(b *testing.B, ino uint64, buf []byte) (n int) {
	in, err := d.fs.Inode(ino)
	check(b, err)
	var a vfs.Attr
	err = in.(vfs.Dir).ReadDir(0, func(e vfs.Dirent) bool {
		n++
		if e.Type.IsDir() {
			n += d.dir(b, e.Ino, buf)
			return true
		}
		if buf == nil {
			check(b, d.fs.Stat(e.Ino, &a))
			last = stat{a.Mode, a.Size, a.UID, a.GID, a.Nlink, a.Mtime}
			return true
		}
		child, err := d.fs.Inode(e.Ino)
		check(b, err)
		a = child.Attr()
		last = stat{a.Mode, a.Size, a.UID, a.GID, a.Nlink, a.Mtime}
		if a.Size > int64(len(buf)) {
			return true
		}
		_, err = child.(vfs.File).ReadAt(context.Background(), buf[:a.Size], 0)
		check(b, err)
		check(b, child.Evict(context.Background()))
		return true
	})
	check(b, err)
	return n
}

func (d *driver) open(b *testing.B, name string) func(p []byte, off int64) error {
	root, err := d.fs.Inode(d.fs.Root())
	check(b, err)
	ino, err := root.(vfs.Dir).Lookup(name)
	check(b, err)
	in, err := d.fs.Inode(ino)
	check(b, err)
	return func(p []byte, off int64) error {
		_, err := in.(vfs.File).ReadAt(context.Background(), p, off)
		return err
	}
}

func (d *driver) close(b *testing.B) {
	_ = d.fs.Close(context.Background()) // files that a benchmark has open stay so
	check(b, d.dev.Close())
}

// api is godax as programs use it.
type api struct{ fs *godax.FS }

func openAPI(b *testing.B, path string) reader {
	f, err := godax.Open(path, godax.Options{ReadOnly: true})
	check(b, err)
	return &api{f}
}

func (a *api) walk(b *testing.B, buf []byte) int { return a.dir(b, "/", buf) }

func (a *api) dir(b *testing.B, p string, buf []byte) (n int) {
	entries, err := a.fs.ReadDir(p)
	check(b, err)
	for _, e := range entries {
		n++
		name := path.Join(p, e.Name())
		if e.IsDir() {
			n += a.dir(b, name, buf)
			continue
		}
		fi, err := e.Info()
		check(b, err)
		sys := fi.Sys().(*godax.Stat)
		last = stat{fi.Mode(), fi.Size(), sys.UID, sys.GID, sys.Nlink, fi.ModTime()}
		if buf == nil || fi.Size() > int64(len(buf)) {
			continue
		}
		f, err := a.fs.Open(name)
		check(b, err)
		_, err = f.ReadAt(buf[:fi.Size()], 0)
		check(b, err)
		check(b, f.Close())
	}
	return n
}

func (a *api) open(b *testing.B, name string) func(p []byte, off int64) error {
	f, err := a.fs.Open(name)
	check(b, err)
	b.Cleanup(func() { check(b, f.Close()) })
	return func(p []byte, off int64) error {
		_, err := f.ReadAt(p, off)
		return err
	}
}

func (a *api) close(b *testing.B) { check(b, a.fs.Close()) }

// gvisor is gVisor's reader of EROFS images that are not compressed. It reads mapped
// bytes, as ours does.
type gvisor struct{ im *erofs.Image }

func openErofs(b *testing.B, path string) reader {
	f, err := os.Open(path)
	check(b, err)
	im, err := erofs.OpenImage(f)
	check(b, err)
	return &gvisor{im}
}

func (g *gvisor) walk(b *testing.B, buf []byte) int { return g.dir(b, g.im.RootNid(), buf) }

func (g *gvisor) dir(b *testing.B, nid uint64, buf []byte) (n int) {
	in, err := g.im.Inode(nid)
	check(b, err)
	err = in.IterDirents(func(name string, typ uint8, nid uint64) error {
		if name == "." || name == ".." {
			return nil
		}
		n++
		child, err := g.im.Inode(nid)
		if err != nil {
			return err
		}
		if child.IsDir() {
			n += g.dir(b, nid, buf)
			return nil
		}
		last = stat{
			fs.FileMode(child.Mode()), int64(child.Size()), child.UID(), child.GID(), child.Nlink(),
			time.Unix(int64(child.Mtime()), int64(child.MtimeNsec())),
		}
		if buf == nil || child.Size() > uint64(len(buf)) {
			return nil
		}
		return readErofs(&child, buf[:child.Size()], 0)
	})
	check(b, err)
	return n
}

func readErofs(in *erofs.Inode, p []byte, off uint64) error {
	ranges, err := in.DataRanges()
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if off < r.Size {
			k := copy(p, r.Bytes[off:])
			p, off = p[k:], 0
			continue
		}
		off -= r.Size
	}
	if len(p) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (g *gvisor) open(b *testing.B, name string) func(p []byte, off int64) error {
	root, err := g.im.Inode(g.im.RootNid())
	check(b, err)
	nid, err := root.Lookup(name)
	check(b, err)
	in, err := g.im.Inode(nid)
	check(b, err)
	return func(p []byte, off int64) error { return readErofs(&in, p, uint64(off)) }
}

func (g *gvisor) close(b *testing.B) { g.im.Close() }

// squash is the reader of go-diskfs.
type squash struct {
	f  *os.File
	fs *squashfs.FileSystem
}

func openSquash(b *testing.B, path string) reader {
	f, err := os.Open(path)
	check(b, err)
	fi, err := f.Stat()
	check(b, err)
	fs, err := squashfs.Read(file.New(f, true), fi.Size(), 0, 0)
	check(b, err)
	return &squash{f, fs}
}

func (s *squash) walk(b *testing.B, buf []byte) int { return s.dir(b, ".", buf) }

func (s *squash) dir(b *testing.B, p string, buf []byte) (n int) {
	entries, err := s.fs.ReadDir(p)
	check(b, err)
	for _, e := range entries {
		n++
		name := path.Join(p, e.Name())
		if e.IsDir() {
			n += s.dir(b, name, buf)
			continue
		}
		fi, err := e.Info()
		check(b, err)
		last = stat{mode: fi.Mode(), size: fi.Size(), mtime: fi.ModTime()}
		if buf == nil || fi.Size() > int64(len(buf)) {
			continue
		}
		f, err := s.fs.OpenFile(name, os.O_RDONLY)
		check(b, err)
		if _, err := io.ReadFull(f, buf[:fi.Size()]); err != nil {
			b.Fatal(err)
		}
		check(b, f.Close())
	}
	return n
}

func (s *squash) open(b *testing.B, name string) func(p []byte, off int64) error {
	f, err := s.fs.OpenFile(name, os.O_RDONLY)
	check(b, err)
	return func(p []byte, off int64) error {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return err
		}
		if n, err := io.ReadFull(f, p); err != nil {
			return fmt.Errorf("%d bytes at %d: %w", n, off, err)
		}
		return nil
	}
}

func (s *squash) close(b *testing.B) { check(b, s.f.Close()) }
