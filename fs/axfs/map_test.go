package axfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godax"
	"godax/dax"
	"godax/fs/axfs"
	"godax/fs/axfs/internal/format"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
)

const (
	page = pmem.PageSize
	mib  = 1 << 20
)

// fill makes n bytes that do not repeat.
func fill(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b) // never fails
	return b
}

// text makes n bytes that can be compressed, other ones for each seed.
func text(n int, seed uint64) []byte {
	b := fill(n, seed)
	for i := range b {
		b[i] = "abcdefgh"[b[i]&7]
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openFile opens a file until the test ends.
func openFile(t testing.TB, fsys *godax.FS, name string) *godax.File {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// mapFile maps n bytes of a file until the test ends.
func mapFile(t testing.TB, f *godax.File, n int, flags godax.MapFlags) *godax.Mapping {
	t.Helper()
	m, err := f.Mmap(0, n, flags)
	must(t, err)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// openTraced opens an image of a test with a driver that has a witness.
func openTraced(t testing.TB, d *axfs.TracingDriver, img []byte) *godax.FS {
	t.Helper()
	fsys, err := godax.OpenDevice(daxtest.MemoryDevice(t, img), godax.Options{ReadOnly: true, Drivers: []vfs.Driver{d.Driver()}})
	must(t, err)
	t.Cleanup(func() {
		if err := fsys.Close(); err != nil {
			t.Error(err)
		}
	})
	return fsys
}

// extents collects what holds a file.
func extents(t testing.TB, f *godax.File) (list []godax.Extent) {
	t.Helper()
	for x, err := range f.Extents() {
		must(t, err)
		list = append(list, x)
	}
	return list
}

// kinds is a letter for each page: d for direct, c for cached.
func kinds(t testing.TB, f *godax.File) string {
	var b strings.Builder
	for _, x := range extents(t, f) {
		b.WriteString(strings.Repeat(x.Kind.String()[:1], int(x.Len/page)))
	}
	return b.String()
}

// want compares a file's bytes, read whole, in odd pieces, and through a view, whose pages
// are zero behind the end.
func want(t *testing.T, fsys *godax.FS, name string, data []byte) {
	t.Helper()
	got, err := fsys.ReadFile(name)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: %d bytes, %v; other than the %d that went in: %v", name, len(got), err, len(data), !bytes.Equal(got, data))
		return
	}
	f := openFile(t, fsys, name)
	got = got[:0]
	b := make([]byte, 1234)
	for off := int64(0); ; {
		n, err := f.ReadAt(b, off)
		got, off = append(got, b[:n]...), off+int64(n)
		if err == io.EOF {
			break
		}
		must(t, err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%s: other bytes in pieces", name)
	}
	if len(data) == 0 {
		return
	}
	whole := (len(data) + page - 1) &^ (page - 1)
	m := mapFile(t, f, whole, godax.MapShared)
	if !bytes.Equal(m.Bytes()[:len(data)], data) {
		t.Errorf("%s: other bytes in a view", name)
	}
	if rest := m.Bytes()[len(data):]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Errorf("%s: a view shows % x behind the end", name, rest[:min(len(rest), 16)])
	}
}

// TestMappedInPlace: a view of an XIP file is the image itself.
func TestMappedInPlace(t *testing.T) {
	const size = 64 * mib
	data := bytes.Repeat(fill(mib, 1), size/mib)
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "big", Data: data, Kinds: "X"})
	fsys, f, dev := openBytes(t, godax.Options{}, img)
	file := openFile(t, fsys, "big")
	m := mapFile(t, file, size, godax.MapShared)
	if !bytes.Equal(m.Bytes(), data) {
		t.Fatal("the view has other bytes than the file")
	}
	raw := daxtest.DeviceBytes(t, dev)
	at := bytes.Index(raw, data[:page]) // the first page of the region
	for _, off := range []int{0, page - 1, 12345678, size - 1} {
		raw[at+off] ^= 0xff
		if m.Bytes()[off] != data[off]^0xff {
			t.Errorf("byte %d of the view is %#x, in the image it is %#x now", off, m.Bytes()[off], raw[at+off])
		}
	}
	list := extents(t, file)
	if len(list) != 1 || list[0].Kind != godax.Direct || list[0].Len != size || list[0].PFN != pmem.MakePFN(dev.ID(), uint64(at)/page) {
		t.Errorf("extents %+v; want one, direct, at frame %d of the device", list, at/page)
	}
	if n := f.CachedFrames(); n != 0 {
		t.Errorf("%d pages were copied", n)
	}
}

// TestRunsAreWhole: contiguous nodes are answered as one run, and become entries of the
// largest order that the places allow.
func TestRunsAreWhole(t *testing.T) {
	img := axfs.TestImage{Align: 2 * mib}.Build(t, axfs.TestFile{Path: "big", Data: fill(6*mib, 1), Kinds: "X"})
	d := &axfs.TracingDriver{}
	var longest uint64
	d.Trace = func(tr dax.Trace) {
		for _, a := range tr.Answers {
			longest = max(longest, a.N)
		}
	}
	fsys := openTraced(t, d, img)
	file := openFile(t, fsys, "big")
	if list := extents(t, file); len(list) != 1 || list[0].Order != dax.PMDOrder || list[0].Huge != 6*mib {
		t.Errorf("extents %+v; want one of 3 huge pages", list)
	}
	if longest != 6*mib/page {
		t.Errorf("the longest answer has %d pages, want %d", longest, 6*mib/page)
	}
	if n := file.Stats().Populates.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestMixedFile: one view serves pages of all kinds.
func TestMixedFile(t *testing.T) {
	data := text(9*page+100, 2)
	img := axfs.TestImage{Junk: 0xAA}.Build(t, axfs.TestFile{Path: "mixed", Data: data, Kinds: "XXCBXCXBXX"})
	fsys, _, dev := openBytes(t, godax.Options{}, img)
	want(t, fsys, "mixed", data)
	file := openFile(t, fsys, "mixed")
	if got := kinds(t, file); got != "ddccdcdcdc" {
		t.Errorf("pages are %s", got)
	}
	m := mapFile(t, file, 10*page, godax.MapShared)
	raw := daxtest.DeviceBytes(t, dev)
	for i, letter := range "XXCBXCXB" {
		at := bytes.Index(raw, data[i*page:][:page])
		if (at < 0) != (letter == 'C') {
			t.Fatalf("page %d, of kind %c, is at %d", i, letter, at)
		}
		if at < 0 {
			continue
		}
		raw[at] ^= 0xff
		if seen := m.Bytes()[i*page] != data[i*page]; seen != (letter == 'X') {
			t.Errorf("page %d, of kind %c: the view sees a change of the image: %v", i, letter, seen)
		}
	}
}

// TestTails: what the image has behind the end of a file is never shown.
func TestTails(t *testing.T) {
	for _, shift := range []uint8{12, 14, 16} {
		for _, junk := range []byte{0, 0xAA} {
			for _, size := range []int{1, page - 1, page, page + 1, 3*page + 5, 1<<shift - 1, 1 << shift, 1<<shift + 1} {
				var files []axfs.TestFile
				for _, k := range []string{"X", "C", "B"} {
					files = append(files, axfs.TestFile{Path: k, Data: text(size, uint64(size)), Kinds: k})
				}
				img := axfs.TestImage{PageShift: shift, Junk: junk, Cblock: 1 << 16}.Build(t, files...)
				fsys, _, _ := openBytes(t, godax.Options{}, img)
				for _, f := range files {
					want(t, fsys, f.Path, f.Data)
				}
				last := kinds(t, openFile(t, fsys, "X"))
				wantLast := "d"
				if junk != 0 && size%page != 0 {
					wantLast = "c"
				}
				if last[len(last)-1:] != wantLast || strings.Contains(last[:len(last)-1], "c") {
					t.Errorf("shift %d, junk %#x, size %d: pages %s, want the last %s", shift, junk, size, last, wantLast)
				}
			}
		}
	}
}

// TestPageSizes: pages larger than ours are direct wherever the region begins at one of ours,
// and cached elsewhere.
func TestPageSizes(t *testing.T) {
	for _, shift := range []uint8{12, 13, 14, 16} {
		for _, skew := range []uint64{0, page, 100} {
			data := text(3<<shift+page+7, 3)
			img := axfs.TestImage{PageShift: shift, Skew: skew, Cblock: 2 << shift, Align: 1 << 16}.Build(t,
				axfs.TestFile{Path: "x", Data: data, Kinds: "X"},
				axfs.TestFile{Path: "mixed", Data: data, Kinds: "CXBC"})
			fsys, _, _ := openBytes(t, godax.Options{}, img)
			want(t, fsys, "x", data)
			want(t, fsys, "mixed", data)
			got := kinds(t, openFile(t, fsys, "x"))
			if direct := strings.Count(got, "d"); direct != 0 != (skew != 100) {
				t.Errorf("shift %d, skew %d: pages are %s", shift, skew, got)
			}
		}
	}
}

// TestOptions: whatever way an image is laid out, it reads the same.
func TestOptions(t *testing.T) {
	all := []format.Region{}
	for r := range format.NumRegions {
		all = append(all, r)
	}
	data := text(5*page+50, 4)
	files := []axfs.TestFile{
		{Path: "dir/x", Data: data, Kinds: "X"}, {Path: "dir/c", Data: data, Kinds: "C"}, {Path: "b", Data: data, Kinds: "B"},
		{Path: "dir/mixed", Data: data, Kinds: "XCB"}, {Path: "same", Same: "dir/c"}, {Path: "none"},
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Data: []byte("dir/mixed"), Kinds: "C"},
	}
	for i := range files {
		files[i].Mode |= 0o644
	}
	for name, o := range map[string]axfs.TestImage{
		"plain":      {},
		"cblock 64k": {Cblock: 1 << 16},
		"cblock odd": {Cblock: 3*page + 77},
		"dedup":      {Dedup: true},
		"depth 8":    {Depth: 8},
		"compressed": {Compressed: true},
		"incore":     {Incore: all},
		"32-bit":     {Layout: format.Layout32, Timestamp: 1300000000},
		"version 1":  {Layout: format.LayoutV1, Depth: 4},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, _, _ := openBytes(t, godax.Options{}, o.Build(t, files...))
			for _, p := range []string{"dir/x", "dir/c", "b", "dir/mixed", "same", "link"} {
				want(t, fsys, p, data)
			}
			want(t, fsys, "none", nil)
			if target, err := fsys.Readlink("link"); err != nil || target != "dir/mixed" {
				t.Errorf("target %q, %v", target, err)
			}
			direct := strings.Contains(kinds(t, openFile(t, fsys, "dir/x")), "d")
			if direct != (name != "incore") {
				t.Errorf("direct pages: %v", direct)
			}
			info := strings.Join(fsys.Info().FS.Features, " ")
			for word, has := range map[string]bool{"compressed_regions": o.Compressed, "incore_regions": o.Incore != nil, "planar_tables": name == "version 1"} {
				if strings.Contains(info, word) != has {
					t.Errorf("features %q, with %s: want %v", info, word, has)
				}
			}
		})
	}
}

