package famfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"godax"
	"godax/fs/famfs"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

const (
	kib  = 1 << 10
	mib  = 1 << 20
	page = pmem.PageSize
)

// us is the host that the tests are.
const us = "00000000-1111-8222-8333-444444444444"

// driverOf is the driver as a host has it.
func driverOf(host string) []vfs.Driver {
	return []vfs.Driver{famfs.NewDriver(famfs.Config{HostUUID: host})}
}

// newDevice is memory with something in every byte, as an earlier file system leaves it.
func newDevice(t testing.TB, size int64) pmem.Device {
	t.Helper()
	dev, err := pmem.NewMemory(size, pmem.MemoryOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, dev.Close()) })
	b, err := dev.Bytes(0, size)
	must(t, err)
	b[0] = litter
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
	return dev
}

// litter is what new memory holds, and no file may show.
const litter = 0xA5

// newFS formats a device and opens it as its master.
func newFS(t testing.TB, dev pmem.Device, o famfs.FormatOptions) *godax.FS {
	t.Helper()
	o.System = us
	must(t, famfs.Format(dev, o))
	f, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us), UID: 7, GID: 8})
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// oracle decodes devices with the tests' own decoder, and demands that it finds nothing that a
// writer should not do.
func oracle(t testing.TB, devs ...pmem.Device) *oImage {
	t.Helper()
	m, err := decodeDevices(devs...)
	must(t, err)
	if p := m.judge(); len(p) > 0 {
		t.Fatalf("the medium is not as a writer leaves it: %q", p)
	}
	return m
}

func decodeDevices(devs ...pmem.Device) (*oImage, error) {
	var media []io.ReaderAt
	for _, d := range devs {
		b, err := d.Bytes(0, d.Size())
		if err != nil {
			return nil, err
		}
		media = append(media, bytes.NewReader(b))
	}
	return decodeImage(devs[0].Size(), media...)
}

// pattern is n bytes, none of them zero or litter, that depend on seed and place.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	for i := range min(n, page) {
		b[i] = byte(1 + (uint64(i)*7+uint64(i)/251+seed*31)%150)
	}
	for at := page; at < n; at += page { // copies of the first page, each with its number
		k := copy(b[at:], b[:min(page, n-at)])
		for i, digit := 0, at/page; i < min(k, 4); i, digit = i+1, digit/150 {
			b[at+i] = byte(1 + digit%150)
		}
	}
	return b
}

// wantFile is a file that should be there.
type wantFile struct {
	data     []byte
	perm     fs.FileMode
	uid, gid uint32
}

// compareOracleFiles compares what the tests' decoder finds with what was made.
func compareOracleFiles(t testing.TB, m *oImage, want map[string]wantFile) {
	t.Helper()
	n := 0
	for _, e := range m.entries {
		if e.typ == 3 {
			continue
		}
		n++
		w, ok := want[e.path]
		if !ok || fs.FileMode(e.mode) != w.perm || e.uid != w.uid || e.gid != w.gid {
			t.Errorf("entry %d: %+v, want %v %o %d %d", e.seq, e, ok, w.perm, w.uid, w.gid)
			continue
		}
		if e.typ == 1 {
			continue
		}
		var got bytes.Buffer
		must(t, m.content(e, &got))
		if !bytes.Equal(got.Bytes(), w.data) {
			t.Errorf("%s: other contents", e.path)
		}
	}
	if n != len(want) {
		t.Errorf("%d entries, want %d", n, len(want))
	}
}

