package famfs

import (
	"bytes"
	"fmt"

	"godax/internal/famfsfmt"
	"godax/vfs"
)

// checkRest adds what only a checker looks at to what replay has found. It is called once, and
// nobody else knows f.
func (f *FS) checkRest() error {
	sb := f.sb
	if want := uint32(sb.Version - famfsfmt.OldVersion + 1); sb.Major != 2 || sb.Minor != want {
		f.note(vfs.Note, &vfs.CorruptError{Structure: "superblock", Offset: 40, Field: "format minor", Value: uint64(sb.Minor),
			Reason: fmt.Sprintf("version %d usually has format 2.%d", sb.Version, want)})
	}
	if sb.Flags > famfsfmt.FlagPrimary {
		f.note(vfs.Note, &vfs.CorruptError{Structure: "superblock", Offset: 104, Field: "flags", Value: uint64(sb.Flags), Reason: "not those of a first device"})
	}
	if f.size%f.unit != 0 {
		f.note(vfs.Note, &vfs.CorruptError{Structure: "superblock", Offset: 112, Field: "device size", Value: uint64(f.size),
			Reason: "not a multiple of the allocation unit: writers other than this one may use the part of a unit at the end"})
	}
	h, err := f.settled()
	if err != nil {
		return err
	}
	if h.NextSeq != h.NextIndex {
		finding, severity := &vfs.CorruptError{Structure: "log header", Offset: famfsfmt.LogOffset, Field: "next_seqnum", Value: h.NextSeq,
			Reason: fmt.Sprintf("next_index is %d: appending is refused", h.NextIndex)}, vfs.Warning
		if h.NextSeq == h.NextIndex+1 && h.NextIndex <= h.LastIndex {
			if _, err := f.readEntry(h.NextIndex); err == nil {
				finding.Reason = fmt.Sprintf("next_index is %d: an append is under way, or was cut off; then the next master finishes it", h.NextIndex)
				severity = vfs.Note
			}
		}
		f.note(severity, finding)
	}
	if f.torn != nil {
		f.note(vfs.Damage, f.torn)
		if lost := h.NextIndex - min(f.replayed.Load(), h.NextIndex); lost > 1 {
			f.note(vfs.Damage, &vfs.CorruptError{Structure: "log header", Offset: famfsfmt.LogOffset, Field: "next_index", Value: h.NextIndex,
				Reason: fmt.Sprintf("the %d entries from %d on cannot be reached", lost, f.replayed.Load())})
		}
		return nil
	}
	return f.checkBehind(h)
}

// settled returns the header when nobody is in the middle of an append, as far as can be told:
// a master may be at work meanwhile, and his steps are not damage.
func (f *FS) settled() (h famfsfmt.LogHeader, err error) {
	for range 100 {
		if err = f.refresh(); err != nil {
			return h, err
		}
		if h, err = f.header(); err != nil || h.NextSeq == h.NextIndex && f.torn == nil {
			break
		}
	}
	return h, err
}

// checkBehind looks for the traces of an append that was cut off, and for what a header that
// counts too few would hide.
func (f *FS) checkBehind(h famfsfmt.LogHeader) error {
	if h.NextIndex > h.LastIndex || h.NextSeq != h.NextIndex {
		return nil
	}
	b, err := f.med.fresh(famfsfmt.EntryOffset(h.NextIndex), famfsfmt.EntrySize)
	if err != nil {
		return err
	}
	var raw [famfsfmt.EntrySize]byte
	copy(raw[:], b)
	if bytes.Equal(raw[:], make([]byte, len(raw))) {
		return nil
	}
	reason := "not zero behind the last entry: traces of an append that was cut off, which mean nothing"
	if famfsfmt.CheckEntry(raw[:], h.NextIndex) == nil {
		reason = "a whole entry behind the last one that is counted: an append that was cut off, which means nothing"
	}
	f.note(vfs.Note, entryError(h.NextIndex, "", 0, reason))
	return nil
}

// report is what was found.
func (f *FS) report() vfs.Report {
	r := vfs.Report{Findings: f.findings, Dropped: f.dropped}
	add := func(key, format string, args ...any) {
		r.Facts = append(r.Facts, vfs.KV{Key: key, Value: fmt.Sprintf(format, args...)})
	}
	add("uuid", "%v", f.sb.FS)
	add("version", "%d", f.sb.Version)
	add("entries", "%d of %d", f.replayed.Load(), famfsfmt.LastIndex(f.sb.LogLen)+1)
	add("files", "%d", f.files)
	add("directories", "%d", len(f.dirs)-1)
	add("devices", "%d", len(f.devices))
	if f.torn == nil {
		add("free bytes", "%d", f.free)
	} else {
		add("free bytes", "at most %d: what the entries that cannot be read hold is not known", f.free)
	}
	return r
}