// TestSplitPlaces: XIP pages behind the boundary of a split image are cached, when they are on a
// device of their own, and a region may lie on both sides.
func TestSplitPlaces(t *testing.T) {
	data := text(7*page+50, 5)
	files := []axfs.TestFile{{Path: "x", Data: data, Kinds: "X", Mode: 0o644}, {Path: "c", Data: data, Kinds: "CB", Mode: 0o644}}
	img := axfs.TestImage{Split: true}.Build(t, files...)
	super, err := format.DecodeSuperblock(img)
	must(t, err)
	desc, err := format.DecodeDescriptor(format.Compressed, img[super.Descriptors[format.Compressed]:], 0, super.Size)
	must(t, err)
	for name, at := range map[string]uint64{
		"as built":               super.MmapSize,
		"in the xip region":      super.MmapSize - 2*page,
		"in the compressed one":  desc.Off + desc.Size/2,
		"before the end's magic": super.Size - 2,
	} {
		t.Run(name, func(t *testing.T) {
			img := bytes.Clone(img)
			s := *super
			s.MmapSize = at
			copy(img, s.Append(nil))
			for _, split := range []bool{false, true} {
				if !split {
					fsys, _, _ := openBytes(t, godax.Options{}, img)
					want(t, fsys, "x", data)
					want(t, fsys, "c", data)
					if got := kinds(t, openFile(t, fsys, "x")); !strings.Contains(got, "d") {
						t.Errorf("on one device: %s", got)
					}
					continue
				}
				dir := t.TempDir()
				must(t, os.WriteFile(dir+"/0", append(bytes.Clone(img[:at]), make([]byte, 99)...), 0o600))
				must(t, os.WriteFile(dir+"/1", img[at:], 0o600))
				fsys, _ := open(t, godax.Options{}, dir+"/0", dir+"/1")
				want(t, fsys, "x", data)
				want(t, fsys, "c", data)
				if got := kinds(t, openFile(t, fsys, "x")); strings.Contains(got, "d") == (name == "in the xip region") {
					t.Errorf("on two devices: %s", got)
				}
			}
		})
	}
}

