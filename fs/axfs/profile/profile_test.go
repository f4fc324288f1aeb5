package profile

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"godax"
	"godax/fs/axfs/build"

	"github.com/google/go-cmp/cmp"
)

// tree is a directory of the host for the builder.
type tree string

func (t tree) Lstat(p string) (build.Attr, error) {
	fi, err := os.Lstat(filepath.Join(string(t), p))
	if err != nil {
		return build.Attr{}, err
	}
	return build.Attr{Mode: fi.Mode(), Size: fi.Size()}, nil
}

func (t tree) ReadDir(p string) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(string(t), p))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (t tree) Readlink(p string) (string, error)   { return os.Readlink(filepath.Join(string(t), p)) }
func (t tree) Open(p string) (build.Reader, error) { return os.Open(filepath.Join(string(t), p)) }

// newTree makes a tree of files.
func newTree(t *testing.T) tree {
	t.Helper()
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%3), fmt.Sprintf("file,%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for b.Len() < 30000+i*5000 {
			fmt.Fprintf(&b, "%d %x\n", i, rnd.Uint32N(1<<(1+rnd.IntN(31))))
		}
		if i == 5 {
			b.Reset()
			b.WriteString("\x7fELF" + strings.Repeat("code ", 9000))
		}
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("d0/file,0", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return tree(dir)
}

// openImage builds an image of the tree and opens it.
func openImage(t *testing.T, src tree, o build.Options, touched func(uint64, int64, int64)) *godax.FS {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	o.TempDir = t.TempDir()
	if _, err := build.Build(t.Context(), src, out, o); err != nil {
		t.Fatal(err)
	}
	f, err := godax.Open(out.Name(), godax.Options{ReadOnly: true, Touched: touched})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// TestRecorder reads and maps files of an image, and finds the pages in the list, and none
// else.
func TestRecorder(t *testing.T) {
	var rec Recorder
	f := openImage(t, newTree(t), build.Options{}, rec.Touched)
	read := func(name string, off int64, n int) {
		file, err := f.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if k, err := file.ReadAt(make([]byte, n), off); k == 0 {
			t.Fatal(err)
		}
	}
	read("d0/file,3", 5000, 10)
	read("d0/file,3", 8190, 4)
	read("link", 0, 1)
	read("d1/file,10", 40000, 1<<21) // reaches past the end, and is long
	file, err := f.Open("d2/file,2")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m, err := file.Mmap(4096, 8192, godax.MapRead|godax.MapShared)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got, err := rec.Profile(f.VFS())
	if err != nil {
		t.Fatal(err)
	}
	want := build.Profile{{Path: "d0/file,0", Offset: 0, Count: 1}, {Path: "d0/file,3", Offset: 4096, Count: 2}, {Path: "d0/file,3", Offset: 8192, Count: 1}}
	fi, err := f.Stat("d1/file,10")
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(9 * 4096); off < fi.Size(); off += 4096 {
		want = append(want, build.ProfileLine{Path: "d1/file,10", Offset: off, Count: 1})
	}
	want = append(want, build.ProfileLine{Path: "d2/file,2", Offset: 4096, Count: 1}, build.ProfileLine{Path: "d2/file,2", Offset: 8192, Count: 1})
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestRecorderEdges: ranges of all kinds, from several goroutines.
func TestRecorderEdges(t *testing.T) {
	var rec Recorder
	f := openImage(t, newTree(t), build.Options{}, nil)
	if list, err := rec.Profile(f.VFS()); err != nil || list != nil {
		t.Errorf("a new recorder has %v, %v", list, err)
	}
	fi, err := f.Stat("d0/file,0")
	if err != nil {
		t.Fatal(err)
	}
	ino := fi.Sys().(*godax.Stat).Ino
	rec.Touched(ino, -1, 5)
	rec.Touched(ino, 0, 0)
	rec.Touched(ino, 1<<40, 1)
	rec.Touched(ino, math.MaxInt64-1, math.MaxInt64)
	rec.Touched(ino+1<<40, 0, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { rec.Touched(ino, 4095, math.MaxInt64) })
	}
	wg.Wait()
	list, err := rec.Profile(f.VFS())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != int(fi.Size()+4095)/4096 || list[0] != (build.ProfileLine{Path: "d0/file,0", Count: 4}) {
		t.Errorf("list is %v", list)
	}
}

// TestMeasure compares the points of the curve with images that are built so.
func TestMeasure(t *testing.T) {
	src := newTree(t)
	var list build.Profile
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 12 {
		for page := range int64(7) {
			if rnd.IntN(3) > 0 {
				list = append(list, build.ProfileLine{Path: fmt.Sprintf("d%d/file,%d", i%3, i), Offset: page * 4096, Count: uint64(1 + rnd.IntN(5))})
			}
		}
	}
	list = append(list, build.ProfileLine{Path: "not/there", Count: 1}, build.ProfileLine{Path: "d0/file,0", Offset: 1 << 40, Count: 1})
	for _, o := range []build.Options{{}, {BlockSize: 64 << 10}, {PageSize: 16 << 10, Level: 1}} {
		o.TempDir = t.TempDir()
		r, err := Measure(t.Context(), src, list, o)
		if err != nil {
			t.Fatal(err)
		}
		unit := int64(r.PageSize)
		if r.Files != 12 || r.Touched == 0 || r.Distinct > r.Touched || len(r.Images) != 4 || len(r.Curve) != curveSteps+1 {
			t.Fatalf("report %+v", r)
		}
		first, last := r.Curve[0], r.Curve[curveSteps]
		if first.Bytes != r.Images[0].Bytes || first.Resident != int64(r.Distinct)*unit || last.Share != 1 || last.Resident != 0 || r.Images[0].Resident != first.Resident {
			t.Errorf("curve from %+v to %+v, images %+v", first, last, r.Images)
		}
		if diff := last.Bytes - r.Images[1].Bytes; max(diff, -diff) > last.Bytes/20+16*unit {
			t.Errorf("%+v: all touched pages in place: %d computed, %d built", o, last.Bytes, r.Images[1].Bytes)
		}
		if r.Images[1].Resident != 0 || r.Images[1].Direct != r.Touched || r.Images[3].Resident != 0 || r.Images[2].Resident == 0 || r.Images[2].Direct == 0 {
			t.Errorf("images %+v", r.Images)
		}
		for i := 1; i < len(r.Curve); i++ {
			if r.Curve[i].Resident > r.Curve[i-1].Resident || r.Curve[i].Bytes < r.Curve[i-1].Bytes {
				t.Errorf("the curve is not monotonic at %d: %+v", i, r.Curve[i-1:i+1])
			}
		}
	}
}

// TestMeasureNothing: a list that names nothing of the tree.
func TestMeasureNothing(t *testing.T) {
	r, err := Measure(t.Context(), newTree(t), nil, build.Options{TempDir: t.TempDir(), Level: 1})
	if err != nil || r.Touched != 0 || r.Curve[curveSteps].Bytes != r.Images[0].Bytes {
		t.Errorf("report %+v, %v", r, err)
	}
}
