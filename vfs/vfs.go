// Package vfs is what a file system driver implements and what every front end
// shares: the inode table, path walk, open files, and the locks above the driver.
//
// A driver implements [Driver], [FileSystem] and one [Inode] type, with the
// abilities ([Dir], [File], [Symlink], [Xattrs]) that each kind of inode has. It
// finds PFNs and keeps the medium; it does not count references, walk paths or
// lock inodes: the types in the other files of this package do.
package vfs

import (
	"context"
	"io/fs"
	"time"

	"godax/dax"
	"godax/pmem"
	"godax/vm"
)

// Driver makes a [FileSystem] of a device.
type Driver struct {
	Name string // for messages and the -t option: "ext"

	// Probe reports whether the device holds this driver's format, from its magic
	// number alone. It never fails: an unreadable device is not recognised.
	Probe func(dev pmem.Device) bool

	// Mount opens the file system. The device stays the caller's to close, after
	// FileSystem.Close.
	Mount func(dev pmem.Device, o MountOptions) (FileSystem, error)

	// Clients says that the format is made for readers beside a writer: whoever opens
	// for reading need not keep writers away, and MountOptions.Client stores to files only.
	// The default is false: what is read while another process writes may be half changed.
	Clients bool

	// Check looks for everything that breaks the format, without changing anything; nil if
	// the driver has no checker. It reports damage in the result; the error is for a device
	// that could not be read, and the context's. It runs beside a writer if Clients is set.
	Check func(ctx context.Context, dev pmem.Device, o MountOptions) (Report, error)
}

// MountOptions are the options every driver knows; it ignores what does not apply.
type MountOptions struct {
	ReadOnly bool
	Carrier  string           // block-based: "iomap" (default) or "bh"
	Devices  []pmem.Device    // further devices of a multi-device file system
	Client   bool             // another may be the one who changes metadata; with Driver.Clients only
	Now      func() time.Time // clock for timestamps; nil is time.Now
	// CacheBytes is the soft limit for cached pages that can be given up; 0 is 64 MiB.
	CacheBytes int64
}

// FileSystem is one mounted file system. Its methods may be called by any number
// of goroutines.
type FileSystem interface {
	// Root is the root directory's inode number.
	Root() uint64

	// Inode reads the inode from the medium. vfs calls it once per inode number until
	// Evict of what it returned has returned. Errors: fs.ErrNotExist for a free
	// inode, a corrupt error for a broken one.
	Inode(ino uint64) (Inode, error)

	Statfs() Statfs
	Describe() Description

	// Sync makes the metadata of everything that returned before durable. Data of
	// files is synced by vfs with File.Sync first.
	Sync(ctx context.Context) error

	// Close writes the clean state. All inodes are evicted before it.
	Close(ctx context.Context) error
}

// Statfs is a file system's size and use, as statfs(2) has it.
type Statfs struct {
	BlockSize           int64
	Blocks, Free, Avail uint64 // in blocks; Avail is Free without the reserve
	Files, FilesFree    uint64 // inodes
	NameMax             int    // bytes of the longest name; 0 is unlimited. It never changes
}

// Description is what `godax info` shows of a file system.
type Description struct {
	Type     string // "ext2"
	Label    string
	UUID     string
	ReadOnly bool
	Why      string   // why it is read-only, if not by request
	Features []string // as the format's own tools name them
	Mappable string   // what can be mapped directly, in one sentence
	Details  []KV     // further facts in order

	// FixedSize: a regular file has the size and the storage that it was created with, for
	// good. NewInode.Size is its size then, and must not be 0.
	FixedSize bool
}

// KV is one named fact.
type KV struct{ Key, Value string }

// Attr is an inode's attributes. Mode has Go's type and permission bits.
type Attr struct {
	Ino                  uint64
	Mode                 fs.FileMode
	Nlink                uint32
	UID, GID             uint32
	RdevMajor, RdevMinor uint32
	Size                 int64
	Blocks               uint64 // of 512 bytes, metadata blocks of the file included
	BlockSize            int64
	Atime, Mtime, Ctime  time.Time
	Btime                time.Time // zero if the format has none
}

// SetAttr lists the attributes to change; nil fields stay. Mode changes the
// permission bits and setuid, setgid, sticky only. Ctime is the driver's to set.
type SetAttr struct {
	Mode         *fs.FileMode
	UID, GID     *uint32
	Atime, Mtime *time.Time
}

// Inode is one file, directory, symlink or special file in memory. Which of
// [File], [Dir], [Symlink] it implements follows from its type.
//
// Locks: vfs holds the inode's lock, shared for methods that only read, exclusive
// for those that change; the comments of the abilities say where it differs.
type Inode interface {
	Attr() Attr
	SetAttr(a SetAttr) error

	// Evict is called when nobody refers to the inode any more: it flushes, removes
	// index entries, and frees the inode's storage if its link count is 0. The caller
	// may hold the locks of other inodes.
	Evict(ctx context.Context) error
}

