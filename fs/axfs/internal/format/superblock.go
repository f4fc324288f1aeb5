package format

import (
	"encoding/binary"
	"fmt"

	"godax/vfs"
)

// Layout says where a superblock keeps the fields behind offset 244.
type Layout uint8

const (
	// LayoutNatural is that of ABIs which align 64-bit numbers to 8 bytes: timestamp at
	// 248, page_shift at 256.
	LayoutNatural Layout = iota
	// Layout32 is that of 32-bit x86, and of packed structures: timestamp at 244,
	// page_shift at 252.
	Layout32
	// LayoutV1 is version 1: the fields end with the version. Pages have 4 KiB.
	LayoutV1
)

// String names the layout.
func (l Layout) String() string {
	return [...]string{"64-bit", "32-bit", "version 1"}[l]
}

// SuperblockSize is the size of the superblock in bytes, with the padding at its end.
func (l Layout) SuperblockSize() int { return [...]int{264, 256, 248}[l] }

// DescriptorSize is the distance from one descriptor to the next in images of
// builders. Readers go by the superblock alone.
func (l Layout) DescriptorSize() int { return [...]int{40, 36, 40}[l] }

// Offsets in the superblock.
const (
	offSignature   = 4
	offDigest      = 20
	offCblockSize  = 60
	offFiles       = 64
	offSize        = 72
	offBlocks      = 80
	offMmapSize    = 88
	offDescriptors = 96
	offVersion     = 240
	offCompression = 243
	offStamp       = 248
	offShift       = 256
	offStamp32     = 244
	offShift32     = 252

	// SuperblockMax is how many bytes DecodeSuperblock looks at, at most.
	SuperblockMax = offShift + 1
	minV1         = offCompression
	min32         = offShift32 + 1
)

// Superblock is struct axfs_super_onmedia.
type Superblock struct {
	Digest     [40]byte // verified by nothing
	CblockSize uint32   // upper bound of the inflated size of a cblock, bytes
	Files      uint64   // inodes
	Size       uint64   // image offset just past the trailing magic
	Blocks     uint64   // nodes, without sentinels
	MmapSize   uint64   // bytes, from the start, on the part that can be mapped

	Descriptors [NumRegions]uint64 // image offsets

	Version     [3]uint8 // major, minor, sub
	Compression uint8
	Timestamp   uint64 // seconds since 1970; 0 if unknown
	PageShift   uint8
	Layout      Layout
}

// PageSize is the unit of file data in bytes.
func (s *Superblock) PageSize() int64 { return 1 << s.PageShift }

// Planar reports whether byte tables are stored as planes, as version 1 does.
func (s *Superblock) Planar() bool { return s.Layout == LayoutV1 }

// Recognise reports whether b, the start of a device, begins with magic number and
// signature.
func Recognise(b []byte) bool {
	return len(b) >= offDigest && binary.BigEndian.Uint32(b) == Magic && string(b[offSignature:offDigest]) == Signature
}

// DecodeSuperblock decodes the superblock at the start of b. It checks what can be
// checked without the rest of the image: magic and signature, version, compression
// type, page and cblock size, and that mmap_size is not larger than size.
//
// Errors: vfs.ErrCorrupt; vfs.ErrUnsupported for a version, compression or page size that
// is unknown.
func DecodeSuperblock(b []byte) (*Superblock, error) {
	if len(b) < minV1 {
		return nil, Corrupt("superblock", 0, "", uint64(len(b)), fmt.Sprintf("image of %d bytes is too short for it", len(b)))
	}
	if m := binary.BigEndian.Uint32(b); m != Magic {
		return nil, Corrupt("superblock", 0, "magic", uint64(m), "not an axfs image")
	}
	if string(b[offSignature:offDigest]) != Signature {
		return nil, Corrupt("superblock", 0, "signature", uint64(binary.BigEndian.Uint32(b[offSignature:])), "not an axfs image")
	}
	s := &Superblock{
		Digest:     [40]byte(b[offDigest:]),
		CblockSize: binary.BigEndian.Uint32(b[offCblockSize:]),
		Files:      binary.BigEndian.Uint64(b[offFiles:]),
		Size:       binary.BigEndian.Uint64(b[offSize:]),
		Blocks:     binary.BigEndian.Uint64(b[offBlocks:]),
		MmapSize:   binary.BigEndian.Uint64(b[offMmapSize:]),
		Version:    [3]uint8(b[offVersion:]),
	}
	for r := range s.Descriptors {
		s.Descriptors[r] = binary.BigEndian.Uint64(b[offDescriptors+8*r:])
	}
	if err := s.decodeEnd(b); err != nil {
		return nil, err
	}
	if s.CblockSize == 0 || s.CblockSize > MaxCblockSize {
		return nil, Corrupt("superblock", 0, "cblock_size", uint64(s.CblockSize), fmt.Sprintf("not from 1 to %d", MaxCblockSize))
	}
	if s.MmapSize > s.Size {
		return nil, Corrupt("superblock", 0, "mmap_size", s.MmapSize, fmt.Sprintf("more than the image's size of %d", s.Size))
	}
	return s, nil
}

