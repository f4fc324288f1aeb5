package vfs

import (
	"context"
	"math"
	"syscall"
)

// CopyRange copies up to n bytes at off of src to outOff of dst (copy_file_range(2)), fewer
// at the end of src. Nobody changes either file meanwhile. Holes are copied as zeros.
//
// Errors: EISDIR, EBADF, EINVAL for ranges of one file that overlap, those of
// reading and writing; with an error some bytes may be copied.
func CopyRange(ctx context.Context, dst *Handle, outOff int64, src *Handle, off, n int64) (int64, error) {
	if off < 0 || outOff < 0 || n < 0 {
		return 0, syscall.EINVAL
	}
	n = min(n, math.MaxInt64-max(off, outOff))
	unlock, err := lockPair(ctx, dst, src)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := dst.checkIO(dst.Writable(), outOff); err != nil {
		return 0, err
	}
	if err := src.checkIO(src.Readable(), off); err != nil {
		return 0, err
	}
	n = min(n, max(src.file.Attr().Size-off, 0))
	if dst.n == src.n && off < outOff+n && outOff < off+n {
		return 0, syscall.EINVAL
	}
	// The pieces lie in the frames of src. No lock but the inodes' is held while they are
	// written.
	return src.file.Mapping().ReadTo(ctx, off, n, src.file, func(b []byte) (int, error) {
		k, err := dst.file.WriteAt(ctx, b, outOff)
		outOff += int64(k)
		return k, err
	})
}

// lockPair locks the inode of dst exclusively and that of src shared, by number.
func lockPair(ctx context.Context, dst, src *Handle) (unlock func(), err error) {
	lockDst, lockSrc := dst.n.mu.RW.Lock, src.n.mu.RW.RLock
	first, second := lockDst, lockSrc
	undo := dst.n.mu.Unlock
	switch {
	case dst.n == src.n:
		if err := lockDst(ctx); err != nil {
			return nil, err
		}
		return dst.n.mu.Unlock, nil
	case src.n.ino < dst.n.ino:
		first, second, undo = lockSrc, lockDst, src.n.mu.RUnlock
	}
	if err := first(ctx); err != nil {
		return nil, err
	}
	if err := second(ctx); err != nil {
		undo()
		return nil, err
	}
	return func() { src.n.mu.RUnlock(); dst.n.mu.Unlock() }, nil
}
