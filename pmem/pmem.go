// Package pmem holds the devices that DAX works on: byte-addressable memory
// with page frame numbers.
//
// A [Device] is a run of bytes in this process's address space that stays where
// it is until Close: a memory file, a regular image file, a file on a DAX mount
// or a DAX character device. It answers one question, [Device.DirectAccess]:
// which page frames, and which bytes, lie at this offset. Everything above asks
// for nothing else, except to make stores durable ([Device.Flush],
// [Device.Barrier]).
//
// Pages are 4 KiB ([PageSize]) whatever the pages of the memory underneath are.
package pmem

import (
	"errors"
	"syscall"
)

// The page is the unit of every frame number and page count in this module.
const (
	PageShift = 12
	PageSize  = 1 << PageShift
)

// PFN is a page frame number: the number of one 4 KiB page of directly
// addressable storage, unique across all open devices. The device's [DeviceID]
// is in bits 36..47, the page's number on that device in bits 0..35. The frames
// of a contiguous run are consecutive numbers. Zero is no frame.
type PFN uint64

// Widths of the two parts of a [PFN].
const (
	pfnPageBits   = 36
	pfnDeviceBits = 12

	// MaxPages is the most pages one device can have (256 TiB).
	MaxPages = 1 << pfnPageBits
	// PFNBits is the number of low bits of a PFN that can be set.
	PFNBits = pfnPageBits + pfnDeviceBits
)

// DeviceID numbers an open device, 1..4095. A closed device's number is given
// out again as late as possible.
type DeviceID uint16

// MakePFN joins a device number and a page number below [MaxPages].
func MakePFN(dev DeviceID, page uint64) PFN {
	return PFN(uint64(dev)<<pfnPageBits | page)
}

// Device is the number of the device that owns the frame.
func (p PFN) Device() DeviceID { return DeviceID(p >> pfnPageBits) }

// Page is the frame's page number on its device.
func (p PFN) Page() uint64 { return uint64(p) & (MaxPages - 1) }

// Mode says what a direct access is for.
type Mode uint8

const (
	// Normal access fails on bad media.
	Normal Mode = iota
	// RecoveryWrite is for overwriting whole pages; it succeeds on bad media.
	RecoveryWrite
)

// Run is the answer of a direct access: consecutive frames and their bytes. It is
// four words, so that it travels in registers: with a fifth it would go through
// memory, where a copy of the bytes before it has its stores still to finish.
type Run struct {
	PFN   PFN
	Bytes []byte // whole pages, at least one; cap equal to len
}

// Pages is the number of frames, at least 1.
func (r Run) Pages() uint64 { return uint64(len(r.Bytes)) / PageSize }

// Device is memory that can be accessed directly. Its methods may be called by
// any number of goroutines.
//
// Contract (A1 to A7 of the DAX semantics):
//   - an answer may be shorter than asked, is never longer than contiguous, and
//     never empty;
//   - a request out of range fails, it is never rounded;
//   - a range on known bad media fails with [ErrPoisoned] in Normal mode;
//   - DirectAccess has no effect on data and takes no lock that a fault may hold;
//   - every page in range has either a frame or an error.
//
// Validity: frames and bytes stay valid until Close or removal of the device;
// whoever closes a device has first taken every translation and slice back.
type Device interface {
	// ID is the number that the device's frames carry.
	ID() DeviceID

	// Size is the device's size in bytes; its last page may be partial. The
	// partial page has no frame: DirectAccess covers Size()/PageSize pages.
	Size() int64

	// ReadOnly reports whether stores to the device's bytes are forbidden (they
	// would fault).
	ReadOnly() bool

	// DirectAccess returns the run that starts at the given page of the device and
	// is at most n pages long. n must be at least 1. Errors: [ErrOutOfRange],
	// [ErrPoisoned], [ErrRemoved].
	DirectAccess(page, n uint64, mode Mode) (Run, error)

	// Bytes returns the n bytes at off, for metadata. Errors: [ErrOutOfRange],
	// [ErrPoisoned], [ErrRemoved].
	Bytes(off, n int64) ([]byte, error)

	// Flush pushes stores to the n bytes at off towards the medium; they are durable
	// once a later Barrier has returned. What this takes depends on the kind of the
	// device ([Info]). Errors: [ErrOutOfRange], [ErrRemoved], a syscall.Errno.
	Flush(off, n int64) error

	// Barrier waits until everything flushed before it is durable.
	Barrier() error

	// Info describes the device.
	Info() Info

	// Close gives the memory back. Slices and frames of the device must not be used
	// afterwards.
	Close() error
}

