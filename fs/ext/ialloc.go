package ext

import (
	"fmt"
	"io/fs"
	"syscall"

	"godax/internal/extfmt"
	"godax/vfs"
)

// newInode takes a free inode near parent and fills it in as n says, with 0 links:
// until the caller has made an entry for it and sets the count, a check of the image
// takes it for free. Times are now. The size is 0 and there are no blocks.
// Errors: ENOSPC.
//
// It does not touch the parent, and does not make "." and "..", the target of a
// symbolic link, or inherited attributes.
func (f *FS) newInode(parent *inode, n vfs.NewInode) (*inode, error) {
	isDir := n.Mode.IsDir()
	ino, err := f.takeInode(parent.homeGroup(), isDir, parent.ino == extfmt.RootIno)
	if err != nil {
		return nil, err
	}
	in, err := f.initInode(ino, n)
	if err == nil {
		return in, nil
	}
	_ = f.releaseInode(ino, isDir) // the first error counts
	if !isFull(err) {
		return nil, err
	}
	// The disk underneath is full. There may be an inode that has room.
	if ino, err = f.takeInodeInRoom(parent.homeGroup(), isDir, err); err != nil {
		return nil, err
	}
	if in, err = f.initInode(ino, n); err != nil {
		_ = f.releaseInode(ino, isDir) // the first error counts
		return nil, err
	}
	return in, nil
}

// initInode writes a free inode anew.
func (f *FS) initInode(ino uint32, n vfs.NewInode) (*inode, error) {
	off, err := f.inodeOff(ino)
	if err != nil {
		return nil, err
	}
	table := f.groups[(ino-1)/f.sb.InodesPerGroup].InodeTable + uint64(f.sb.ITableBlocks)
	if err := f.st.reserve(off, int64(f.sb.InodeSize), smallPiece, f.blockOff(table)); err != nil {
		return nil, err
	}
	old, err := f.st.view(off, int64(f.sb.InodeSize))
	if err != nil {
		return nil, err
	}
	if links := le.Uint16(old[extfmt.InodeLinks:]); links != 0 {
		f.failed.Store(true)
		return nil, extfmt.Corrupt(fmt.Sprintf("inode %d", ino), off, "i_links_count", uint64(links), "marked as free and in use")
	}
	b := make([]byte, len(old))
	le.PutUint16(b[extfmt.InodeMode:], extfmt.FromMode(n.Mode))
	le.PutUint16(b[extfmt.InodeUID:], uint16(n.UID))
	le.PutUint16(b[extfmt.InodeUIDHigh:], uint16(n.UID>>16))
	le.PutUint16(b[extfmt.InodeGID:], uint16(n.GID))
	le.PutUint16(b[extfmt.InodeGIDHigh:], uint16(n.GID>>16))
	le.PutUint32(b[extfmt.InodeGeneration:], f.generation.Add(1))
	if n.Mode&fs.ModeDevice != 0 {
		major, minor := extfmt.EncodeRdev(n.RdevMajor, n.RdevMinor)
		le.PutUint32(b[extfmt.InodeBlock:], major)
		le.PutUint32(b[extfmt.InodeBlock+4:], minor)
	}
	wide := len(b) > extfmt.InodeExtraIsize
	if wide {
		le.PutUint16(b[extfmt.InodeExtraIsize:], f.extraIsize())
	}
	sec, extra := extfmt.EncodeTime(f.now(), wide)
	for _, field := range [...]int{extfmt.InodeAtime, extfmt.InodeCtime, extfmt.InodeMtime} {
		le.PutUint32(b[field:], sec)
	}
	if wide {
		le.PutUint32(b[extfmt.InodeCrtime:], sec)
		for _, field := range [...]int{extfmt.InodeAtimeExtra, extfmt.InodeCtimeExtra, extfmt.InodeMtimeExtra, extfmt.InodeCrtimeExtra} {
			le.PutUint32(b[field:], extra)
		}
	}
	if err := f.st.write(off, b); err != nil {
		return nil, err
	}
	return f.loadInode(ino)
}

