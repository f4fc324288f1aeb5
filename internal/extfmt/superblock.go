package extfmt

import (
	"math/bits"
	"strings"
)

// Places and sizes (kernel documentation, filesystems/ext4, "Super Block").
const (
	SuperOffset = 1024 // of the primary superblock, whatever the block size
	SuperSize   = 1024
	Magic       = 0xEF53

	RootIno       = 2
	FirstInoRev0  = 11 // first inode that is not reserved, revision 0
	InodeSizeRev0 = 128
	LostFoundIno  = 11 // where mke2fs puts it
	MinBlockSize  = 1024
	MaxBlockSize  = 4096 // larger ones exist (to 64 KiB) and are refused
	maxLogBlock   = 6
	SectorSize    = 512 // unit of i_blocks
)

// Offsets of the superblock's fields that are written one by one.
const (
	SuperFreeBlocks  = 12
	SuperFreeInodes  = 16
	SuperMtime       = 44
	SuperWtime       = 48
	SuperMntCount    = 52
	SuperState       = 58
	SuperCompat      = 92
	SuperIncompat    = 96
	SuperROCompat    = 100
	SuperLastMounted = 136
	SuperLastOrphan  = 232
)

// Bits of s_state.
const (
	StateValid  = 1 // closed properly
	StateError  = 2 // errors were found
	StateOrphan = 4 // orphans are being recovered
)

// Bits of s_flags: how htree hashes treat bytes above 127.
const (
	FlagSignedHash   = 1
	FlagUnsignedHash = 2
)

// Superblock is the decoded superblock. Fields that only exist in revision 1
// have their fixed values in revision 0.
type Superblock struct {
	InodesCount    uint32
	BlocksCount    uint64
	ReservedBlocks uint64
	FreeBlocks     uint64
	FreeInodes     uint32
	FirstDataBlock uint32
	LogBlockSize   uint32
	LogClusterSize uint32
	BlocksPerGroup uint32
	InodesPerGroup uint32
	Mtime, Wtime   uint32
	MntCount       uint16
	MaxMntCount    uint16
	State          uint16
	Errors         uint16
	LastCheck      uint32
	CheckInterval  uint32
	CreatorOS      uint32
	Rev            uint32
	FirstIno       uint32
	InodeSize      uint16
	BlockGroup     uint16
	Compat         uint32
	Incompat       uint32
	ROCompat       uint32
	UUID           [16]byte
	VolumeName     [16]byte
	LastMounted    [64]byte
	ReservedGDT    uint16
	LastOrphan     uint32
	HashSeed       [4]uint32
	DefHashVersion uint8
	MkfsTime       uint32
	MinExtraIsize  uint16
	WantExtraIsize uint16
	Flags          uint32
	DefaultMntOpts uint32
	JournalInum    uint32
	Groups         uint32 // computed: number of block groups
	ITableBlocks   uint32 // computed: blocks of one group's inode table
	DescBlocks     uint32 // computed: blocks of the descriptor table
	AddrsPerBlock  uint32 // computed: pointers in an indirect block
	InodesPerBlock uint32 // computed
	BlockSize      uint32 // computed: bytes
	BlockShift     uint   // computed: log2 of BlockSize
}

