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
// "/a/b" and "a/b" both start at the image's root, which "", "." and "/" name.
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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"syscall"
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

	// Shared, with ReadOnly, opens even what another process has open for writing. What
	// is read may then be half changed. File systems that are made for this (famfs) are
	// always opened so; but while one is being formatted nobody can tell that it is one, and
	// without Shared the error is then [ErrInUse].
	//
	// Without ReadOnly it is for those file systems alone (EINVAL): as a client, which stores to
	// files beside others and makes none.
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

	// Touched, if not nil, is told of every range of a regular file that is read, mapped or
	// pinned, by this package and other front ends; off and n are bytes, and may reach past
	// the end of the file. A mapping is filled when it is made, so all of it counts.
	// Touched is called by many goroutines at once, and must be quick.
	Touched func(ino uint64, off, n int64)

	// Drivers are file systems to try before those that come with this package.
	Drivers []vfs.Driver
}

// FS is an open file system. It must be closed.
type FS struct {
	m        *vfs.Mount
	dev      pmem.Device
	driver   string
	uid, gid uint32

	mu      sync.Mutex    // guards devices
	devices []pmem.Device // those that Close closes
}

// Open opens the file system on the device or image file at path, a path of the
// host.
//
// Errors are *fs.PathError with: [ErrInUse], [ErrUnknownFormat], [ErrCorrupt],
// [ErrUnsupported], those of open(2).
func Open(path string, o Options) (*FS, error) {
	look := o.ReadOnly != o.Shared // only then the format matters
	clients := look && forClients(path, o)
	if look && o.Shared && !clients {
		return nil, wrap("open", path, fmt.Errorf("only file systems that are made for it are written by several: %w", syscall.EINVAL))
	}
	asked := o.Shared
	o.Shared = asked || clients
	dev, err := pmem.Open(path, o.device())
	if err != nil {
		return nil, err
	}
	if d, err := findDriver(dev, o); look && err == nil && d.Clients != clients {
		// It was formatted since the look: the lock must be the right one.
		if err := dev.Close(); err != nil {
			return nil, err
		}
		o.Shared = asked
		return Open(path, o)
	}
	f, err := OpenDevice(dev, o)
	if err != nil {
		return nil, also(err, dev.Close())
	}
	f.devices = append(f.devices, dev)
	return f, nil
}

// device are the options to open a device with.
func (o Options) device() pmem.Options {
	return pmem.Options{ReadOnly: o.ReadOnly, Shared: o.Shared && o.ReadOnly, Peer: o.Shared && !o.ReadOnly}
}

// forClients reports whether the format on the device at path is one that is read while
// others write: a reader's lock would keep the writer away, also if it is held but for the
// moment of this look. Whatever goes wrong shows again when the device is opened.
func forClients(path string, o Options) bool {
	dev, err := pmem.Open(path, pmem.Options{ReadOnly: true, Shared: true})
	if err != nil {
		return false
	}
	d, err := findDriver(dev, o)
	return dev.Close() == nil && err == nil && d.Clients
}

// OpenDevice opens the file system on dev, which stays the caller's to close, after
// Close. Options.Devices are opened and closed by FS.
func OpenDevice(dev pmem.Device, o Options) (_ *FS, err error) {
	f := &FS{dev: dev, uid: o.UID, gid: o.GID}
	defer func() {
		if err != nil {
			err = also(wrap("open", dev.Info().Path, err), f.closeDevices())
		}
	}()
	d, err := findDriver(dev, o)
	if err != nil {
		return nil, err
	}
	f.driver = d.Name
	for _, path := range o.Devices {
		extra, err := pmem.Open(path, o.device())
		if err != nil {
			return nil, err
		}
		f.devices = append(f.devices, extra)
	}
	fsys, err := d.Mount(dev, vfs.MountOptions{
		ReadOnly: o.ReadOnly || dev.ReadOnly(), Carrier: o.Carrier, Devices: slices.Clone(f.devices),
		Client: o.Shared, Now: o.Now, CacheBytes: o.CacheBytes,
	})
	if err != nil {
		return nil, err
	}
	if f.m, err = vfs.NewMount(fsys, vfs.Config{Now: o.Now, Touched: o.Touched}); err != nil {
		return nil, errors.Join(err, fsys.Close(context.Background()))
	}
	return f, nil
}

// findDriver returns the driver for what is on the device.
func findDriver(dev pmem.Device, o Options) (vfs.Driver, error) {
	drivers := slices.Concat(o.Drivers, builtin)
	for _, d := range drivers {
		if o.Type == d.Name || o.Type == "" && d.Probe(dev) {
			return d, nil
		}
	}
	if o.Type != "" {
		return vfs.Driver{}, fmt.Errorf("no driver %q: %w", o.Type, ErrUnsupported)
	}
	return vfs.Driver{}, ErrUnknownFormat
}

// Close writes everything back, marks the file system clean and closes the device.
// While files are open it changes nothing and returns an [*OpenError] (EBUSY) that
// names them; calls that are running it waits for. A second Close is fs.ErrClosed.
func (f *FS) Close() error {
	err := f.m.Close(context.Background())
	var open *OpenError
	if errors.As(err, &open) || err == fs.ErrClosed {
		return f.wrapDevice("close", err)
	}
	return f.wrapDevice("close", errors.Join(err, f.closeDevices()))
}

// closeDevices closes what FS has opened.
func (f *FS) closeDevices() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, d := range f.devices {
		errs = append(errs, d.Close())
	}
	f.devices = nil
	return errors.Join(errs...)
}

// VFS is what this package works on, for front ends of another kind beside it: the inode
// table, open files and locks are the same. It is closed by Close, which refuses as long
// as files are open, by whichever front end.
func (f *FS) VFS() *vfs.Mount { return f.m }

// Sync makes everything that returned before durable.
func (f *FS) Sync() error {
	return f.wrapDevice("sync", f.m.Sync(context.Background()))
}

// wrapDevice names the device in an error of the whole file system.
func (f *FS) wrapDevice(op string, err error) error {
	return wrap(op, f.dev.Info().Path, err)
}

// Info is what is known about an open file system.
type Info struct {
	Device pmem.Info
	FS     vfs.Description
	Usage  Statfs
	Driver string // the driver's name
}

// Info describes device and file system.
func (f *FS) Info() Info {
	return Info{Device: f.dev.Info(), FS: f.m.Describe(), Usage: f.m.Statfs(), Driver: f.driver}
}

// Statfs is a file system's size and use.
type Statfs = vfs.Statfs

// Statfs is the size and use of the file system.
func (f *FS) Statfs() Statfs { return f.m.Statfs() }
