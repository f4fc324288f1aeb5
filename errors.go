package godax

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

// Errors that a caller can decide on, beside those of io/fs and syscall.Errno.
var (
	// ErrCorrupt: the image breaks its format; details are in a [*vfs.CorruptError].
	ErrCorrupt = vfs.ErrCorrupt
	// ErrUnsupported: the image needs something that is not there; the name is in a
	// [*vfs.UnsupportedError]. Also errors.ErrUnsupported.
	ErrUnsupported = vfs.ErrUnsupported
	// ErrNotClean: the file system must be checked before it can be written.
	ErrNotClean = vfs.ErrNotClean
	// ErrUnknownFormat: no driver knows what is on the device.
	ErrUnknownFormat = errors.New("no known file system")
	// ErrNotMappable: the page has no frame that can be handed out directly.
	ErrNotMappable = dax.ErrNotMappable
	// ErrPoisoned: bad memory. Also EIO.
	ErrPoisoned = pmem.ErrPoisoned
	// ErrWouldBlock: the call would have to wait. Also EAGAIN.
	ErrWouldBlock = dax.ErrWouldBlock
	// ErrBeyondEnd: past the end of the file.
	ErrBeyondEnd = dax.ErrBeyondEnd
	// ErrInUse: another process has the image open. Also EBUSY.
	ErrInUse = pmem.ErrInUse
)

// OpenError says what keeps a file or file system from being closed. It is EBUSY to
// errors.Is; errors.As finds it.
type OpenError = vfs.OpenError

// wrap gives an error its operation and path, once. io.EOF stays bare.
func wrap(op, path string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := err.(*fs.PathError); ok {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// also adds a second error to an error of wrap; without one it stays what it is.
func also(err, second error) error {
	if second == nil {
		return err
	}
	pe, ok := err.(*fs.PathError)
	if !ok {
		return errors.Join(err, second)
	}
	return &fs.PathError{Op: pe.Op, Path: pe.Path, Err: errors.Join(pe.Err, second)}
}

// wrap2 is wrap for operations with two paths.
func wrap2(op, old, new string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: old, New: new, Err: err}
}