// TestWrite makes files and directories of all shapes, and has everything looked at by a
// decoder that shares nothing with the driver; and by the driver, opened again.
func TestWrite(t *testing.T) {
	for _, unit := range []int64{4 * kib, 2 * mib} {
		for _, version := range []int{47, 48} {
			t.Run(fmt.Sprintf("%d/%d", version, unit), func(t *testing.T) {
				dev := newDevice(t, 128*mib)
				f := newFS(t, dev, famfs.FormatOptions{Unit: unit, Version: version})
				want := map[string]wantFile{}
				mkdir := func(p string, perm fs.FileMode) {
					must(t, f.Mkdir(p, perm))
					want[p] = wantFile{perm: perm, uid: 7, gid: 8}
				}
				create := func(p string, size int, o godax.CreateOptions, write bool) {
					t.Helper()
					file, err := f.CreateSized(p, int64(size), o)
					must(t, err)
					data := make([]byte, size)
					if write {
						data = pattern(size, uint64(len(want)))
						_, err = file.WriteAt(data, 0)
						must(t, err)
					}
					must(t, file.Close())
					w := wantFile{data: data, perm: o.Perm, uid: 7, gid: 8}
					if o.UID != nil {
						w.uid = *o.UID
					}
					if o.GID != nil {
						w.gid = *o.GID
					}
					want[p] = w
				}
				root := uint32(0)
				mkdir("d", 0o750)
				mkdir("d/e", 0o777)
				create("one", 1, godax.CreateOptions{Perm: 0o644}, true)
				create("d/unwritten", int(unit)+1, godax.CreateOptions{Perm: 0o600}, false)
				create("d/e/exact", int(unit), godax.CreateOptions{Perm: 0o400, UID: &root, GID: &root}, true)
				create("odd", 3*mib+17, godax.CreateOptions{Perm: 0}, true)
				for _, n := range []int{1, 2, 3, 7} {
					o := godax.CreateOptions{Perm: 0o640, Stripe: godax.Stripe{Strips: n, Chunk: unit}}
					create(fmt.Sprintf("d/stripe%d", n), 5*int(unit)+n, o, true)
				}
				create("two chunks", 3*int(unit), godax.CreateOptions{Stripe: godax.Stripe{Strips: 2, Chunk: 2 * unit}}, true)
				create("below a chunk", int(unit)-1, godax.CreateOptions{Stripe: godax.Stripe{Strips: 4, Chunk: unit}}, true)
				long := strings.Repeat("x", 77)
				create("d/"+long, 10, godax.CreateOptions{Perm: 0o644}, true)
				if _, err := f.CreateSized("d/"+long+"y", 10, godax.CreateOptions{}); !errors.Is(err, syscall.ENAMETOOLONG) {
					t.Errorf("a path of 80 bytes: %v", err)
				}
				must(t, f.Close())

				m := oracle(t, dev)
				compareOracleFiles(t, m, want)
				if m.super.version != uint64(version) || m.super.unit != uint64(unit) || m.super.minor != uint32(version-46) || m.super.system != us {
					t.Errorf("superblock %+v", m.super)
				}
				g, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true})
				must(t, err)
				defer func() { must(t, g.Close()) }()
				for p, w := range want {
					if w.data == nil {
						continue
					}
					if got, err := g.ReadFile(p); err != nil || !bytes.Equal(got, w.data) {
						t.Errorf("%s: other contents, %v", p, err)
					}
				}
				wantClean(t, dev)
			})
		}
	}
}

// TestFS is the standard library's opinion.
func TestFS(t *testing.T) {
	dev := newDevice(t, 16*mib)
	f := newFS(t, dev, famfs.FormatOptions{Unit: 4 * kib})
	must(t, f.MkdirAll("d/e", 0o755))
	for i, p := range []string{"a", "d/b", "d/e/c"} {
		file, err := f.CreateSized(p, int64(1+4000*i), godax.CreateOptions{Perm: 0o644})
		must(t, err)
		_, err = file.WriteAt(pattern(1+3000*i, 1), 0)
		must(t, err)
		must(t, file.Close())
	}
	must(t, fstest.TestFS(f.IOFS(), "a", "d/b", "d/e/c"))
}

// wantClean has the checker find nothing.
func wantClean(t testing.TB, dev pmem.Device, extra ...pmem.Device) {
	t.Helper()
	r, err := famfs.Driver.Check(context.Background(), dev, vfs.MountOptions{ReadOnly: true, Devices: extra})
	if w, _ := r.Worst(); err != nil || w > vfs.Note {
		t.Errorf("check: %+v, %v", r.Findings, err)
	}
}

