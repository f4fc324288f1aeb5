package ext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godax/internal/daxtest"
	"godax/vfs"
)

// walker visits everything in a file system, and reads it.
type walker struct {
	fs     vfs.FileSystem
	visit  func(path string, in vfs.Inode)
	failed func(path string, err error)
	seen   map[uint64]bool // directories
}

func (w *walker) walk(path string, ino uint64) {
	in, err := w.fs.Inode(ino)
	if err != nil {
		w.failed(path, err)
		return
	}
	defer in.Evict(context.Background())
	w.visit(path, in)
	d, ok := in.(vfs.Dir)
	if !ok || w.seen[ino] {
		return
	}
	w.seen[ino] = true
	type name struct {
		name string
		ino  uint64
	}
	var names []name
	err = d.ReadDir(0, func(e vfs.Dirent) bool {
		names = append(names, name{e.Name, e.Ino})
		return len(names) < 1<<16
	})
	if err != nil {
		w.failed(path, err)
	}
	for _, n := range names {
		if ino, err := d.Lookup(n.name); err != nil || ino != n.ino {
			w.failed(path, fmt.Errorf("lookup %q: %d, %w, want %d", n.name, ino, err, n.ino))
			continue
		}
		w.walk(strings.TrimSuffix(path, "/")+"/"+n.name, n.ino)
	}
}

