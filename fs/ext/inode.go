package ext

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"godax/internal/extfmt"
	"godax/vfs"
)

// inode is the handle of an inode in memory: where its bytes are. Each field is
// read from the medium when it is asked for, with one atomic load, and changed by
// one store. The kinds of inodes embed it: file, dir, symlink, special.
//
// Locks: vfs's lock of the inode guards everything but what a page fault may
// change without it: i_block, i_blocks and the times are guarded by mu.
type inode struct {
	fs   *FS
	ino  uint32
	off  int64  // device offset of the inode; immutable
	raw  []byte // its bytes on the device; changed through fs.st only
	bmap blockMap

	nameless bool // made without a name, and given none yet; guarded by vfs's lock

	touched atomic.Int64 // when touch has set mtime and ctime, in nanoseconds since 1970; 0 is never

	mu     sync.RWMutex
	window *window // blocks kept for the growth of the file; guarded by mu
}

// base gives the kinds of inodes back as what they have in common.
func (in *inode) base() *inode { return in }

// baseOf returns the inode inside a vfs.Inode of this driver.
func baseOf(i vfs.Inode) (*inode, error) {
	if b, ok := i.(interface{ base() *inode }); ok {
		return b.base(), nil
	}
	return nil, fmt.Errorf("ext: inode of another driver (%T): %w", i, syscall.EXDEV)
}

// corrupt makes the error for a broken field of the inode, and sees to it that the
// file system does not become clean again without a check.
func (in *inode) corrupt(field string, v uint64, reason string) error {
	in.fs.failed.Store(true)
	return extfmt.Corrupt(in.name(), in.off, field, v, reason)
}

// name is what error messages call the inode.
func (in *inode) name() string { return fmt.Sprintf("inode %d", in.ino) }

func (in *inode) get32(field int) uint32 { return load32(in.raw[field:]) }

func (in *inode) get16(field int) uint16 {
	return uint16(load32(in.raw[field&^3:]) >> (uint(field&2) * 8))
}

func (in *inode) put32(field int, v uint32) error { return in.fs.st.put32(in.off+int64(field), v) }
func (in *inode) put16(field int, v uint16) error { return in.fs.st.put16(in.off+int64(field), v) }

// mode is i_mode, with the format's own bits.
func (in *inode) mode() uint16 { return in.get16(extfmt.InodeMode) }

// isType reports whether the inode has the given type (extfmt.ModeFile, ...).
func (in *inode) isType(t uint16) bool { return in.mode()&extfmt.ModeType == t }

func (in *inode) isDir() bool { return in.isType(extfmt.ModeDir) }

// links is i_links_count.
func (in *inode) links() uint16           { return in.get16(extfmt.InodeLinks) }
func (in *inode) setLinks(n uint16) error { return in.put16(extfmt.InodeLinks, n) }

// dtime is i_dtime: when the inode was deleted, or the next one of the orphan list.
func (in *inode) dtime() uint32           { return in.get32(extfmt.InodeDtime) }
func (in *inode) setDtime(v uint32) error { return in.put32(extfmt.InodeDtime, v) }

func (in *inode) flags() uint32           { return in.get32(extfmt.InodeFlags) }
func (in *inode) setFlags(v uint32) error { return in.put32(extfmt.InodeFlags, v) }

// fileACL is i_file_acl: the block with extended attributes, or 0.
func (in *inode) fileACL() uint32           { return in.get32(extfmt.InodeFileACL) }
func (in *inode) setFileACL(v uint32) error { return in.put32(extfmt.InodeFileACL, v) }

// pointer is i_block[i], setPointer publishes a new one.
func (in *inode) pointer(i int) uint32 { return in.get32(extfmt.InodeBlock + 4*i) }

// hasWideSize reports whether i_size_high belongs to the size: in regular files only.
func (in *inode) hasWideSize() bool { return in.fs.sb.Rev > 0 && in.isType(extfmt.ModeFile) }

// size is i_size in bytes. It can be anything up to 2^64-1 on a damaged image;
// loadInode has refused what no file can have.
func (in *inode) size() int64 {
	n := uint64(in.get32(extfmt.InodeSizeLow))
	if in.hasWideSize() {
		n |= uint64(in.get32(extfmt.InodeSizeHigh)) << 32
	}
	return int64(n)
}

// setSize publishes a new size; only regular files can be larger than 4 GiB. The
// file system's large_file feature is set before the first file gets that large.
func (in *inode) setSize(n int64) error {
	low := put{in.off + extfmt.InodeSizeLow, 4, uint32(n)}
	if !in.hasWideSize() {
		return in.fs.st.put32(low.off, low.v)
	}
	if n > 1<<31-1 {
		if err := in.fs.setLargeFile(); err != nil {
			return err
		}
	}
	high := put{in.off + extfmt.InodeSizeHigh, 4, uint32(n >> 32)}
	if in.get32(extfmt.InodeSizeHigh) == high.v {
		return in.fs.st.put32(low.off, low.v)
	}
	return in.fs.st.switchOver(high, low)
}

