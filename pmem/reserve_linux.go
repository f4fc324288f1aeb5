package pmem

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Reserve implements [Reserver] for files; other devices have room everywhere:
// huge pages are reserved when they are mapped, and anonymous memory ends with the
// machine's.
//
// A file on tmpfs gets its pages as stores would get them, only that a lack of room is
// an error: this costs less than fallocate(2) and the faults of the stores after it, and
// makes huge pages where stores would. If it gets tight there, and on other file systems,
// it is fallocate(2). File systems that do not have that are asked for the faults too: a
// fault that stores reserves what the store needs. On a kernel without
// MADV_POPULATE_WRITE (before 5.14) they cannot be asked, and Reserve promises
// nothing. Where file systems write anew what is overwritten (btrfs) the promise is as
// good as that of fallocate.
func (d *mapped) Reserve(off, n, ahead int64) error {
	if off < 0 || n < 0 || n > d.size || off > d.size-n || d.gone.Load() {
		return d.refuse(CheckBytes(d.size, off, n))
	}
	if n == 0 || d.room.has(uint64(off)/PageSize, pagesUp(off+n)) {
		return nil
	}
	d.room.look.Do(d.lookForHoles)
	from, to := d.pagesAround(off, n)
	if d.room.has(uint64(from)/PageSize, pagesUp(min(to, d.size))) {
		return nil
	}
	if ahead > 0 {
		_, far := d.pagesAround(off, min(n+ahead, d.size-off))
		if d.plenty(far-from) && d.makeRoom(from, far) == nil {
			return nil
		}
	}
	if err := d.makeRoom(from, to); err != nil {
		return fmt.Errorf("room for bytes %d to %d of the image: %w", off, off+n, err)
	}
	return nil
}

// Room implements [Reserver]: bytes that were stored to.
func (d *mapped) Room(off, n int64) (start, size int64) {
	if CheckBytes(d.size, off, n) != nil || n == 0 || d.gone.Load() {
		return off, 0
	}
	if !d.room.some.Load() {
		return off, n
	}
	start, err := unix.Seek(d.fd, off, unix.SEEK_DATA)
	if err != nil || start < off || start >= off+n {
		return off, 0
	}
	end, err := unix.Seek(d.fd, start, unix.SEEK_HOLE)
	if err != nil || end <= start {
		return off, 0
	}
	return start, min(end, off+n) - start
}

// pagesAround returns the bytes of the pages that hold a range, in units of the memory.
func (d *mapped) pagesAround(off, n int64) (from, to int64) {
	page := d.info.PageSize
	return off / page * page, (off + n + page - 1) / page * page
}

// plenty reports whether the disk has room for several times n bytes.
func (d *mapped) plenty(n int64) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(d.fd, &st) == nil && n/int64(st.Bsize) < int64(st.Bavail)/4
}

// lookForHoles finds out whether the file has any. A count of blocks that covers the
// size can still include some that are not for its bytes, so that a few are missing;
// all but tmpfs are asked for those.
func (d *mapped) lookForHoles() {
	var st unix.Stat_t
	if unix.Fstat(d.fd, &st) != nil || st.Blocks < (d.size+511)/512 {
		return
	}
	if d.info.Kind == KindTmpfs || d.fallocate(0, d.size) == nil {
		d.room.everywhere()
	}
}

// makeRoom gives the bytes [from, to), whole pages, room, and records it. The last page may
// reach beyond the device.
func (d *mapped) makeRoom(from, to int64) error {
	ways := [...]func(from, to int64) error{d.fallocate, d.populate}
	// There fallocate takes all or nothing, and a fault what it gets.
	if d.info.Kind == KindTmpfs && d.plenty(to-from) {
		ways[0], ways[1] = ways[1], ways[0]
	}
	for _, way := range ways {
		err := way(from, to)
		switch {
		case err == nil:
			d.room.add(uint64(from)/PageSize, pagesUp(min(to, d.size)))
			return nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		default:
			return err
		}
	}
	d.room.everywhere() // as far as anybody can tell
	return nil
}

// fallocate allocates blocks up to the end of the device.
func (d *mapped) fallocate(from, to int64) error {
	to = min(to, d.size)
	for {
		if err := unix.Fallocate(d.fd, unix.FALLOC_FL_KEEP_SIZE, from, to-from); err != unix.EINTR {
			return err
		}
	}
}

// populate takes the page faults of stores. The kernel says EFAULT for what a store
// would get a SIGBUS for.
func (d *mapped) populate(from, to int64) error {
	for {
		switch err := d.mapping.populate(from, to); err {
		case unix.EINTR, unix.EAGAIN:
		case unix.EHWPOISON:
			return ErrPoisoned
		case unix.EFAULT:
			var st unix.Stat_t
			if err := unix.Fstat(d.fd, &st); err != nil {
				return err
			}
			if st.Size < d.size {
				return fmt.Errorf("%w: file cut from %d to %d bytes", ErrRemoved, d.size, st.Size)
			}
			return unix.ENOSPC
		default:
			return err
		}
	}
}
