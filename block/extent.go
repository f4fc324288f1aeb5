// Package block helps file systems that keep files in blocks to answer
// PopulatePFNs: steps 5b and 6b.
//
// The file system says what it knows about the place an access lands in as an
// [Extent]; [CreatePFNs] asks the device for the page frames behind it and
// inserts them. An Extent is neither a buffer_head nor an iomap: [BufferHead] and
// [Iomap] are carriers that turn into one, for code that thinks in either.
// Nothing here calls back into the file system.
package block

import (
	"fmt"

	"godax/pmem"
)

// Kind says what the blocks of an extent hold.
type Kind uint8

const (
	// Hole: no storage; reads as zero.
	Hole Kind = iota
	// Unwritten: storage that must read as zero, its bytes are never to be seen.
	Unwritten
	// Mapped: storage with the file's bytes.
	Mapped
	// Delalloc: space promised, no address yet. Never valid for DAX.
	Delalloc
	// Inline: the data lies inside metadata. Never mappable.
	Inline
)

var kindNames = [...]string{"hole", "unwritten", "mapped", "delalloc", "inline"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Flags say more about a mapped extent.
type Flags uint8

const (
	// New: allocated by this very call, and zeroed.
	New Flags = 1 << iota
	// Shared: another file range refers to the same storage; stores need a copy.
	Shared
	// ReadOnly: stores need to ask the file system again, or never come.
	ReadOnly
)

// Extent describes one run of a file, whole: not clipped to any request.
type Extent struct {
	Off, Len int64 // bytes of the file; Len is authoritative for every kind, holes too
	Kind     Kind
	Flags    Flags
	Device   pmem.Device // where the storage is; nil if there is none
	Addr     int64       // byte on Device that holds byte Off of the file

	// Source, for a mapped extent that was allocated to break sharing, says where the
	// bytes are so far (Linux: srcmap). It has no Source itself. A hole or unwritten
	// storage as the source is zeroes.
	Source *Extent
}
