package famfs

import (
	"fmt"
	"syscall"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/vfs"
)

// supply is a further device that the caller has opened.
type supply struct {
	dev   pmem.Device
	first int64 // where data can begin: after the superblock, if that is how it was identified
}

// device is a device that the log announces; index 0 is the one with the log.
type device struct {
	uuid  famfsfmt.UUID
	dev   pmem.Device // nil if it was not supplied
	first int64       // data begins here
	size  int64       // and ends here
	space space
}

// identify finds the UUIDs of further devices.
func (c Config) identify(devs []pmem.Device) (map[famfsfmt.UUID]supply, error) {
	all := make(map[famfsfmt.UUID]supply, len(devs))
	for _, dev := range devs {
		u, first, err := c.identifyOne(dev)
		if err != nil {
			return nil, fmt.Errorf("famfs: further device %s: %w", dev.Info().Path, err)
		}
		if _, twice := all[u]; twice {
			return nil, fmt.Errorf("famfs: further device %s: uuid %v is that of another one: %w", dev.Info().Path, u, syscall.EINVAL)
		}
		all[u] = supply{dev, first}
	}
	return all, nil
}

func (c Config) identifyOne(dev pmem.Device) (u famfsfmt.UUID, first int64, err error) {
	if c.Identify != nil {
		if s, ok := c.Identify(dev); ok {
			u, err = famfsfmt.ParseUUID(s)
			return u, 0, err
		}
	}
	b, err := dev.Bytes(0, min(famfsfmt.SuperSize, dev.Size()))
	if err != nil {
		return u, 0, err
	}
	sb, err := famfsfmt.DecodeSuperblock(b)
	if err != nil {
		return u, 0, err
	}
	if !sb.Secondary() {
		return u, 0, fmt.Errorf("is the first device of file system %v: %w", sb.FS, syscall.EINVAL)
	}
	return sb.Device, famfsfmt.LogOffset, nil
}

// announce takes in the entry that adds a device. mu is held.
func (f *FS) announce(e *famfsfmt.Entry) *vfs.CorruptError {
	bad := func(field string, value uint64, reason string) *vfs.CorruptError {
		return entryError(e.Seq, field, value, reason)
	}
	if f.sb.Version < famfsfmt.Version {
		return bad("type", uint64(e.Type), fmt.Sprintf("version %d has no such entry", f.sb.Version))
	}
	if uint64(e.DevIndex) != uint64(len(f.devices)) {
		return bad("device index", uint64(e.DevIndex), fmt.Sprintf("the next one is %d", len(f.devices)))
	}
	for _, d := range f.devices {
		if d.uuid == e.DevUUID {
			return bad("device uuid", uint64(e.DevIndex), "announced before")
		}
	}
	d := device{uuid: e.DevUUID, size: int64(e.DevSize)}
	s, ok := f.supplied[e.DevUUID]
	switch {
	case !ok:
		f.note(vfs.Note, entryError(e.Seq, "device uuid", uint64(e.DevIndex), fmt.Sprintf("device %v was not supplied", e.DevUUID)))
	case s.dev.Size() < d.size:
		f.note(vfs.Warning, entryError(e.Seq, "device size", e.DevSize, fmt.Sprintf("device %v has only %d bytes, and is not used", e.DevUUID, s.dev.Size())))
	default:
		d.dev, d.first = s.dev, s.first
		f.free += d.size - d.first
	}
	d.space = space{first: d.first, end: d.size}
	f.devices = append(f.devices, d)
	return nil
}

// entryError describes damage of an entry.
func entryError(index uint64, field string, value uint64, reason string) *vfs.CorruptError {
	return &vfs.CorruptError{
		Format: "famfs", Structure: fmt.Sprintf("log entry %d", index), Offset: famfsfmt.EntryOffset(index),
		Field: field, Value: value, Reason: reason,
	}
}
