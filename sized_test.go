package godax_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"godax"
	"godax/fs/ext"
	"godax/fs/famfs"
	"godax/internal/daxtest"
	"godax/pmem"
)

// TestCreateSized makes files of a size on a file system where that is not the only way, and
// on one where it is.
func TestCreateSized(t *testing.T) {
	t.Setenv(famfs.HostEnv, "00000000-1111-8222-8333-444444444444")
	for name, format := range map[string]func(dev pmem.Device) error{
		"ext":   func(dev pmem.Device) error { return ext.Format(dev, ext.FormatOptions{}) },
		"famfs": func(dev pmem.Device) error { return famfs.Format(dev, famfs.FormatOptions{Unit: 4096}) },
	} {
		t.Run(name, func(t *testing.T) {
			dev := daxtest.MemoryDevice(t, make([]byte, 32<<20))
			must(t, format(dev))
			f, err := godax.OpenDevice(dev, godax.Options{UID: 5, GID: 6})
			must(t, err)
			defer func() { must(t, f.Close()) }()
			if got, want := f.FixedSize(), name == "famfs"; got != want {
				t.Errorf("fixed size %v", got)
			}
			must(t, f.MkdirOwned("dir", 0o750, 1, 2))
			uid := uint32(3)
			file, err := f.CreateSized("dir/file", 100_000, godax.CreateOptions{Perm: 0o640, UID: &uid})
			must(t, err)
			must(t, second(file.WriteAt([]byte("x"), 99_999)))
			for e, err := range file.Extents() {
				if err != nil || e.Kind != godax.Direct && e.Kind != godax.Unwritten {
					t.Errorf("%v, %v: not all storage is there", e.Kind, err)
				}
			}
			must(t, file.Close())
			for p, want := range map[string][3]uint32{"dir": {0o750, 1, 2}, "dir/file": {0o640, 3, 6}} {
				fi, err := f.Stat(p)
				must(t, err)
				st := fi.Sys().(*godax.Stat)
				if got := [3]uint32{uint32(fi.Mode().Perm()), st.UID, st.GID}; got != want {
					t.Errorf("%s: mode, uid, gid %o, want %o", p, got, want)
				}
			}
			for _, c := range []struct {
				path string
				size int64
				want error
			}{
				{"dir/file", 1, fs.ErrExist}, {"dir", 1, fs.ErrExist}, {"/", 1, fs.ErrExist}, {"no/file", 1, fs.ErrNotExist},
				{"dir/file/x", 1, syscall.ENOTDIR}, {"new/", 1, syscall.EISDIR}, {"new", -1, syscall.EINVAL}, {"new", 1 << 40, syscall.ENOSPC},
			} {
				file, err := f.CreateSized(c.path, c.size, godax.CreateOptions{})
				var pe *fs.PathError
				if !errors.Is(err, c.want) || !errors.As(err, &pe) || pe.Path != c.path || file != nil {
					t.Errorf("%d bytes at %q: %v, want %v", c.size, c.path, err, c.want)
				}
			}
			if _, err := f.Stat("new"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what failed is there: %v", err)
			}
			changes, pos, err := f.Follow(0)
			switch {
			case name == "ext" && !errors.Is(err, errors.ErrUnsupported):
				t.Errorf("follow: %v", err)
			case name == "famfs" && (err != nil || pos != 2 || len(changes) != 2):
				t.Errorf("follow: %v %d %v", changes, pos, err)
			}
		})
	}
}

// TestCheck: what cannot be checked is an error with the path.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	must(t, os.WriteFile(image, make([]byte, 4<<20), 0o600))
	for path, want := range map[string]error{image: godax.ErrUnknownFormat, filepath.Join(dir, "none"): fs.ErrNotExist} {
		_, err := godax.Check(context.Background(), path, godax.Options{})
		var pe *fs.PathError
		if !errors.Is(err, want) || !errors.As(err, &pe) || pe.Path != path {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	dev := daxtest.OpenImage(t, image)
	must(t, ext.Format(dev, ext.FormatOptions{}))
	if _, err := godax.Check(context.Background(), image, godax.Options{Shared: true}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("ext: %v", err)
	}
}
