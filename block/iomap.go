package block

import (
	"fmt"

	"godax/pmem"
)

// IomapType is the type of an [Iomap] (Linux: IOMAP_HOLE and so on).
type IomapType uint8

const (
	IomapHole IomapType = iota
	IomapDelalloc
	IomapMapped
	IomapUnwritten
	IomapInline
)

// IomapFlags are the flags of an [Iomap] (Linux: IOMAP_F_NEW and so on).
type IomapFlags uint8

const (
	IomapNew    IomapFlags = 1 << iota // allocated by this call, and zeroed
	IomapShared                        // shared with another file range
)

// NullAddr is the address of an iomap that has none (Linux: IOMAP_NULL_ADDR).
const NullAddr = -1

// Iomap carries the description of an extent (Linux: struct iomap).
type Iomap struct {
	Addr   int64 // byte on Device, or NullAddr
	Offset int64 // byte of the file
	Length int64 // bytes, for every type
	Type   IomapType
	Flags  IomapFlags
	Device pmem.Device
	Source *Iomap // what the bytes have to be copied from; nil for none
}

// Extent translates the iomap. A mapped one without an address or a device, and a
// length that is not positive, is an error.
func (im *Iomap) Extent() (Extent, error) {
	e := Extent{Off: im.Offset, Len: im.Length, Device: im.Device}
	switch im.Type {
	case IomapHole:
		e.Kind = Hole
	case IomapDelalloc:
		e.Kind = Delalloc
	case IomapUnwritten:
		e.Kind = Unwritten
	case IomapInline:
		e.Kind = Inline
	case IomapMapped:
		e.Kind, e.Addr = Mapped, im.Addr
		if im.Addr < 0 || im.Device == nil {
			return Extent{}, fmt.Errorf("block: iomap at %d: mapped without an address", im.Offset)
		}
	default:
		return Extent{}, fmt.Errorf("block: iomap at %d: type %d", im.Offset, im.Type)
	}
	if im.Offset < 0 || im.Length <= 0 || im.Offset > maxInt64-im.Length {
		return Extent{}, fmt.Errorf("block: iomap at %d: length %d", im.Offset, im.Length)
	}
	if im.Flags&IomapNew != 0 {
		e.Flags |= New
	}
	if im.Flags&IomapShared != 0 {
		e.Flags |= Shared
	}
	if im.Source != nil {
		src, err := im.Source.Extent()
		if err != nil {
			return Extent{}, fmt.Errorf("block: source of iomap at %d: %w", im.Offset, err)
		}
		e.Source = &src
	}
	return e, nil
}

const maxInt64 = 1<<63 - 1