// Bits of i_flags and the ro_compat word that say how i_blocks counts.
const inodeFlagHugeFile = 0x40000

// sectors is i_blocks: what the inode uses, in units of 512 bytes.
func (in *inode) sectors() uint64 {
	n := uint64(in.get32(extfmt.InodeBlocks))
	if in.fs.sb.ROCompat&extfmt.ROCompatHugeFile != 0 {
		n |= uint64(in.get16(extfmt.InodeBlocksHigh)) << 32
		if in.flags()&inodeFlagHugeFile != 0 {
			n <<= in.fs.sb.BlockShift - 9
		}
	}
	return n
}

// addBlocks changes i_blocks by n file system blocks. mu is held, or nobody else
// knows the inode.
func (in *inode) addBlocks(n int64) error {
	v := int64(in.get32(extfmt.InodeBlocks)) + n<<(in.fs.sb.BlockShift-9)
	return in.put32(extfmt.InodeBlocks, uint32(max(v, 0)))
}

// rdev is the device number of a device node.
func (in *inode) rdev() (major, minor uint32) {
	if t := in.mode() & extfmt.ModeType; t != extfmt.ModeChar && t != extfmt.ModeBlock {
		return 0, 0
	}
	return extfmt.DecodeRdev(in.pointer(0), in.pointer(1))
}

// extraField returns the word at a field behind the first 128 bytes, and whether
// the inode has room for it by its own i_extra_isize.
func (in *inode) hasExtra(field int) bool {
	if len(in.raw) <= extfmt.InodeExtraIsize {
		return false
	}
	n := int(in.get16(extfmt.InodeExtraIsize))
	return n%4 == 0 && extfmt.InodeExtraIsize+n <= len(in.raw) && field+4 <= extfmt.InodeExtraIsize+n
}

func (in *inode) time(field, extra int) time.Time {
	var x uint32
	if in.hasExtra(extra) {
		x = in.get32(extra)
	}
	return extfmt.DecodeTime(in.get32(field), x)
}

func (in *inode) putTime(field, extra int, t time.Time) error {
	wide := in.hasExtra(extra)
	sec, x := extfmt.EncodeTime(t, wide)
	if wide && in.get32(extra) != x {
		if err := in.put32(extra, x); err != nil {
			return err
		}
	}
	if in.get32(field) == sec {
		return nil
	}
	return in.put32(field, sec)
}

// stamp says which times touch sets.
type stamp uint8

const (
	stampAtime stamp = 1 << iota
	stampMtime
	stampCtime
)

// tick is how far apart two stamps are at least, as with the kernel's clock for
// files: a stream of small writes does not store the time for each.
const tick = 4 * time.Millisecond

