package godax

import (
	"godax/dax"
)

// MapFlags say what a mapping is for.
type MapFlags uint8

const (
	MapRead    MapFlags = 1 << iota // loads
	MapWrite                        // stores
	MapShared                       // stores reach the file
	MapPrivate                      // stores stay in the mapping
	MapSync                         // shared, and storage is durably allocated when Mmap returns
)

// Mapping is a window of a file in this process's memory: the page frames of the file
// themselves, not a copy.
type Mapping struct{}

// Mmap maps n bytes of the file at off, a multiple of the page size. Of MapShared and
// MapPrivate exactly one must be given. A shared writable mapping allocates the holes
// in its range now (ENOSPC). n may reach past the end of the file: an access to a
// page wholly past it is a SIGBUS, use [Mapping.Do].
//
// ErrNotMappable if the device's memory cannot be mapped a second time.
func (f *File) Mmap(off int64, n int, flags MapFlags) (*Mapping, error) { panic("soon") }

// Bytes is the mapped memory, n bytes. It must not be used after Close. Touching a
// page that was truncated, or that is bad, kills the process, unless it happens in Do.
func (m *Mapping) Bytes() []byte { panic("soon") }

// Do calls fn with the mapped memory. An access of fn that meets a truncated or bad
// page ends fn and becomes the error: dax.ErrBeyondEnd or pmem.ErrPoisoned where
// the cause is known, EFAULT at least. The mapping cannot be closed during fn.
func (m *Mapping) Do(fn func(b []byte) error) error { panic("soon") }

// Sync makes the stores through the mapping durable, with the metadata needed to
// find them.
func (m *Mapping) Sync() error { panic("soon") }

// Writeback is Sync that tells what it had to do.
func (m *Mapping) Writeback() (dax.WritebackStats, error) { panic("soon") }

// Close unmaps. The bytes are gone; what was stored stays in the file.
func (m *Mapping) Close() error { panic("soon") }
