package famfs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// This file is a second reader of the format, written from the tables of its description alone.
// It shares nothing with the driver, not even a constant, and is used to judge what the
// driver writes.

// oSuper is a superblock.
type oSuper struct {
	version, logOffset, logLen, unit uint64
	major, minor                     uint32
	fs, dev, system                  string
	flags                            uint32
	size                             uint64
	name                             string
}

// oExtent is an extent or strip.
type oExtent struct{ dev, off, len uint64 }

// oEntry is a log entry.
type oEntry struct {
	seq            uint64
	typ            uint32
	path           string
	mode, uid, gid uint32
	size           uint64
	flags          uint32
	striped        bool
	chunk          uint64
	extents        []oExtent
	devSize        uint64
	devUUID        string
	devIndex       uint32
}

// oImage is a decoded medium.
type oImage struct {
	super              oSuper
	nextSeq, nextIndex uint64
	lastIndex          uint64
	entries            []oEntry
	media              []io.ReaderAt // by device index
	sizes              []int64
	problems           []string // of what a writer owes, not of what a reader needs
}

func (m *oImage) problem(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

func u64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at : at+8]) }
func u32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at : at+4]) }

func crcOK(b []byte, n, at int) bool {
	return u64(b, at) == uint64(crc32.ChecksumIEEE(b[:n]))
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func uuidText(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// decodeImage reads a medium. media are its devices by index, the first one has the log.
func decodeImage(size int64, media ...io.ReaderAt) (*oImage, error) {
	m := &oImage{media: media}
	b := make([]byte, 200)
	if _, err := media[0].ReadAt(b, 0); err != nil {
		return nil, err
	}
	if u64(b, 0) != 0x87b282ff {
		return nil, fmt.Errorf("magic %#x", u64(b, 0))
	}
	if !crcOK(b, 96, 96) {
		return nil, fmt.Errorf("superblock checksum")
	}
	m.super = oSuper{
		version: u64(b, 8), logOffset: u64(b, 16), logLen: u64(b, 24), unit: u64(b, 32), major: u32(b, 40), minor: u32(b, 44),
		fs: uuidText(b[48:64]), dev: uuidText(b[64:80]), system: uuidText(b[80:96]), flags: u32(b, 104), size: u64(b, 112),
		name: strings.TrimRight(string(b[136:200]), "\x00"),
	}
	if !allZero(b[108:112]) || !allZero(b[120:136]) {
		m.problem("superblock: padding or second uuid not zero")
	}
	h := make([]byte, 48)
	if _, err := media[0].ReadAt(h, int64(m.super.logOffset)); err != nil {
		return nil, err
	}
	if u64(h, 0) != 0xbadcafef00d || !crcOK(h, 24, 24) || u64(h, 8) != m.super.logLen {
		return nil, fmt.Errorf("log header")
	}
	m.lastIndex, m.nextSeq, m.nextIndex = u64(h, 16), u64(h, 32), u64(h, 40)
	if want := (m.super.logLen-48)/544 - 1; m.lastIndex != want {
		return nil, fmt.Errorf("last index %d, want %d", m.lastIndex, want)
	}
	if m.nextIndex > m.lastIndex+1 {
		return nil, fmt.Errorf("next index %d", m.nextIndex)
	}
	m.sizes = []int64{min(size, int64(m.super.size))}
	for i := range m.nextIndex {
		raw := make([]byte, 544)
		if _, err := media[0].ReadAt(raw, int64(m.super.logOffset)+48+int64(i)*544); err != nil {
			return nil, err
		}
		if !crcOK(raw, 536, 536) || u64(raw, 0) != i {
			return nil, fmt.Errorf("entry %d: checksum or number", i)
		}
		e, err := m.decodeEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		m.entries = append(m.entries, e)
	}
	return m, nil
}

func (m *oImage) decodeEntry(b []byte) (e oEntry, err error) {
	text := func(field []byte) string {
		n := bytes.IndexByte(field, 0)
		if n < 0 {
			err = fmt.Errorf("path not terminated")
			return ""
		}
		if !allZero(field[n:]) {
			m.problem("entry %d: bytes behind the path", u64(b, 0))
		}
		return string(field[:n])
	}
	rest := func(from int) {
		if !allZero(b[from:536]) {
			m.problem("entry %d: unused part not zero", e.seq)
		}
	}
	e.seq, e.typ = u64(b, 0), u32(b, 8)
	if !allZero(b[12:16]) {
		m.problem("entry %d: padding not zero", e.seq)
	}
	switch e.typ {
	case 0:
		e.size, e.flags, e.uid, e.gid, e.mode = u64(b, 16), u32(b, 24), u32(b, 28), u32(b, 32), u32(b, 36)
		e.path = text(b[40:120])
		if !allZero(b[124:128]) || !allZero(b[132:136]) {
			m.problem("entry %d: padding not zero", e.seq)
		}
		e.striped = u32(b, 120) == 1
		n, at := int(u32(b, 128)), 136
		if e.striped {
			n, e.chunk, at = int(u64(b, 136)), u64(b, 144), 152
		}
		if n < 1 || n > 16 {
			return e, fmt.Errorf("%d extents", n)
		}
		for i := range n {
			e.extents = append(e.extents, oExtent{u64(b, at+i*24), u64(b, at+i*24+8), u64(b, at+i*24+16)})
		}
		rest(at + n*24)
	case 1:
		e.uid, e.gid, e.mode = u32(b, 16), u32(b, 20), u32(b, 24)
		e.path = text(b[28:108])
		rest(108)
	case 3:
		e.devSize, e.devUUID, e.devIndex = u64(b, 16), uuidText(b[24:40]), u32(b, 40)
		m.sizes = append(m.sizes, int64(e.devSize))
		rest(44)
	default:
		return e, fmt.Errorf("type %d", e.typ)
	}
	return e, err
}

// content is what a file holds, read byte run by byte run from the devices.
func (m *oImage) content(e oEntry, w io.Writer) error {
	const step = 64 << 10
	buf := make([]byte, step)
	for p := uint64(0); p < e.size; {
		x, in, left := m.locate(e, p)
		n := min(step, left, e.size-p)
		if _, err := m.media[x.dev].ReadAt(buf[:n], int64(x.off+in)); err != nil {
			return err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		p += n
	}
	return nil
}

// locate returns the extent that byte p lies in, where in it, and how many bytes follow there.
func (m *oImage) locate(e oEntry, p uint64) (x oExtent, in, left uint64) {
	if e.striped {
		k, n := p/e.chunk, uint64(len(e.extents))
		o := (k/n)*e.chunk + p%e.chunk
		return e.extents[k%n], o, e.chunk - p%e.chunk
	}
	for _, x := range e.extents {
		if p < x.len {
			return x, p, x.len - p
		}
		p -= x.len
	}
	panic("size is past the extents")
}

// judge checks what a writer owes: order, alignment, places, and that nothing is shared.
func (m *oImage) judge() []string {
	unit := m.super.unit
	if m.nextSeq != m.nextIndex {
		m.problem("next_seqnum %d, next_index %d", m.nextSeq, m.nextIndex)
	}
	dirs, names := map[string]bool{"": true}, map[string]bool{}
	used := map[oExtent]uint64{} // one key for each unit
	devices := 1
	for _, e := range m.entries {
		if e.typ == 3 {
			if m.super.version < 48 || e.devIndex != uint32(devices) || e.devSize%unit != 0 || e.devSize == 0 {
				m.problem("entry %d: device %d of %d bytes", e.seq, e.devIndex, e.devSize)
			}
			devices++
			continue
		}
		parent := ""
		if i := strings.LastIndexByte(e.path, '/'); i >= 0 {
			parent = e.path[:i]
		}
		if !dirs[parent] || names[e.path] || len(e.path) > 79 || e.mode&^0o777 != 0 {
			m.problem("entry %d: path %q, mode %o", e.seq, e.path, e.mode)
		}
		names[e.path] = true
		if e.typ == 1 {
			dirs[e.path] = true
			continue
		}
		if e.flags != 2 || e.size == 0 || e.size >= 1<<63 {
			m.problem("entry %d: flags %d, size %d", e.seq, e.flags, e.size)
		}
		m.judgePlace(e, devices, used)
	}
	return m.problems
}

func (m *oImage) judgePlace(e oEntry, devices int, used map[oExtent]uint64) {
	unit := m.super.unit
	var sum uint64
	want := (e.size + unit - 1) / unit * unit
	if e.striped {
		n, a := uint64(len(e.extents)), e.chunk/unit
		if e.chunk&(e.chunk-1) != 0 || e.chunk%unit != 0 || e.size < e.chunk {
			m.problem("entry %d: chunk %d", e.seq, e.chunk)
		}
		rows := ((e.size+unit-1)/unit + n*a - 1) / (n * a)
		want = rows * e.chunk * n
	} else if len(e.extents) != 1 {
		m.problem("entry %d: %d extents", e.seq, len(e.extents))
	}
	for _, x := range e.extents {
		sum += x.len
		low := uint64(2 << 20)
		if x.dev == 0 {
			low = m.super.logOffset + m.super.logLen
		}
		if x.dev >= uint64(devices) || x.off%unit != 0 || x.len%unit != 0 || x.off < low || x.off+x.len > uint64(m.sizes[x.dev]) {
			m.problem("entry %d: extent %+v", e.seq, x)
			continue
		}
		if e.striped && x.len != want/uint64(len(e.extents)) {
			m.problem("entry %d: strips of different lengths", e.seq)
		}
		for off := x.off; off < x.off+x.len; off += unit {
			key := oExtent{x.dev, off, 0}
			if other, taken := used[key]; taken {
				m.problem("entry %d: unit at %d is of entry %d", e.seq, off, other)
			}
			used[key] = e.seq
		}
	}
	if sum != want {
		m.problem("entry %d: %d bytes of space for %d, want %d", e.seq, sum, e.size, want)
	}
}