// extraIsize is i_extra_isize of new inodes: what the superblock wants, and room for
// all times at least.
func (f *FS) extraIsize() uint16 {
	const times = extfmt.InodeCrtimeExtra + 4 - extfmt.InodeExtraIsize
	room := f.sb.InodeSize - extfmt.InodeExtraIsize
	want := (f.sb.WantExtraIsize + 3) &^ 3
	return min(max(want, extfmt.DefaultExtraIsize, times), room)
}

// takeInode marks a free inode as used: in the parent's group if that has room, for
// a directory in one that is less full than the average, so that directories spread and files stay with
// theirs. spread is for directories in the root: they go where there are fewest.
func (f *FS) takeInode(home uint32, isDir, spread bool) (uint32, error) {
	groups := f.sb.Groups
	if isDir && groups > 1 {
		home = f.dirGroup(home, spread)
	}
	for i := range groups {
		n := (home + i) % groups
		// A group without free blocks is taken only if nothing better is left.
		if ino, err := f.takeInodeIn(n, isDir, 1); ino != 0 || err != nil {
			return ino, err
		}
	}
	for n := range groups {
		if ino, err := f.takeInodeIn(n, isDir, 0); ino != 0 || err != nil {
			return ino, err
		}
	}
	return 0, syscall.ENOSPC
}

// dirGroup chooses the group of a new directory.
func (f *FS) dirGroup(home uint32, spread bool) uint32 {
	groups := f.sb.Groups
	avgInodes := uint32(max(f.freeInodes.Load(), 0)) / groups
	avgBlocks := uint32(max(f.freeBlocks.Load(), 0) / int64(groups))
	best, bestDirs := home, ^uint32(0)
	for i := range groups {
		n := (home + i) % groups
		g := &f.groups[n]
		g.mu.Lock()
		inodes, blocks, dirs := g.freeInodes, g.free, g.dirs
		g.mu.Unlock()
		if inodes == 0 || inodes < avgInodes || blocks < avgBlocks {
			continue
		}
		if !spread {
			return n
		}
		if dirs < bestDirs {
			best, bestDirs = n, dirs
		}
	}
	return best
}

// takeInodeIn marks the first free inode of a group that has at least the given
// number of free blocks; 0 if there is none.
func (f *FS) takeInodeIn(n uint32, isDir bool, blocks uint32) (uint32, error) {
	g := &f.groups[n]
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.freeInodes == 0 || g.free < blocks {
		return 0, nil
	}
	off := f.blockOff(g.InodeBitmap)
	bm, err := f.st.view(off, f.blockSize())
	if err != nil {
		return 0, err
	}
	bit := nextBit(bm, f.firstInodeBit(n), f.sb.InodesPerGroup, false)
	if bit == f.sb.InodesPerGroup {
		return 0, nil
	}
	return f.takeInodeLocked(n, bit, isDir)
}

// firstInodeBit is the first bit in a group's inode bitmap that is not of a reserved inode.
func (f *FS) firstInodeBit(n uint32) uint32 {
	if base := n * f.sb.InodesPerGroup; base+1 < f.sb.FirstIno {
		return min(f.sb.FirstIno-1-base, f.sb.InodesPerGroup)
	}
	return 0
}

// takeInodeLocked marks the free inode of a bit of group n. The group's lock is held.
func (f *FS) takeInodeLocked(n, bit uint32, isDir bool) (uint32, error) {
	g := &f.groups[n]
	if err := f.st.putBits(f.blockOff(g.InodeBitmap), bit, 1, true); err != nil {
		return 0, err
	}
	return n*f.sb.InodesPerGroup + bit + 1, f.countInodesLocked(g, -1, isDir)
}

// takeInodeInRoom marks a free inode whose place has room already. no is the error
// if there is none.
func (f *FS) takeInodeInRoom(home uint32, isDir bool, no error) (uint32, error) {
	for i := range f.sb.Groups {
		if ino, err := f.inodeInRoom((home+i)%f.sb.Groups, isDir); ino != 0 || err != nil {
			return ino, err
		}
	}
	return 0, no
}

