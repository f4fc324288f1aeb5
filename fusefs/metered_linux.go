package fusefs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// metered is a fileSystem whose requests are counted and timed.
type metered struct {
	*fileSystem
	ops *opStats
}

var _ fuse.RawFileSystem = metered{}

// Lookup implements [fuse.RawFileSystem].
func (m metered) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Lookup(cancel, in, name, out)
	m.ops.done(opLookup, start, int(st))
	return st
}

// GetAttr implements [fuse.RawFileSystem].
func (m metered) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.GetAttr(cancel, in, out)
	m.ops.done(opGetAttr, start, int(st))
	return st
}

// Statx implements [fuse.RawFileSystem].
func (m metered) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Statx(cancel, in, out)
	m.ops.done(opStatx, start, int(st))
	return st
}

// SetAttr implements [fuse.RawFileSystem].
func (m metered) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.SetAttr(cancel, in, out)
	m.ops.done(opSetAttr, start, int(st))
	return st
}

// Mknod implements [fuse.RawFileSystem].
func (m metered) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Mknod(cancel, in, name, out)
	m.ops.done(opMknod, start, int(st))
	return st
}

// Mkdir implements [fuse.RawFileSystem].
func (m metered) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Mkdir(cancel, in, name, out)
	m.ops.done(opMkdir, start, int(st))
	return st
}

// Unlink implements [fuse.RawFileSystem].
func (m metered) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Unlink(cancel, in, name)
	m.ops.done(opUnlink, start, int(st))
	return st
}

// Rmdir implements [fuse.RawFileSystem].
func (m metered) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Rmdir(cancel, in, name)
	m.ops.done(opRmdir, start, int(st))
	return st
}

// Rename implements [fuse.RawFileSystem].
func (m metered) Rename(cancel <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Rename(cancel, in, name, newName)
	m.ops.done(opRename, start, int(st))
	return st
}

// Link implements [fuse.RawFileSystem].
func (m metered) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Link(cancel, in, name, out)
	m.ops.done(opLink, start, int(st))
	return st
}

// Symlink implements [fuse.RawFileSystem].
func (m metered) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Symlink(cancel, in, target, name, out)
	m.ops.done(opSymlink, start, int(st))
	return st
}

// SetXAttr implements [fuse.RawFileSystem].
func (m metered) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, attr string, value []byte) fuse.Status {
	start := time.Now()
	st := m.fileSystem.SetXAttr(cancel, in, attr, value)
	m.ops.done(opSetXAttr, start, int(st))
	return st
}

// RemoveXAttr implements [fuse.RawFileSystem].
func (m metered) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	start := time.Now()
	st := m.fileSystem.RemoveXAttr(cancel, in, attr)
	m.ops.done(opRemoveXAttr, start, int(st))
	return st
}

// Create implements [fuse.RawFileSystem].
func (m metered) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Create(cancel, in, name, out)
	m.ops.done(opCreate, start, int(st))
	return st
}

// Tmpfile implements [fuse.RawFileSystem].
func (m metered) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Tmpfile(cancel, in, out)
	m.ops.done(opTmpfile, start, int(st))
	return st
}

// Open implements [fuse.RawFileSystem].
func (m metered) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Open(cancel, in, out)
	m.ops.done(opOpen, start, int(st))
	return st
}

// Lseek implements [fuse.RawFileSystem].
func (m metered) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Lseek(cancel, in, out)
	m.ops.done(opLseek, start, int(st))
	return st
}

// Fsync implements [fuse.RawFileSystem].
func (m metered) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Fsync(cancel, in)
	m.ops.done(opFsync, start, int(st))
	return st
}

// FsyncDir implements [fuse.RawFileSystem].
func (m metered) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	start := time.Now()
	st := m.fileSystem.FsyncDir(cancel, in)
	m.ops.done(opFsyncDir, start, int(st))
	return st
}

// Fallocate implements [fuse.RawFileSystem].
func (m metered) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	start := time.Now()
	st := m.fileSystem.Fallocate(cancel, in)
	m.ops.done(opFallocate, start, int(st))
	return st
}

// OpenDir implements [fuse.RawFileSystem].
func (m metered) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.OpenDir(cancel, in, out)
	m.ops.done(opOpenDir, start, int(st))
	return st
}

// ReadDir implements [fuse.RawFileSystem].
func (m metered) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	start := time.Now()
	st := m.fileSystem.ReadDir(cancel, in, out)
	m.ops.done(opReadDir, start, int(st))
	return st
}

// ReadDirPlus implements [fuse.RawFileSystem].
func (m metered) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	start := time.Now()
	st := m.fileSystem.ReadDirPlus(cancel, in, out)
	m.ops.done(opReadDirPlus, start, int(st))
	return st
}

// StatFs implements [fuse.RawFileSystem].
func (m metered) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	start := time.Now()
	st := m.fileSystem.StatFs(cancel, in, out)
	m.ops.done(opStatFs, start, int(st))
	return st
}

// Readlink implements [fuse.RawFileSystem].
func (m metered) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	start := time.Now()
	target, st := m.fileSystem.Readlink(cancel, in)
	m.ops.done(opReadlink, start, int(st))
	return target, st
}

// GetXAttr implements [fuse.RawFileSystem].
func (m metered) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	start := time.Now()
	n, st := m.fileSystem.GetXAttr(cancel, in, attr, dest)
	m.ops.done(opGetXAttr, start, int(st))
	return n, st
}

// ListXAttr implements [fuse.RawFileSystem].
func (m metered) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	start := time.Now()
	n, st := m.fileSystem.ListXAttr(cancel, in, dest)
	m.ops.done(opListXAttr, start, int(st))
	return n, st
}

// Read implements [fuse.RawFileSystem].
func (m metered) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	start := time.Now()
	r, st := m.fileSystem.Read(cancel, in, buf)
	if r != nil {
		m.ops.read.Add(uint64(r.Size()))
	}
	m.ops.done(opRead, start, int(st))
	return r, st
}

// Writev implements [fuse.RawFileSystem].
func (m metered) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	start := time.Now()
	n, st := m.fileSystem.Writev(cancel, in, data)
	m.ops.written.Add(uint64(n))
	m.ops.done(opWrite, start, int(st))
	return n, st
}

// CopyFileRange implements [fuse.RawFileSystem].
func (m metered) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	start := time.Now()
	n, st := m.fileSystem.CopyFileRange(cancel, in)
	m.ops.done(opCopyFileRange, start, int(st))
	return n, st
}

// Release implements [fuse.RawFileSystem].
func (m metered) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	start := time.Now()
	m.fileSystem.Release(cancel, in)
	m.ops.done(opRelease, start, 0)
}

// Forget implements [fuse.RawFileSystem].
func (m metered) Forget(id, lookups uint64) {
	start := time.Now()
	m.fileSystem.Forget(id, lookups)
	m.ops.done(opForget, start, 0)
}
