package axfs_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godax"
	"godax/fs/axfs"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// manifest is the description of a sample image.
type manifest struct {
	Image      json.RawMessage // a name, or several
	Superblock struct {
		Version   string
		PageSize  int64  `json:"page_size"`
		Files     uint64 `json:"files"`
		Timestamp int64
	}
	Entries []manifestEntry
}

type manifestEntry struct {
	Path, PathHex     string
	Type, Mode        string
	UID, GID          uint32
	Size              int64
	SHA256            string
	Target, TargetHex string
	Pages             string
	Major, Minor      uint32
	Ino               uint64
}

// UnmarshalJSON joins the two ways to write what may not be UTF-8.
func (e *manifestEntry) UnmarshalJSON(b []byte) error {
	type plain manifestEntry
	v := struct {
		*plain
		PathHex   string `json:"path_hex"`
		TargetHex string `json:"target_hex"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	for _, x := range []struct {
		hex string
		dst *string
	}{{v.PathHex, &e.Path}, {v.TargetHex, &e.Target}} {
		raw, err := hex.DecodeString(x.hex)
		if err != nil {
			return err
		}
		if len(raw) > 0 {
			*x.dst = string(raw)
		}
	}
	return nil
}

// parts are the paths of the files of the image.
func (m *manifest) parts(t testing.TB, dir string) []string {
	t.Helper()
	var one string
	var list []string
	if json.Unmarshal(m.Image, &one) == nil {
		list = []string{one}
	} else if err := json.Unmarshal(m.Image, &list); err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i] = filepath.Join(dir, list[i])
	}
	return list
}

// samples calls f for each sample image with its manifest.
func samples(t *testing.T, f func(t *testing.T, m *manifest, parts []string)) {
	dir := daxtest.TestData(t, "axfs")
	var names []string
	for _, pattern := range []string{"*.json", "synthetic/*.json"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 20 {
		t.Fatalf("%d manifests", len(names))
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var m manifest
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			f(t, &m, m.parts(t, filepath.Dir(name)))
		})
	}
}

// open opens an image through the API, and returns the driver's FS too.
func open(t testing.TB, o godax.Options, parts ...string) (*godax.FS, *axfs.FS) {
	t.Helper()
	d := &axfs.TracingDriver{}
	o.ReadOnly, o.Devices, o.Drivers = true, parts[1:], []vfs.Driver{d.Driver()}
	fsys, err := godax.Open(parts[0], o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fsys.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
	return fsys, d.FS
}

// openBytes opens an image of a test through the API.
func openBytes(t testing.TB, o godax.Options, img []byte) (*godax.FS, *axfs.FS, pmem.Device) {
	t.Helper()
	dev := daxtest.MemoryDevice(t, img)
	d := &axfs.TracingDriver{}
	o.ReadOnly, o.Drivers = true, []vfs.Driver{d.Driver()}
	fsys, err := godax.OpenDevice(dev, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fsys.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
	return fsys, d.FS, dev
}

var typeNames = map[fs.FileMode]string{
	0: "file", fs.ModeDir: "dir", fs.ModeSymlink: "symlink", fs.ModeNamedPipe: "fifo", fs.ModeSocket: "socket",
	fs.ModeDevice: "block", fs.ModeDevice | fs.ModeCharDevice: "char",
}

// describe is the manifest's entry for a file, as the API shows it.
func describe(t *testing.T, fsys *godax.FS, f *axfs.FS, p string) manifestEntry {
	t.Helper()
	fi, err := fsys.Lstat(p)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*godax.Stat)
	unix := uint32(fi.Mode().Perm())
	for bit, v := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if fi.Mode()&bit != 0 {
			unix |= v
		}
	}
	e := manifestEntry{
		Path: p, Type: typeNames[fi.Mode().Type()], Mode: fmt.Sprintf("%04o", unix), UID: st.UID, GID: st.GID,
		Size: fi.Size(), Major: st.RdevMajor, Minor: st.RdevMinor, Ino: st.Ino - 1,
	}
	switch fi.Mode().Type() {
	case 0:
		b, err := fsys.ReadFile(p)
		if err != nil {
			t.Errorf("%q: %v", p, err)
		}
		e.SHA256 = fmt.Sprintf("%x", sha256.Sum256(b))
	case fs.ModeSymlink:
		if e.Target, err = fsys.Readlink(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
		e.SHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte(e.Target)))
	}
	if e.Pages, err = f.Kinds(st.Ino); err != nil {
		t.Errorf("%q: %v", p, err)
	}
	return e
}

// tree lists the paths of everything in an image.
func tree(t testing.TB, fsys *godax.FS, dir string) []string {
	t.Helper()
	list := []string{dir}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p := strings.TrimSuffix(dir, "/") + "/" + e.Name()
		if e.IsDir() {
			list = append(list, tree(t, fsys, p)...)
		} else {
			list = append(list, p)
		}
	}
	return list
}

// TestSamples compares every sample image with its manifest.
func TestSamples(t *testing.T) {
	samples(t, func(t *testing.T, m *manifest, parts []string) {
		fsys, f := open(t, godax.Options{}, parts...)
		slices.SortFunc(m.Entries, func(a, b manifestEntry) int { return cmp.Compare(a.Path, b.Path) })
		paths := tree(t, fsys, "/")
		slices.Sort(paths)
		if len(paths) != len(m.Entries) {
			t.Fatalf("%d files, want %d", len(paths), len(m.Entries))
		}
		for i, p := range paths {
			if got, want := describe(t, fsys, f, p), m.Entries[i]; got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
		info := fsys.Info()
		if got, want := info.Usage.BlockSize, m.Superblock.PageSize; got != want {
			t.Errorf("page size %d, want %d", got, want)
		}
		if got, want := info.Usage.Files, m.Superblock.Files; got != want {
			t.Errorf("%d inodes, want %d", got, want)
		}
		root, err := fsys.Stat("/")
		if err != nil || root.ModTime().Unix() != m.Superblock.Timestamp {
			t.Errorf("time %v, %v; want %d", root.ModTime().Unix(), err, m.Superblock.Timestamp)
		}
		if !slices.ContainsFunc(info.FS.Details, func(kv vfs.KV) bool { return kv.Key == "version" && kv.Value == m.Superblock.Version }) {
			t.Errorf("no version %s in %v", m.Superblock.Version, info.FS.Details)
		}
	})
}

// TestSampleExtents: XIP pages are direct, with the frames of the image, unless the end of
// the file lies in one that is not zero behind it. All others are cached.
func TestSampleExtents(t *testing.T) {
	direct := 0
	samples(t, func(t *testing.T, m *manifest, parts []string) {
		fsys, _ := open(t, godax.Options{}, parts...)
		for _, e := range m.Entries {
			if e.Type != "file" {
				continue
			}
			file, err := fsys.Open(e.Path)
			if err != nil {
				t.Fatal(err)
			}
			for x, err := range file.Extents() {
				if err != nil {
					t.Errorf("%q: %v", e.Path, err)
					break
				}
				for off := x.Off; off < x.Off+x.Len; off += pmem.PageSize {
					kind := e.Pages[off/m.Superblock.PageSize]
					want := godax.Cached
					if kind == 'X' {
						want = godax.Direct
						direct++
					}
					if tail := off+pmem.PageSize > e.Size; x.Kind != want && !tail {
						t.Errorf("%q: page at %d is %v, its node is %c", e.Path, off, x.Kind, kind)
					}
				}
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	if direct == 0 {
		t.Error("no sample image has a direct page")
	}
}

func TestRejected(t *testing.T) {
	dir := filepath.Join(daxtest.TestData(t, "axfs"), "reject")
	tests := map[string]struct {
		is   error
		text string
	}{
		"no-trailer.axfs":    {godax.ErrCorrupt, "the magic number at the end"},
		"short-trailer.axfs": {godax.ErrCorrupt, "the magic number at the end"},
		"empty-root.axfs":    {godax.ErrCorrupt, "empty file system"},
		"v2.9.1.axfs":        {godax.ErrUnsupported, "unfinished rewrite"},
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		want, ok := tests[e.Name()]
		if !ok {
			t.Errorf("no reason known for %s", e.Name())
			continue
		}
		_, err := godax.Open(filepath.Join(dir, e.Name()), godax.Options{ReadOnly: true})
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v; want %v with %q", e.Name(), err, want.is, want.text)
		}
	}
	if len(found) != len(tests) {
		t.Errorf("%d images, want %d", len(found), len(tests))
	}
}

// TestSplitDevices: a split image needs both devices, another one none.
func TestSplitDevices(t *testing.T) {
	dir := daxtest.TestData(t, "axfs")
	part0, part1 := filepath.Join(dir, "synthetic/syn-split.part0"), filepath.Join(dir, "synthetic/syn-split.part1")
	tests := []struct {
		name  string
		parts []string
		is    error
		text  string
	}{
		{"second missing", []string{part0}, godax.ErrCorrupt, "the device with the second was not named"},
		{"three", []string{part0, part1, part1}, syscall.EINVAL, "one at most"},
		{"not split", []string{filepath.Join(dir, "basic.axfs"), part1}, syscall.EINVAL, "not split"},
		{"wrong second", []string{part0, filepath.Join(dir, "basic.axfs")}, godax.ErrCorrupt, "which has 8192"},
		{"swapped", []string{part1, part0}, godax.ErrUnknownFormat, ""},
	}
	for _, tt := range tests {
		_, err := godax.Open(tt.parts[0], godax.Options{ReadOnly: true, Devices: tt.parts[1:]})
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v; want %v with %q", tt.name, err, tt.is, tt.text)
		}
	}
}
