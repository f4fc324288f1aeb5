// Package godax opens file systems that live in memory (persistent memory, tmpfs,
// huge pages, or a plain image file) and works on them in this process: no mount, no
// copy, no page cache.
//
// [Open] finds the kind of the device and the type of the file system by itself. The
// methods of [FS] are named as those of [os.Root], the methods of [File] as those
// of [os.File]. What DAX adds: [File.Mmap] maps the frames of a file into this
// process, [File.Pin] gives slices straight into the device, and [File.Extents] tells
// which page frames hold a file.
//
// # Paths
//
// A path is a name in the image, with slashes. A leading slash makes no difference:
// "/a/b" and "a/b" both start at the image's root, and so does "", ".", and "/" name it.
// Symbolic links are resolved inside the image: an absolute target starts at its
// root, and ".." there stays there. No path leads to the host's files.
//
// # Users
//
// The caller owns the image: no permission is checked, and modes, owners and
// access control lists are kept as data. New files belong to Options.UID and
// Options.GID. Access times change only by [FS.Chtimes].
//
// # Concurrency
//
// All methods may be called by any number of goroutines. Reads of one file run
// side by side; a write excludes them. Paths are walked without a lock on the whole
// tree, as in Linux.
//
// # Errors
//
// Errors that concern a path are *fs.PathError with the path as given, those that
// concern two are *os.LinkError. [errors.Is] finds the sentinels of this package,
// those of [io/fs], and syscall.Errno values such as ENOSPC or ENOTEMPTY.
package godax

import (
	"io/fs"
	"time"

	"godax/pmem"
	"godax/vfs"
)

// Options are the ways to open a file system. The zero value opens it read-write and
// exclusively, with everything found by itself.
type Options struct {
	// ReadOnly opens device and file system read-only. Several read-only openers
	// share an image.
	ReadOnly bool

	// Shared allows to open read-only what another process has open for writing. What
	// is read may then be half changed.
	Shared bool

	// Type is the name of the driver to use ("ext"); empty means found by magic number.
	Type string

	// Carrier is the form in which a block-based file system describes its extents:
	// "iomap" (default) or "bh".
	Carrier string

	// Devices are the paths of further devices of a multi-device file system.
	Devices []string

	// CacheBytes limits the cached pages of files that cannot be mapped directly; 0
	// means 64 MiB.
	CacheBytes int64

	// UID and GID own what is created.
	UID, GID uint32

	// Now is the clock for timestamps; nil means time.Now.
	Now func() time.Time

	// Drivers are file systems to try before those that come with this package.
	Drivers []vfs.Driver
}

// FS is an open file system. It must be closed.
type FS struct{}

// Open opens the file system on the device or image file at path, a path of the
// host.
func Open(path string, o Options) (*FS, error) { panic("soon") }

// OpenDevice opens the file system on dev, which stays the caller's to close, after
// Close. Options.Devices are opened and closed by FS.
func OpenDevice(dev pmem.Device, o Options) (*FS, error) { panic("soon") }

// Close writes everything back, marks the file system clean and closes the device.
// While files are open it changes nothing and returns an [*OpenError] (EBUSY) that
// names them.
func (f *FS) Close() error { panic("soon") }

// Sync makes everything that returned before durable.
func (f *FS) Sync() error { panic("soon") }

// Info describes device and file system.
func (f *FS) Info() Info { panic("soon") }

// Statfs is the size and use of the file system.
func (f *FS) Statfs() Statfs { panic("soon") }

// Statfs is a file system's size and use.
type Statfs = vfs.Statfs

// Info is what is known about an open file system.
type Info struct {
	Device pmem.Info
	FS     vfs.Description
	Usage  Statfs
	Driver string // the driver's name
}

// Open opens the file for reading.
func (f *FS) Open(name string) (*File, error) { panic("soon") }

// Create opens the file for reading and writing, made with mode 0666 if it does not
// exist, cut to length 0 if it does.
func (f *FS) Create(name string) (*File, error) { panic("soon") }

// OpenFile opens the file with the flags of package os: O_RDONLY, O_WRONLY, O_RDWR,
// O_APPEND, O_CREATE, O_EXCL, O_TRUNC, O_SYNC; of package syscall O_NOFOLLOW (a
// symbolic link is ELOOP) and O_DIRECTORY. perm is the mode of a new file; there is no umask.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (*File, error) { panic("soon") }

// Mkdir makes a directory.
func (f *FS) Mkdir(name string, perm fs.FileMode) error { panic("soon") }

// MkdirAll makes a directory and its missing parents; one that exists is no error.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error { panic("soon") }

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error { panic("soon") }

// RemoveAll removes name and everything below it; what does not exist is no error.
func (f *FS) RemoveAll(name string) error { panic("soon") }

// Rename moves oldname to newname, over what newname is if the kinds fit: a file over
// a file, a directory over an empty directory.
func (f *FS) Rename(oldname, newname string) error { panic("soon") }

// Link makes newname another name of the file oldname; a symbolic link is linked
// itself. A directory is EPERM.
func (f *FS) Link(oldname, newname string) error { panic("soon") }

// Symlink makes newname a symbolic link with the target oldname, which is stored as
// it is.
func (f *FS) Symlink(oldname, newname string) error { panic("soon") }

// Readlink returns the target of a symbolic link; EINVAL for anything else.
func (f *FS) Readlink(name string) (string, error) { panic("soon") }

// Mknod makes a file of any type but directory and symlink: the type bits of mode are
// 0 (regular), ModeNamedPipe, ModeSocket, ModeDevice or ModeDevice|ModeCharDevice.
func (f *FS) Mknod(name string, mode fs.FileMode, major, minor uint32) error { panic("soon") }

// Stat describes the file, symbolic links followed. Sys of the result is a [*Stat].
func (f *FS) Stat(name string) (fs.FileInfo, error) { panic("soon") }

// Lstat describes the file; a symbolic link itself.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { panic("soon") }

// Chmod changes the permission bits and setuid, setgid, sticky.
func (f *FS) Chmod(name string, mode fs.FileMode) error { panic("soon") }

// Chown changes the owner; -1 keeps an id.
func (f *FS) Chown(name string, uid, gid int) error { panic("soon") }

// Lchown is Chown on a symbolic link itself.
func (f *FS) Lchown(name string, uid, gid int) error { panic("soon") }

// Chtimes changes access and modification time; a zero time keeps one.
func (f *FS) Chtimes(name string, atime, mtime time.Time) error { panic("soon") }

// Lchtimes is Chtimes on a symbolic link itself.
func (f *FS) Lchtimes(name string, atime, mtime time.Time) error { panic("soon") }

// Truncate changes a file's size.
func (f *FS) Truncate(name string, size int64) error { panic("soon") }

// ReadFile returns the contents of a file.
func (f *FS) ReadFile(name string) ([]byte, error) { panic("soon") }

// WriteFile makes data the contents of a file, made with perm if it does not exist.
func (f *FS) WriteFile(name string, data []byte, perm fs.FileMode) error { panic("soon") }

// ReadDir returns the entries of a directory, sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) { panic("soon") }

// IOFS is the file system as an [fs.FS] for reading, with [fs.ReadDirFS],
// [fs.ReadFileFS], [fs.StatFS], [fs.ReadLinkFS] and [fs.SubFS]. Paths are those of io/fs.
func (f *FS) IOFS() fs.FS { panic("soon") }
