// Package axfsdec reads AXFS images for tests. It was written from the tables of the
// format description alone and shares no code with the driver and the builder, so that
// a misunderstanding of theirs shows.
//
// It is simple, slow and strict: it looks at the whole image, keeps all tables as plain
// values, and refuses what a builder must not do even where a reader could live with it.
package axfsdec

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
)

// Region numbers, in the order of the superblock's fields.
const (
	Strings = iota
	XIP
	ByteAligned
	Compressed
	NodeType
	NodeIndex
	CnodeOffset
	CnodeIndex
	BanodeOffset
	CblockOffset
	InodeFileSize
	InodeNameOffset
	InodeNumEntries
	InodeModeIndex
	InodeArrayIndex
	Modes
	UIDs
	GIDs
	regions
)

// RegionNames are the names of the regions as the format description has them.
var RegionNames = [regions]string{
	"strings", "xip", "byte_aligned", "compressed", "node_type", "node_index", "cnode_offset", "cnode_index",
	"banode_offset", "cblock_offset", "inode_file_size", "inode_name_offset", "inode_num_entries",
	"inode_mode_index", "inode_array_index", "modes", "uids", "gids",
}

// Region is a region descriptor.
type Region struct {
	Offset, Size, Stored, Entries uint64 // Stored is 0 if the region is not compressed
	Depth                         int
	Incore                        bool
}

// Image is a decoded image.
type Image struct {
	Version    [3]byte
	Packed     bool // the superblock's end is laid out as on 32-bit x86
	PageSize   uint64
	CblockSize uint64
	Files      uint64
	Blocks     uint64
	Size       uint64
	MmapSize   uint64
	Timestamp  uint64
	Regions    [regions]Region

	// Entries are the files: the root, then each directory's entries in order, each
	// followed by what is below it.
	Entries []*Entry

	raw    []byte // both parts, one after the other
	data   [regions][]byte
	tables [regions][]uint64
	blocks map[uint64][]byte // one inflated cblock by its number
}

// Decode decodes an image of one part, or of two that follow each other.
func Decode(parts ...[]byte) (*Image, error) {
	im := &Image{raw: bytes.Join(parts, nil)}
	if err := im.superblock(); err != nil {
		return nil, err
	}
	if len(parts) == 2 && im.MmapSize != uint64(len(parts[0])) {
		return nil, fmt.Errorf("superblock: mmap_size %d of a first part of %d bytes", im.MmapSize, len(parts[0]))
	}
	for i := range im.data {
		if err := im.region(i); err != nil {
			return nil, fmt.Errorf("region %s: %w", RegionNames[i], err)
		}
	}
	if err := im.tree(); err != nil {
		return nil, err
	}
	return im, nil
}

// at returns n bytes of the image.
func (im *Image) at(off, n uint64) ([]byte, error) {
	if off > uint64(len(im.raw)) || n > uint64(len(im.raw))-off {
		return nil, fmt.Errorf("%d bytes at %d of an image of %d", n, off, len(im.raw))
	}
	return im.raw[off : off+n], nil
}

func (im *Image) superblock() error {
	const common = 243
	b, err := im.at(0, common)
	if err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	be := binary.BigEndian
	if got := be.Uint32(b); got != 0x48A0E4CD {
		return fmt.Errorf("superblock: magic %#x", got)
	}
	if string(b[4:20]) != "Advanced XIP FS\x00" {
		return fmt.Errorf("superblock: signature %q", b[4:20])
	}
	im.CblockSize = uint64(be.Uint32(b[60:]))
	im.Files = be.Uint64(b[64:])
	im.Size = be.Uint64(b[72:])
	im.Blocks = be.Uint64(b[80:])
	im.MmapSize = be.Uint64(b[88:])
	copy(im.Version[:], b[240:243])
	if im.CblockSize == 0 || im.CblockSize > 1<<20 {
		return fmt.Errorf("superblock: cblock_size %d", im.CblockSize)
	}
	if im.Size > uint64(len(im.raw)) || im.MmapSize > im.Size {
		return fmt.Errorf("superblock: size %d, mmap_size %d of an image of %d", im.Size, im.MmapSize, len(im.raw))
	}
	first := uint64(1 << 63)
	for i := range im.Regions {
		off := be.Uint64(b[96+8*i:])
		first = min(first, off)
		if err := im.descriptor(i, off); err != nil {
			return fmt.Errorf("descriptor of %s: %w", RegionNames[i], err)
		}
	}
	if im.Version[0] == 1 {
		im.PageSize = 4096
		return nil
	}
	return im.end(first)
}

