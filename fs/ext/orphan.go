package ext

import (
	"slices"

	"godax/internal/extfmt"
)

// The orphan list holds the inodes that have no name, or none yet, and are still open, so that a
// mount, or e2fsck, after a crash frees them. It is a chain: s_last_orphan has the first inode
// number, each inode's i_dtime the next, 0 ends it.
//
// An inode that is not in the chain with a small number other than 0 as i_dtime makes
// e2fsck stop. Hence inodes come and go at the end only, where i_dtime is 0, by one store
// each. One that is freed while others come after it stays, without storage, and keeps its
// number until they are gone. One that gets a name stays as long: to a check it is a file
// to be cut to its size.
//
// Revision 0 has no such list. There, as between the stores, e2fsck -p frees
// an inode without links on its own.

// orphan is an inode on the list.
type orphan struct {
	ino   uint32
	isDir bool
	done  bool // nothing but its place on the list keeps it
	free  bool // done, and to be given back when it leaves
}

// orphanPlace is the device offset of the word that leads to the i-th orphan.
//
// Locks: orphanMu.
func (f *FS) orphanPlace(i int) (int64, error) {
	if i == 0 {
		return extfmt.SuperOffset + extfmt.SuperLastOrphan, nil
	}
	off, err := f.inodeOff(f.orphans[i-1].ino)
	return off + extfmt.InodeDtime, err
}

// orphanAdd takes the last link from an inode and puts it on the orphan list. The
// stores in then, which remove its name, come with it in one switch-over.
func (f *FS) orphanAdd(in *inode, then ...put) error {
	f.orphanMu.Lock()
	defer f.orphanMu.Unlock()
	noLinks := put{in.off + extfmt.InodeLinks, 2, 0}
	if i := f.orphanIndex(in); i >= 0 { // it got a name meanwhile
		if err := f.st.switchOver(append(append(make([]put, 0, 8), noLinks), then...)...); err != nil {
			return err
		}
		f.orphans[i].done = false
		return nil
	}
	if in.dtime() != 0 {
		if err := in.setDtime(0); err != nil {
			return err
		}
	}
	ops := make([]put, 0, 8)
	ops = append(ops, noLinks)
	if f.sb.Rev > 0 {
		place, err := f.orphanPlace(len(f.orphans))
		if err != nil {
			return err
		}
		ops = append(ops, put{place, 4, in.ino})
	}
	if err := f.st.switchOver(append(ops, then...)...); err != nil {
		return err
	}
	if f.sb.Rev > 0 {
		f.orphans = append(f.orphans, orphan{ino: in.ino, isDir: in.isDir()})
	}
	return nil
}

// orphanDone takes an inode off the orphan list as soon as it is the last one there,
// and those before it that have waited for that. With free the inode is given back when
// it leaves; at once if it was not on the list.
func (f *FS) orphanDone(in *inode, free bool) error {
	f.orphanMu.Lock()
	defer f.orphanMu.Unlock()
	i := f.orphanIndex(in)
	if i < 0 {
		if !free {
			return nil
		}
		return f.giveBack(in.ino, in.isDir())
	}
	f.orphans[i].done, f.orphans[i].free = true, free
	for last := len(f.orphans) - 1; last >= 0 && f.orphans[last].done; last-- {
		place, err := f.orphanPlace(last)
		if err != nil {
			return err
		}
		if err := f.st.put32(place, 0); err != nil {
			return err
		}
		o := f.orphans[last]
		f.orphans = f.orphans[:last]
		if !o.free {
			continue
		}
		if err := f.giveBack(o.ino, o.isDir); err != nil {
			return err
		}
	}
	return nil
}

// orphanIndex is the place of an inode on the list, -1 if it is not there.
//
// Locks: orphanMu.
func (f *FS) orphanIndex(in *inode) int {
	return slices.IndexFunc(f.orphans, func(o orphan) bool { return o.ino == in.ino })
}

// giveBack marks an inode as deleted and its number as free.
func (f *FS) giveBack(ino uint32, isDir bool) error {
	off, err := f.inodeOff(ino)
	if err != nil {
		return err
	}
	// e2fsck takes a time below the number of inodes for a link of the orphan list.
	if err := f.st.put32(off+extfmt.InodeDtime, max(uint32(f.now().Unix()), f.sb.InodesCount)); err != nil {
		return err
	}
	return f.releaseInode(ino, isDir)
}

// processOrphans frees the inodes that the image's orphan list names, and cuts those
// that still have names to their size. Errors: vfs.ErrCorrupt if the list is not one.
func (f *FS) processOrphans() error {
	var list []*inode
	seen := make(map[uint32]bool)
	for ino := f.sb.LastOrphan; ino != 0; {
		if ino < f.sb.FirstIno || ino > f.sb.InodesCount || seen[ino] {
			return extfmt.Corrupt("orphan list", extfmt.SuperOffset, "s_last_orphan", uint64(ino), "no inode that can be on the list, or twice on it")
		}
		seen[ino] = true
		in, err := f.loadInode(ino)
		if err != nil {
			return err
		}
		if in.mode() == 0 {
			return in.corrupt("i_mode", 0, "orphan without a type")
		}
		list = append(list, in)
		ino = in.dtime()
	}
	f.orphanMu.Lock()
	for _, in := range list {
		f.orphans = append(f.orphans, orphan{ino: in.ino, isDir: in.isDir()})
	}
	f.orphanMu.Unlock()
	for _, in := range slices.Backward(list) {
		if err := f.processOrphan(in); err != nil {
			return err
		}
	}
	return nil
}

// processOrphan finishes what was begun with one inode of the list.
func (f *FS) processOrphan(in *inode) error {
	if in.links() == 0 {
		return f.freeInode(in)
	}
	if in.isType(extfmt.ModeFile) {
		bs := f.blockSize()
		in.mu.Lock()
		err := in.bmap.free(uint64((in.size()+bs-1)/bs), uint64((f.maxFileSize()+bs-1)/bs))
		in.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return f.orphanDone(in, false)
}
