package axfs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"godax"
	"godax/fs/axfs"
	"godax/vfs"
)

// The benchmarks compare with a bare copy in the same run. Next to other readers of other
// formats the driver is measured in internal/compare.

const benchSize = 64 * mib

// benchFiles is a tree of 2,000 small files and two large ones.
func benchFiles() []axfs.TestFile {
	files := []axfs.TestFile{
		{Path: "direct", Data: text(benchSize, 1), Kinds: "X", Mode: 0o644},
		{Path: "compressed", Data: text(benchSize/8, 2), Kinds: "C", Mode: 0o644},
	}
	for i := range 2000 {
		files = append(files, axfs.TestFile{
			Path: fmt.Sprintf("dir%02d/file%04d", i%50, i), Data: text(200+i*7%9000, uint64(i)),
			Kinds: []string{"X", "C", "B"}[i%3], Mode: 0o644,
		})
	}
	return files
}

// BenchmarkOpen opens an image of 2,000 files, with all its checks.
func BenchmarkOpen(b *testing.B) {
	img := axfs.TestImage{Cblock: 1 << 14}.Build(b, benchFiles()[2:]...)
	_, _, dev := openBytes(b, godax.Options{}, img)
	b.ReportAllocs()
	for b.Loop() {
		f, err := axfs.Driver.Mount(dev, vfs.MountOptions{ReadOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWalk visits 2,000 files with their attributes, through the driver and through the API.
func BenchmarkWalk(b *testing.B) {
	img := axfs.TestImage{Cblock: 1 << 14}.Build(b, benchFiles()[2:]...)
	fsys, f, _ := openBytes(b, godax.Options{}, img)
	b.Run("driver", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := walkDriver(b, f, f.Root(), nil); n != 2050 {
				b.Fatalf("%d files", n)
			}
		}
	})
	b.Run("api", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, p := range tree(b, fsys, "/") {
				if _, err := fsys.Lstat(p); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// walkDriver visits everything below a directory, with its attributes, and counts. What is not nil
// is called for each file.
func walkDriver(b *testing.B, f *axfs.FS, ino uint64, visit func(vfs.File)) (n int) {
	in, err := f.Inode(ino)
	if err != nil {
		b.Fatal(err)
	}
	err = in.(vfs.Dir).ReadDir(0, func(e vfs.Dirent) bool {
		n++
		if e.Type.IsDir() {
			n += walkDriver(b, f, e.Ino, visit)
			return true
		}
		child, err := f.Inode(e.Ino)
		if err != nil {
			b.Fatal(err)
		}
		if child.Attr().Ino != e.Ino {
			b.Fatal("wrong inode")
		}
		if file, ok := child.(vfs.File); ok && visit != nil {
			visit(file)
		}
		if err := child.Evict(context.Background()); err != nil {
			b.Fatal(err)
		}
		return true
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkSmallFiles reads 2,000 files whole, of each kind of page a third.
func BenchmarkSmallFiles(b *testing.B) {
	for _, kind := range []string{"X", "C", "B"} {
		files := benchFiles()[2:]
		for i := range files {
			files[i].Kinds = kind
		}
		img := axfs.TestImage{Cblock: 1 << 14}.Build(b, files...)
		fsys, f, _ := openBytes(b, godax.Options{}, img)
		buf := make([]byte, 16<<10)
		b.Run("driver/"+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				walkDriver(b, f, f.Root(), func(file vfs.File) {
					if n, err := file.ReadAt(context.Background(), buf[:file.Attr().Size], 0); err != nil {
						b.Fatal(n, err)
					}
				})
			}
		})
		b.Run("api/"+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, f := range files {
					if _, err := fsys.ReadFile(f.Path); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkRead reads 4 KiB of a large file, in order and at random, next to a copy of the same
// bytes.
func BenchmarkRead(b *testing.B) {
	img := axfs.TestImage{}.Build(b, benchFiles()[:2]...)
	fsys, _, _ := openBytes(b, godax.Options{}, img)
	buf := make([]byte, page)
	for _, name := range []string{"direct", "compressed"} {
		file := openFile(b, fsys, name)
		size := sizeOf(b, file)
		view := mapFile(b, file, int(size), godax.MapShared|godax.MapPopulate)
		order := make([]int64, size/page)
		for i := range order {
			order[i] = int64(i) * page
		}
		for _, way := range []string{"seq", "rand"} {
			if way == "rand" {
				r := rand.New(rand.NewPCG(1, 2))
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			b.Run(name+"/"+way+"/copy", func(b *testing.B) {
				b.SetBytes(page)
				for i := 0; b.Loop(); i++ {
					copy(buf, view.Bytes()[order[i%len(order)]:])
				}
			})
			b.Run(name+"/"+way+"/read", func(b *testing.B) {
				b.SetBytes(page)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := file.ReadAt(buf, order[i%len(order)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// sizeOf is a file's size.
func sizeOf(b *testing.B, f *godax.File) int64 {
	fi, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return fi.Size()
}

// BenchmarkColdRead reads 4 KiB of a compressed file that is inflated for it.
func BenchmarkColdRead(b *testing.B) {
	for _, cblock := range []int{page, 1 << 16} {
		img := axfs.TestImage{Cblock: cblock}.Build(b, axfs.TestFile{Path: "f", Data: text(4*mib, 1)})
		fsys, _, _ := openBytes(b, godax.Options{CacheBytes: page}, img)
		file := openFile(b, fsys, "f")
		buf := make([]byte, page)
		for name, step := range map[string]int64{"seq": 1, "far": 67} {
			b.Run(fmt.Sprintf("%d/%s", cblock, name), func(b *testing.B) {
				b.SetBytes(page)
				for i := int64(0); b.Loop(); i++ {
					if _, err := file.ReadAt(buf, i*step%(4*mib/page)*page); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkMap maps a large file and touches every page.
func BenchmarkMap(b *testing.B) {
	img := axfs.TestImage{Align: 2 * mib}.Build(b, benchFiles()[:2]...)
	fsys, _, _ := openBytes(b, godax.Options{}, img)
	for _, name := range []string{"direct", "compressed"} {
		file := openFile(b, fsys, name)
		size := sizeOf(b, file)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			sum := byte(0)
			for b.Loop() {
				m, err := file.Mmap(0, int(size), godax.MapShared)
				if err != nil {
					b.Fatal(err)
				}
				for off := 0; off < len(m.Bytes()); off += page {
					sum += m.Bytes()[off]
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
			_ = sum
		})
	}
}
