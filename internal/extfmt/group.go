package extfmt

import "fmt"

// GroupDescSize is the size of a group descriptor without the 64bit feature.
const GroupDescSize = 32

// Offsets of a group descriptor's fields that are written one by one (kernel
// documentation, filesystems/ext4, "Block Group Descriptors").
const (
	GroupFreeBlocks = 12
	GroupFreeInodes = 14
	GroupUsedDirs   = 16
)

// Group is a decoded group descriptor.
type Group struct {
	BlockBitmap uint64 // block number
	InodeBitmap uint64 // block number
	InodeTable  uint64 // first block
	FreeBlocks  uint32
	FreeInodes  uint32
	UsedDirs    uint32
	Flags       uint16
}

// DecodeGroup takes descriptor g, which lies at off on the device, apart and
// checks it: bitmaps and inode table lie inside the group, behind the copy of the
// superblock and apart from each other. Errors: vfs.ErrCorrupt.
func DecodeGroup(b []byte, s *Superblock, g uint32, off int64) (Group, error) {
	bad := func(field string, v uint64, reason string) (Group, error) {
		return Group{}, Corrupt(fmt.Sprintf("group descriptor %d", g), off, field, v, reason)
	}
	if len(b) < GroupDescSize {
		return bad("", 0, "too short")
	}
	d := Group{
		BlockBitmap: uint64(le.Uint32(b[0:])),
		InodeBitmap: uint64(le.Uint32(b[4:])),
		InodeTable:  uint64(le.Uint32(b[8:])),
		FreeBlocks:  uint32(le.Uint16(b[GroupFreeBlocks:])),
		FreeInodes:  uint32(le.Uint16(b[GroupFreeInodes:])),
		UsedDirs:    uint32(le.Uint16(b[GroupUsedDirs:])),
		Flags:       le.Uint16(b[18:]),
	}
	first := s.GroupFirst(g) + uint64(s.SuperBlocks(g))
	end := s.GroupFirst(g) + uint64(s.GroupBlocks(g))
	inside := func(b, n uint64) bool { return b >= first && b < end && n <= end-b }
	switch {
	case !inside(d.BlockBitmap, 1):
		return bad("bg_block_bitmap", d.BlockBitmap, "outside its group")
	case !inside(d.InodeBitmap, 1):
		return bad("bg_inode_bitmap", d.InodeBitmap, "outside its group")
	case !inside(d.InodeTable, uint64(s.ITableBlocks)):
		return bad("bg_inode_table", d.InodeTable, "outside its group")
	case d.BlockBitmap == d.InodeBitmap:
		return bad("bg_inode_bitmap", d.InodeBitmap, "same block as the block bitmap")
	case d.InTable(d.BlockBitmap, s) || d.InTable(d.InodeBitmap, s):
		return bad("bg_inode_table", d.InodeTable, "overlaps a bitmap")
	case d.FreeBlocks > s.GroupBlocks(g):
		return bad("bg_free_blocks_count", uint64(d.FreeBlocks), "more than the group has")
	case d.FreeInodes > s.InodesPerGroup:
		return bad("bg_free_inodes_count", uint64(d.FreeInodes), "more than the group has")
	}
	return d, nil
}

// InTable reports whether block b belongs to the group's inode table.
func (d *Group) InTable(b uint64, s *Superblock) bool {
	return b >= d.InodeTable && b-d.InodeTable < uint64(s.ITableBlocks)
}

// Meta reports whether block b is one of the group's bitmaps or in its inode table.
func (d *Group) Meta(b uint64, s *Superblock) bool {
	return b == d.BlockBitmap || b == d.InodeBitmap || d.InTable(b, s)
}