// TestPrivateViews: a private view can be stored to, a shared one not.
func TestPrivateViews(t *testing.T) {
	data := text(3*page, 6)
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "f", Data: data, Kinds: "XCB", Mode: 0o644})
	fsys, f, dev := openBytes(t, godax.Options{}, img)
	before := bytes.Clone(daxtest.DeviceBytes(t, dev))
	file := openFile(t, fsys, "f")
	private := mapFile(t, file, 3*page, godax.MapPrivate|godax.MapWrite)
	other := mapFile(t, file, 3*page, godax.MapShared)
	for p := range 3 {
		private.Bytes()[p*page+10] = '!'
	}
	if !bytes.Equal(other.Bytes(), data) || !bytes.Equal(daxtest.DeviceBytes(t, dev), before) {
		t.Error("a store to a private view has changed the file")
	}
	for p := range 3 {
		if private.Bytes()[p*page+10] != '!' || private.Bytes()[p*page+11] != data[p*page+11] {
			t.Errorf("page %d of the private view", p)
		}
	}
	if _, err := fsys.OpenFile("f", os.O_RDWR, 0); !errors.Is(err, syscall.EROFS) {
		t.Errorf("open for writing: %v", err)
	}
	fl, err := f.Inode(2)
	must(t, err)
	view, err := vm.NewView(0, 3, vm.Read|vm.Write|vm.Shared, vm.ViewOptions{})
	must(t, err)
	defer view.Close()
	if err := fl.(vfs.File).Mapping().Attach(context.Background(), view, fl.(vfs.File)); !errors.Is(err, syscall.EROFS) {
		t.Errorf("shared view for writing: %v, want EROFS", err)
	}
	for name, err := range map[string]error{
		"create": fsys.Mkdir("d", 0o755), "remove": fsys.Remove("f"), "rename": fsys.Rename("f", "g"),
		"chmod": fsys.Chmod("f", 0o600), "truncate": fsys.Truncate("f", 0), "setattr": fl.SetAttr(vfs.SetAttr{}),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
	must(t, fl.Evict(context.Background()))
}

