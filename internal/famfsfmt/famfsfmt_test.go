package famfsfmt

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"godax/vfs"
)

var (
	u1 = UUID{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89}
	u2 = UUID{9, 8, 7}
)

func super() *Superblock {
	return &Superblock{
		Version: Version, LogOffset: LogOffset, LogLen: MinLogLen, AllocUnit: UnitHuge, Major: 2, Minor: 2,
		FS: u1, Device: u2, System: UUID{1}, DeviceSize: 64 << 20, Name: "/dev/dax0.0",
	}
}

func TestUUID(t *testing.T) {
	const text = "01020304-0506-4708-8900-000000000000"
	if u1.String() != text {
		t.Errorf("%v", u1)
	}
	for _, s := range []string{text, strings.ReplaceAll(text, "-", ""), strings.ToUpper(text)} {
		if u, err := ParseUUID(s); u != u1 || err != nil {
			t.Errorf("%q: %v, %v", s, u, err)
		}
	}
	for _, s := range []string{"", "x", text[1:], text + "0", strings.Replace(text, "0", "g", 1), strings.Replace(text, "-", "_", 1)} {
		if u, err := ParseUUID(s); err == nil {
			t.Errorf("%q is %v", s, u)
		}
	}
}

func TestSuperblock(t *testing.T) {
	want := super()
	raw := want.Encode()
	got, err := DecodeSuperblock(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	long := super()
	long.Name = strings.Repeat("n", 100)
	raw = long.Encode()
	if got, err := DecodeSuperblock(raw[:]); err != nil || len(got.Name) != 64 {
		t.Errorf("name of %d bytes, %v", len(got.Name), err)
	}
	if _, err := DecodeSuperblock(raw[:100]); !errors.Is(err, vfs.ErrCorrupt) {
		t.Errorf("cut off: %v", err)
	}
	for size, want := range map[int64]int64{64 << 20: 64 << 20, 1 << 40: 64 << 20, 20 << 20: 20 << 20, 10 << 20: 10 << 20} {
		if got, err := super().CheckPrimary(size); got != want || err != nil {
			t.Errorf("device of %d: %d, %v", size, got, err)
		}
	}
	for name, change := range map[string]func(s *Superblock){
		"log offset":     func(s *Superblock) { s.LogOffset = 4096 },
		"log length":     func(s *Superblock) { s.LogLen = 12 << 20 },
		"short log":      func(s *Superblock) { s.LogLen = 4 << 20 },
		"huge log":       func(s *Superblock) { s.LogLen = 1 << 63 },
		"log past end":   func(s *Superblock) { s.LogLen = 64 << 20 },
		"unit":           func(s *Superblock) { s.AllocUnit = 8192 },
		"size 0":         func(s *Superblock) { s.DeviceSize = 0 },
		"size":           func(s *Superblock) { s.DeviceSize = 10<<20 - 1 },
		"further device": func(s *Superblock) { s.LogOffset, s.LogLen, s.Flags = 0, 0, FlagSecondary },
	} {
		s := super()
		change(s)
		if _, err := s.CheckPrimary(64 << 20); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLogHeader(t *testing.T) {
	want := LogHeader{Len: MinLogLen, LastIndex: 15419, NextSeq: 4, NextIndex: 5}
	raw := want.Encode()
	if got, err := DecodeLogHeader(raw[:], MinLogLen); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if LastIndex(16<<20) != 30839 {
		t.Errorf("16 MiB: %d", LastIndex(16<<20))
	}
	for name, change := range map[string]func(h *LogHeader){
		"len": func(h *LogHeader) { h.Len *= 2 }, "last index": func(h *LogHeader) { h.LastIndex++ },
		"next index": func(h *LogHeader) { h.NextIndex = 15421 }, "far": func(h *LogHeader) { h.NextIndex = 1 << 63 },
	} {
		h := want
		change(&h)
		raw := h.Encode()
		if _, err := DecodeLogHeader(raw[:], MinLogLen); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	full := want
	full.NextIndex = 15420
	raw = full.Encode()
	if _, err := DecodeLogHeader(raw[:], MinLogLen); err != nil {
		t.Errorf("a full log: %v", err)
	}
}

// entries are one of each kind.
func entries() []*Entry {
	return []*Entry{
		{Seq: 7, Type: TypeFile, Path: "a/" + strings.Repeat("b", 77), Mode: 0o640, UID: 1, GID: 2, Size: 5000, Flags: FlagWritable,
			Extents: []Extent{{0, 12 << 20, 2 << 20}}},
		{Seq: 8, Type: TypeFile, Path: "f", Size: 6 << 20, Flags: 2, Extents: []Extent{{0, 12 << 20, 4 << 20}, {1, 0, 2 << 20}}},
		{Seq: 9, Type: TypeFile, Path: "s", Size: 9 << 20, Flags: 2, Chunk: 2 << 20,
			Extents: []Extent{{0, 12 << 20, 4 << 20}, {1, 32 << 20, 4 << 20}, {2, 1 << 40, 4 << 20}}},
		{Seq: 10, Type: TypeDir, Path: "d", Mode: 0o777, UID: 5, GID: 6},
		{Seq: 11, Type: TypeAddDevice, DevSize: 1 << 30, DevUUID: u1, DevIndex: 1},
	}
}

func TestEntry(t *testing.T) {
	for _, want := range entries() {
		raw := want.Encode()
		if err := CheckEntry(raw[:], want.Seq); err != nil {
			t.Error(err)
		}
		got, err := DecodeEntry(raw[:], want.Seq, UnitHuge)
		if err != nil {
			t.Error(err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if err := CheckEntry(raw[:], want.Seq+1); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("under another number: %v", err)
		}
		for _, at := range []int{0, 9, 50, 300, 535, 536, 540, 543} {
			bad := raw
			bad[at] ^= 4
			if err := CheckEntry(bad[:], want.Seq); !errors.Is(err, vfs.ErrCorrupt) {
				t.Errorf("byte %d changed: %v", at, err)
			}
		}
	}
}

func TestBadEntries(t *testing.T) {
	file := func(change func(e *Entry)) *Entry { e := entries()[0]; change(e); return e }
	strips := func(change func(e *Entry)) *Entry { e := entries()[2]; change(e); return e }
	device := func(change func(e *Entry)) *Entry { e := entries()[4]; change(e); return e }
	for name, e := range map[string]*Entry{
		"type":            {Seq: 1, Type: TypeDelete},
		"type 4":          {Seq: 1, Type: 4},
		"size 0":          file(func(e *Entry) { e.Size = 0 }),
		"size 2^63":       file(func(e *Entry) { e.Size = 1 << 63 }),
		"size":            file(func(e *Entry) { e.Size = 2<<20 + 1 }),
		"no extents":      file(func(e *Entry) { e.Extents = nil }),
		"offset":          file(func(e *Entry) { e.Extents[0].Off++ }),
		"length":          file(func(e *Entry) { e.Extents[0].Len++ }),
		"length 0":        file(func(e *Entry) { e.Extents[0].Len = 0 }),
		"wrap":            file(func(e *Entry) { e.Extents[0].Off = math.MaxUint64 - 2<<20 + 1 }),
		"path":            file(func(e *Entry) { e.Path = "a//b" }),
		"chunk":           strips(func(e *Entry) { e.Chunk = 3 << 20 }),
		"small chunk":     strips(func(e *Entry) { e.Chunk = 4096 }),
		"huge chunk":      strips(func(e *Entry) { e.Chunk = 1 << 63 }),
		"short strip":     strips(func(e *Entry) { e.Extents[2].Len = 2 << 20 }),
		"size of strips":  strips(func(e *Entry) { e.Size = 12<<20 + 1 }),
		"null uuid":       device(func(e *Entry) { e.DevUUID = UUID{} }),
		"device size 0":   device(func(e *Entry) { e.DevSize = 0 }),
		"device size odd": device(func(e *Entry) { e.DevSize++ }),
	} {
		raw := e.Encode()
		got, err := DecodeEntry(raw[:], e.Seq, UnitHuge)
		var damage *vfs.CorruptError
		if !errors.As(err, &damage) || damage.Offset != EntryOffset(e.Seq) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		var unknown *UnknownTypeError
		if errors.As(err, &unknown) != strings.HasPrefix(name, "type") {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := entries()[0]
	raw := e.Encode()
	le.PutUint32(raw[128:], 17)
	if _, err := DecodeEntry(raw[:], e.Seq, UnitHuge); err == nil {
		t.Error("17 extents")
	}
	e = entries()[2]
	raw = e.Encode()
	le.PutUint32(raw[128:], 2)
	if _, err := DecodeEntry(raw[:], e.Seq, UnitHuge); err == nil {
		t.Error("two records of strips")
	}
	for i := range 80 {
		raw[40+i] = 'x'
	}
	if _, err := DecodeEntry(raw[:], e.Seq, UnitHuge); err == nil {
		t.Error("path without an end")
	}
}

func TestBadPath(t *testing.T) {
	for _, p := range []string{"a", "a/b", "a/.meta", ".metadata", "...", "a b/\xff", strings.Repeat("x", 79)} {
		if why := BadPath(p); why != "" {
			t.Errorf("%q %s", p, why)
		}
	}
	for _, p := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a/./b", ".meta", ".meta/.log", "a\x00b", strings.Repeat("x", 80)} {
		if BadPath(p) == "" {
			t.Errorf("%q is good", p)
		}
	}
}

func TestStripLen(t *testing.T) {
	const u = 2 << 20
	for _, c := range []struct {
		size, chunk, n, want uint64
		ok                   bool
	}{
		{24 << 20, u, 4, 6 << 20, true}, // shapes of the sample media
		{2 << 20, u, 3, 2 << 20, true},
		{32 << 20, 2 * u, 4, 8 << 20, true},
		{14 << 20, u, 2, 8 << 20, true},
		{1, u, 16, u, true},
		{math.MaxInt64, u, 1, 0, false},
		{math.MaxInt64 - 4*u, u, 1, 0, true},
		{math.MaxUint64, u, 1, 0, false},
		{1, 0, 1, 0, false},
		{1, u, 0, 0, false},
		{1, 1 << 62, 1, 0, false},
	} {
		got, ok := StripLen(c.size, c.chunk, u, c.n)
		if ok != c.ok || c.want > 0 && got != c.want {
			t.Errorf("%d bytes in %d strips of chunks of %d: %d, %v; want %d", c.size, c.n, c.chunk, got, ok, c.want)
		}
		if ok && got*c.n < c.size {
			t.Errorf("%d bytes do not fit %d times %d", c.size, c.n, got)
		}
	}
}

func FuzzSuperblock(f *testing.F) {
	raw := super().Encode()
	f.Add(raw[:])
	s := super()
	s.Version, s.Flags = OldVersion, FlagSecondary
	raw = s.Encode()
	f.Add(raw[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 2 {
			s, err := DecodeSuperblock(b)
			if err == nil {
				for _, size := range []int64{0, 1 << 20, 64 << 20, math.MaxInt64} {
					if n, err := s.CheckPrimary(size); err == nil && (n > size || uint64(n) < s.LogOffset+s.LogLen) {
						t.Fatalf("%d of %d bytes with a log of %d", n, size, s.LogLen)
					}
				}
				again := s.Encode()
				s2, err := DecodeSuperblock(again[:])
				if err != nil || *s2 != *s {
					t.Fatalf("%+v became %+v, %v", s, s2, err)
				}
			}
			if len(b) >= SuperSize { // the second time with a checksum that is right
				le.PutUint64(b[superCRC:], checksum(b[:superCRC]))
			}
		}
	})
}

func FuzzLogHeader(f *testing.F) {
	raw := LogHeader{Len: MinLogLen, LastIndex: LastIndex(MinLogLen), NextSeq: 1, NextIndex: 1}.Encode()
	f.Add(raw[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderSize {
			le.PutUint64(b[24:], checksum(b[:24]))
		}
		h, err := DecodeLogHeader(b, MinLogLen)
		if err == nil && (h.NextIndex > 15420 || h.LastIndex != 15419) {
			t.Fatalf("%+v", h)
		}
	})
}

// FuzzEntry decodes any bytes with a checksum that is right: what is accepted keeps its
// promises, and encodes to what decodes to the same.
func FuzzEntry(f *testing.F) {
	for _, e := range entries() {
		raw := e.Encode()
		f.Add(raw[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var raw [EntrySize]byte
		copy(raw[:], b)
		for _, unit := range []uint64{UnitSmall, UnitHuge} {
			e, err := DecodeEntry(raw[:], 3, unit)
			if err != nil {
				if !errors.Is(err, vfs.ErrCorrupt) {
					t.Fatal(err)
				}
				continue
			}
			if e.Type != TypeAddDevice && BadPath(e.Path) != "" || len(e.Extents) > MaxExtents || e.Mode > 0o777 {
				t.Fatalf("%+v", e)
			}
			checkPlace(t, e, unit)
			again := e.Encode()
			e2, err := DecodeEntry(again[:], 3, unit)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(e, e2); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// checkPlace demands room for every byte of a file.
func checkPlace(t *testing.T, e *Entry, unit uint64) {
	if e.Type != TypeFile {
		return
	}
	var room uint64
	for _, x := range e.Extents {
		if x.Off%unit != 0 || x.Len%unit != 0 || x.Len == 0 || x.Off > math.MaxInt64-x.Len {
			t.Fatalf("%+v", x)
		}
		room += x.Len
		if e.Chunk > 0 && x.Len%e.Chunk != 0 {
			// The share of a strip is whole chunks; what is behind them is never used.
			room -= x.Len % e.Chunk
		}
		if room > math.MaxInt64 {
			return
		}
	}
	if e.Size == 0 || room < e.Size {
		t.Fatalf("%d bytes in %d", e.Size, room)
	}
	if e.Chunk == 0 {
		return
	}
	// The last byte of the last chunk of each strip.
	last := (e.Size - 1) / e.Chunk
	for k := last - min(last, uint64(len(e.Extents))-1); k <= last; k++ {
		strip := e.Extents[k%uint64(len(e.Extents))]
		if end := (k/uint64(len(e.Extents)) + 1) * e.Chunk; end > strip.Len {
			t.Fatalf("chunk %d ends at %d of a strip of %d", k, end, strip.Len)
		}
	}
}