// TestTails: neither the space behind a file's end nor what was never written shows what the
// memory held before, also not through a mapping.
func TestTails(t *testing.T) {
	dev := newDevice(t, 64*mib)
	f := newFS(t, dev, famfs.FormatOptions{})
	file, err := f.CreateSized("file", 100, godax.CreateOptions{Perm: 0o644})
	must(t, err)
	defer file.Close()
	m, err := file.Mmap(0, page, godax.MapShared|godax.MapWrite)
	must(t, err)
	if i := slices.IndexFunc(m.Bytes(), func(b byte) bool { return b != 0 }); i >= 0 {
		t.Errorf("byte %d is %#x", i, m.Bytes()[i])
	}
	copy(m.Bytes(), "in place")
	must(t, m.Close())
	got, err := f.ReadFile("file")
	if err != nil || string(got[:8]) != "in place" || len(got) != 100 {
		t.Errorf("%q, %v", got, err)
	}
	img := oracle(t, dev)
	x := img.entries[0].extents[0]
	b, err := dev.Bytes(int64(x.off), int64(x.len))
	must(t, err)
	if bytes.IndexByte(b, litter) >= 0 {
		t.Error("the unit was not cleared")
	}
	if next, _ := dev.Bytes(int64(x.off+x.len), 1); next[0] != litter {
		t.Error("more than the unit was cleared")
	}
}