// TestSharedPages: a stored page that several pages of files are has one frame.
func TestSharedPages(t *testing.T) {
	data := text(4*page, 7)
	twice := slices.Concat(data[:page], data[:page], data[page:2*page])
	img := axfs.TestImage{Cblock: 1 << 14, Dedup: true}.Build(t,
		axfs.TestFile{Path: "c", Data: data, Kinds: "C"}, axfs.TestFile{Path: "c2", Same: "c"},
		axfs.TestFile{Path: "b", Data: data, Kinds: "B"}, axfs.TestFile{Path: "b2", Same: "b"},
		axfs.TestFile{Path: "x", Data: data, Kinds: "X"}, axfs.TestFile{Path: "twice", Data: twice, Kinds: "X"})
	d := &axfs.TracingDriver{}
	attrs := map[string]dax.Attr{}
	d.Trace = func(tr dax.Trace) {
		for _, a := range tr.Answers {
			for i := range a.N {
				attrs[string(rune('0'+a.Page+i))] = a.Attr
			}
		}
	}
	fsys := openTraced(t, d, img)
	frames := func(name string) (pfns []pmem.PFN) {
		clear(attrs)
		for _, x := range extents(t, openFile(t, fsys, name)) {
			for i := range x.Len / page {
				pfns = append(pfns, x.PFN+pmem.PFN(i))
			}
		}
		return pfns
	}
	for _, names := range [][2]string{{"c", "c2"}, {"b", "b2"}} {
		if a, b := frames(names[0]), frames(names[1]); !slices.Equal(a, b) || len(a) != 4 {
			t.Errorf("%s has frames %v, %s has %v", names[0], a, names[1], b)
		}
		for p, a := range attrs {
			if a&dax.SharedPFN == 0 {
				t.Errorf("%s: page %s is not said to be shared", names[1], p)
			}
		}
	}
	if n := d.FS.CachedFrames(); n != 8 {
		t.Errorf("%d frames for 8 stored pages", n)
	}
	if n := d.FS.Inflated(); n != 1 {
		t.Errorf("the one cblock was inflated %d times", n)
	}
	x := frames("x")
	if attrs["0"]&dax.SharedPFN == 0 {
		t.Errorf("x: shares pages, attributes %v", attrs)
	}
	if tw := frames("twice"); tw[0] != x[0] || tw[1] != x[0] || tw[2] != x[1] || attrs["0"]&attrs["1"]&attrs["2"]&dax.SharedPFN == 0 {
		t.Errorf("twice has frames %v, x has %v; attributes %v", tw, x, attrs)
	}
	want(t, fsys, "twice", twice)
}

// TestNotShared: pages that only one page of a file has are not said to be shared.
func TestNotShared(t *testing.T) {
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "x", Data: fill(4*page, 1), Kinds: "X"}, axfs.TestFile{Path: "y", Data: fill(4*page, 2), Kinds: "X"})
	d := &axfs.TracingDriver{}
	answers := 0
	d.Trace = func(tr dax.Trace) {
		for _, a := range tr.Answers {
			if answers++; a.Attr != 0 {
				t.Errorf("attributes %v", a.Attr)
			}
		}
	}
	fsys := openTraced(t, d, img)
	want(t, fsys, "x", fill(4*page, 1))
	if answers == 0 {
		t.Error("nothing was answered")
	}
}
