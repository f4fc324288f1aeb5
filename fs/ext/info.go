package ext

import (
	"bytes"
	"fmt"
	"time"

	"godax/internal/extfmt"
	"godax/pmem"
	"godax/vfs"
)

// Statfs counts blocks the way the kernel does: without those that no file can have.
func (f *FS) Statfs() vfs.Statfs {
	s := vfs.Statfs{
		BlockSize: f.blockSize(),
		Blocks:    f.sb.BlocksCount - min(f.overhead, f.sb.BlocksCount),
		Free:      uint64(max(f.freeBlocks.Load(), 0)),
		Files:     uint64(f.sb.InodesCount),
		FilesFree: uint64(max(f.freeInodes.Load(), 0)),
		NameMax:   extfmt.MaxName,
	}
	s.Avail = s.Free - min(s.Free, f.sb.ReservedBlocks)
	return s
}

// Describe returns what there is to know about the file system.
func (f *FS) Describe() vfs.Description {
	sb := f.sb
	now := *sb
	now.Compat, now.ROCompat = f.compat.Load(), f.roCompat.Load()
	d := vfs.Description{
		Type:     "ext2",
		Label:    text(sb.VolumeName[:]),
		UUID:     formatUUID(sb.UUID),
		ReadOnly: f.readOnly,
		Why:      f.why,
		Features: now.FeatureNames(),
	}
	if sb.Compat&extfmt.CompatHasJournal != 0 {
		d.Type = "ext3"
	}
	if sb.ROCompat&^(knownROCompat) != 0 {
		d.Type = "ext4"
	}
	d.Mappable = "every block of a file: blocks are pages"
	if f.blockSize() != pmem.PageSize {
		d.Mappable = fmt.Sprintf("nothing directly: blocks of %d bytes are put together in cached pages", sb.BlockSize)
	}
	add := func(k, format string, args ...any) {
		d.Details = append(d.Details, vfs.KV{Key: k, Value: fmt.Sprintf(format, args...)})
	}
	add("revision", "%d", sb.Rev)
	add("block size", "%d", sb.BlockSize)
	add("blocks", "%d", sb.BlocksCount)
	add("free blocks", "%d", max(f.freeBlocks.Load(), 0))
	add("reserved blocks", "%d", sb.ReservedBlocks)
	add("inodes", "%d", sb.InodesCount)
	add("free inodes", "%d", max(f.freeInodes.Load(), 0))
	add("inode size", "%d", sb.InodeSize)
	add("block groups", "%d", sb.Groups)
	add("blocks per group", "%d", sb.BlocksPerGroup)
	add("inodes per group", "%d", sb.InodesPerGroup)
	state := "clean"
	switch {
	case sb.State&extfmt.StateError != 0:
		state = "with errors"
	case sb.State&extfmt.StateValid == 0:
		state = "not clean"
	}
	add("state at mount", "%s", state)
	if s := text(sb.LastMounted[:]); s != "" {
		add("last mounted on", "%s", s)
	}
	add("mount count", "%d", sb.MntCount)
	for _, t := range []struct {
		key string
		sec uint32
	}{{"created", sb.MkfsTime}, {"last mounted", sb.Mtime}, {"last written", sb.Wtime}, {"last checked", sb.LastCheck}} {
		if t.sec != 0 {
			add(t.key, "%s", time.Unix(int64(t.sec), 0).UTC().Format(time.RFC3339))
		}
	}
	return d
}

// text is a NUL-terminated field of the superblock.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// formatUUID writes a UUID the usual way; "" for all zeros.
func formatUUID(u [16]byte) string {
	if u == [16]byte{} {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
