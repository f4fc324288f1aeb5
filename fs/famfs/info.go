package famfs

import (
	"fmt"
	"strconv"

	"godax/internal/famfsfmt"
	"godax/vfs"
)

// Statfs counts allocation units, and entries of the log for inodes.
func (f *FS) Statfs() vfs.Statfs {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var blocks int64
	for _, d := range f.devices {
		if d.dev != nil {
			blocks += d.size / f.unit
		}
	}
	capacity := famfsfmt.LastIndex(f.sb.LogLen) + 1
	free := uint64(max(f.free, 0) / f.unit)
	return vfs.Statfs{
		BlockSize: f.unit, Blocks: uint64(blocks), Free: free, Avail: free,
		Files: capacity, FilesFree: capacity - min(f.replayed.Load(), capacity), NameMax: famfsfmt.PathMax,
	}
}

// role is what this mount is to the file system.
func (f *FS) role() string {
	switch {
	case f.forget != nil:
		return "master"
	case f.noAppend != "" && !f.readOnly:
		return "client that can store to files: " + f.noAppend
	}
	return "client"
}

// Describe implements [vfs.FileSystem].
func (f *FS) Describe() vfs.Description {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := vfs.Description{
		Type: "famfs", UUID: f.sb.FS.String(), ReadOnly: f.readOnly, FixedSize: true,
		Features: []string{fmt.Sprintf("version-%d", f.sb.Version), fmt.Sprintf("format-%d.%d", f.sb.Major, f.sb.Minor)},
		Mappable: "every file, in frames that never move, in pages of 2 MiB where the memory has them",
	}
	if f.readOnly {
		d.Why = f.noAppend
	}
	if f.unit < famfsfmt.UnitHuge {
		d.Mappable = "every file, in frames that never move, in pages of 4 KiB, larger ones by chance"
	}
	add := func(key, format string, args ...any) {
		d.Details = append(d.Details, vfs.KV{Key: key, Value: fmt.Sprintf(format, args...)})
	}
	add("role", "%s", f.role())
	add("system", "%v", f.sb.System)
	add("allocation unit", "%d", f.unit)
	add("log", "%d of %d entries", f.replayed.Load(), famfsfmt.LastIndex(f.sb.LogLen)+1)
	for i, dev := range f.devices {
		where := "not supplied"
		if dev.dev != nil {
			where = strconv.FormatInt(dev.size, 10) + " bytes"
		}
		add(fmt.Sprintf("device %d", i), "%v, %s", dev.uuid, where)
	}
	if n := len(f.findings) + f.dropped; n > 0 {
		add("findings", "%d, the worst: %v (fsck lists them)", n, f.worst)
	}
	if f.torn != nil {
		add("log ends early", "%v", f.torn)
	}
	return d
}
