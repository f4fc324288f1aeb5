package famfs

import (
	"crypto/rand"
	"fmt"
	"syscall"

	"godax/internal/famfsfmt"
	"godax/pmem"
)

// FormatOptions say what [Format] makes. The zero value is good for memory on one host.
type FormatOptions struct {
	Unit    int64         // allocation unit: 2 MiB, or 4096; 0 is 2 MiB
	LogLen  int64         // bytes of the log, a power of two from 8 MiB; 0 is 8 MiB, 15420 entries
	Version int           // 48, or 47 for tools from before June 2026; 0 is 48
	UUID    string        // of the file system; "" is a random one
	System  string        // UUID of the host that is to be the master; "" is [HostUUID]
	Devices []pmem.Device // further ones, which lose all that is on them; version 48 only
}

// Format makes an empty famfs on dev, and makes it durable. Everything on the device is lost,
// but not cleared: files are when they are created.
//
// The order: the old magic numbers go first, and the new one comes last, so that a format
// that was cut off is no file system. Further devices get a superblock with log offset and
// length 0, which the format plans; it gives them their UUIDs.
//
// Errors: EINVAL for options that make no sense, ENOSPC for a device with no room for the
// log and one allocation unit, those of the devices.
func Format(dev pmem.Device, o FormatOptions) error {
	if err := format(dev, o, nil); err != nil {
		return fmt.Errorf("famfs: format: %w", err)
	}
	return nil
}

func format(dev pmem.Device, o FormatOptions, hook func()) error {
	sb, err := plan(dev, o)
	if err != nil {
		return err
	}
	forget, err := becomeMaster(dev) // nobody has it mounted for writing
	if err != nil {
		return err
	}
	defer forget()
	all := append([]pmem.Device{dev}, o.Devices...)
	media := make([]medium, len(all))
	for i, d := range all {
		media[i] = newMedium(d)
		media[i].hook = hook
		if err := media[i].reserve(0, superArea); err != nil {
			return err
		}
		if err := media[i].put64(0, 0); err != nil {
			return err
		}
		if err := media[i].commit(0, 8); err != nil {
			return err
		}
	}
	m := &media[0]
	if err := m.reserve(famfsfmt.LogOffset, int64(sb.LogLen)); err != nil {
		return err
	}
	if err := m.zero(famfsfmt.LogOffset, int64(sb.LogLen)); err != nil {
		return err
	}
	h := famfsfmt.LogHeader{Len: sb.LogLen, LastIndex: famfsfmt.LastIndex(sb.LogLen)}
	for i := range o.Devices {
		second, err := formatSecondary(&media[i+1], sb)
		if err != nil {
			return err
		}
		e := famfsfmt.Entry{
			Seq: h.NextIndex, Type: famfsfmt.TypeAddDevice,
			DevSize: second.DeviceSize, DevUUID: second.Device, DevIndex: uint32(i) + 1,
		}
		raw, at := e.Encode(), famfsfmt.EntryOffset(h.NextIndex)
		if err := m.write(at, raw[:]); err != nil {
			return err
		}
		if err := m.flush(at, famfsfmt.EntrySize); err != nil {
			return err
		}
		h.NextSeq, h.NextIndex = h.NextSeq+1, h.NextIndex+1
	}
	raw := h.Encode()
	if err := m.write(famfsfmt.LogOffset, raw[:]); err != nil {
		return err
	}
	if err := m.commit(famfsfmt.LogOffset, famfsfmt.HeaderSize); err != nil {
		return err
	}
	return writeSuper(m, sb)
}

// superArea is how much of a device is cleared for the superblock.
const superArea = pmem.PageSize

// writeSuper stores a superblock, whose magic number was cleared before: the magic number last.
func writeSuper(m *medium, sb *famfsfmt.Superblock) error {
	raw := sb.Encode()
	if err := m.zero(0, superArea); err != nil {
		return err
	}
	if err := m.write(8, raw[8:]); err != nil {
		return err
	}
	if err := m.commit(0, famfsfmt.SuperSize); err != nil {
		return err
	}
	if err := m.put64(0, famfsfmt.Magic); err != nil {
		return err
	}
	return m.commit(0, 8)
}

// formatSecondary gives a further device its UUID.
func formatSecondary(m *medium, first *famfsfmt.Superblock) (*famfsfmt.Superblock, error) {
	sb := *first
	sb.LogOffset, sb.LogLen, sb.Flags = 0, 0, famfsfmt.FlagSecondary
	sb.Device = random()
	sb.DeviceSize = uint64(m.dev.Size()) / sb.AllocUnit * sb.AllocUnit
	return &sb, writeSuper(m, &sb)
}

// plan checks the options and makes the superblock.
func plan(dev pmem.Device, o FormatOptions) (*famfsfmt.Superblock, error) {
	invalid := func(format string, args ...any) (*famfsfmt.Superblock, error) {
		return nil, fmt.Errorf(format+": %w", append(args, syscall.EINVAL)...)
	}
	if o.Unit == 0 {
		o.Unit = famfsfmt.UnitHuge
	}
	if o.LogLen == 0 {
		o.LogLen = famfsfmt.MinLogLen
	}
	if o.Version == 0 {
		o.Version = famfsfmt.Version
	}
	switch {
	case o.Unit != famfsfmt.UnitHuge && o.Unit != famfsfmt.UnitSmall:
		return invalid("allocation unit of %d bytes, not 2 MiB or 4096", o.Unit)
	case o.LogLen < famfsfmt.MinLogLen || o.LogLen&(o.LogLen-1) != 0:
		return invalid("log of %d bytes, not a power of two of 8 MiB or more", o.LogLen)
	case o.Version != famfsfmt.Version && o.Version != famfsfmt.OldVersion:
		return invalid("version %d, not 47 or 48", o.Version)
	case o.Version == famfsfmt.OldVersion && len(o.Devices) > 0:
		return invalid("further devices need version 48")
	}
	seen := map[pmem.Device]bool{dev: true}
	for _, d := range o.Devices {
		if seen[d] {
			return invalid("device %s is given twice", d.Info().Path)
		}
		seen[d] = true
		if d.Size() < famfsfmt.LogOffset+o.Unit {
			return nil, fmt.Errorf("device %s has %d bytes: %w", d.Info().Path, d.Size(), syscall.ENOSPC)
		}
	}
	if size := dev.Size(); size < famfsfmt.LogOffset+o.Unit || o.LogLen > size-famfsfmt.LogOffset-o.Unit {
		return nil, fmt.Errorf("%d bytes have no room for superblock, log and a file: %d are needed: %w",
			size, famfsfmt.LogOffset+o.LogLen+o.Unit, syscall.ENOSPC)
	}
	sb := &famfsfmt.Superblock{
		Version: uint64(o.Version), LogOffset: famfsfmt.LogOffset, LogLen: uint64(o.LogLen), AllocUnit: uint64(o.Unit),
		Major: 2, Minor: uint32(o.Version - famfsfmt.OldVersion + 1), FS: random(), Device: random(),
		DeviceSize: uint64(dev.Size()), Name: dev.Info().Path,
	}
	var err error
	if o.UUID != "" {
		if sb.FS, err = famfsfmt.ParseUUID(o.UUID); err != nil {
			return invalid("%v", err)
		}
	}
	if sb.System, err = hostUUID(o.System); err != nil {
		return invalid("%v", err)
	}
	return sb, nil
}

// random makes a UUID of version 4.
func random() (u famfsfmt.UUID) {
	rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}
