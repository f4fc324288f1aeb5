package famfs

import (
	"errors"
	"fmt"
	"path"
	"syscall"

	"godax/internal/famfsfmt"
	"godax/vfs"
)

// refresh takes in what was published since the last look. While there is nothing new it
// is two looks at the medium and no lock. Errors: ESTALE once the medium is another file
// system; vfs.ErrCorrupt for a header that breaks the format.
func (f *FS) refresh() error {
	if lost := f.lost.Load(); lost != nil {
		return *lost
	}
	next, err := f.published()
	if err != nil {
		return err
	}
	if next == f.replayed.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if next < f.replayed.Load() { // a racing refresh may have been further, but the log never shrinks
		if next, err = f.published(); err != nil {
			return err
		}
		if next < f.replayed.Load() {
			return f.setLost(fmt.Sprintf("the log had %d entries and has %d", f.replayed.Load(), next))
		}
	}
	return f.replayLocked(next)
}

// published looks at the superblock, and then at how many entries the header counts. The
// order matters: whoever formats the medium anew changes the superblock first.
func (f *FS) published() (uint64, error) {
	if err := f.sameSuper(); err != nil {
		return 0, err
	}
	b, err := f.med.fresh(famfsfmt.LogOffset, famfsfmt.HeaderSize)
	if err != nil {
		return 0, err
	}
	next := load64(b[famfsfmt.IndexOffset:])
	if next == f.replayed.Load() {
		return next, nil
	}
	h, err := famfsfmt.DecodeLogHeader(b, f.sb.LogLen)
	if err != nil {
		if lost := f.sameSuper(); lost != nil { // it is being formatted
			return 0, lost
		}
	}
	// The count is read before and after: the bytes of the header are not those of one moment.
	return min(next, h.NextIndex), err
}

// sameSuper looks whether the superblock is still the one that was mounted: ESTALE.
func (f *FS) sameSuper() error {
	b, err := f.med.fresh(0, superCheck)
	if err == nil && string(b) != string(f.raw[:]) {
		err = f.setLost("the superblock has changed")
	}
	return err
}

// setLost notes, once and for all, that the medium is not the file system that was mounted.
func (f *FS) setLost(why string) error {
	err := fmt.Errorf("famfs: the medium was formatted anew, open it again: %s (it was file system %v): %w", why, f.sb.FS, syscall.ESTALE)
	f.lost.CompareAndSwap(nil, &err)
	return *f.lost.Load()
}

// readEntry returns an entry whose checksum and number are right. One that is not is looked
// at once more, from memory: its writer's host may not be done with it.
func (f *FS) readEntry(index uint64) (raw [famfsfmt.EntrySize]byte, err error) {
	for range 2 {
		var b []byte
		if b, err = f.med.fresh(famfsfmt.EntryOffset(index), famfsfmt.EntrySize); err != nil {
			return raw, err
		}
		copy(raw[:], b) // what is checked is what is used
		if err = famfsfmt.CheckEntry(raw[:], index); err == nil {
			return raw, nil
		}
	}
	return raw, err
}

// replayLocked takes in the entries up to next. It stops before one that is not whole, and
// goes on there the next time. mu is held exclusively.
func (f *FS) replayLocked(next uint64) error {
	claims, start := make(map[uint64][]claim), len(f.records) // by device
	defer func() { f.settle(claims) }()
	for index := f.replayed.Load(); index < next; index++ {
		raw, err := f.readEntry(index)
		var damage *vfs.CorruptError
		if errors.As(err, &damage) {
			f.torn = damage
			return nil
		}
		if err != nil {
			return err
		}
		f.torn = nil
		f.records = append(f.records, f.apply(raw[:], index, claims))
		f.replayed.Store(index + 1)
	}
	if len(f.records) == start {
		return nil
	}
	return f.sameSuper() // if it was formatted meanwhile, some entries may be those of another one
}

// apply takes in one entry. What it is damaged by is noted, and the entry has no effect then.
func (f *FS) apply(raw []byte, index uint64, claims map[uint64][]claim) record {
	e, err := famfsfmt.DecodeEntry(raw, index, uint64(f.unit))
	var damage *vfs.CorruptError
	if errors.As(err, &damage) {
		f.note(vfs.Damage, damage)
		return record{note: damage.Error()}
	}
	if e.Type == famfsfmt.TypeAddDevice {
		if damage = f.announce(e); damage != nil {
			f.note(vfs.Damage, damage)
			return record{note: damage.Error()}
		}
		return record{note: fmt.Sprintf("device %d added: %v, %d bytes", e.DevIndex, e.DevUUID, e.DevSize)}
	}
	n := &node{ino: index + firstIno, entry: e, name: path.Base(e.Path)}
	if e.Type == famfsfmt.TypeFile {
		if damage = f.locate(n); damage != nil {
			f.note(vfs.Damage, damage)
			return record{note: damage.Error()}
		}
	}
	if damage = f.link(n); damage != nil {
		f.note(vfs.Damage, damage)
		return record{note: damage.Error()}
	}
	if e.Type == famfsfmt.TypeFile {
		f.files++
		for _, x := range e.Extents {
			claims[x.Device] = append(claims[x.Device], claim{span{int64(x.Off), int64(x.Off + x.Len)}, index})
		}
	}
	return record{node: n}
}

