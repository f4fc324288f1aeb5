package build

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"godax/internal/axfsdec"
)

// everything is a tree with all that the builder must handle.
func everything() memTree {
	t := newTree()
	t["."].attr = Attr{Mode: fs.ModeDir | fs.ModeSticky | 0o777, UID: 12, GID: 34, ID: ID{1, 1}}
	for i, n := range []int{0, 1, 2, 4095, 4096, 4097, 8191, 8193, 65536, 150000} {
		t.file(fmt.Sprintf("noise/%d", n), noise(i, n))
		t.file(fmt.Sprintf("prose/%d", n), prose(i, n))
		t.file(fmt.Sprintf("zero/%d", n), make([]byte, n))
	}
	sparse := make([]byte, 1<<20+100)
	copy(sparse[70000:], "an island")
	copy(sparse[1<<19:], noise(77, 5000))
	t.add("sparse", &memFile{attr: Attr{Mode: 0o600}, data: sparse, holes: true})
	t.file("sparse-full", sparse) // the same without holes
	elf := append([]byte(elfMagic), prose(5, 50000)...)
	t.add("bin/prog", &memFile{attr: Attr{Mode: 0o755 | fs.ModeSetuid}, data: elf})
	t.add("bin/script", &memFile{attr: Attr{Mode: 0o755}, data: []byte("#!/bin/sh\nexit 0\n")})
	t.file("lib/lib.so", append([]byte(elfMagic), noise(9, 20000)...))
	t.file("lib/copy.so", t["lib/lib.so"].data)
	t.file("lib/longer.so", append(bytes.Clone(t["lib/lib.so"].data), "more"...))
	t.add("emptydir", &memFile{attr: Attr{Mode: fs.ModeDir | fs.ModeSetgid | 0o700, UID: 1 << 31, GID: 1<<32 - 1}})
	t.add("link", &memFile{attr: Attr{Mode: fs.ModeSymlink | 0o777}, target: "../of/no\xffwhere"})
	t.add("longlink", &memFile{attr: Attr{Mode: fs.ModeSymlink | 0o777}, target: strings.Repeat("long/", 800)})
	t.add("dev/null", &memFile{attr: Attr{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3}})
	t.add("dev/big", &memFile{attr: Attr{Mode: fs.ModeDevice | 0o660, Major: 0xfff, Minor: 0xfffff}})
	t.add("dev/fifo", &memFile{attr: Attr{Mode: fs.ModeNamedPipe | 0o600}})
	t.add("dev/sock", &memFile{attr: Attr{Mode: fs.ModeSocket | 0o600}})
	t.file("names/"+strings.Repeat("x", 255), []byte("long"))
	t.file("names/\xff\xfe\n\x01", []byte("odd"))
	t.file("names/lib.so", []byte("name as elsewhere"))
	t.file(strings.Repeat("d/", 60)+"deep", []byte("deep"))
	t["bin/hard"] = &memFile{attr: t["bin/prog"].attr, data: elf}
	return t
}

// variants are options that reach all of the builder.
func variants() map[string]Options {
	page := []int{4 << 10, 16 << 10, 64 << 10}
	all := map[string]Options{
		"plain":    {},
		"no dedup": {NoDedup: true},
		"elf":      {XIP: XIP{Mode: ModeELF}, Timestamp: 1234567890},
		"exec":     {XIP: XIP{Mode: ModeExecutable}, AllRoot: true, Level: 1},
		"bytes":    {XIP: XIP{Mode: ModeAll}, Tail: TailBytes},
		"globs":    {XIP: XIP{Globs: []string{"*.so", "/noise", "zero/6*", "d/d/d"}}, BlockSize: 12 << 10},
		"profile": {BlockSize: 32 << 10, XIP: XIP{Profile: Profile{
			{"noise/150000", 4096, 1}, {"noise/150000", 8192, 2}, {"noise/150000", 149999, 1}, {"bin/hard", 5000, 1}, {"bin/prog", 0, 9},
			{"sparse", 0, 1}, {"sparse", 1 << 20, 1}, {"no/file", 0, 1}, {"noise/1", 4096, 1}, {"noise/2", 0, 0},
		}}},
		"one a block": {BlockSize: 64 << 10, BlockPages: 1},
	}
	for _, size := range page {
		all[fmt.Sprint("all ", size)] = Options{PageSize: size, XIP: XIP{Mode: ModeAll}, NoDedup: size == page[1]}
		all[fmt.Sprint("64K blocks ", size)] = Options{PageSize: size, BlockSize: 64 << 10}
	}
	for name, o := range all {
		if name != "plain" && name != "one a block" {
			o.Level = 1 // for speed
			all[name] = o
		}
	}
	return all
}

// TestRoundTrip builds images in one part and in two, and reads them with both readers.
func TestRoundTrip(t *testing.T) {
	src := everything()
	for name, o := range variants() {
		t.Run(name, func(t *testing.T) {
			whole, st := image(t, src, o)
			im := src.check(t, o, whole)
			src.read(t, o, whole)
			if im.Timestamp != o.Timestamp || st.ImageBytes != uint64(len(whole)) || st.MappedBytes != st.ImageBytes {
				t.Errorf("timestamp %d, image of %d bytes, statistics %+v", im.Timestamp, len(whole), st)
			}
			var second memTarget
			o.Second = &second
			first, st := image(t, src, o)
			src.check(t, o, first, second.b)
			src.read(t, o, first, second.b)
			if st.MappedBytes != uint64(len(first)) || len(first)%int(im.PageSize) != 0 {
				t.Errorf("first part of %d bytes, statistics %+v", len(first), st)
			}
			const head = 984 // superblock and descriptors
			if end := im.Regions[axfsdec.Compressed].Offset; !bytes.Equal(first[head:end], whole[head:end]) {
				t.Error("the first part of a split image differs")
			}
		})
	}
}

// TestReproducible builds the same image with other numbers of workers, from a tree whose holes
// are elsewhere.
func TestReproducible(t *testing.T) {
	for name, o := range variants() {
		src := everything()
		o.Workers = 1
		want, _ := image(t, src, o)
		for _, f := range src {
			f.holes = !f.holes
		}
		o.Workers = 7
		if got, _ := image(t, src, o); !bytes.Equal(got, want) {
			t.Errorf("%s: another image with 7 workers", name)
		}
	}
}