// DecodeSuperblock takes the SuperSize bytes of a superblock apart and checks
// every field against the others and against the size of the device in bytes.
// Errors: vfs.ErrCorrupt; vfs.ErrUnsupported for incompatible features outside
// SupportedIncompat, named in bit order, a block size above MaxBlockSize, or a
// revision above 1. Read-only compatible features are the caller's to judge.
func DecodeSuperblock(b []byte, deviceSize int64) (*Superblock, error) {
	bad := func(field string, v uint64, reason string) error {
		return Corrupt("superblock", SuperOffset, field, v, reason)
	}
	if len(b) < SuperSize {
		return nil, bad("", 0, "image is too short for a superblock")
	}
	if m := le.Uint16(b[56:]); m != Magic {
		return nil, bad("s_magic", uint64(m), "not an ext superblock")
	}
	s := &Superblock{
		InodesCount:    le.Uint32(b[0:]),
		BlocksCount:    uint64(le.Uint32(b[4:])),
		ReservedBlocks: uint64(le.Uint32(b[8:])),
		FreeBlocks:     uint64(le.Uint32(b[SuperFreeBlocks:])),
		FreeInodes:     le.Uint32(b[SuperFreeInodes:]),
		FirstDataBlock: le.Uint32(b[20:]),
		LogBlockSize:   le.Uint32(b[24:]),
		LogClusterSize: le.Uint32(b[28:]),
		BlocksPerGroup: le.Uint32(b[32:]),
		InodesPerGroup: le.Uint32(b[40:]),
		Mtime:          le.Uint32(b[SuperMtime:]),
		Wtime:          le.Uint32(b[SuperWtime:]),
		MntCount:       le.Uint16(b[SuperMntCount:]),
		MaxMntCount:    le.Uint16(b[54:]),
		State:          le.Uint16(b[SuperState:]),
		Errors:         le.Uint16(b[60:]),
		LastCheck:      le.Uint32(b[64:]),
		CheckInterval:  le.Uint32(b[68:]),
		CreatorOS:      le.Uint32(b[72:]),
		Rev:            le.Uint32(b[76:]),
		FirstIno:       FirstInoRev0,
		InodeSize:      InodeSizeRev0,
	}
	if s.Rev > 0 {
		s.FirstIno = le.Uint32(b[84:])
		s.InodeSize = le.Uint16(b[88:])
		s.BlockGroup = le.Uint16(b[90:])
		s.Compat = le.Uint32(b[SuperCompat:])
		s.Incompat = le.Uint32(b[SuperIncompat:])
		s.ROCompat = le.Uint32(b[SuperROCompat:])
		copy(s.UUID[:], b[104:])
		copy(s.VolumeName[:], b[120:])
		copy(s.LastMounted[:], b[SuperLastMounted:])
		s.ReservedGDT = le.Uint16(b[206:])
		s.JournalInum = le.Uint32(b[224:])
		s.LastOrphan = le.Uint32(b[SuperLastOrphan:])
		for i := range s.HashSeed {
			s.HashSeed[i] = le.Uint32(b[236+4*i:])
		}
		s.DefHashVersion = b[252]
		s.DefaultMntOpts = le.Uint32(b[256:])
		s.MkfsTime = le.Uint32(b[264:])
		s.MinExtraIsize = le.Uint16(b[348:])
		s.WantExtraIsize = le.Uint16(b[350:])
		s.Flags = le.Uint32(b[352:])
	}
	if odd := IncompatNames(s.Incompat &^ SupportedIncompat); len(odd) > 0 {
		return nil, unsupported(strings.Join(odd, ", "), "")
	}
	if err := s.check(deviceSize, bad); err != nil {
		return nil, err
	}
	return s, nil
}

