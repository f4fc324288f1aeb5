package ext

import (
	"slices"

	"godax/internal/extfmt"
)

// The orphan list holds the inodes that have no name and are still open, so that a
// mount, or e2fsck, after a crash frees them. It is a chain: s_last_orphan has the first inode
// number, each inode's i_dtime the next, 0 ends it.
//
// An inode that is not in the chain with a small number other than 0 as i_dtime makes
// e2fsck stop. Hence inodes are added at the end, by one store, with an i_dtime of 0;
// only the removal from the middle takes two stores, as a switch-over.
//
// Revision 0 has no such list. There, as between the stores, e2fsck -p frees
// an inode without links on its own.

// orphanPlace is the device offset of the word that leads to the i-th orphan.
//
// Locks: orphanMu.
func (f *FS) orphanPlace(i int) (int64, error) {
	if i == 0 {
		return extfmt.SuperOffset + extfmt.SuperLastOrphan, nil
	}
	off, err := f.inodeOff(f.orphans[i-1])
	return off + extfmt.InodeDtime, err
}

// orphanAdd takes the last link from an inode and puts it on the orphan list. The
// stores in then, which remove its name, come with it in one switch-over.
func (f *FS) orphanAdd(in *inode, then ...put) error {
	f.orphanMu.Lock()
	defer f.orphanMu.Unlock()
	if in.dtime() != 0 {
		if err := in.setDtime(0); err != nil {
			return err
		}
	}
	ops := make([]put, 0, 8)
	ops = append(ops, put{in.off + extfmt.InodeLinks, 2, 0})
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
		f.orphans = append(f.orphans, in.ino)
	}
	return nil
}

// orphanDel takes an inode off the orphan list, and does nothing if it is not on it.
// Its dtime is 0 afterwards.
func (f *FS) orphanDel(in *inode) error {
	f.orphanMu.Lock()
	defer f.orphanMu.Unlock()
	i := slices.Index(f.orphans, in.ino)
	if i < 0 {
		return nil
	}
	place, err := f.orphanPlace(i)
	if err != nil {
		return err
	}
	if i == len(f.orphans)-1 {
		err = f.st.put32(place, 0)
	} else {
		err = f.st.switchOver(put{place, 4, f.orphans[i+1]}, put{in.off + extfmt.InodeDtime, 4, 0})
	}
	if err != nil {
		return err
	}
	f.orphans = slices.Delete(f.orphans, i, i+1)
	return nil
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
		f.orphans = append(f.orphans, in.ino)
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
	return f.orphanDel(in)
}
