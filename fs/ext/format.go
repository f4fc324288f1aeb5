package ext

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"syscall"
	"time"

	"godax/internal/extfmt"
	"godax/pmem"
)

// FormatOptions say what [Format] makes. The zero value is good for an image that is
// to be mapped.
type FormatOptions struct {
	Size            int64            // bytes of the file system; 0 is the whole device
	BlockSize       int              // 1024, 2048 or 4096 bytes; 0 is 4096
	InodeSize       int              // 128 or 256 bytes; 0 is 256
	InodeRatio      int64            // bytes of the image for each inode; 0 is 4096 below 512 MiB, 16384 from there on
	ReservedPercent int              // of the blocks, for root, up to 50; 0 is 5, a negative number none
	Label           string           // at most 16 bytes
	UUID            string           // with or without hyphens; "" is a random one
	Now             func() time.Time // nil is time.Now
}

// Limits of what Format makes.
const (
	minFormatBlocks = 60 // less has no room for files
	minGroupBlocks  = 50 // a last group with fewer free blocks is left out, as mke2fs does
	maxBlocks       = 1<<32 - 1
	lostFoundBytes  = 16 << 10
	maxMntCountOff  = 0xFFFF // never check because of the number of mounts
	defaultMntOpts  = 0x000C // user_xattr, acl
	hashHalfMD4     = 1
)

// Format makes an empty ext2 file system with the directory lost+found on dev, and
// makes it durable. Everything on the device is lost. The metadata of each block
// group lies at its start, and ends at or before a boundary of 2 MiB if the sizes allow, so that the rest
// can be mapped in huge pages.
//
// Errors: EINVAL for options that make no sense, ENOSPC for a device that is too
// small or has no room underneath, EFBIG for more blocks than the format can count, those of the device.
func Format(dev pmem.Device, o FormatOptions) error {
	l, err := plan(dev.Size(), o)
	if err != nil {
		return fmt.Errorf("ext: format: %w", err)
	}
	l.dev = dev
	if err := l.write(); err != nil {
		return fmt.Errorf("ext: format: %w", err)
	}
	return nil
}

// layout is a file system that is about to be made.
type layout struct {
	dev      pmem.Device
	sb       extfmt.Superblock
	uuid     [16]byte
	hashSeed [16]byte
	label    string
	now      uint32
	lfBlocks uint32 // of lost+found
}

