package famfs

import (
	"context"
	"math"
	"syscall"

	"godax/dax"
	"godax/internal/famfsfmt"
	"godax/vfs"
)

// file is a regular file.
type file struct {
	inode
	vfs.Plain
}

var (
	_ vfs.File   = (*file)(nil)
	_ vfs.Opener = (*file)(nil)
)

func newFile(f *FS, n *node) *file {
	fl := &file{}
	fl.init(f, n)
	fl.Plain = vfs.Plain{Index: dax.NewMapping(dax.Config{ReadOnly: f.readOnly || fl.locked()}), Frames: fl}
	fl.Index.SetSize(fl.size())
	return fl
}

// locked reports whether the entry says that no host may write the file.
func (fl *file) locked() bool {
	return fl.node.entry.Flags&(famfsfmt.FlagReadOnly|famfsfmt.FlagWritable) == famfsfmt.FlagReadOnly
}

// PopulatePFNs is in populate.go.

// Open implements [vfs.Opener]. Errors: ENXIO for a file on a device that was not supplied,
// EPERM for stores to a file that is read-only on all hosts, ESTALE.
func (fl *file) Open(write bool) error {
	switch {
	case fl.node.broken != nil:
		return fl.node.broken
	case write && fl.locked():
		return &RefusedError{"write to " + fl.node.entry.Path, "it is read-only on all hosts", syscall.EPERM}
	}
	return fl.fs.refresh()
}

// size is the file's size, which never changes.
func (fl *file) size() int64 { return int64(fl.node.entry.Size) }

// WriteAt stores up to the end of the file. What would lie behind it is ENOTSUP.
func (fl *file) WriteAt(ctx context.Context, b []byte, off int64) (n int, err error) {
	room := fl.size() - min(off, fl.size())
	if int64(len(b)) <= room {
		return fl.Plain.WriteAt(ctx, b, off)
	}
	if room > 0 {
		if n, err = fl.Plain.WriteAt(ctx, b[:room], off); err != nil {
			return n, err
		}
	}
	return n, refused("append", whySize)
}

// Truncate takes the size that the file has.
func (fl *file) Truncate(_ context.Context, size int64) error {
	if size != fl.size() {
		return refused("truncate", whySize)
	}
	return nil
}

// Allocate has nothing to do inside the file, which has all its storage, but for zeroing.
func (fl *file) Allocate(ctx context.Context, mode vfs.AllocMode, off, n int64) error {
	if mode == vfs.AllocPunch {
		return refused("punch", whyFree)
	}
	if off < 0 || n <= 0 {
		return syscall.EINVAL
	}
	if off > fl.size() || n > fl.size()-off {
		return refused("append", whySize)
	}
	if mode == vfs.AllocZero {
		return fl.Plain.Allocate(ctx, mode, off, n)
	}
	return nil
}

// Sync makes the file's data durable.
func (fl *file) Sync(ctx context.Context, _ bool) error {
	if fl.fs.readOnly {
		return nil
	}
	_, err := fl.Index.Writeback(ctx, 0, math.MaxInt64)
	return err
}

// Evict implements [vfs.Inode].
func (fl *file) Evict(ctx context.Context) error {
	err := fl.Index.Evict(ctx, false)
	if err != nil {
		// The bytes cannot be written back. They are given up, so that the others can go.
		_ = fl.Index.Evict(ctx, true)
	}
	return err
}
