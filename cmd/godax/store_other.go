//go:build !linux

package main

import (
	"errors"
	"io/fs"
	"time"
)

// hostAttrs has only what package os has everywhere.
func hostAttrs(fi fs.FileInfo, err error) (attrs, error) {
	if err != nil {
		return attrs{}, err
	}
	return attrs{mode: fi.Mode(), nlink: 1, size: fi.Size(), atime: fi.ModTime(), mtime: fi.ModTime()}, nil
}

// Xattrs finds none.
func (hostSource) Xattrs(string) (map[string][]byte, error) { return nil, nil }

// Mknod is not supported.
func (s hostSink) Mknod(string, fs.FileMode, uint32, uint32) error { return errors.ErrUnsupported }

// Chtimes sets the times; of a link it sets those of the file behind it.
func (s hostSink) Chtimes(p string, atime, mtime time.Time) error {
	return s.root.Chtimes(p, atime, mtime)
}

// SetXattr is not supported.
func (s hostSink) SetXattr(string, string, []byte) error { return errors.ErrUnsupported }
