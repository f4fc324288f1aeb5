package fusefs

import "time"

// CacheMode says what the kernel may keep of what it has read.
type CacheMode uint8

const (
	// CacheShared (the default): everything, but files that this process stores to through
	// views or pins are read anew by each read(2). For a process that uses the file system
	// through other front ends too.
	CacheShared CacheMode = iota

	// CacheExclusive: everything, without a question whether it has changed. For a process that
	// only mounts. Changes by other front ends are told to the kernel, but stores through views
	// and pins, and that a file has become shorter, it learns late.
	CacheExclusive

	// CacheNone: no bytes are kept beyond an answer; mapped files are the exception.
	CacheNone
)

// Options are the ways to mount. The zero value mounts for the calling user.
type Options struct {
	// ReadOnly mounts read-only. A read-only file system always is.
	ReadOnly bool

	// AllowOther lets other users than the one who mounts have access. Permissions are
	// checked by the kernel in any case.
	AllowOther bool

	// Source is the first column of the mount table; empty means "godax".
	Source string

	// Subtype is what the mount table shows behind "fuse."; "-" is nothing: plain "fuse".
	// Empty means "godax".
	Subtype string

	// Flags are options of mount(8) for every file system: suid, nosuid, dev, nodev, exec,
	// noexec, atime, noatime, sync, dirsync and the like. The default is nosuid, nodev.
	Flags []string

	Cache CacheMode

	// Timeout is how long the kernel keeps names and attributes; 0 means an hour, negative
	// not at all. It is no matter of correctness: what changes is told to the kernel.
	Timeout time.Duration

	// ReadAhead is how many bytes the kernel may read in advance; 0 means 2 MiB if the
	// process may set that, else what the kernel allows; negative none.
	ReadAhead int

	// OnRead is called for every request to read bytes of a file, before it is answered;
	// nil is nothing. It must be quick, and may be called by many goroutines at once.
	OnRead func(ino uint64, off int64, n int)

	// Debug prints every request to standard error.
	Debug bool
}

// timeoutDefault is Options.Timeout if that is 0.
const timeoutDefault = time.Hour

// timeout is Options.Timeout with its default.
func (o *Options) timeout() time.Duration {
	switch {
	case o.Timeout == 0:
		return timeoutDefault
	case o.Timeout < 0:
		return 0
	}
	return o.Timeout
}
