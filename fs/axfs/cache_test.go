package axfs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"godax"
	"godax/fs/axfs"
	"godax/vfs"
)

// TestEviction: cached pages are given up when CacheBytes are in use, and come back.
func TestEviction(t *testing.T) {
	const limit = 16 * page
	data := text(mib, 1)
	for _, kinds := range []string{"C", "B", "CB"} {
		img := axfs.TestImage{Cblock: 1 << 14}.Build(t, axfs.TestFile{Path: "f", Data: data, Kinds: kinds}, axfs.TestFile{Path: "g", Same: "f"})
		fsys, f, _ := openBytes(t, godax.Options{CacheBytes: limit}, img)
		for range 2 {
			for _, name := range []string{"f", "g"} {
				file := openFile(t, fsys, name)
				for _, x := range extents(t, file) { // all pages get a frame
					if x.Kind != godax.Cached {
						t.Fatalf("%+v", x)
					}
				}
				if n := f.CachedFrames(); n > limit/page {
					t.Errorf("%s: %d frames, the limit is %d", kinds, n, limit/page)
				}
				b := make([]byte, len(data))
				if n, err := file.ReadAt(b, 0); n != len(b) || err != nil || !bytes.Equal(b, data) {
					t.Errorf("%s: %d, %v", kinds, n, err)
				}
			}
		}
	}
}

// TestNoIndex: a file whose pages need no frame has no index while it is opened, read whole once,
// and closed; who reads on gets one.
func TestNoIndex(t *testing.T) {
	data := text(3*page+5, 1)
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "x", Data: data, Kinds: "X"}, axfs.TestFile{Path: "mixed", Data: data, Kinds: "XBXB"},
		axfs.TestFile{Path: "c", Data: data, Kinds: "XC"})
	for name, has := range map[string]bool{"x": false, "mixed": false, "c": true} {
		_, f, _ := openBytes(t, godax.Options{}, img)
		file := fresh(t, f, name)
		lazy := file.(vfs.Lazy)
		for i, want := range []bool{has, true} {
			b := make([]byte, len(data)+1)
			if n, err := file.ReadAt(context.Background(), b, 0); n != len(data) || err != nil && err != io.EOF || !bytes.Equal(b[:n], data) {
				t.Fatalf("%s: %d bytes, %v", name, n, err)
			}
			if got := lazy.Mapped() != nil; got != want {
				t.Errorf("%s: after %d reads it has an index: %v", name, i+1, got)
			}
		}
		must(t, file.Evict(context.Background()))
	}
}

// TestMappedStays: what a view shows is not given up, however many pages others ask for.
func TestMappedStays(t *testing.T) {
	data, other := text(8*page, 1), text(mib, 2)
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "mapped", Data: data}, axfs.TestFile{Path: "other", Data: other})
	fsys, f, _ := openBytes(t, godax.Options{CacheBytes: 2 * page}, img)
	m := mapFile(t, openFile(t, fsys, "mapped"), len(data), godax.MapShared)
	for range 3 {
		want(t, fsys, "other", other)
		if !bytes.Equal(m.Bytes(), data) {
			t.Fatal("the view shows something else")
		}
	}
	if n := f.CachedFrames(); n > 8+256+2 {
		t.Errorf("%d frames", n)
	}
}

// TestOneInflation: readers of all pages of a block, through several files, inflate it
// once.
func TestOneInflation(t *testing.T) {
	const pages = 16
	data := text(pages*page, 3)
	img := axfs.TestImage{Cblock: pages * page}.Build(t, axfs.TestFile{Path: "f", Data: data}, axfs.TestFile{Path: "g", Same: "f"})
	fsys, f, _ := openBytes(t, godax.Options{}, img)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range 4 * pages {
		file := openFile(t, fsys, "fg"[i%2:][:1])
		wg.Go(func() {
			<-begin
			b := make([]byte, page)
			for j := range pages {
				p := (i + j*5) % pages
				if _, err := file.ReadAt(b, int64(p)*page); err != nil || !bytes.Equal(b, data[p*page:][:page]) {
					t.Errorf("page %d: %v", p, err)
				}
			}
		})
	}
	close(begin)
	wg.Wait()
	if n := f.Inflated(); n != 1 {
		t.Errorf("the block was inflated %d times", n)
	}
	if n := f.CachedFrames(); n != pages {
		t.Errorf("%d frames for %d pages", n, pages)
	}
}

// TestReadersAndViews: readers, views and evictions of files with all kinds of pages, that
// share them, side by side.
func TestReadersAndViews(t *testing.T) {
	var files []axfs.TestFile
	data := map[string][]byte{}
	for i := range 6 {
		f := axfs.TestFile{Path: fmt.Sprint("f", i), Data: text(20*page+i*100, uint64(i)), Kinds: []string{"XCB", "CCCX", "C"}[i%3]}
		files = append(files, f, axfs.TestFile{Path: f.Path + "same", Same: f.Path})
		data[f.Path], data[f.Path+"same"] = f.Data, f.Data
	}
	img := axfs.TestImage{Cblock: 1 << 15, Junk: 0x55}.Build(t, files...)
	fsys, _, _ := openBytes(t, godax.Options{CacheBytes: 8 * page}, img)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			b := make([]byte, 3*page)
			for i := range 60 {
				name := files[(g*5+i)%len(files)].Path
				f, err := fsys.Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				d := data[name]
				if i%4 == 0 {
					m, err := f.Mmap(0, len(d), godax.MapShared)
					if err != nil {
						t.Error(err)
						return
					}
					if !bytes.Equal(m.Bytes(), d) {
						t.Errorf("%s: view shows something else", name)
					}
					if err := m.Close(); err != nil {
						t.Error(err)
					}
				}
				off := (i * 7919) % (len(d) - len(b))
				if _, err := f.ReadAt(b, int64(off)); err != nil || !bytes.Equal(b, d[off:][:len(b)]) {
					t.Errorf("%s at %d: %v", name, off, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestAllocations: a direct read allocates nothing.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "f", Data: fill(mib, 1), Kinds: "X"}, axfs.TestFile{Path: "b", Data: fill(mib, 2), Kinds: "B"})
	fsys, f, _ := openBytes(t, godax.Options{}, img)
	b := make([]byte, page)
	for name, most := range map[string]float64{"f": 0, "b": 0} {
		file := openFile(t, fsys, name)
		off := int64(0)
		if n := testing.AllocsPerRun(500, func() {
			if _, err := file.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
			off = (off + 17*page) % mib
		}); n > most {
			t.Errorf("%s: a read allocates %v times", name, n)
		}
	}
	dir, err := f.Inode(1)
	must(t, err)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := dir.(interface{ Lookup(string) (uint64, error) }).Lookup("f"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a lookup allocates %v times", n)
	}
}