// check bounds every field and fills in the computed ones. bad makes the error.
func (s *Superblock) check(deviceSize int64, bad func(string, uint64, string) error) error {
	switch {
	case s.Rev > 1:
		return unsupported("revision", "only revisions 0 and 1 exist")
	case s.LogBlockSize > maxLogBlock:
		return bad("s_log_block_size", uint64(s.LogBlockSize), "larger than 6 (64 KiB)")
	}
	s.BlockShift = uint(s.LogBlockSize) + 10
	s.BlockSize = 1 << s.BlockShift
	if s.BlockSize > MaxBlockSize {
		return unsupported("block size", "blocks larger than 4096 bytes cannot be served")
	}
	if s.ROCompat&ROCompatBigalloc != 0 {
		return unsupported("bigalloc", "the bitmaps count clusters")
	}
	if s.LogClusterSize != s.LogBlockSize {
		return bad("s_log_cluster_size", uint64(s.LogClusterSize), "differs from the block size")
	}
	s.AddrsPerBlock = s.BlockSize / 4
	bitsPerBlock := s.BlockSize * 8

	wantFirst := uint32(0)
	if s.BlockSize == MinBlockSize {
		wantFirst = 1
	}
	if s.FirstDataBlock != wantFirst {
		return bad("s_first_data_block", uint64(s.FirstDataBlock), "does not fit the block size")
	}
	if s.BlocksCount <= uint64(s.FirstDataBlock) {
		return bad("s_blocks_count", s.BlocksCount, "no blocks")
	}
	if deviceSize < 0 || s.BlocksCount > uint64(deviceSize)>>s.BlockShift {
		return bad("s_blocks_count", s.BlocksCount, "file system is larger than the device")
	}
	if s.BlocksPerGroup == 0 || s.BlocksPerGroup > bitsPerBlock || s.BlocksPerGroup%8 != 0 {
		return bad("s_blocks_per_group", uint64(s.BlocksPerGroup), "not a multiple of 8 that one bitmap block can hold")
	}
	switch {
	case s.InodeSize < InodeSizeRev0 || uint32(s.InodeSize) > s.BlockSize || bits.OnesCount16(s.InodeSize) != 1:
		return bad("s_inode_size", uint64(s.InodeSize), "not a power of two between 128 and the block size")
	case s.InodesPerGroup == 0 || s.InodesPerGroup > bitsPerBlock:
		return bad("s_inodes_per_group", uint64(s.InodesPerGroup), "not what one bitmap block can hold")
	}
	s.InodesPerBlock = s.BlockSize / uint32(s.InodeSize)
	s.ITableBlocks = (s.InodesPerGroup + s.InodesPerBlock - 1) / s.InodesPerBlock
	if s.ITableBlocks >= s.BlocksPerGroup {
		return bad("s_inodes_per_group", uint64(s.InodesPerGroup), "inode table larger than its group")
	}
	groups := (s.BlocksCount - uint64(s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup)
	if groups*uint64(s.InodesPerGroup) != uint64(s.InodesCount) {
		return bad("s_inodes_count", uint64(s.InodesCount), "not the number of groups times the inodes per group")
	}
	s.Groups = uint32(groups)
	if s.FirstIno < FirstInoRev0 || s.FirstIno > s.InodesCount {
		return bad("s_first_ino", uint64(s.FirstIno), "not between 11 and the inode count")
	}
	descBytes := groups * GroupDescSize
	s.DescBlocks = uint32((descBytes + uint64(s.BlockSize) - 1) >> s.BlockShift)
	if uint64(s.FirstDataBlock)+1+uint64(s.DescBlocks) > s.BlocksCount {
		return bad("s_blocks_count", s.BlocksCount, "no room for the group descriptors")
	}
	if s.ReservedBlocks > s.BlocksCount {
		return bad("s_r_blocks_count", s.ReservedBlocks, "more than there are")
	}
	return nil
}

// GroupFirst is the first block of a group.
func (s *Superblock) GroupFirst(g uint32) uint64 {
	return uint64(s.FirstDataBlock) + uint64(g)*uint64(s.BlocksPerGroup)
}

// GroupBlocks is the number of blocks of a group; the last one may be short.
func (s *Superblock) GroupBlocks(g uint32) uint32 {
	return uint32(min(uint64(s.BlocksPerGroup), s.BlocksCount-s.GroupFirst(g)))
}

// HasSuper reports whether a group starts with a copy of the superblock and the
// descriptors: all do, unless sparse_super limits them to groups 0, 1 and the powers
// of 3, 5 and 7.
func (s *Superblock) HasSuper(g uint32) bool {
	if g <= 1 || s.ROCompat&ROCompatSparseSuper == 0 {
		return true
	}
	for _, p := range [...]uint32{3, 5, 7} {
		n := g
		for n%p == 0 {
			n /= p
		}
		if n == 1 {
			return true
		}
	}
	return false
}

// SuperBlocks is the number of blocks at a group's start that the superblock, the
// descriptors and the blocks reserved for more of them take.
func (s *Superblock) SuperBlocks(g uint32) uint32 {
	if !s.HasSuper(g) {
		return 0
	}
	n := 1 + s.DescBlocks
	if s.Compat&CompatResizeInode != 0 {
		n += uint32(s.ReservedGDT)
	}
	return n
}
