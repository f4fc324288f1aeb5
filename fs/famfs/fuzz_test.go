package famfs

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/vfs"
)

// fuzzLog is where the entries of the medium of a fuzz test begin.
const fuzzLog = famfsfmt.LogOffset + famfsfmt.HeaderSize

// fuzzMedium is a small medium with an entry of each kind, and its length.
func fuzzMedium(f testing.TB) (dev pmem.Device, b []byte) {
	dev, err := pmem.NewMemory(crashSize, pmem.MemoryOptions{})
	must(f, err)
	f.Cleanup(func() { dev.Close() })
	must(f, Format(dev, FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost}))
	g, err := mount(dev, vfs.MountOptions{}, Config{HostUUID: crashHost})
	must(f, err)
	for _, ni := range []struct {
		name string
		vfs.NewInode
	}{
		{"file", vfs.NewInode{Size: 10_000, Mode: 0o644}},
		{"striped", vfs.NewInode{Size: 50_000, Stripe: vfs.Stripe{Strips: 3, Chunk: 8192}}},
		{"one", vfs.NewInode{Size: 1}},
	} {
		_, err := g.create(g.root, ni.name, ni.NewInode)
		must(f, err)
	}
	must(f, g.Close(context.Background()))
	b, err = dev.Bytes(0, crashSize)
	must(f, err)
	return dev, b
}

// FuzzExtents mounts a log whose entries are any bytes, with checksums and numbers that are
// right, and reads the first and last byte of each file that it shows: never outside the data.
func FuzzExtents(f *testing.F) {
	dev, b := fuzzMedium(f)
	f.Add(append([]byte(nil), b[fuzzLog:fuzzLog+3*famfsfmt.EntrySize]...))
	for i := range b[:fuzzLog-famfsfmt.HeaderSize] {
		if i >= 4096 {
			b[i] = 0xEE // what must not be shown: the superblock's area, and the end of the log
		}
	}
	end := int64(famfsfmt.LogOffset + famfsfmt.MinLogLen)
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := min(len(raw)/famfsfmt.EntrySize+1, 40)
		area := b[fuzzLog : fuzzLog+n*famfsfmt.EntrySize]
		clear(area)
		copy(area, raw)
		for i := range n {
			e := area[i*famfsfmt.EntrySize:][:famfsfmt.EntrySize]
			binary.LittleEndian.PutUint64(e, uint64(i))
			binary.LittleEndian.PutUint64(e[536:], uint64(crc32.ChecksumIEEE(e[:536])))
		}
		binary.LittleEndian.PutUint64(b[famfsfmt.LogOffset+32:], uint64(n))
		binary.LittleEndian.PutUint64(b[famfsfmt.LogOffset+40:], uint64(n))
		g, err := mount(dev, vfs.MountOptions{ReadOnly: true}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if g.replayed.Load() != uint64(n) {
			t.Fatalf("%d of %d entries", g.replayed.Load(), n)
		}
		for _, r := range g.records {
			if r.node == nil || r.node.isDir() || r.node.broken != nil {
				continue
			}
			for _, pos := range []int64{0, int64(r.node.entry.Size) - 1} {
				page := pos / pmem.PageSize * pmem.PageSize
				d, off, got := r.node.find(page, pmem.PageSize)
				if d != dev || off < end || off+pmem.PageSize > crashSize || got != pmem.PageSize {
					t.Fatalf("%+v: byte %d is at %d", r.node.entry, pos, off)
				}
			}
			in, err := g.Inode(r.node.ino)
			if err != nil {
				t.Fatal(err)
			}
			var one [1]byte
			if _, err := in.(vfs.File).ReadAt(context.Background(), one[:], int64(r.node.entry.Size)-1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := check(context.Background(), dev, vfs.MountOptions{}, Config{}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzMedium changes any bytes of superblock, log header and entries: the input is a list of
// places (2 bytes, in units of 4) and values (4 bytes). Then everything is tried.
func FuzzMedium(f *testing.F) {
	dev, b := fuzzMedium(f)
	healthy := append([]byte(nil), b...)
	f.Add([]byte{2, 0, 47, 0, 0, 0})
	f.Add([]byte{4, 1, 0, 0, 0, 0x80, 60, 0, 9, 0, 0, 0})
	f.Fuzz(func(t *testing.T, patch []byte) {
		copy(b, healthy[:fuzzLog+16*famfsfmt.EntrySize])
		for ; len(patch) >= 6; patch = patch[6:] {
			at := 4 * (int(patch[0]) | int(patch[1])<<8)
			if at >= 200 { // behind the superblock comes the log
				at += famfsfmt.LogOffset - 200
			}
			if at+4 <= fuzzLog+16*famfsfmt.EntrySize {
				copy(b[at:], patch[2:6])
			}
		}
		binary.LittleEndian.PutUint64(b[96:], uint64(crc32.ChecksumIEEE(b[:96])))
		g, err := mount(dev, vfs.MountOptions{}, Config{HostUUID: crashHost})
		if err != nil {
			return
		}
		if !g.readOnly {
			_, _ = g.create(g.root, "new", vfs.NewInode{Size: 5000})
		}
		_, _ = g.Follow(0, func(vfs.Change) bool { return true })
		_, _ = g.Describe(), g.Statfs()
		must(t, g.Close(context.Background()))
		if _, err := check(context.Background(), dev, vfs.MountOptions{}, Config{}); err != nil {
			t.Fatal(err)
		}
	})
}