// plan decides sizes and numbers.
func plan(deviceSize int64, o FormatOptions) (*layout, error) {
	if o.Size == 0 {
		o.Size = deviceSize
	}
	if o.BlockSize == 0 {
		o.BlockSize = extfmt.MaxBlockSize
	}
	if o.InodeSize == 0 {
		o.InodeSize = 256
	}
	if o.InodeRatio == 0 {
		o.InodeRatio = 16384
		if o.Size < 512<<20 {
			o.InodeRatio = 4096
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Size < 0 || o.Size > deviceSize:
		return nil, fmt.Errorf("size %d on a device of %d bytes: %w", o.Size, deviceSize, syscall.EINVAL)
	case o.BlockSize != 1024 && o.BlockSize != 2048 && o.BlockSize != 4096:
		return nil, fmt.Errorf("block size %d is not 1024, 2048 or 4096: %w", o.BlockSize, syscall.EINVAL)
	case o.InodeSize != 128 && o.InodeSize != 256:
		return nil, fmt.Errorf("inode size %d is not 128 or 256: %w", o.InodeSize, syscall.EINVAL)
	case o.InodeRatio < 1024:
		return nil, fmt.Errorf("inode ratio %d is below 1024: %w", o.InodeRatio, syscall.EINVAL)
	case o.ReservedPercent > 50:
		return nil, fmt.Errorf("reserve of %d percent is above 50: %w", o.ReservedPercent, syscall.EINVAL)
	case len(o.Label) > 16:
		return nil, fmt.Errorf("label of %d bytes is longer than 16: %w", len(o.Label), syscall.EINVAL)
	case o.Size/int64(o.BlockSize) > maxBlocks:
		return nil, fmt.Errorf("%d blocks are more than %d: %w", o.Size/int64(o.BlockSize), int64(maxBlocks), syscall.EFBIG)
	}
	l := &layout{label: o.Label, now: uint32(o.Now().Unix())}
	if err := l.identify(o.UUID); err != nil {
		return nil, err
	}
	return l, l.divide(o)
}

// identify sets the UUID and the seed of directory hashes.
func (l *layout) identify(uuid string) error {
	if _, err := rand.Read(l.hashSeed[:]); err != nil {
		return err
	}
	if uuid != "" {
		b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
		if err != nil || len(b) != len(l.uuid) {
			return fmt.Errorf("UUID %q is not 32 hexadecimal digits: %w", uuid, syscall.EINVAL)
		}
		copy(l.uuid[:], b)
		return nil
	}
	if _, err := rand.Read(l.uuid[:]); err != nil {
		return err
	}
	l.uuid[6] = l.uuid[6]&0x0f | 0x40 // RFC 9562: version 4, random
	l.uuid[8] = l.uuid[8]&0x3f | 0x80
	return nil
}

// divide splits the blocks into groups, and decides on the inodes.
func (l *layout) divide(o FormatOptions) error {
	bs := uint32(o.BlockSize)
	s := &l.sb
	s.BlockSize = bs
	for s.BlockShift = 10; 1<<s.BlockShift < bs; s.BlockShift++ {
	}
	s.LogBlockSize = uint32(s.BlockShift) - 10
	s.Rev, s.FirstIno, s.InodeSize = 1, extfmt.FirstInoRev0, uint16(o.InodeSize)
	s.Compat = extfmt.CompatExtAttr | extfmt.CompatDirIndex
	s.Incompat = extfmt.IncompatFiletype
	s.ROCompat = extfmt.ROCompatSparseSuper | extfmt.ROCompatLargeFile
	s.InodesPerBlock = bs / uint32(o.InodeSize)
	s.BlocksPerGroup = 8 * bs
	s.BlocksCount = uint64(o.Size / int64(bs))
	if bs == extfmt.MinBlockSize {
		s.FirstDataBlock = 1
	}
	l.lfBlocks = min(lostFoundBytes/bs, extfmt.NDirect)
	for {
		if s.BlocksCount < minFormatBlocks {
			return fmt.Errorf("%d blocks of %d bytes are too few: %w", s.BlocksCount, bs, syscall.ENOSPC)
		}
		l.count(o.InodeRatio)
		last := s.Groups - 1
		used := s.SuperBlocks(last) + 2 + s.ITableBlocks
		if last == 0 {
			used += 1 + l.lfBlocks
			if used+1 > s.GroupBlocks(0) {
				return fmt.Errorf("%d blocks of %d bytes do not hold the %d of metadata: %w", s.BlocksCount, bs, used, syscall.ENOSPC)
			}
			break
		}
		if s.GroupBlocks(last) >= used+minGroupBlocks {
			break
		}
		s.BlocksCount = s.GroupFirst(last)
	}
	percent := o.ReservedPercent
	if percent == 0 {
		percent = 5
	}
	s.ReservedBlocks = s.BlocksCount * uint64(max(percent, 0)) / 100
	return nil
}

// count sets the numbers of groups and inodes that BlocksCount makes.
func (l *layout) count(ratio int64) {
	s := &l.sb
	bpg := uint64(s.BlocksPerGroup)
	s.Groups = uint32((s.BlocksCount - uint64(s.FirstDataBlock) + bpg - 1) / bpg)
	s.DescBlocks = (s.Groups*extfmt.GroupDescSize + s.BlockSize - 1) / s.BlockSize
	inodes := s.BlocksCount << s.BlockShift / uint64(ratio)
	perGroup := uint32(min((inodes+uint64(s.Groups)-1)/uint64(s.Groups), uint64(8*s.BlockSize)))
	perGroup = max(perGroup, 2*extfmt.FirstInoRev0)
	s.ITableBlocks = (perGroup + s.InodesPerBlock - 1) / s.InodesPerBlock
	// In a group of full size at most a quarter is inodes, in a short first one as well.
	s.ITableBlocks = max(min(s.ITableBlocks, s.GroupBlocks(0)/4, 8*s.BlockSize/s.InodesPerBlock), (2*extfmt.FirstInoRev0+s.InodesPerBlock-1)/s.InodesPerBlock)
	s.ITableBlocks -= l.excess()
	// Bitmaps are whole bytes, inode tables whole blocks.
	s.InodesPerGroup = s.ITableBlocks * s.InodesPerBlock &^ 7
	s.ITableBlocks = (s.InodesPerGroup + s.InodesPerBlock - 1) / s.InodesPerBlock
	s.InodesCount = s.Groups * s.InodesPerGroup
}

// excess is by how many blocks a group's inode table should be shorter to let the
// metadata end before a boundary of 2 MiB instead of a little behind it. A few blocks
// in front of the boundary stay free for small things. Tables do not shrink by more
// than a quarter for it.
func (l *layout) excess() uint32 {
	const huge, small = 2 << 20, 32
	s := &l.sb
	if s.BlockSize != pmem.PageSize || s.Groups < 2 {
		return 0
	}
	chunk := uint32(huge / pmem.PageSize)
	meta := s.SuperBlocks(0) + 2 + s.ITableBlocks + small
	over := meta % chunk
	if meta < chunk || over > s.ITableBlocks/4 {
		return 0
	}
	return over
}

// write makes the file system: the superblock goes away first and comes back last.
func (l *layout) write() error {
	if err := l.reserve(); err != nil {
		return err
	}
	if err := l.clear(0, extfmt.SuperOffset+extfmt.SuperSize); err != nil {
		return err
	}
	descs := make([]byte, l.sb.DescBlocks*l.sb.BlockSize)
	free := uint64(0)
	for g := range l.sb.Groups {
		n, err := l.group(g, descs[g*extfmt.GroupDescSize:])
		if err != nil {
			return err
		}
		free += uint64(n)
	}
	l.sb.FreeBlocks = free
	l.sb.FreeInodes = l.sb.InodesCount - extfmt.LostFoundIno
	if err := l.tree(); err != nil {
		return err
	}
	for g := l.sb.Groups - 1; ; g-- {
		if l.sb.HasSuper(g) {
			if err := l.super(g, descs); err != nil {
				return err
			}
		}
		if g == 0 {
			return l.dev.Barrier()
		}
	}
}

// reserve makes room for what write stores, so that a full disk leaves the device as it is.
func (l *layout) reserve() error {
	s := &l.sb
	var err error
	blocks := func(b, n uint64) {
		if err == nil {
			_, err = l.target(int64(b)<<s.BlockShift, int64(n)<<s.BlockShift)
		}
	}
	blocks(0, extfmt.SuperOffset>>s.BlockShift+1)
	for g := range s.Groups {
		bb, _, table, end := l.meta(g)
		if s.HasSuper(g) {
			blocks(s.GroupFirst(g), 1+uint64(s.DescBlocks))
		}
		blocks(bb, 2)
		if g == 0 {
			blocks(table, min(uint64(s.ITableBlocks), uint64(extfmt.LostFoundIno)*uint64(s.InodeSize)>>s.BlockShift+1))
			blocks(end, 1+uint64(l.lfBlocks))
		}
	}
	return err
}

// meta returns the places of a group's bitmaps and inode table, and the first block
// behind them.
func (l *layout) meta(g uint32) (blockBitmap, inodeBitmap, table, end uint64) {
	b := l.sb.GroupFirst(g) + uint64(l.sb.SuperBlocks(g))
	return b, b + 1, b + 2, b + 2 + uint64(l.sb.ITableBlocks)
}

// group writes the bitmaps, the inode table and the descriptor of a group, and returns
// its number of free blocks.
func (l *layout) group(g uint32, desc []byte) (free uint32, err error) {
	s := &l.sb
	bb, ib, table, end := l.meta(g)
	inodes, dirs := uint32(0), uint16(0)
	if g == 0 {
		end += 1 + uint64(l.lfBlocks)
		inodes, dirs = extfmt.LostFoundIno, 2
	}
	used, blocks := uint32(end-s.GroupFirst(g)), s.GroupBlocks(g)
	if err := l.bitmap(bb, used, blocks); err != nil {
		return 0, err
	}
	if err := l.bitmap(ib, inodes, s.InodesPerGroup); err != nil {
		return 0, err
	}
	if err := l.clear(int64(table)<<s.BlockShift, int64(s.ITableBlocks)<<s.BlockShift); err != nil {
		return 0, err
	}
	free = blocks - used
	le.PutUint32(desc[0:], uint32(bb))
	le.PutUint32(desc[4:], uint32(ib))
	le.PutUint32(desc[8:], uint32(table))
	le.PutUint16(desc[extfmt.GroupFreeBlocks:], uint16(free))
	le.PutUint16(desc[extfmt.GroupFreeInodes:], uint16(s.InodesPerGroup-inodes))
	le.PutUint16(desc[extfmt.GroupUsedDirs:], dirs)
	return free, nil
}

// bitmap writes a bitmap block: the first used bits are set, and those from total on,
// which stand for nothing.
func (l *layout) bitmap(block uint64, used, total uint32) error {
	b := make([]byte, l.sb.BlockSize)
	setBits(b, 0, used)
	setBits(b, total, 8*l.sb.BlockSize)
	return l.put(int64(block)<<l.sb.BlockShift, b)
}

func setBits(b []byte, from, to uint32) {
	for ; from < to; from++ {
		b[from/8] |= 1 << (from % 8)
	}
}

// tree writes the root directory and lost+found.
func (l *layout) tree() error {
	_, _, table, first := l.meta(0)
	bs := int(l.sb.BlockSize)
	root := make([]byte, bs)
	n := putDirent(root, 0, extfmt.RootIno, ".", 0)
	n += putDirent(root, n, extfmt.RootIno, "..", 0)
	putDirent(root, n, extfmt.LostFoundIno, "lost+found", bs-n)
	lf := make([]byte, int(l.lfBlocks)*bs)
	n = putDirent(lf, 0, extfmt.LostFoundIno, ".", 0)
	putDirent(lf, n, extfmt.RootIno, "..", bs-n)
	for at := bs; at < len(lf); at += bs {
		putDirent(lf, at, 0, "", bs)
	}
	if err := l.put(int64(first)<<l.sb.BlockShift, append(root, lf...)); err != nil {
		return err
	}
	at := func(ino int64) int64 { return int64(table)<<l.sb.BlockShift + (ino-1)*int64(l.sb.InodeSize) }
	if err := l.put(at(extfmt.RootIno), l.dirInode(extfmt.ModeDir|0o755, 3, uint32(first), 1)); err != nil {
		return err
	}
	return l.put(at(extfmt.LostFoundIno), l.dirInode(extfmt.ModeDir|0o700, 2, uint32(first)+1, l.lfBlocks))
}

// putDirent writes a directory record of length n, or as short as can be for 0.
func putDirent(b []byte, at int, ino uint32, name string, n int) int {
	if n == 0 {
		n = extfmt.DirentLen(len(name))
	}
	le.PutUint32(b[at:], ino)
	le.PutUint16(b[at+4:], uint16(n))
	b[at+6] = byte(len(name))
	if ino != 0 {
		b[at+7] = extfmt.FTDir
	}
	copy(b[at+extfmt.DirentHeader:], name)
	return n
}

// dirInode is the inode of a directory of n blocks from first on.
func (l *layout) dirInode(mode, links uint16, first, n uint32) []byte {
	b := make([]byte, l.sb.InodeSize)
	le.PutUint16(b[extfmt.InodeMode:], mode)
	le.PutUint16(b[extfmt.InodeLinks:], links)
	le.PutUint32(b[extfmt.InodeSizeLow:], n*l.sb.BlockSize)
	le.PutUint32(b[extfmt.InodeBlocks:], n*(l.sb.BlockSize/extfmt.SectorSize))
	for _, field := range [...]int{extfmt.InodeAtime, extfmt.InodeCtime, extfmt.InodeMtime} {
		le.PutUint32(b[field:], l.now)
	}
	for i := range n {
		le.PutUint32(b[extfmt.InodeBlock+4*i:], first+i)
	}
	if len(b) > extfmt.InodeExtraIsize {
		le.PutUint16(b[extfmt.InodeExtraIsize:], extfmt.DefaultExtraIsize)
		le.PutUint32(b[extfmt.InodeCrtime:], l.now)
	}
	return b
}

// super writes the superblock and the descriptors of group g: the primary ones for
// 0.
func (l *layout) super(g uint32, descs []byte) error {
	s := &l.sb
	off := int64(s.GroupFirst(g)) << s.BlockShift
	if err := l.put(off+int64(s.BlockSize), descs); err != nil {
		return err
	}
	if g == 0 {
		off = extfmt.SuperOffset
	}
	b := make([]byte, extfmt.SuperSize)
	for _, x := range [...]struct {
		off int
		v   uint32
	}{
		{0, s.InodesCount}, {4, uint32(s.BlocksCount)}, {8, uint32(s.ReservedBlocks)},
		{extfmt.SuperFreeBlocks, uint32(s.FreeBlocks)}, {extfmt.SuperFreeInodes, s.FreeInodes},
		{20, s.FirstDataBlock}, {24, s.LogBlockSize}, {28, s.LogBlockSize},
		{32, s.BlocksPerGroup}, {36, s.BlocksPerGroup}, {40, s.InodesPerGroup},
		{extfmt.SuperWtime, l.now}, {64, l.now}, {76, s.Rev}, {84, s.FirstIno},
		{extfmt.SuperCompat, s.Compat}, {extfmt.SuperIncompat, s.Incompat}, {extfmt.SuperROCompat, s.ROCompat},
		{256, defaultMntOpts}, {264, l.now}, {352, extfmt.FlagSignedHash},
	} {
		le.PutUint32(b[x.off:], x.v)
	}
	le.PutUint16(b[54:], maxMntCountOff)
	le.PutUint16(b[56:], extfmt.Magic)
	le.PutUint16(b[extfmt.SuperState:], extfmt.StateValid)
	le.PutUint16(b[60:], 1) // errors: continue
	le.PutUint16(b[88:], s.InodeSize)
	le.PutUint16(b[90:], uint16(g))
	copy(b[104:], l.uuid[:])
	copy(b[120:], l.label)
	copy(b[236:], l.hashSeed[:])
	b[252] = hashHalfMD4
	if s.InodeSize > extfmt.InodeExtraIsize {
		le.PutUint16(b[348:], extfmt.DefaultExtraIsize)
		le.PutUint16(b[350:], extfmt.DefaultExtraIsize)
	}
	return l.put(off, b)
}

// put writes and flushes bytes of the device.
func (l *layout) put(off int64, b []byte) error {
	dst, err := l.target(off, int64(len(b)))
	if err != nil {
		return err
	}
	copy(dst, b)
	return l.dev.Flush(off, int64(len(b)))
}

// target returns bytes of the device that are about to be stored to: there is room for
// them. ENOSPC.
func (l *layout) target(off, n int64) ([]byte, error) {
	if r, ok := l.dev.(pmem.Reserver); ok {
		if err := r.Reserve(off, n, 0); err != nil {
			return nil, err
		}
	}
	return l.dev.Bytes(off, n)
}

// clear makes bytes of the device read as zero. Holes of a file stay holes, and what was
// set aside for it stays so.
func (l *layout) clear(off, n int64) error {
	for end := off + n; off < end; {
		from, to := nextData(l.dev, off, end)
		dst, err := l.target(from, to-from)
		if err != nil {
			return err
		}
		clear(dst)
		if err := l.dev.Flush(from, to-from); err != nil {
			return err
		}
		off = to
	}
	return nil
}