// Mappable is what a [Device] whose memory other mappings can share implements:
// page p of the device is byte off+p*PageSize of the open file fd.
type Mappable interface {
	// Backing returns the open file, the file offset of the device's first page, and
	// the size in bytes of the pages that a mapping of the file must be aligned to
	// (PageSize, or the huge page size on hugetlbfs and DAX character devices).
	// The descriptor belongs to the device and stays open until Close.
	Backing() (fd int, off int64, pageSize int64)
}

// Invalidator is what a [Device] implements whose memory other hosts may store to while it
// is open here. A device without it is coherent by itself: volatile memory and files of one
// host are.
type Invalidator interface {
	// Invalidate drops what this processor's caches hold of the n bytes at off, so that loads
	// after it see what is in memory. Stores of this process that were not flushed are
	// written back first. Errors: [ErrOutOfRange], [ErrRemoved]; errors.ErrUnsupported if the
	// processor has no instruction for it.
	Invalidate(off, n int64) error
}

// Poisoner is what a [Device] that keeps a list of bad pages implements.
type Poisoner interface {
	// ClearPoison declares the n pages at page good again, after a whole-page
	// overwrite.
	ClearPoison(page, n uint64) error
}

// Reserver is what a [Device] implements whose stores may need room that is not taken
// yet: an image file with holes gets blocks when they are first stored to, and a store
// that finds the disk full raises SIGBUS. A device without it needs no room.
type Reserver interface {
	// Reserve makes sure that no store to the n bytes at off fails for lack of room, be
	// it through Bytes, DirectAccess or another mapping of the file, as long as nobody
	// punches a hole into the file. The contents stay as they are. The ahead bytes behind
	// them get room as well if there is plenty: this is to save system calls, of which it makes none
	// for the n bytes if it knows that they have room. (On tmpfs loads from holes take
	// room as stores do; so this is for loads too.)
	//
	// Errors: [ErrOutOfRange] for the n bytes, [ErrRemoved]; ENOSPC, EDQUOT and others of
	// fallocate(2) as syscall.Errno. After an error some of the n bytes may have room.
	Reserve(off, n, ahead int64) error

	// Room returns the first run of bytes among the n at off that has room already, as far
	// as is known without asking for any: size is 0 if there is none. For a full disk: what was
	// freed in the image can be used again. Errors are as no room.
	Room(off, n int64) (start, size int64)
}

// Kind is the kind of memory that a device is made of.
type Kind string

const (
	KindMemory    Kind = "memory"     // anonymous memory (memfd), 4 KiB pages
	KindHuge      Kind = "hugetlb"    // anonymous memory or hugetlbfs file on huge pages
	KindTmpfs     Kind = "tmpfs"      // a file on tmpfs
	KindFile      Kind = "file"       // a regular file in the page cache
	KindDAXFile   Kind = "dax file"   // a file on a DAX mount, mapped with MAP_SYNC
	KindDAXDevice Kind = "dax device" // a DAX character device
	KindSim       Kind = "simulated"  // the test device
)

// Info describes a device.
type Info struct {
	Kind       Kind
	Path       string // where it was opened from; empty for anonymous memory
	Volatile   bool   // contents do not survive power loss, flush does nothing
	Flush      string // how stores are made durable: "none", "msync", "clwb", "clflushopt", "clflush", "dc cvap", "simulated"
	PageSize   int64  // bytes of the pages the memory is made of
	ReadOnly   bool
	MapSync    bool // MAP_SYNC was accepted
	DeviceSize int64
}

// Errors of devices. ErrPoisoned and ErrRemoved are also EIO to errors.Is.
var (
	ErrOutOfRange = errors.New("pmem: beyond the device")
	ErrPoisoned   = error(errno{"pmem: poisoned page", syscall.EIO})
	ErrRemoved    = error(errno{"pmem: device removed", syscall.EIO})
	ErrInUse      = error(errno{"pmem: in use by another opener", syscall.EBUSY})
)

// errno is a sentinel that also matches an errno.
type errno struct {
	text string
	no   syscall.Errno
}

func (e errno) Error() string        { return e.text }
func (e errno) Is(target error) bool { return target == error(e.no) }
