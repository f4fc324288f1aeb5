package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// This file is what cp does differently when it copies into a file system whose files keep the
// size, mode and owner that they are made with.

// zeroer is an open file in which a range can be cleared.
type zeroer interface{ ZeroRange(off, n int64) error }

// fixed is the destination if it is such a file system, nil otherwise.
func (c *copier) fixed() fixedSink {
	if s, ok := c.dst.(fixedSink); ok && s.FixedSize() {
		return s
	}
	return nil
}

// final is at with mode and owner as the copy is to have them in the end.
func (c *copier) final(at attrs) attrs {
	if !c.archive {
		at.mode = c.newMode(at)
		at.uid, at.gid = uint32(max(os.Getuid(), 0)), uint32(max(os.Getgid(), 0))
	}
	return at
}

// create opens the destination of a regular file. fresh says that it reads as zero.
func (c *copier) create(to string, at attrs) (w writer, fresh bool, err error) {
	sink := c.fixed()
	if sink == nil {
		w, err = c.dst.Create(to, c.newMode(at))
		return w, true, err
	}
	old, err := c.dst.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w, err = sink.CreateSized(to, c.final(at))
		return w, true, err
	case err != nil:
		return nil, false, err
	case old.size != at.size:
		return nil, false, fmt.Errorf("exists with %d bytes, which it keeps; %d are to be copied", old.size, at.size)
	}
	w, err = sink.Overwrite(to)
	return w, false, err
}
