// Package format has the fixed structures of AXFS images: superblock, region
// descriptors, byte tables, and the numbers in them, decoded from hostile bytes and
// encoded for builders. All numbers are big-endian.
//
// Names follow the published headers (struct axfs_super_onmedia, struct
// axfs_region_desc_onmedia). Offsets are image offsets, in bytes from the start of
// the superblock.
package format

import (
	"fmt"

	"godax/vfs"
)

// Magic begins an image, and ends it: its four bytes stand right before the image
// offset Superblock.Size (not in version 1).
const Magic = 0x48A0E4CD

// Signature follows the magic number.
const Signature = "Advanced XIP FS\x00"

// CompressionZlib is the only compression_type there is.
const CompressionZlib = 0

// Limits of what is accepted.
const (
	MinPageShift = 12
	MaxPageShift = 16

	// MaxCblockSize bounds what one compressed block may inflate to, in bytes, whatever
	// the image asks for.
	MaxCblockSize = 1 << 20

	// MaxName is the length of the longest name, without its NUL.
	MaxName = 255
)

// Region is the index of a region, in the order of the superblock's fields.
type Region int

// The regions. The first four hold data, the others are byte tables.
const (
	Strings         Region = iota // names, each ended by a NUL
	XIP                           // whole pages
	ByteAligned                   // pages and parts of pages at any offset
	Compressed                    // cblocks: zlib streams, one after another
	NodeType                      // by node: NodeXIP, NodeCompressed, NodeByteAligned
	NodeIndex                     // by node: number in its kind's own space
	CnodeOffset                   // by cnode: offset in the inflated cblock
	CnodeIndex                    // by cnode: number of the cblock
	BanodeOffset                  // by banode: offset in ByteAligned
	CblockOffset                  // by cblock: offset in Compressed; one more entry than cblocks
	InodeFileSize                 // by inode: bytes; device number of a device
	InodeNameOffset               // by inode: offset in Strings
	InodeNumEntries               // by inode: children, or nodes
	InodeModeIndex                // by inode: index into Modes, UIDs and GIDs
	InodeArrayIndex               // by inode: first child's inode, or first node
	Modes                         // st_mode with its type bits
	UIDs
	GIDs
	NumRegions
)

// names are the field names of the superblock.
var names = [NumRegions]string{
	"strings", "xip", "byte_aligned", "compressed", "node_type", "node_index",
	"cnode_offset", "cnode_index", "banode_offset", "cblock_offset", "inode_file_size",
	"inode_name_offset", "inode_num_entries", "inode_mode_index", "inode_array_index",
	"modes", "uids", "gids",
}

// String is the region's name in the superblock.
func (r Region) String() string {
	if r < 0 || r >= NumRegions {
		return fmt.Sprintf("region %d", int(r))
	}
	return names[r]
}

// IsTable reports whether the region is a byte table.
func (r Region) IsTable() bool { return r >= NodeType && r < NumRegions }

// What a node's page is stored as.
const (
	NodeXIP         = 0 // a whole page, aligned: can be mapped
	NodeCompressed  = 1 // in a cblock
	NodeByteAligned = 2 // uncompressed, at any offset
)

// Corrupt makes the error for a broken structure. off is the image offset, -1 if it is
// not known.
func Corrupt(structure string, off int64, field string, value uint64, reason string) error {
	return &vfs.CorruptError{Format: "axfs", Structure: structure, Offset: off, Field: field, Value: value, Reason: reason}
}