// inodeInRoom is takeInodeInRoom for one group; 0 if there is none in it.
func (f *FS) inodeInRoom(n uint32, isDir bool) (uint32, error) {
	g, total, size := &f.groups[n], f.sb.InodesPerGroup, int64(f.sb.InodeSize)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.freeInodes == 0 {
		return 0, nil
	}
	bm, err := f.st.view(f.blockOff(g.InodeBitmap), f.blockSize())
	if err != nil {
		return 0, err
	}
	for from := f.firstInodeBit(n); from < total; {
		off := f.blockOff(g.InodeTable) + int64(from)*size
		first, end := f.roomAmong(off, size, total-from)
		first, end = from+first, from+end
		for bit := nextBit(bm, first, end, false); bit < end; bit = nextBit(bm, bit+1, end, false) {
			if f.st.reserve(f.blockOff(g.InodeTable)+int64(bit)*size, size, 1, 0) == nil {
				return f.takeInodeLocked(n, bit, isDir)
			}
		}
		from = end
	}
	return 0, nil
}

// countInodesLocked changes the group's number of free inodes by d, and that of its
// directories by -d if it is one.
func (f *FS) countInodesLocked(g *group, d int64, isDir bool) error {
	g.freeInodes = uint32(min(max(int64(g.freeInodes)+d, 0), int64(f.sb.InodesPerGroup)))
	f.freeInodes.Add(d)
	if err := f.st.put16(g.desc+extfmt.GroupFreeInodes, uint16(g.freeInodes)); err != nil {
		return err
	}
	if !isDir {
		return nil
	}
	g.dirs = uint32(max(int64(g.dirs)-d, 0))
	return f.st.put16(g.desc+extfmt.GroupUsedDirs, uint16(g.dirs))
}

// releaseInode marks an inode as free.
func (f *FS) releaseInode(ino uint32, isDir bool) error {
	g := &f.groups[(ino-1)/f.sb.InodesPerGroup]
	bit := (ino - 1) % f.sb.InodesPerGroup
	g.mu.Lock()
	defer g.mu.Unlock()
	off := f.blockOff(g.InodeBitmap)
	bm, err := f.st.view(off, f.blockSize())
	if err != nil {
		return err
	}
	if !testBit(bm, bit) {
		f.failed.Store(true)
		return extfmt.Corrupt("inode bitmap", off, "inode", uint64(ino), "is to be freed and is free already")
	}
	if err := f.st.putBits(off, bit, 1, false); err != nil {
		return err
	}
	return f.countInodesLocked(g, 1, isDir)
}

// freeInode gives back an inode with 0 links and everything it has. It may be on the
// orphan list; a check of the image goes on from there if we are killed. Its window has been given back.
func (f *FS) freeInode(in *inode) error {
	if in.hasMap() {
		in.mu.Lock()
		err := in.bmap.free(0, f.mapBlocks())
		in.mu.Unlock()
		if err != nil {
			return fmt.Errorf("ext: freeing inode %d: %w", in.ino, err)
		}
	}
	if err := f.dropXattrs(in); err != nil {
		return err
	}
	return f.orphanDone(in, true)
}

// hasMap reports whether i_block holds block pointers. In device nodes it holds a
// number, in short symbolic links the target.
func (in *inode) hasMap() bool {
	switch in.mode() & extfmt.ModeType {
	case extfmt.ModeFile, extfmt.ModeDir:
		return true
	case extfmt.ModeLink:
		return !in.isFastSymlink()
	}
	return false
}

// isFastSymlink reports whether a symbolic link's target lies in i_block: if it has
// no blocks besides that of its extended attributes.
func (in *inode) isFastSymlink() bool {
	sectors := in.sectors()
	if in.fileACL() != 0 {
		sectors -= min(sectors, uint64(in.fs.sb.BlockSize/extfmt.SectorSize))
	}
	return sectors == 0
}
