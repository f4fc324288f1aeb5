package axfs

import (
	"fmt"
	"syscall"

	"godax/fs/axfs/internal/format"
	"godax/pmem"
)

// image is the bytes of an image, on one device or two.
type image struct {
	parts []part // one or two, in order and without a gap
	size  uint64
}

// part is what one device has of an image: the bytes from image offset start to end.
type part struct {
	dev        pmem.Device
	start, end uint64
	mapped     bool // its pages may be mapped
}

// newImage finds the parts of an image, whose superblock lies on dev.
//
// Errors: vfs.ErrCorrupt if the devices are too short; EINVAL for a second device that
// the image has no use for.
func newImage(dev pmem.Device, more []pmem.Device, sb *format.Superblock) (*image, error) {
	im := &image{size: sb.Size}
	have := uint64(dev.Size())
	if len(more) == 0 {
		switch {
		case sb.Size > have && sb.MmapSize < sb.Size && sb.MmapSize <= have:
			return nil, format.Corrupt("superblock", 0, "size", sb.Size, fmt.Sprintf("more than the %d bytes there are: this is the first part of a split image, and the device with the second was not named", have))
		case sb.Size > have:
			return nil, format.Corrupt("superblock", 0, "size", sb.Size, fmt.Sprintf("more than the %d bytes there are: the image is cut off, or its builder has left the magic number at the end out", have))
		}
		im.parts = []part{{dev: dev, end: sb.Size, mapped: true}}
		return im, nil
	}
	second := uint64(more[0].Size())
	switch {
	case len(more) > 1:
		return nil, fmt.Errorf("axfs: %d further devices, an image has one at most: %w", len(more), syscall.EINVAL)
	case sb.MmapSize == sb.Size:
		return nil, fmt.Errorf("axfs: a second device for an image that is not split: %w", syscall.EINVAL)
	case sb.MmapSize > have:
		return nil, format.Corrupt("superblock", 0, "mmap_size", sb.MmapSize, fmt.Sprintf("more than the %d bytes of the first device", have))
	case sb.Size-sb.MmapSize > second:
		return nil, format.Corrupt("superblock", 0, "size", sb.Size, fmt.Sprintf("leaves %d bytes for the second device, which has %d", sb.Size-sb.MmapSize, second))
	}
	im.parts = []part{{dev: dev, end: sb.MmapSize, mapped: true}, {dev: more[0], start: sb.MmapSize, end: sb.Size}}
	return im, nil
}

// within returns the part that n bytes at off lie in; nil if they lie in none, or in two.
func (im *image) within(off, n uint64) *part {
	for i := range im.parts {
		if p := &im.parts[i]; off >= p.start && off <= p.end && n <= p.end-off {
			return p
		}
	}
	return nil
}

// bytes returns the n bytes at off: where they are, or a copy if they lie in two parts.
// Errors: those of the devices; vfs.ErrCorrupt past the end of the image.
func (im *image) bytes(off, n uint64) ([]byte, error) {
	if p := im.within(off, n); p != nil {
		return p.dev.Bytes(int64(off-p.start), int64(n))
	}
	if off > im.size || n > im.size-off {
		return nil, format.Corrupt("image", int64(off), "", n, "bytes from here on reach past its end")
	}
	b := make([]byte, 0, n)
	for i := range im.parts {
		p := &im.parts[i]
		from, to := max(off, p.start), min(off+n, p.end)
		if from >= to {
			continue
		}
		src, err := p.dev.Bytes(int64(from-p.start), int64(to-from))
		if err != nil {
			return nil, err
		}
		b = append(b, src...)
	}
	return b, nil
}

// checkEnd checks that the magic number stands before the end of the image.
func (im *image) checkEnd() error {
	if im.size < 4 {
		return format.Corrupt("superblock", 0, "size", im.size, "no room for the magic number at the end")
	}
	b, err := im.bytes(im.size-4, 4)
	if err != nil {
		return err
	}
	if m := be.Uint32(b); m != format.Magic {
		return format.Corrupt("trailer", int64(im.size-4), "magic", uint64(m), "the image is cut off, or its builder has left it out")
	}
	return nil
}

// devices lists the devices, for vfs.
func (im *image) devices() []pmem.Device {
	devs := make([]pmem.Device, len(im.parts))
	for i, p := range im.parts {
		devs[i] = p.dev
	}
	return devs
}

// probe looks at magic number and signature.
func probe(dev pmem.Device) bool {
	b, err := dev.Bytes(0, min(dev.Size(), format.SuperblockMax))
	return err == nil && format.Recognise(b)
}

// readSuperblock decodes the superblock on dev.
func readSuperblock(dev pmem.Device) (*format.Superblock, error) {
	b, err := dev.Bytes(0, min(dev.Size(), format.SuperblockMax))
	if err != nil {
		return nil, err
	}
	sb, err := format.DecodeSuperblock(b)
	if err == nil && sb.Files == 0 {
		err = format.Corrupt("superblock", 0, "files", 0, "no inode, not even the root")
	}
	return sb, err
}
