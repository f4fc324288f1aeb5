// Package fusefs shows a file system to every program of the machine: a front end for the
// FUSE of the Linux kernel, beside package godax, on the same [vfs.Mount].
//
// It knows nothing of any file system. The kernel's requests become calls of [vfs.Node]
// and [vfs.Handle]; errors become error numbers in one place (errno.go); reads are answered
// out of the frames of the device.
//
// # What the kernel knows
//
// The kernel knows inodes by numbers that it got from us, and tells how often it was told
// each (lookups) when it forgets them. As long as it knows an inode the node table has a
// reference to the [vfs.Node], so an unlinked file lives on, and its number is not
// given out again. Open files are a table of [vfs.Handle].
//
// # Caches
//
// The kernel caches names, attributes and bytes ([CacheMode]). What other front ends of the
// same process change, it is told of ([vfs.Watcher]).
//
// # Locks
//
// None of this package is held while vfs is called. The shards of the tables are
// innermost. The kernel is told of changes with no lock held at all: it may wait for a
// request of its own that it has sent us.
package fusefs
