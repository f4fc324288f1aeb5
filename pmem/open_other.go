//go:build !linux

package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
)

// NewMemory makes a device of anonymous memory; on Linux only. The error is
// errors.ErrUnsupported.
func NewMemory(size int64, o MemoryOptions) (Device, error) {
	return nil, fmt.Errorf("pmem: memory devices on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Open opens the image file or device at path; on Linux only. The error is an
// *fs.PathError with errors.ErrUnsupported.
func Open(path string, o Options) (Device, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("devices on %s: %w", runtime.GOOS, errors.ErrUnsupported)}
}
