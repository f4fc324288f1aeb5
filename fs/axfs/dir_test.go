package axfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"godax"
	"godax/fs/axfs"
	"godax/pmem"
	"godax/pmem/sim"
	"godax/vfs"
)

// TestReadDirPositions: a listing can go on from any position it gave, always with the same
// entries.
func TestReadDirPositions(t *testing.T) {
	var files []axfs.TestFile
	for i := range 100 {
		files = append(files, axfs.TestFile{Path: fmt.Sprintf("d/%03d", i), Mode: 0o644})
	}
	_, f, _ := openBytes(t, godax.Options{}, axfs.TestImage{}.Build(t, files...))
	in, err := f.Inode(2)
	must(t, err)
	dir := in.(vfs.Dir)
	list := func(pos uint64, most int) (all []vfs.Dirent) {
		must(t, dir.ReadDir(pos, func(e vfs.Dirent) bool {
			all = append(all, e)
			return len(all) < most
		}))
		return all
	}
	all := list(0, 1000)
	if len(all) != 100 {
		t.Fatalf("%d entries", len(all))
	}
	for i, e := range all {
		if e.Name != fmt.Sprintf("%03d", i) || e.Type != 0 {
			t.Errorf("entry %d is %+v", i, e)
		}
		if rest := list(e.Off, 1000); !slices.Equal(rest, all[i+1:]) {
			t.Errorf("from position %d: %d entries, want %d", e.Off, len(rest), len(all)-i-1)
		}
		if one := list(e.Off, 1); i < 99 && !slices.Equal(one, all[i+1:i+2]) {
			t.Errorf("one from position %d: %v", e.Off, one)
		}
		if ino, err := dir.Lookup(e.Name); err != nil || ino != e.Ino {
			t.Errorf("lookup of %s: %d, %v", e.Name, ino, err)
		}
	}
	if rest := list(^uint64(0), 10); len(rest) != 0 {
		t.Errorf("%v from the last position there is", rest)
	}
	for _, name := range []string{"", "0", "0000", "100", "a", strings.Repeat("x", 255)} {
		if _, err := dir.Lookup(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lookup of %q: %v", name, err)
		}
	}
	if parent, err := dir.Parent(); err != nil || parent != 1 {
		t.Errorf("parent %d, %v", parent, err)
	}
	for _, ino := range []uint64{0, 103, ^uint64(0)} {
		if _, err := f.Inode(ino); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("inode %d: %v", ino, err)
		}
	}
}

// TestIOFS runs the checks of package fstest.
func TestIOFS(t *testing.T) {
	fsys, _, _ := openBytes(t, godax.Options{}, axfs.TestImage{Cblock: 1 << 14}.Build(t,
		axfs.TestFile{Path: "a/b/c", Data: text(3*page, 1), Mode: 0o644},
		axfs.TestFile{Path: "a/x", Data: text(3*page+9, 2), Kinds: "XB", Mode: 0o755},
		axfs.TestFile{Path: "empty", Mode: 0o600}))
	if err := fstest.TestFS(fsys.IOFS(), "a/b/c", "a/x", "empty"); err != nil {
		t.Error(err)
	}
}

// TestSpecialFiles: devices have their numbers, and cannot be opened.
func TestSpecialFiles(t *testing.T) {
	fsys, _, _ := openBytes(t, godax.Options{}, axfs.TestImage{}.Build(t,
		axfs.TestFile{Path: "dev", Mode: fs.ModeDevice | 0o600, Rdev: 0x12301234},
		axfs.TestFile{Path: "pipe", Mode: fs.ModeNamedPipe | 0o600},
		axfs.TestFile{Path: "sock", Mode: fs.ModeSocket | 0o600}))
	fi, err := fsys.Lstat("dev")
	must(t, err)
	if st := fi.Sys().(*godax.Stat); st.RdevMajor != 0x012 || st.RdevMinor != 0x12334 || fi.Size() != 0 {
		t.Errorf("device %#x:%#x of %d bytes", st.RdevMajor, st.RdevMinor, fi.Size())
	}
	for _, name := range []string{"dev", "pipe", "sock"} {
		if _, err := fsys.Open(name); !errors.Is(err, syscall.ENXIO) {
			t.Errorf("open of %s: %v", name, err)
		}
	}
	if _, err := fsys.Xattr("dev", "user.x"); err == nil {
		t.Error("an attribute")
	}
}

// TestBadMedia: bad pages of the image are errors of the files that have them, of no others,
// and of no other page.
func TestBadMedia(t *testing.T) {
	data := text(8*page, 1)
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "x", Data: data, Kinds: "X"}, axfs.TestFile{Path: "b", Data: data, Kinds: "B"})
	dev := newSim(t, img)
	fsys, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true})
	must(t, err)
	defer fsys.Close()
	at := uint64(strings.Index(string(img), string(data[:page]))) / page
	must(t, dev.Poison(at+3, 1))
	f, err := fsys.Open("x")
	must(t, err)
	defer f.Close()
	b := make([]byte, page)
	for round := range 2 {
		for p := range 8 {
			n, err := f.ReadAt(b, int64(p)*page)
			switch {
			case p == 3 && !errors.Is(err, pmem.ErrPoisoned):
				t.Errorf("round %d: the bad page: %d, %v", round, n, err)
			case p != 3 && (err != nil || string(b) != string(data[p*page:][:page])):
				t.Errorf("round %d: page %d: %d, %v", round, p, n, err)
			}
		}
	}
	if got, err := fsys.ReadFile("b"); err != nil || string(got) != string(data) {
		t.Errorf("the other file: %v", err)
	}
	if _, err := fsys.ReadFile("x"); !errors.Is(err, pmem.ErrPoisoned) {
		t.Errorf("all of the file: %v", err)
	}
}

// newSim makes a simulated device with the bytes of an image.
func newSim(t *testing.T, img []byte) *sim.Device {
	t.Helper()
	dev, err := sim.New(int64(len(img)+page-1) / page * page)
	must(t, err)
	t.Cleanup(func() { must(t, dev.Close()) })
	b, err := dev.Bytes(0, int64(len(img)))
	must(t, err)
	copy(b, img)
	return dev
}

// TestStat: attributes told without an inode are those of the inode.
func TestStat(t *testing.T) {
	_, f, _ := openBytes(t, godax.Options{}, axfs.TestImage{}.Build(t,
		axfs.TestFile{Path: "d/file", Data: text(3*page+1, 1), Mode: 0o4755},
		axfs.TestFile{Path: "d/empty", Mode: 0o600},
		axfs.TestFile{Path: "x", Data: text(9, 2), Kinds: "B", Mode: 0o644}))
	files := f.Statfs().Files
	for ino := uint64(1); ino <= files; ino++ {
		in, err := f.Inode(ino)
		must(t, err)
		a := vfs.Attr{RdevMajor: 7}
		if err := f.Stat(ino, &a); err != nil || a != in.Attr() || a.Ino != ino {
			t.Errorf("inode %d: %+v, %v; want %+v", ino, a, err, in.Attr())
		}
	}
	for _, ino := range []uint64{0, files + 1, ^uint64(0)} {
		if err := f.Stat(ino, new(vfs.Attr)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("inode %d: %v", ino, err)
		}
	}
}