// Dirent is a directory entry. Off is the position to go on from after it: a cookie for
// ReadDir.
type Dirent struct {
	Name string
	Ino  uint64
	Type fs.FileMode // type bits; ModeIrregular if the format does not say
	Off  uint64
}

// NewInode describes an inode to create.
type NewInode struct {
	Mode                 fs.FileMode // type and permission bits
	UID, GID             uint32
	RdevMajor, RdevMinor uint32
	Target               string // for a symlink

	// Umask are permission bits that the inode does not get (umask(2)), unless the directory
	// has a default ACL, which takes their place. Drivers need not look at it.
	Umask fs.FileMode

	// Size and Stripe are for regular files of a file system whose Description says
	// FixedSize; others leave them alone.
	Size   int64 // bytes
	Stripe Stripe
}

// Stripe says over how many runs of storage a file is spread, and in pieces of how many
// bytes. The zero value leaves both to the file system.
type Stripe struct {
	Strips int
	Chunk  int64
}

// Dir is the ability of a directory. Names are single components, never "", ".",
// ".." or with a slash or NUL, nor longer than Statfs.NameMax.
//
// Locks: the directory's lock exclusive for changes; for Link, Unlink, Rmdir and
// Rename the locks of the other inodes named too. Renames between directories are
// serialised by vfs, which also has made sure that a directory is not moved into
// itself.
type Dir interface {
	Inode

	// Lookup returns the inode number behind name; fs.ErrNotExist.
	Lookup(name string) (uint64, error)

	// ReadDir calls yield for the entries from position pos (0 is the start) until it
	// returns false, without "." and "..".
	ReadDir(pos uint64, yield func(Dirent) bool) error

	// Parent returns the inode number of "..".
	Parent() (uint64, error)

	// Create makes an inode of any type and links it. fs.ErrExist, ENOSPC.
	Create(name string, n NewInode) (Inode, error)

	Link(name string, target Inode) error

	// Unlink removes the name of child, which is not a directory. The inode lives
	// until Evict.
	Unlink(name string, child Inode) error

	// Rmdir removes the name of an empty directory; ENOTEMPTY.
	Rmdir(name string, child Inode) error

	// Rename moves child from name to newName in newDir, over replaced if that is not
	// nil (of a fitting type; an empty directory if it is one, else ENOTEMPTY).
	Rename(name string, child Inode, newDir Dir, newName string, replaced Inode) error
}

// Exchanger is the ability of a directory to exchange what two names lead to (renameat2(2):
// RENAME_EXCHANGE). The default is none: ENOTSUP.
//
// Locks: as for Dir.Rename.
type Exchanger interface {
	Dir

	// Exchange makes name lead to other, and newName in newDir, which may be the same
	// directory, to child. The two are different inodes, and neither a directory above the
	// other.
	Exchange(name string, child Inode, newDir Dir, newName string, other Inode) error
}

// Symlink is the ability of a symbolic link.
type Symlink interface {
	Inode
	Readlink() (string, error)
}

// Xattrs is the ability to keep extended attributes; names are complete
// ("user.x"). Errors: ENODATA, EEXIST, ENOSPC, ERANGE, E2BIG, ENOTSUP.
type Xattrs interface {
	Xattr(name string) ([]byte, error)
	ListXattr() ([]string, error) // sorted
	SetXattr(name string, value []byte, create, replace bool) error
	RemoveXattr(name string) error
}

// AllocMode is what [File.Allocate] does with the range.
type AllocMode uint8

const (
	AllocReserve  AllocMode = iota // allocate holes, extend the size
	AllocKeepSize                  // allocate holes, keep the size; ENOTSUP if the format cannot
	AllocPunch                     // free the blocks wholly inside, zero the edges
	AllocZero                      // make the range read as zero
)

// ExtentKind is what the medium holds for a run of bytes.
type ExtentKind uint8

const (
	ExtentHole ExtentKind = iota
	ExtentData
	ExtentUnwritten
)

// Extent is a run of a file that is all of one kind. It reaches at most to the end of the file.
type Extent struct {
	Off, Len int64
	Kind     ExtentKind
}

// File is the ability of a regular file.
//
// Locks: ReadAt, Extent, Fault: shared, or for Fault none (the mapping's
// invalidate lock takes its place). WriteAt, Truncate, Allocate: exclusive. Sync
// and the Mapping's Pin and Attach: none.
type File interface {
	Inode
	dax.Populator
	vm.Handler // step 1: duties of 4.6 around Mapping.Fault

	// Mapping is the file's index; the same value for the inode's whole life.
	Mapping() *dax.Mapping

	// ReadAt returns fewer bytes than len(b) at the end of the file, with io.EOF or
	// without.
	ReadAt(ctx context.Context, b []byte, off int64) (int, error)
	WriteAt(ctx context.Context, b []byte, off int64) (int, error)
	Truncate(ctx context.Context, size int64) error
	Allocate(ctx context.Context, mode AllocMode, off, n int64) error

	// Extent returns the extent that byte off lies in; off is before the end.
	Extent(off int64) (Extent, error)

	// Sync makes data and metadata of the file durable; with dataOnly times may be left out.
	Sync(ctx context.Context, dataOnly bool) error
}
