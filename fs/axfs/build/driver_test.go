package build

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

	"godax"
)

// read opens an image with the driver and compares it with the tree.
func (t memTree) read(tb testing.TB, o Options, parts ...[]byte) {
	tb.Helper()
	dir := tb.TempDir()
	var names []string
	for i, b := range parts {
		names = append(names, filepath.Join(dir, fmt.Sprint("part", i)))
		if err := os.WriteFile(names[i], b, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	f, err := godax.Open(names[0], godax.Options{ReadOnly: true, Devices: names[1:]})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	}()
	seen := 0
	t.readDir(tb, f, o, ".", &seen)
	if seen != len(t) {
		tb.Errorf("the driver finds %d files of %d", seen, len(t))
	}
}

// readDir compares a file, and all below it.
func (t memTree) readDir(tb testing.TB, f *godax.FS, o Options, p string, seen *int) {
	tb.Helper()
	*seen++
	want := t[p]
	fi, err := f.Lstat(p)
	if err != nil || want == nil {
		tb.Fatalf("%q: %v", p, err)
	}
	st := fi.Sys().(*godax.Stat)
	uid, gid := want.attr.UID, want.attr.GID
	if o.AllRoot {
		uid, gid = 0, 0
	}
	if fi.Mode() != want.attr.Mode && want.attr.Mode.Type() != fs.ModeSymlink || st.UID != uid || st.GID != gid ||
		st.RdevMajor != want.attr.Major || st.RdevMinor != want.attr.Minor || fi.ModTime().Unix() != int64(o.Timestamp) {
		tb.Errorf("%q is %v, %d:%d, %d:%d, %v; want %+v", p, fi.Mode(), st.UID, st.GID, st.RdevMajor, st.RdevMinor, fi.ModTime(), want.attr)
	}
	switch fi.Mode().Type() {
	case 0:
		got, err := f.ReadFile(p)
		if err != nil || !bytes.Equal(got, want.data) {
			tb.Errorf("%q: contents differ, %v", p, err)
		}
	case fs.ModeSymlink:
		if got, err := f.Readlink(p); err != nil || got != want.target {
			tb.Errorf("%q: target %q, %v", p, got, err)
		}
	case fs.ModeDir:
		entries, err := f.ReadDir(p)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range entries {
			t.readDir(tb, f, o, path.Join(p, e.Name()), seen)
		}
	}
}

// TestDriver reads images of all kinds with the driver.
func TestDriver(t *testing.T) {
	src := everything()
	for name, o := range variants() {
		t.Run(name, func(t *testing.T) {
			b, _ := image(t, src, o)
			src.read(t, o, b)
			var second memTarget
			o.Second = &second
			b, _ = image(t, src, o)
			src.read(t, o, b, second.b)
		})
	}
}

// TestDriverMapsInPlace maps a file of which some pages are in place, and one that is in
// place throughout.
func TestDriverMapsInPlace(t *testing.T) {
	src := newTree()
	mixed, whole := prose(1, 40<<12), noise(2, 3<<20+77)
	src.file("mixed", mixed)
	src.file("whole", whole)
	b, _ := image(t, src, Options{XIP: XIP{Globs: []string{"whole"}, Profile: Profile{{"mixed", 4096, 1}, {"mixed", 8192, 1}}}})
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := godax.Open(name, godax.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for p, want := range map[string]struct {
		data   []byte
		direct uint64
		huge   int64
	}{"mixed": {mixed, 2, 0}, "whole": {whole, 769, 2 << 20}} {
		file, err := f.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		m, err := file.Mmap(0, len(want.data), godax.MapRead|godax.MapShared)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes(), want.data) {
			t.Errorf("%s: mapped contents differ", p)
		}
		direct, huge := uint64(0), int64(0)
		for e, err := range file.Extents() {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == godax.Direct {
				direct += uint64(e.Len+4095) / 4096
				huge += e.Huge
			}
		}
		if direct != want.direct || huge != want.huge {
			t.Errorf("%s: %d direct pages, %d bytes in 2 MiB pages, want %d, %d", p, direct, huge, want.direct, want.huge)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
}
