package axfs

import (
	"encoding/binary"
	"fmt"

	"godax/fs/axfs/internal/format"
	"godax/pmem"
)

var be = binary.BigEndian

// memorySlack is how many bytes the regions that are kept in memory may have, beyond the size of
// the image.
const memorySlack = 16 << 20

// maxRatio bounds what deflate can make of a byte: 258 of it take 2 bits.
const maxRatio = 1032

// region is the bytes of a region, where they are or in memory. The zero value is an
// empty one.
type region struct {
	im   *image
	off  uint64 // image offset, if mem is nil
	size uint64
	mem  []byte // inflated, or copied
}

// bytes returns the n bytes at off of the region.
func (r *region) bytes(off, n uint64) ([]byte, error) {
	if off > r.size || n > r.size-off {
		return nil, format.Corrupt("region", -1, "", off, fmt.Sprintf("%d bytes from there on reach past its %d", n, r.size))
	}
	if r.mem != nil || r.size == 0 {
		return r.mem[off:][:n:n], nil
	}
	return r.im.bytes(r.off+off, n)
}

// pages returns where the region's bytes can be mapped: the device, and the device page of
// its first byte. It reports false for a region that is kept in memory, does not lie wholly
// in the mapped part, or is not aligned to our pages.
func (r *region) pages() (dev pmem.Device, first uint64, ok bool) {
	if r.mem != nil || r.size == 0 {
		return nil, 0, false
	}
	p := r.im.within(r.off, r.size)
	if p == nil || !p.mapped || (r.off-p.start)%pmem.PageSize != 0 {
		return nil, 0, false
	}
	return p.dev, (r.off - p.start) / pmem.PageSize, true
}

// loader reads the regions, and keeps account of the memory that they take.
type loader struct {
	im   *image
	sb   *format.Superblock
	left uint64 // bytes that may still be taken
}

func newLoader(im *image, sb *format.Superblock) *loader {
	return &loader{im: im, sb: sb, left: memorySlack + im.size}
}

// load reads a region. Compressed ones are inflated, those that are marked to be kept in
// memory are copied.
func (l *loader) load(id format.Region) (region, format.Descriptor, error) {
	off := l.sb.Descriptors[id]
	if off > l.im.size || l.im.size-off < format.DescriptorMin {
		return region{}, format.Descriptor{}, format.Corrupt("superblock", 0, id.String(), off, "descriptor past the end of the image")
	}
	b, err := l.im.bytes(off, format.DescriptorMin)
	if err != nil {
		return region{}, format.Descriptor{}, err
	}
	d, err := format.DecodeDescriptor(id, b, int64(off), l.im.size)
	if err != nil {
		return region{}, d, err
	}
	r := region{im: l.im, off: d.Off, size: d.Size}
	switch {
	case d.CompressedSize != 0:
		err = l.inflate(id, d, &r)
	case d.Incore && d.Size > 0:
		err = l.copy(id, d, &r)
	}
	return r, d, err
}

// take accounts for memory.
func (l *loader) take(id format.Region, d format.Descriptor) error {
	if d.Size > l.left {
		return format.Corrupt("descriptor of "+id.String(), int64(l.sb.Descriptors[id]), "size", d.Size,
			fmt.Sprintf("to be kept in memory, of which an image of %d bytes has %d left", l.im.size, l.left))
	}
	l.left -= d.Size
	return nil
}

func (l *loader) copy(id format.Region, d format.Descriptor, r *region) error {
	if err := l.take(id, d); err != nil {
		return err
	}
	src, err := l.im.bytes(d.Off, d.Size)
	if err == nil {
		r.mem = append(make([]byte, 0, d.Size), src...)
	}
	return err
}

func (l *loader) inflate(id format.Region, d format.Descriptor, r *region) error {
	structure := "descriptor of " + id.String()
	if d.CompressedSize <= (1<<40) && d.Size > (d.CompressedSize+1)*maxRatio {
		return format.Corrupt(structure, int64(l.sb.Descriptors[id]), "size", d.Size, fmt.Sprintf("more than a stream of %d bytes can inflate to", d.CompressedSize))
	}
	if err := l.take(id, d); err != nil {
		return err
	}
	src, err := l.im.bytes(d.Off, d.CompressedSize)
	if err != nil {
		return err
	}
	mem := make([]byte, d.Size)
	n, err := inflate(mem, src)
	if err == nil && uint64(n) != d.Size {
		err = fmt.Errorf("inflates to %d bytes", n)
	}
	if err != nil {
		return format.Corrupt(structure, int64(l.sb.Descriptors[id]), "size", d.Size, err.Error())
	}
	r.mem = mem
	return nil
}

// whole reads a region and returns its bytes: where they are, if they lie in one part of
// the image.
func (l *loader) whole(id format.Region) ([]byte, format.Descriptor, error) {
	r, d, err := l.load(id)
	if err == nil && r.mem == nil && r.size > 0 && l.im.within(r.off, r.size) == nil {
		err = l.take(id, d) // bytes makes a copy
	}
	if err != nil {
		return nil, d, err
	}
	b, err := r.bytes(0, r.size)
	return b, d, err
}
