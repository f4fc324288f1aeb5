package format

import (
	"encoding/binary"
	"fmt"
)

// DescriptorMin is how many bytes of a descriptor mean something.
const DescriptorMin = 34

// Descriptor is struct axfs_region_desc_onmedia: where a region is.
type Descriptor struct {
	Off            uint64 // fsoffset: image offset of the stored bytes
	Size           uint64 // bytes when inflated
	CompressedSize uint64 // bytes of the zlib stream; 0: stored as it is
	MaxIndex       uint64 // number of entries of a table; readers do not need it
	Depth          uint8  // table_byte_depth: bytes of an entry; 0 for data
	Incore         bool   // to be copied to memory when mounted
}

// Stored is the number of bytes that the region takes in the image.
func (d Descriptor) Stored() uint64 {
	if d.CompressedSize != 0 {
		return d.CompressedSize
	}
	return d.Size
}

// DecodeDescriptor decodes the descriptor of region r in b, which lies at image offset
// off, of an image of size bytes. It checks that the stored bytes lie in the image and, for a table, the
// depth. An empty region has Off 0, whatever is stored.
func DecodeDescriptor(r Region, b []byte, off int64, size uint64) (Descriptor, error) {
	structure := "descriptor of " + r.String()
	if len(b) < DescriptorMin {
		return Descriptor{}, Corrupt(structure, off, "", uint64(len(b)), "cut off")
	}
	d := Descriptor{
		Off:            binary.BigEndian.Uint64(b),
		Size:           binary.BigEndian.Uint64(b[8:]),
		CompressedSize: binary.BigEndian.Uint64(b[16:]),
		MaxIndex:       binary.BigEndian.Uint64(b[24:]),
		Depth:          b[32],
		Incore:         b[33] != 0,
	}
	if d.Size == 0 {
		d.Off, d.CompressedSize = 0, 0
	}
	if d.Off > size || d.Stored() > size-d.Off {
		return Descriptor{}, Corrupt(structure, off, "fsoffset", d.Off, fmt.Sprintf("%d bytes from there reach past the image's %d", d.Stored(), size))
	}
	if !r.IsTable() {
		return d, nil
	}
	if d.Depth > 8 || d.Depth == 0 && d.Size != 0 {
		return Descriptor{}, Corrupt(structure, off, "table_byte_depth", uint64(d.Depth), "not from 1 to 8")
	}
	if d.Size != 0 && d.Size%uint64(d.Depth) != 0 {
		return Descriptor{}, Corrupt(structure, off, "size", d.Size, fmt.Sprintf("not a whole number of entries of %d bytes", d.Depth))
	}
	return d, nil
}

// Append appends the encoded descriptor to b, with the padding that follows it in l.
func (d Descriptor) Append(b []byte, l Layout) []byte {
	start := len(b)
	b = append(b, make([]byte, l.DescriptorSize())...)
	e := b[start:]
	binary.BigEndian.PutUint64(e, d.Off)
	binary.BigEndian.PutUint64(e[8:], d.Size)
	binary.BigEndian.PutUint64(e[16:], d.CompressedSize)
	binary.BigEndian.PutUint64(e[24:], d.MaxIndex)
	e[32] = d.Depth
	if d.Incore {
		e[33] = 1
	}
	return b
}
