package famfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/vfs"
)

// superCheck is how many bytes of the superblock a mount watches: all that its checksum
// covers, and the checksum.
const superCheck = 104

// masters are the devices that have a master in this process. Between processes the lock of
// the opened device decides (pmem.Open), and between hosts the system UUID.
var masters struct {
	mu  sync.Mutex // guards of; a leaf
	has map[pmem.Device]bool
}

// becomeMaster makes the caller the only master on dev; EBUSY. forget ends it.
func becomeMaster(dev pmem.Device) (forget func(), err error) {
	masters.mu.Lock()
	defer masters.mu.Unlock()
	if masters.has[dev] {
		return nil, fmt.Errorf("famfs: the device has a master already: %w", pmem.ErrInUse)
	}
	if masters.has == nil {
		masters.has = make(map[pmem.Device]bool)
	}
	masters.has[dev] = true
	return sync.OnceFunc(func() { // later calls would end the role of the next master
		masters.mu.Lock()
		defer masters.mu.Unlock()
		delete(masters.has, dev)
	}), nil
}

// mount opens a file system: as its master if it may be written and is this host's, else as a
// client.
func mount(dev pmem.Device, o vfs.MountOptions, c Config) (*FS, error) {
	f, err := load(dev, o, c)
	if err != nil {
		return nil, err
	}
	f.readOnly = o.ReadOnly || dev.ReadOnly()
	if f.readOnly {
		return f, nil
	}
	err = f.takeRole(o, c)
	var no *notMaster
	if errors.As(err, &no) { // clients store to files, unless these may share bytes
		f.noAppend, f.readOnly, err = no.why, no.damage, nil
	}
	if f.noAppend != "" && f.forget != nil {
		f.forget()
		f.forget = nil
	}
	return f, err
}

// takeRole makes f the master, or returns a [*notMaster]. After any other error it is nothing.
func (f *FS) takeRole(o vfs.MountOptions, c Config) (err error) {
	if o.Client {
		if err := f.damaged(); err != nil {
			return err
		}
		return &notMaster{why: "opened as one"}
	}
	if f.forget, err = becomeMaster(f.med.dev); err != nil {
		return err
	}
	if err = f.mayAppend(c); err == nil {
		err = f.finishAppend()
	}
	var no *notMaster
	if err != nil && !errors.As(err, &no) {
		f.forget()
	}
	return err
}