// end decodes what follows the common part of a superblock, in its two layouts.
func (im *Image) end(first uint64) error {
	b, err := im.at(0, 257)
	if err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	be := binary.BigEndian
	if b[243] != 0 {
		return fmt.Errorf("superblock: compression_type %#x", b[243])
	}
	plausible := func(shift byte) bool { return shift >= 12 && shift <= 16 }
	switch {
	case first >= 257 && plausible(b[256]):
		im.PageSize, im.Timestamp = 1<<b[256], be.Uint64(b[248:])
	case plausible(b[252]):
		im.PageSize, im.Timestamp, im.Packed = 1<<b[252], be.Uint64(b[244:]), true
	default:
		return fmt.Errorf("superblock: page_shift %d or %d", b[256], b[252])
	}
	if im.Size < 4 || be.Uint32(im.raw[im.Size-4:]) != 0x48A0E4CD {
		return fmt.Errorf("no magic before the end at %d", im.Size)
	}
	return nil
}

// descriptor decodes a region descriptor.
func (im *Image) descriptor(i int, off uint64) error {
	b, err := im.at(off, 34)
	if err != nil {
		return err
	}
	be := binary.BigEndian
	im.Regions[i] = Region{
		Offset: be.Uint64(b), Size: be.Uint64(b[8:]), Stored: be.Uint64(b[16:]), Entries: be.Uint64(b[24:]),
		Depth: int(b[32]), Incore: b[33] != 0,
	}
	return nil
}

// region reads a region, inflates it, and decodes it if it is a table.
func (im *Image) region(i int) (err error) {
	r := im.Regions[i]
	if r.Size == 0 {
		return nil
	}
	stored := r.Size
	if r.Stored != 0 {
		stored = r.Stored
	}
	if im.data[i], err = im.at(r.Offset, stored); err != nil {
		return err
	}
	if r.Offset+stored > im.Size {
		return fmt.Errorf("ends at %d, after the image at %d", r.Offset+stored, im.Size)
	}
	if r.Stored != 0 {
		if im.data[i], err = inflate(im.data[i], r.Size); err != nil {
			return err
		}
		if uint64(len(im.data[i])) != r.Size {
			return fmt.Errorf("inflates to %d bytes of %d", len(im.data[i]), r.Size)
		}
	}
	if i == XIP && r.Stored == 0 && r.Offset%im.PageSize != 0 {
		return fmt.Errorf("at %d, not at a page of %d", r.Offset, im.PageSize)
	}
	if i < NodeType {
		return nil
	}
	d := uint64(r.Depth)
	if d < 1 || d > 8 || r.Size%d != 0 {
		return fmt.Errorf("%d bytes in entries of %d", r.Size, d)
	}
	n := r.Size / d
	if r.Entries > n {
		return fmt.Errorf("%d entries, max_index %d", n, r.Entries)
	}
	im.tables[i] = make([]uint64, n)
	for e := range n {
		for j := range d {
			at := e*d + j // most significant byte first
			if im.Version[0] == 1 {
				at = (d-1-j)*n + e // planes, the least significant first
			}
			im.tables[i][e] = im.tables[i][e]<<8 | uint64(im.data[i][at])
		}
	}
	return nil
}

// inflate inflates a zlib stream that must end where b ends, to limit bytes at most.
func inflate(b []byte, limit uint64) ([]byte, error) {
	in := bytes.NewReader(b)
	z, err := zlib.NewReader(in)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if uint64(len(out)) > limit {
		return nil, fmt.Errorf("inflates to more than %d bytes", limit)
	}
	if in.Len() != 0 {
		return nil, fmt.Errorf("%d bytes after the stream", in.Len())
	}
	return out, nil
}