// TestRefused: what the format does not have is refused, with the reason, and changes nothing.
func TestRefused(t *testing.T) {
	dev := newDevice(t, 64*mib)
	f := newFS(t, dev, famfs.FormatOptions{})
	must(t, f.Mkdir("dir", 0o755))
	file, err := f.CreateSized("file", 5000, godax.CreateOptions{Perm: 0o644})
	must(t, err)
	defer file.Close()
	before := bytes.Clone(daxtest.DeviceBytes(t, dev))

	appender, err := f.OpenFile("file", os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer appender.Close()
	_, appendErr := appender.Write([]byte("x"))
	_, behindErr := file.WriteAt([]byte("x"), 6000)
	_, createErr := f.Create("empty")
	_, sizeErr := f.CreateSized("empty", 0, godax.CreateOptions{})
	_, truncErr := f.OpenFile("file", os.O_RDWR|os.O_TRUNC, 0)
	for _, c := range []struct {
		name string
		err  error
		why  string
	}{
		{"append", appendErr, "fixed when it is created"},
		{"write behind the end", behindErr, "fixed when it is created"},
		{"create without a size", createErr, "fixed when it is created"},
		{"create of size 0", sizeErr, "fixed when it is created"},
		{"open with O_TRUNC", truncErr, "fixed when it is created"},
		{"shrink", file.Truncate(100), "fixed when it is created"},
		{"grow", f.Truncate("file", 10000), "fixed when it is created"},
		{"allocate", file.Allocate(4000, 2000), "fixed when it is created"},
		{"punch", file.PunchHole(0, 4096), "never given back"},
		{"remove", f.Remove("file"), "never given back"},
		{"rmdir", f.Remove("dir"), "never given back"},
		{"rename", f.Rename("file", "other"), "never changes"},
		{"link", f.Link("file", "other"), "never changes"},
		{"symlink", f.Symlink("file", "other"), "regular files and directories only"},
		{"mknod", f.Mknod("pipe", fs.ModeNamedPipe, 0, 0), "regular files and directories only"},
		{"chmod", f.Chmod("file", 0o600), "never changes"},
		{"chown", f.Chown("file", 1, 1), "never changes"},
		{"setuid", f.Chmod("file", 0o644|fs.ModeSetuid), "never changes"},
	} {
		if !errors.Is(c.err, errors.ErrUnsupported) || !strings.Contains(c.err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.name, c.err, c.why)
		}
	}
	if err := f.Mkdir(".meta", 0o755); !errors.Is(err, syscall.EPERM) {
		t.Errorf(".meta: %v", err)
	}
	// What says what is so already is no change.
	must(t, f.Chmod("file", 0o644))
	must(t, f.Chown("file", 7, -1))
	must(t, file.Truncate(5000))
	must(t, file.Allocate(0, 5000))
	if !bytes.Equal(before, daxtest.DeviceBytes(t, dev)) {
		t.Error("the medium has changed")
	}
	// A write over the end stores what there is room for.
	if n, err := file.WriteAt([]byte("abc"), 4998); n != 2 || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("write over the end: %d, %v", n, err)
	}
	must(t, file.ZeroRange(0, 5000))
	if _, err := f.CreateSized("file", 10, godax.CreateOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create of what exists: %v", err)
	}
	if _, err := f.CreateSized("s", 4*mib, godax.CreateOptions{Stripe: godax.Stripe{Strips: 17}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("17 strips: %v", err)
	}
	if _, err := f.CreateSized("s", 4*mib, godax.CreateOptions{Stripe: godax.Stripe{Strips: 2, Chunk: 3 * mib}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("chunk of 3 MiB: %v", err)
	}
}

// TestFull: the device fills up to its last whole unit, and the log up to its last entry.
func TestFull(t *testing.T) {
	// Half a unit more than nine: the reference would hand out a tenth that ends outside.
	dev := newDevice(t, 10*mib+9*2*mib+mib)
	f := newFS(t, dev, famfs.FormatOptions{})
	for i := range 9 {
		file, err := f.CreateSized(fmt.Sprint(i), 1, godax.CreateOptions{})
		must(t, err)
		must(t, file.Close())
	}
	if _, err := f.CreateSized("more", 1, godax.CreateOptions{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the tenth file: %v", err)
	}
	if u := f.Statfs(); u.Free != 0 {
		t.Errorf("%d units are free", u.Free)
	}
	oracle(t, dev)
	if testing.Short() {
		return
	}
	const capacity = (8*mib-48)/544 - 1 + 1
	for i := 9; i < capacity; i++ {
		must(t, f.Mkdir(fmt.Sprintf("d%d", i), 0o755))
	}
	if err := f.Mkdir("more", 0o755); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "log is full") {
		t.Errorf("entry %d: %v", capacity, err)
	}
	if u := f.Statfs(); u.FilesFree != 0 || u.Files != capacity {
		t.Errorf("%d of %d entries are free", u.FilesFree, u.Files)
	}
	must(t, f.Close())
	if m := oracle(t, dev); m.nextIndex != capacity {
		t.Errorf("%d entries, want %d", m.nextIndex, capacity)
	}
	g, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
	must(t, err)
	must(t, g.Close())
}

// TestRandom makes random trees, and compares what the decoder of the tests finds.
func TestRandom(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 5))
		dev := newDevice(t, 48*mib)
		f := newFS(t, dev, famfs.FormatOptions{Unit: 4 * kib})
		want := map[string]wantFile{}
		dirs := []string{""}
		for i := range 150 {
			p := dirs[r.IntN(len(dirs))] + fmt.Sprint(i)
			if r.IntN(5) == 0 && len(p) < 40 {
				must(t, f.Mkdir(p, 0o711))
				want[p] = wantFile{perm: 0o711, uid: 7, gid: 8}
				dirs = append(dirs, p+"/")
				continue
			}
			o := godax.CreateOptions{Perm: fs.FileMode(r.IntN(0o1000))}
			if r.IntN(2) == 0 {
				o.Stripe = godax.Stripe{Strips: 1 + r.IntN(16), Chunk: 4096 << r.IntN(4)}
			}
			size := 1 + r.IntN(120_000)
			file, err := f.CreateSized(p, int64(size), o)
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, p, err)
			}
			data := make([]byte, size)
			at := r.IntN(size)
			n := copy(data[at:], pattern(r.IntN(size)+1, uint64(i)))
			_, err = file.WriteAt(data[at:at+n], int64(at))
			must(t, err)
			must(t, file.Close())
			want[p] = wantFile{data: data, perm: o.Perm, uid: 7, gid: 8}
		}
		must(t, f.Close())
		compareOracleFiles(t, oracle(t, dev), want)
		wantClean(t, dev)
	}
}
