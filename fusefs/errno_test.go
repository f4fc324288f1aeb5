package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

func TestErrno(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{syscall.ENOSPC, syscall.ENOSPC},
		{fmt.Errorf("inode 5: %w", syscall.ENOTEMPTY), syscall.ENOTEMPTY},
		{&fs.PathError{Op: "x", Path: "y", Err: syscall.EFBIG}, syscall.EFBIG},
		{errors.Join(errors.New("x"), syscall.EMLINK), syscall.EMLINK},
		{fs.ErrNotExist, syscall.ENOENT},
		{fmt.Errorf("free: %w", fs.ErrNotExist), syscall.ENOENT},
		{fs.ErrExist, syscall.EEXIST},
		{fs.ErrPermission, syscall.EPERM},
		{fs.ErrInvalid, syscall.EINVAL},
		{fs.ErrClosed, syscall.EBADF},
		{os.ErrClosed, syscall.EBADF},
		{vfs.ErrCorrupt, euclean},
		{&vfs.CorruptError{Format: "ext", Structure: "inode 7", Offset: -1}, euclean},
		{fmt.Errorf("%w: %w", vfs.ErrCorrupt, syscall.EINVAL), euclean},
		{vfs.ErrUnsupported, syscall.EOPNOTSUPP},
		{&vfs.UnsupportedError{Format: "ext", Feature: "extents"}, syscall.EOPNOTSUPP},
		{errors.ErrUnsupported, syscall.EOPNOTSUPP},
		{&vfs.OpenError{Open: []string{"/a"}}, syscall.EBUSY},
		{pmem.ErrPoisoned, syscall.EIO},
		{fmt.Errorf("read at 0: %w", pmem.ErrPoisoned), syscall.EIO},
		{dax.ErrWouldBlock, syscall.EAGAIN},
		{dax.ErrBusy, syscall.EBUSY},
		{dax.ErrBadAnswer, syscall.EIO},
		{dax.ErrGone, syscall.ESTALE},
		{dax.ErrBeyondEnd, syscall.EIO},
		{dax.ErrNotMappable, syscall.EIO},
		{context.Canceled, syscall.EINTR},
		{context.DeadlineExceeded, syscall.EINTR},
		{errors.New("anything"), syscall.EIO},
		{syscall.Errno(0), syscall.EIO},
		// It would make the kernel never ask again.
		{syscall.ENOSYS, syscall.EOPNOTSUPP},
		{fmt.Errorf("x: %w", syscall.ENOSYS), syscall.EOPNOTSUPP},
	} {
		if got := errno(tt.err); got != tt.want {
			t.Errorf("errno(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestTable: entries come, change and go, each in its shard.
func TestTable(t *testing.T) {
	var tab table[int]
	for key := range uint64(3 * shards) {
		tab.update(key, func(old *int) *int {
			if old != nil {
				t.Errorf("%d is there already", key)
			}
			v := int(key)
			return &v
		})
	}
	if tab.len() != 3*shards || *tab.get(100) != 100 || tab.get(10_000) != nil {
		t.Errorf("%d entries, %v", tab.len(), tab.get(100))
	}
	if v := tab.take(7); v == nil || *v != 7 || tab.get(7) != nil || tab.take(7) != nil {
		t.Errorf("taken: %v", v)
	}
	tab.update(8, func(old *int) *int { *old++; return old })
	if *tab.get(8) != 9 {
		t.Errorf("changed: %d", *tab.get(8))
	}
	if all := tab.takeAll(); len(all) != 3*shards-1 || tab.len() != 0 {
		t.Errorf("%d of all, %d left", len(all), tab.len())
	}
}