// touch sets the given times to now, or leaves them if it has set them within the
// last tick.
//
// Locks: takes mu.
func (in *inode) touch(s stamp) error {
	now := in.fs.now()
	if s == stampMtime|stampCtime {
		if d := now.UnixNano() - in.touched.Load(); d >= 0 && d < int64(tick) {
			return nil
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.touchLocked(s, now); err != nil {
		return err
	}
	if s == stampMtime|stampCtime {
		in.touched.Store(now.UnixNano())
	}
	return nil
}

func (in *inode) touchLocked(s stamp, now time.Time) error {
	if s&stampAtime != 0 {
		if err := in.putTime(extfmt.InodeAtime, extfmt.InodeAtimeExtra, now); err != nil {
			return err
		}
	}
	if s&stampMtime != 0 {
		if err := in.putTime(extfmt.InodeMtime, extfmt.InodeMtimeExtra, now); err != nil {
			return err
		}
	}
	if s&stampCtime != 0 {
		return in.putTime(extfmt.InodeCtime, extfmt.InodeCtimeExtra, now)
	}
	return nil
}

// Attr returns the inode's attributes.
func (in *inode) Attr() vfs.Attr {
	mode, _ := extfmt.ToMode(in.mode())
	a := vfs.Attr{
		Ino:       uint64(in.ino),
		Mode:      mode,
		Nlink:     uint32(in.links()),
		UID:       uint32(in.get16(extfmt.InodeUID)) | uint32(in.get16(extfmt.InodeUIDHigh))<<16,
		GID:       uint32(in.get16(extfmt.InodeGID)) | uint32(in.get16(extfmt.InodeGIDHigh))<<16,
		Size:      in.size(),
		Blocks:    in.sectors(),
		BlockSize: in.fs.blockSize(),
	}
	a.RdevMajor, a.RdevMinor = in.rdev()
	in.mu.RLock()
	defer in.mu.RUnlock()
	a.Atime = in.time(extfmt.InodeAtime, extfmt.InodeAtimeExtra)
	a.Mtime = in.time(extfmt.InodeMtime, extfmt.InodeMtimeExtra)
	a.Ctime = in.time(extfmt.InodeCtime, extfmt.InodeCtimeExtra)
	if in.hasExtra(extfmt.InodeCrtime) {
		a.Btime = in.time(extfmt.InodeCrtime, extfmt.InodeCrtimeExtra)
	}
	return a
}

// SetAttr changes the attributes that are not nil, and ctime.
func (in *inode) SetAttr(a vfs.SetAttr) error {
	if in.fs.readOnly {
		return syscall.EROFS
	}
	if a.Mode != nil {
		m := in.mode()&extfmt.ModeType | extfmt.FromMode(*a.Mode)&^extfmt.ModeType
		if err := in.put16(extfmt.InodeMode, m); err != nil {
			return err
		}
		if err := in.chmodACL(m & 0o777); err != nil {
			return err
		}
	}
	if a.UID != nil {
		if err := in.putID(extfmt.InodeUID, extfmt.InodeUIDHigh, *a.UID); err != nil {
			return err
		}
	}
	if a.GID != nil {
		if err := in.putID(extfmt.InodeGID, extfmt.InodeGIDHigh, *a.GID); err != nil {
			return err
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.touched.Store(0)
	if a.Atime != nil {
		if err := in.putTime(extfmt.InodeAtime, extfmt.InodeAtimeExtra, *a.Atime); err != nil {
			return err
		}
	}
	if a.Mtime != nil {
		if err := in.putTime(extfmt.InodeMtime, extfmt.InodeMtimeExtra, *a.Mtime); err != nil {
			return err
		}
	}
	return in.touchLocked(stampCtime, in.fs.now())
}

// putID stores a user or group number in its two halves.
func (in *inode) putID(low, high int, id uint32) error {
	return in.fs.st.switchOver(put{in.off + int64(low), 2, id & 0xffff}, put{in.off + int64(high), 2, id >> 16})
}

// Evict gives the inode up: its window of blocks at once, and its storage if it has
// no name left.
func (in *inode) Evict(context.Context) error {
	if in.fs.readOnly {
		return nil
	}
	in.mu.Lock()
	in.dropWindow()
	in.mu.Unlock()
	if in.links() != 0 {
		return nil
	}
	return in.fs.freeInode(in)
}

// special is an inode without content of its own: a device node, fifo or socket.
type special struct{ *inode }

// Inode reads the inode. Errors: fs.ErrNotExist for a free one, vfs.ErrCorrupt.
func (f *FS) Inode(ino uint64) (vfs.Inode, error) {
	if ino != extfmt.RootIno && ino < uint64(f.sb.FirstIno) || ino > uint64(f.sb.InodesCount) {
		return nil, extfmt.Corrupt("inode table", -1, "inode", ino, "number out of range")
	}
	in, err := f.loadInode(uint32(ino))
	if err != nil {
		return nil, err
	}
	if in.links() == 0 {
		return nil, fmt.Errorf("ext: inode %d is free: %w", ino, fs.ErrNotExist)
	}
	return f.wrap(in)
}

// loadInode makes the handle of an inode, in use or not. Its number is not 0 and not
// above s_inodes_count. Of an inode with a mode the type, the flags and the size are
// checked.
func (f *FS) loadInode(ino uint32) (*inode, error) {
	off, err := f.inodeOff(ino)
	if err != nil {
		return nil, err
	}
	raw, err := f.st.view(off, int64(f.sb.InodeSize))
	if err != nil {
		return nil, err
	}
	in := &inode{fs: f, ino: ino, off: off, raw: raw}
	mode := in.mode()
	if mode == 0 {
		if in.links() != 0 {
			return nil, in.corrupt("i_mode", 0, "in use without a type")
		}
		return in, nil
	}
	if _, ok := extfmt.ToMode(mode); !ok {
		return nil, in.corrupt("i_mode", uint64(mode), "no such type")
	}
	if fl := in.flags(); fl&(extfmt.InodeFlagExtents|extfmt.InodeFlagInline|extfmt.InodeFlagEAInode) != 0 {
		return nil, in.corrupt("i_flags", uint64(fl), "uses a feature that the file system does not have")
	}
	if n := in.size(); n < 0 || n > f.maxFileSize() && in.links() != 0 {
		return nil, in.corrupt("i_size", uint64(n), "larger than a file can be")
	}
	in.bmap = &indirect{in: in}
	return in, nil
}

// inodeOff is the device offset of an inode.
func (f *FS) inodeOff(ino uint32) (int64, error) {
	if ino == 0 || ino > f.sb.InodesCount {
		return 0, extfmt.Corrupt("inode table", -1, "inode", uint64(ino), "number out of range")
	}
	g, i := (ino-1)/f.sb.InodesPerGroup, (ino-1)%f.sb.InodesPerGroup
	return f.blockOff(f.groups[g].InodeTable) + int64(i)*int64(f.sb.InodeSize), nil
}

// wrap makes an inode what its type says.
func (f *FS) wrap(in *inode) (vfs.Inode, error) {
	switch in.mode() & extfmt.ModeType {
	case extfmt.ModeFile:
		return newFile(in), nil
	case extfmt.ModeDir:
		return newDir(in)
	case extfmt.ModeLink:
		return newSymlink(in)
	}
	return special{in}, nil
}