// decodeEnd decodes what versions and ABIs disagree about.
func (s *Superblock) decodeEnd(b []byte) error {
	switch s.Version[0] {
	case 1:
		s.Layout, s.PageShift = LayoutV1, MinPageShift
		return nil
	case 2:
	default:
		return &vfs.UnsupportedError{Format: "axfs", Feature: fmt.Sprintf("version %d.%d.%d", s.Version[0], s.Version[1], s.Version[2])}
	}
	if len(b) < min32 {
		return Corrupt("superblock", 0, "", uint64(len(b)), fmt.Sprintf("image of %d bytes is too short for it", len(b)))
	}
	if s.Compression = b[offCompression]; s.Compression != CompressionZlib {
		reason := "only 0, zlib, is known"
		if s.Version == [3]uint8{2, 9, 1} {
			reason += "; this is an image of the unfinished rewrite of mkfs.axfs, which nothing can read"
		}
		return &vfs.UnsupportedError{Format: "axfs", Feature: fmt.Sprintf("compression_type %d", s.Compression), Reason: reason}
	}
	first := s.Descriptors[0]
	for _, off := range s.Descriptors {
		first = min(first, off)
	}
	plausible := func(shift uint8) bool { return shift >= MinPageShift && shift <= MaxPageShift }
	switch {
	case len(b) > offShift && first > offShift && plausible(b[offShift]):
		s.Layout, s.PageShift = LayoutNatural, b[offShift]
		s.Timestamp = binary.BigEndian.Uint64(b[offStamp:])
	case plausible(b[offShift32]):
		s.Layout, s.PageShift = Layout32, b[offShift32]
		s.Timestamp = binary.BigEndian.Uint64(b[offStamp32:])
	case len(b) > offShift:
		return Corrupt("superblock", 0, "page_shift", uint64(b[offShift]), fmt.Sprintf("not from %d to %d, in neither layout", MinPageShift, MaxPageShift))
	default:
		return Corrupt("superblock", 0, "", uint64(len(b)), fmt.Sprintf("image of %d bytes is too short for it", len(b)))
	}
	return nil
}

// Append appends the encoded superblock, Layout.SuperblockSize bytes, to b.
func (s *Superblock) Append(b []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, s.Layout.SuperblockSize())...)
	e := b[start:]
	binary.BigEndian.PutUint32(e, Magic)
	copy(e[offSignature:], Signature)
	copy(e[offDigest:], s.Digest[:])
	binary.BigEndian.PutUint32(e[offCblockSize:], s.CblockSize)
	binary.BigEndian.PutUint64(e[offFiles:], s.Files)
	binary.BigEndian.PutUint64(e[offSize:], s.Size)
	binary.BigEndian.PutUint64(e[offBlocks:], s.Blocks)
	binary.BigEndian.PutUint64(e[offMmapSize:], s.MmapSize)
	for r, off := range s.Descriptors {
		binary.BigEndian.PutUint64(e[offDescriptors+8*r:], off)
	}
	copy(e[offVersion:], s.Version[:])
	switch s.Layout {
	case LayoutNatural:
		e[offCompression] = s.Compression
		binary.BigEndian.PutUint64(e[offStamp:], s.Timestamp)
		e[offShift] = s.PageShift
	case Layout32:
		e[offCompression] = s.Compression
		binary.BigEndian.PutUint64(e[offStamp32:], s.Timestamp)
		e[offShift32] = s.PageShift
	}
	return b
}
