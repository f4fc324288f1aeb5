package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

// euclean is what Linux file systems say of a damaged image ("Structure needs cleaning").
const euclean = syscall.Errno(117)

// errnoTable maps errors that carry no number of their own; the first that matches counts.
var errnoTable = []struct {
	err error
	no  syscall.Errno
}{
	{vfs.ErrCorrupt, euclean},
	{pmem.ErrPoisoned, syscall.EIO},
	{dax.ErrBadAnswer, syscall.EIO},
	{dax.ErrWouldBlock, syscall.EAGAIN},
	{dax.ErrBusy, syscall.EBUSY},
	{dax.ErrGone, syscall.ESTALE},
	{context.Canceled, syscall.EINTR},
	{context.DeadlineExceeded, syscall.EINTR},
}

// errnoLast are the errors of io/fs and the like, for what says nothing better.
var errnoLast = []struct {
	err error
	no  syscall.Errno
}{
	{syscall.EBUSY, syscall.EBUSY}, // vfs.OpenError and others that are a number only to errors.Is
	{syscall.EIO, syscall.EIO},
	{fs.ErrNotExist, syscall.ENOENT},
	{fs.ErrExist, syscall.EEXIST},
	{fs.ErrPermission, syscall.EPERM},
	{fs.ErrInvalid, syscall.EINVAL},
	{fs.ErrClosed, syscall.EBADF},
	{errors.ErrUnsupported, syscall.EOPNOTSUPP},
}

// errno is the number that the kernel is told for an error: 0 for none, EIO for what is
// not known. It is never ENOSYS, which would make the kernel give up the operation for
// the whole life of the mount.
func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, e := range errnoTable {
		if errors.Is(err, e.err) {
			return e.no
		}
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		switch no {
		case 0:
			return syscall.EIO
		case syscall.ENOSYS:
			return syscall.EOPNOTSUPP
		}
		return no
	}
	for _, e := range errnoLast {
		if errors.Is(err, e.err) {
			return e.no
		}
	}
	return syscall.EIO
}
