package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Open opens the image file or device at path and maps all of it. What it finds
// decides the [Kind]:
//
//   - a regular file: KindDAXFile if the file system accepts MAP_SYNC, KindHuge on
//     hugetlbfs, KindTmpfs on tmpfs and ramfs, KindFile otherwise;
//   - a DAX character device (/dev/daxX.Y): KindDAXDevice.
//
// A writer locks the file against all others, a reader against writers
// (flock(2), which binds those who also ask for it); see [Options]. A file keeps
// its size. A program that cuts it all the same makes loads and stores beyond the
// new end raise SIGBUS; so does a store to a hole of an image on a full disk, unless
// [Reserver] was asked for room first.
//
// Errors are *fs.PathError with: [ErrInUse]; those of open(2) and mmap(2); EINVAL
// for an empty file or options that exclude each other; EISDIR; EFBIG for more
// than [MaxPages]; errors.ErrUnsupported for anything that is neither a regular
// file nor a DAX device; ENFILE when too many devices are open.
func Open(path string, o Options) (Device, error) {
	d, err := open(path, o)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return d, nil
}

func open(path string, o Options) (_ *mapped, err error) {
	if o.Shared && !o.ReadOnly {
		return nil, fmt.Errorf("shared is for readers only: %w", syscall.EINVAL)
	}
	if o.Peer && o.ReadOnly {
		return nil, fmt.Errorf("peer is for those who store: %w", syscall.EINVAL)
	}
	flags := unix.O_RDWR
	if o.ReadOnly {
		flags = unix.O_RDONLY
	}
	// O_NONBLOCK: a fifo must not make us wait for its other end.
	fd, err := openRetry(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	info := Info{Path: path, ReadOnly: o.ReadOnly, PageSize: smallPageSize()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return openFile(fd, o, info)
	case unix.S_IFCHR:
		return openDAXDevice(fd, uint64(st.Rdev), o, info)
	case unix.S_IFDIR:
		return nil, syscall.EISDIR
	case unix.S_IFBLK:
		return nil, unsupported("block device")
	case unix.S_IFIFO:
		return nil, unsupported("fifo")
	}
	return nil, unsupported(fmt.Sprintf("file of mode %#o", st.Mode))
}

func unsupported(what string) error {
	return fmt.Errorf("%s, not a regular file or a DAX device: %w", what, errors.ErrUnsupported)
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openFile makes a device of a regular file. The descriptor is the caller's if
// there is an error.
func openFile(fd int, o Options, info Info) (*mapped, error) {
	if err := lock(fd, o); err != nil {
		return nil, err
	}
	// Size and file system are asked for with the lock held: whoever makes the image
	// under a lock of its own has finished.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size == 0 {
		return nil, fmt.Errorf("empty file: %w", syscall.EINVAL)
	}
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(fd, &fsys); err != nil {
		return nil, os.NewSyscallError("fstatfs", err)
	}
	how := flushPages
	switch uint32(fsys.Type) {
	case unix.HUGETLBFS_MAGIC:
		how, info.Kind, info.PageSize = flushNothing, KindHuge, int64(fsys.Bsize)
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		how, info.Kind = flushNothing, KindTmpfs
	default:
		info.Kind = KindFile
		if acceptsSync(fd, info.PageSize, o.ReadOnly) {
			info.Kind, info.MapSync = KindDAXFile, true
			if FlushInstruction() != "" {
				how = flushLines
			}
		}
	}
	d, err := newMapped(fd, st.Size, how, info)
	if err != nil {
		return nil, err
	}
	if info.Kind == KindTmpfs {
		d.mapping.advise(unix.MADV_HUGEPAGE) // a wish
	}
	return d, nil
}

// lock takes the flock(2) of an open file: exclusive for a writer, shared for a
// reader, none for a reader that does not mind a writer, and for a peer. It belongs to the
// open file and ends with its last descriptor.
func lock(fd int, o Options) error {
	how := unix.LOCK_EX
	switch {
	case o.Shared, o.Peer:
		return nil
	case o.ReadOnly:
		how = unix.LOCK_SH
	}
	for {
		switch err := unix.Flock(fd, how|unix.LOCK_NB); err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return ErrInUse
		default:
			return os.NewSyscallError("flock", err)
		}
	}
}