// escape writes a path as the test data does.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x21 && c != ' ' || c > 0x7e || c == '\\' {
			fmt.Fprintf(&b, "\\x%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// manifestLine describes an inode in the columns of the test data.
func manifestLine(t testing.TB, path string, in vfs.Inode) string {
	a := in.Attr()
	typ := map[fs.FileMode]string{
		0: "f", fs.ModeDir: "d", fs.ModeSymlink: "l", fs.ModeNamedPipe: "p", fs.ModeSocket: "s",
		fs.ModeDevice: "b", fs.ModeDevice | fs.ModeCharDevice: "c",
	}[a.Mode.Type()]
	mode := a.Mode.Perm()
	for bit, v := range map[fs.FileMode]fs.FileMode{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if a.Mode&bit != 0 {
			mode |= v
		}
	}
	target, hash, rdev := "-", "-", "-"
	switch in := in.(type) {
	case vfs.Symlink:
		s, err := in.Readlink()
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		target = escape(s)
	case vfs.File:
		hash = hashFile(t, path, in)
	}
	if typ == "b" || typ == "c" {
		rdev = fmt.Sprintf("%d:%d", a.RdevMajor, a.RdevMinor)
	}
	size := a.Size
	if typ == "c" || typ == "b" || typ == "p" || typ == "s" {
		size = 0
	}
	mtime := fmt.Sprintf("%d.%09d", a.Mtime.Unix(), a.Mtime.Nanosecond())
	return strings.Join([]string{escape(path), typ, fmt.Sprintf("%04o", uint32(mode)), fmt.Sprint(a.UID), fmt.Sprint(a.GID),
		fmt.Sprint(size), target, hash, fmt.Sprint(a.Nlink), mtime, rdev}, "\t")
}

// hashFile hashes a file, jumping over its holes.
func hashFile(t testing.TB, path string, fl vfs.File) string {
	ctx := context.Background()
	h := sha256.New()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for off, size := int64(0), fl.Attr().Size; off < size; {
		e, err := fl.Extent(off)
		if err != nil || e.Len <= 0 {
			t.Errorf("%s: extent at %d: %+v, %v", path, off, e, err)
			return ""
		}
		for end := off + e.Len; off < end; {
			b := zero[:min(end-off, int64(len(zero)))]
			if e.Kind != vfs.ExtentHole {
				b = buf[:len(b)]
				if n, err := fl.ReadAt(ctx, b, off); n != len(b) || err != nil {
					t.Errorf("%s: read at %d: %d, %v", path, off, n, err)
					return ""
				}
			}
			h.Write(b)
			off += int64(len(b))
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Every healthy image without incompatible features reads as the kernel reads it.
func TestHealthyImages(t *testing.T) {
	images, err := filepath.Glob(filepath.Join(daxtest.TestData(t, "ext"), "*.img.gz"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no images: %v", err)
	}
	refused := map[string]string{
		"ext3-replay": "needs_recovery", "ext4-extents": "extent, 64bit, flex_bg", "ext4-inline": "extent, 64bit, flex_bg, inline_data",
		"ext4-htree": "extent, 64bit, flex_bg", "ext4-64bit": "meta_bg, extent, 64bit, flex_bg",
	}
	for _, path := range images {
		name := strings.TrimSuffix(filepath.Base(path), ".img.gz")
		t.Run(name, func(t *testing.T) {
			dev := daxtest.MemoryDevice(t, daxtest.Gunzip(t, path))
			f, err := mount(dev, vfs.MountOptions{ReadOnly: true})
			if want := refused[name]; want != "" {
				ue, ok := errors.AsType[*vfs.UnsupportedError](err)
				if !ok || ue.Feature != want || !errors.Is(err, errors.ErrUnsupported) {
					t.Fatalf("got %v, want features %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if testing.Short() && name == "ext2-4k" {
				t.Skip("short: has files of several GiB")
			}
			tsv, err := os.ReadFile(strings.TrimSuffix(path, ".img.gz") + ".tsv")
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Split(strings.TrimSpace(string(tsv)), "\n")[1:]
			var got []string
			w := walker{fs: f, seen: map[uint64]bool{}, failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }}
			w.visit = func(path string, in vfs.Inode) { got = append(got, manifestLine(t, path, in)) }
			w.walk("/", f.Root())
			slices.Sort(got)
			slices.Sort(want)
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("got  %s\nwant %s", got[i], want[i])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d lines, want %d", len(got), len(want))
			}
		})
	}
}

// devour opens an image, walks and reads everything, and does not care for errors as
// long as they come soon.
func devour(t testing.TB, image []byte, write bool) {
	t.Helper()
	start := daxtest.CPUTime()
	dev := daxtest.MemoryDevice(t, image)
	f, err := mount(dev, vfs.MountOptions{ReadOnly: !write})
	if err != nil {
		if !errors.Is(err, vfs.ErrCorrupt) && !errors.Is(err, vfs.ErrUnsupported) && !errors.Is(err, vfs.ErrNotClean) {
			t.Errorf("mount: unclassified error %v", err)
		}
		return
	}
	budget := int64(64 << 20)
	buf := make([]byte, 1<<16)
	w := walker{fs: f, seen: map[uint64]bool{}, failed: func(string, error) {}}
	visited := 0
	w.visit = func(path string, in vfs.Inode) {
		if visited++; visited > 1<<16 {
			return
		}
		if x, ok := in.(vfs.Xattrs); ok {
			names, _ := x.ListXattr()
			for _, n := range names {
				_, _ = x.Xattr(n)
			}
		}
		switch in := in.(type) {
		case vfs.Symlink:
			_, _ = in.Readlink()
		case vfs.File:
			for off, steps := int64(0), 0; off < in.Attr().Size && budget > 0 && steps < 1<<12; steps++ {
				e, err := in.Extent(off)
				if err != nil {
					break
				}
				if e.Kind != vfs.ExtentHole {
					n, _ := in.ReadAt(context.Background(), buf[:min(int64(len(buf)), e.Len)], off)
					budget -= int64(n)
				}
				if write && steps < 4 {
					_, _ = in.WriteAt(context.Background(), buf[:100], off)
				}
				off += e.Len
			}
			if write {
				_ = in.Truncate(context.Background(), 10)
			}
		case vfs.Dir:
			if write && visited < 50 {
				if c, err := in.Create("new name", vfs.NewInode{Mode: 0o644}); err == nil {
					_ = c.Evict(context.Background())
				}
			}
		}
	}
	w.walk("/", f.Root())
	_ = f.Close(context.Background())
	if d := daxtest.CPUTime() - start; d > 4*time.Second && !raceEnabled {
		t.Errorf("took %v of the processor", d)
	}
}

func TestDamagedImages(t *testing.T) {
	images, err := filepath.Glob(filepath.Join(daxtest.TestData(t, "ext-corrupt"), "*.img.gz"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no images: %v", err)
	}
	for _, path := range images {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".img.gz"), func(t *testing.T) {
			image := daxtest.Gunzip(t, path)
			devour(t, image, false)
			if len(image) > 2048 { // whatever its state says, as if it were clean
				image[1024+58], image[1024+59] = 1, 0
			}
			devour(t, image, true)
		})
	}
}

// metadataPlaces returns the offsets of the bytes of an image that are worth damaging:
// superblock, descriptors, inodes, and whatever is not zero in the first groups.
func metadataPlaces(image []byte) []int {
	var places []int
	for i := 1024; i < len(image); i++ {
		if image[i] != 0 && (i < 64<<10 || i%97 == 0) || i < 2048 {
			places = append(places, i)
		}
	}
	return places
}

func TestRandomDamage(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	for _, name := range []string{"ext2-1k", "ext2-rev0", "ext2-xattr", "ext3-clean"} {
		t.Run(name, func(t *testing.T) {
			image := daxtest.Gunzip(t, daxtest.TestData(t, "ext/"+name+".img.gz"))
			places := metadataPlaces(image)
			for seed := range uint64(rounds) {
				r := rand.New(rand.NewPCG(seed, 7))
				b := bytes.Clone(image)
				for range 1 + r.IntN(30) {
					p := places[r.IntN(len(places))]
					if r.IntN(4) == 0 {
						p = p&^3 + r.IntN(4)
					}
					b[p] ^= byte(1 << r.IntN(8))
					if r.IntN(8) == 0 {
						copy(b[p&^3:], []byte{0xff, 0xff, 0xff, 0xff})
					}
				}
				devour(t, b, seed%2 == 1)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}