// load reads superblock and log header and replays the log.
func load(dev pmem.Device, o vfs.MountOptions, c Config) (*FS, error) {
	f := &FS{med: newMedium(dev), now: o.Now, dirs: make(map[string]*node)}
	if f.now == nil {
		f.now = time.Now
	}
	f.mounted = f.now()
	raw, err := f.med.fresh(0, min(famfsfmt.SuperSize, dev.Size()))
	if err != nil {
		return nil, err
	}
	if f.sb, err = famfsfmt.DecodeSuperblock(raw); err != nil {
		return nil, err
	}
	again := f.sb.Encode() // the bytes that were checked: the medium's may have changed since
	copy(f.raw[:], again[:])
	if f.size, err = f.sb.CheckPrimary(dev.Size()); err != nil {
		return nil, err
	}
	f.unit = int64(f.sb.AllocUnit)
	if f.supplied, err = c.identify(o.Devices); err != nil {
		return nil, err
	}
	first := famfsfmt.LogOffset + int64(f.sb.LogLen)
	f.devices = []device{{uuid: f.sb.Device, dev: dev, first: first, size: f.size, space: space{first: first, end: f.size}}}
	f.free = (f.size - first) / f.unit * f.unit
	f.root = &node{ino: rootIno, parent: rootIno}
	f.dirs[""] = f.root
	if f.size != dev.Size() {
		f.note(vfs.Note, &vfs.CorruptError{Structure: "superblock", Field: "device size", Value: f.sb.DeviceSize,
			Reason: fmt.Sprintf("the device has %d bytes; the rest is not used", dev.Size())})
	} else if f.sb.DeviceSize > uint64(dev.Size()) {
		f.note(vfs.Warning, &vfs.CorruptError{Structure: "superblock", Field: "device size", Value: f.sb.DeviceSize,
			Reason: fmt.Sprintf("the device has only %d bytes", dev.Size())})
	}
	h, err := f.header()
	if err != nil {
		if lost := f.sameSuper(); lost != nil { // it is being formatted
			return nil, lost
		}
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.replayLocked(h.NextIndex)
}

// header reads the log header.
func (f *FS) header() (famfsfmt.LogHeader, error) {
	b, err := f.med.fresh(famfsfmt.LogOffset, famfsfmt.HeaderSize)
	if err != nil {
		return famfsfmt.LogHeader{}, err
	}
	return famfsfmt.DecodeLogHeader(b, f.sb.LogLen)
}

// notMaster is why a mount that could store may not append: it becomes a client.
type notMaster struct {
	why    string
	damage bool // of the log, or what may be damage
}

func (e *notMaster) Error() string { return "famfs: " + e.why }

// mayAppend returns a [*notMaster] if this host may not append to the log: it is another
// host's, or something in it could hide space that is in use (section 11).
func (f *FS) mayAppend(c Config) error {
	if err := f.damaged(); err != nil {
		return err
	}
	host, err := hostUUID(c.HostUUID)
	if err != nil {
		return &notMaster{why: err.Error()}
	}
	if host != f.sb.System {
		return &notMaster{why: fmt.Sprintf("the master is system %v, this one is %v", f.sb.System, host)}
	}
	return f.cleanLog()
}

// cleanLog returns a [*notMaster] if replay met anything that stands against appending.
func (f *FS) cleanLog() error {
	f.mu.RLock()
	torn := f.torn
	f.mu.RUnlock()
	if torn != nil {
		return &notMaster{fmt.Sprintf("the log cannot be read to its end: %v", torn), true}
	}
	return f.damaged()
}

// damaged returns a [*notMaster] if files may share bytes, or something else is wrong that
// stores could make worse. An entry that is not whole yet is nothing to a client.
func (f *FS) damaged() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.worst < vfs.Warning {
		return nil
	}
	for _, x := range f.findings {
		if x.Severity >= vfs.Warning {
			return &notMaster{fmt.Sprintf("%s: %s: %s (fsck lists everything)", x.Structure, x.Field, x.Reason), true}
		}
	}
	return &notMaster{"the log has damage (fsck lists it)", true}
}

// finishAppend brings the header's two counts together again. They are stored one after the
// other, next_seqnum first, and a power cut in between leaves them one apart: then the entry
// is whole and on the medium, and is counted now.
func (f *FS) finishAppend() error {
	h, err := f.header()
	if err != nil || h.NextSeq == h.NextIndex {
		return err
	}
	if h.NextSeq != h.NextIndex+1 || h.NextIndex > h.LastIndex {
		return &notMaster{fmt.Sprintf("log header: next_seqnum is %d, next_index %d", h.NextSeq, h.NextIndex), true}
	}
	if _, err := f.readEntry(h.NextIndex); err != nil {
		return &notMaster{fmt.Sprintf("log header: next_seqnum is %d, next_index %d, and between them: %v", h.NextSeq, h.NextIndex, err), true}
	}
	if err := f.med.put64(famfsfmt.LogOffset+famfsfmt.IndexOffset, h.NextSeq); err != nil {
		return err
	}
	if err := f.med.commit(famfsfmt.LogOffset, famfsfmt.HeaderSize); err != nil {
		return err
	}
	if err := f.refresh(); err != nil {
		return err
	}
	return f.cleanLog()
}

// check reports everything that is wrong with the file system on dev.
func check(ctx context.Context, dev pmem.Device, o vfs.MountOptions, c Config) (vfs.Report, error) {
	f, err := load(dev, o, c)
	var damage *vfs.CorruptError
	if errors.As(err, &damage) {
		return vfs.Report{Findings: []vfs.Finding{vfs.FindingOf(vfs.Damage, damage)}}, nil
	}
	if err != nil {
		return vfs.Report{}, err
	}
	if err := f.checkRest(); err != nil {
		return vfs.Report{}, err
	}
	return f.report(), ctx.Err()
}