// link puts a node into its directory.
func (f *FS) link(n *node) *vfs.CorruptError {
	e := n.entry
	dir, _ := path.Split(e.Path)
	if dir != "" {
		dir = dir[:len(dir)-1]
	}
	parent := f.dirs[dir]
	if parent == nil {
		return entryError(e.Seq, "path", uint64(len(e.Path)), fmt.Sprintf("%q: its directory does not exist, or is a file", e.Path))
	}
	if parent.children[n.name] != nil {
		return entryError(e.Seq, "path", uint64(len(e.Path)), fmt.Sprintf("%q exists already", e.Path))
	}
	n.parent = parent.ino
	if parent.children == nil {
		parent.children = make(map[string]*node)
	}
	parent.children[n.name] = n
	parent.list = append(parent.list, n)
	if n.isDir() {
		parent.subdirs++
		f.dirs[e.Path] = n
	}
	return nil
}

// locate checks a file's extents against the devices, and finds its pieces.
func (f *FS) locate(n *node) *vfs.CorruptError {
	e := n.entry
	for _, x := range e.Extents {
		if x.Device >= uint64(len(f.devices)) {
			return entryError(e.Seq, "device index", x.Device, fmt.Sprintf("the log has announced %d devices", len(f.devices)))
		}
		d := &f.devices[x.Device]
		switch {
		case x.Off < uint64(d.first):
			return entryError(e.Seq, "extent offset", x.Off, fmt.Sprintf("data begins at %d", d.first))
		case x.Off > uint64(d.size) || x.Len > uint64(d.size)-x.Off:
			return entryError(e.Seq, "extent length", x.Len, fmt.Sprintf("extent at %d ends outside the %d bytes of device %d", x.Off, d.size, x.Device))
		}
		if d.dev == nil && n.broken == nil {
			n.broken = fmt.Errorf("famfs: %s lies on device %d, %v, which was not supplied: %w", e.Path, x.Device, d.uuid, syscall.ENXIO)
		}
	}
	n.runs = make([]piece, len(e.Extents))
	var at int64
	for i, x := range e.Extents {
		n.runs[i] = piece{dev: f.devices[x.Device].dev, off: int64(x.Off), file: at}
		at += int64(x.Len) // together not past the signed range: each lies on a device
		if at < 0 {
			return entryError(e.Seq, "extent length", x.Len, "all extents together run past the signed range")
		}
	}
	return nil
}

// settle takes the space of new files, and reports what two files have.
func (f *FS) settle(claims map[uint64][]claim) {
	for dev, list := range claims {
		d := &f.devices[dev]
		added := d.space.add(list, func(other uint64, c claim) {
			if len(f.findings) < maxFindings && other == unowned {
				other = f.ownerOf(dev, c)
			}
			f.note(vfs.Warning, entryError(c.index, "extent offset", uint64(c.from),
				fmt.Sprintf("%s has bytes of its %d in common with entry %d", f.records[c.index].node.entry.Path, c.to-c.from, other)))
		})
		if d.dev != nil {
			f.free -= added
		}
	}
}

// ownerOf finds another entry with bytes of a claim.
func (f *FS) ownerOf(dev uint64, c claim) uint64 {
	for i, r := range f.records {
		if uint64(i) == c.index || r.node == nil || r.node.entry.Type != famfsfmt.TypeFile {
			continue
		}
		for _, x := range r.node.entry.Extents {
			if x.Device == dev && int64(x.Off) < c.to && c.from < int64(x.Off+x.Len) {
				return uint64(i)
			}
		}
	}
	return unowned
}

// maxFindings bounds what is remembered of damage.
const maxFindings = 1000

// note remembers a finding. mu is held exclusively, or nobody else knows f.
func (f *FS) note(s vfs.Severity, e *vfs.CorruptError) {
	f.worst = max(f.worst, s)
	if len(f.findings) == maxFindings {
		f.dropped++
		return
	}
	f.findings = append(f.findings, vfs.FindingOf(s, e))
}
