package famfs

import (
	"fmt"
	"io/fs"
	"syscall"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/vfs"
)

// create appends the entry of a file or directory, in the order of section 11: look at the
// medium again, choose space, clear and flush it, write the entry and flush it, count it and
// flush that. A crash before the count has changed leaves the old state; the space and the
// place of the entry are those that the next append takes.
func (f *FS) create(parent *node, name string, ni vfs.NewInode) (*node, error) {
	if f.forget == nil {
		return nil, f.clientError()
	}
	e, err := f.newEntry(parent, name, ni)
	if err != nil {
		return nil, err
	}
	f.appendMu.Lock()
	defer f.appendMu.Unlock()
	if err := f.ready(e, parent, name); err != nil {
		return nil, err
	}
	if e.Type == famfsfmt.TypeFile {
		if err := f.place(e, ni.Stripe); err != nil {
			return nil, err
		}
		if err := f.clearExtents(e.Extents); err != nil {
			return nil, err
		}
	}
	if err := f.publish(e); err != nil {
		return nil, err
	}
	if err := f.refresh(); err != nil {
		return nil, err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if e.Seq >= uint64(len(f.records)) || f.records[e.Seq].node == nil {
		return nil, fmt.Errorf("famfs: entry %d was written and is not there: %w", e.Seq, syscall.EIO)
	}
	return f.records[e.Seq].node, nil
}

// newEntry is the entry to be, without its number and place.
func (f *FS) newEntry(parent *node, name string, ni vfs.NewInode) (*famfsfmt.Entry, error) {
	path := name
	if parent.entry != nil {
		path = parent.entry.Path + "/" + name
	}
	e := &famfsfmt.Entry{Path: path, UID: ni.UID, GID: ni.GID, Mode: uint32(ni.Mode.Perm())}
	if len(path) > famfsfmt.PathMax {
		return nil, fmt.Errorf("famfs: a path has at most %d bytes, this one %d: %w", famfsfmt.PathMax, len(path), syscall.ENAMETOOLONG)
	}
	if why := famfsfmt.BadPath(path); why != "" {
		return nil, &RefusedError{"path like this", "it " + why, syscall.EPERM}
	}
	switch ni.Mode.Type() {
	case fs.ModeDir:
		e.Type = famfsfmt.TypeDir
		return e, nil
	case 0:
	default:
		return nil, refused(kindName(ni.Mode), whyKind)
	}
	e.Type, e.Size, e.Flags = famfsfmt.TypeFile, uint64(ni.Size), famfsfmt.FlagWritable
	if ni.Size <= 0 {
		return nil, refused("empty file", whySize)
	}
	return e, nil
}

// kindName is what a type of file is called.
func kindName(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "pipe"
	case fs.ModeSocket:
		return "socket"
	}
	return "device node"
}

// ready looks at superblock, header and log again, and gives the entry its number. Errors:
// ENOSPC if the log is full, fs.ErrExist, EROFS if something now stands against appending.
func (f *FS) ready(e *famfsfmt.Entry, parent *node, name string) error {
	if err := f.refresh(); err != nil {
		return err
	}
	h, err := f.header()
	if err != nil {
		return err
	}
	if err := f.cleanLog(); err != nil {
		return fmt.Errorf("%w: %w", err, syscall.EROFS)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case h.NextSeq != h.NextIndex, h.NextIndex != f.replayed.Load():
		return fmt.Errorf("famfs: log header: next_seqnum is %d, next_index %d, entries %d: %w", h.NextSeq, h.NextIndex, f.replayed.Load(), syscall.EROFS)
	case h.NextIndex > h.LastIndex:
		return fmt.Errorf("famfs: the log is full: it has %d entries, and is never made shorter: %w", h.NextIndex, syscall.ENOSPC)
	case parent.children[name] != nil:
		return fs.ErrExist
	}
	e.Seq = h.NextIndex
	return nil
}

// clearExtents makes the storage of a file read as zero on the medium, whole units: also what
// lies behind the file's end can be seen through a mapping. It takes room first: later
// stores ask nobody.
func (f *FS) clearExtents(list []famfsfmt.Extent) error {
	for _, x := range list {
		m := f.med
		if x.Device != 0 {
			m = newMedium(f.device(x.Device))
			m.hook = f.med.hook
		}
		if err := m.reserve(int64(x.Off), int64(x.Len)); err != nil {
			return err
		}
		if err := m.zero(int64(x.Off), int64(x.Len)); err != nil {
			return err
		}
		if x.Device != 0 {
			if err := m.barrier(); err != nil {
				return err
			}
		}
	}
	return f.med.barrier()
}

// device is the device with an index.
func (f *FS) device(index uint64) pmem.Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.devices[index].dev
}

// publish writes an entry where it has its number, and counts it.
func (f *FS) publish(e *famfsfmt.Entry) error {
	raw, at := e.Encode(), famfsfmt.EntryOffset(e.Seq)
	if err := f.med.reserve(at, famfsfmt.EntrySize); err != nil {
		return err
	}
	if err := f.med.reserve(famfsfmt.LogOffset, famfsfmt.HeaderSize); err != nil {
		return err
	}
	if err := f.med.write(at, raw[:]); err != nil {
		return err
	}
	if err := f.med.commit(at, famfsfmt.EntrySize); err != nil {
		return err
	}
	// Both counts are in one cache line. finishAppend takes care of a power cut between them.
	if err := f.med.put64(famfsfmt.LogOffset+famfsfmt.SeqOffset, e.Seq+1); err != nil {
		return err
	}
	if err := f.med.put64(famfsfmt.LogOffset+famfsfmt.IndexOffset, e.Seq+1); err != nil {
		return err
	}
	return f.med.commit(famfsfmt.LogOffset, famfsfmt.HeaderSize)
}
