package godax_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"godax"
	"golang.org/x/sys/unix"
)

// The benchmarks compare with the alternative in the same run: a bare copy from the
// mapped bytes, the kernel's read on a tmpfs file, a plain mmap of one. All of
// them work on one file of 1 GiB in an ext2 image on tmpfs.

const benchFile = 1 << 30

// bench is the image all benchmarks share; it lives until the process ends.
var bench = sync.OnceValues(func() (*benchImage, error) {
	dir, err := os.MkdirTemp("/dev/shm", "godax-bench-")
	if err != nil {
		return nil, err
	}
	benchDir = dir
	b := &benchImage{dir: dir}
	return b, b.make()
})

type benchImage struct {
	dir   string
	fsys  *godax.FS
	file  *godax.File
	plain *os.File // 1 GiB on tmpfs
}

// benchDir is the folder of the image, for TestMain to remove.
var benchDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if benchDir != "" {
		os.RemoveAll(benchDir)
	}
	os.Exit(code)
}

func (b *benchImage) make() (err error) {
	if b.fsys, err = newImage(filepath.Join(b.dir, "image"), benchFile+benchFile/4, 4096, godax.Options{}); err != nil {
		return err
	}
	if b.file, err = b.fsys.Create("big"); err != nil {
		return err
	}
	if b.plain, err = os.Create(filepath.Join(b.dir, "plain")); err != nil {
		return err
	}
	buf := make([]byte, 4<<20)
	for i := range buf {
		buf[i] = byte(i * 7)
	}
	for off := int64(0); off < benchFile; off += int64(len(buf)) {
		if _, err = b.file.WriteAt(buf, off); err != nil {
			return err
		}
		if _, err = b.plain.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

func benchSetup(b *testing.B) *benchImage {
	b.Helper()
	img, err := bench()
	if err != nil {
		b.Skipf("no image on /dev/shm: %v", err)
	}
	return img
}

// mapAll maps the whole file and touches every page, so that only the copy is left
// to measure.
func (img *benchImage) mapAll(b *testing.B, flags godax.MapFlags) *godax.Mapping {
	b.Helper()
	m, err := img.file.Mmap(0, benchFile, flags)
	must(b, err)
	b.Cleanup(func() { must(b, m.Close()) })
	touch(m.Bytes())
	return m
}

// touched keeps the loads of touch.
var touched byte

func touch(b []byte) {
	for i := 0; i < len(b); i += page {
		touched += b[i]
	}
}

// offsets are random page offsets in the file.
func offsets() []int64 {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]int64, 1<<14)
	for i := range all {
		all[i] = r.Int64N(benchFile/page) * page
	}
	return all
}

// side is one of the things that a benchmark compares: it moves size bytes at off.
type side struct {
	name string
	move func(off int64) error
}

// compare runs the sides over the same offsets.
func compare(b *testing.B, size int64, next func() int64, sides ...side) {
	b.Helper()
	for _, s := range sides {
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.move(next()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// random goes through the same random pages again and again.
func random() func() int64 {
	offs, i := offsets(), 0
	return func() int64 { i++; return offs[i%len(offs)] }
}

// reads are the sides of a benchmark that reads pieces of the given size.
func (img *benchImage) reads(b *testing.B, size int64) []side {
	b.Helper()
	buf := make([]byte, size)
	mem := img.mapAll(b, godax.MapShared).Bytes()
	return []side{
		{"copy", func(off int64) error { copy(buf, mem[off:off+size]); return nil }},
		{"godax", func(off int64) error { _, err := img.file.ReadAt(buf, off); return err }},
		{"tmpfs", func(off int64) error { _, err := img.plain.ReadAt(buf, off); return err }},
	}
}

func BenchmarkRead4KRandom(b *testing.B) {
	img := benchSetup(b)
	compare(b, page, random(), img.reads(b, page)...)
}

func BenchmarkRead1MSequential(b *testing.B) {
	img := benchSetup(b)
	const size = 1 << 20
	off := int64(0)
	compare(b, size, func() int64 { off = (off + size) % benchFile; return off }, img.reads(b, size)...)
}

func BenchmarkOverwrite4KRandom(b *testing.B) {
	img := benchSetup(b)
	buf := make([]byte, page)
	mem := img.mapAll(b, godax.MapShared|godax.MapWrite).Bytes()
	compare(b, page, random(),
		side{"copy", func(off int64) error { copy(mem[off:off+page], buf); return nil }},
		side{"godax", func(off int64) error { _, err := img.file.WriteAt(buf, off); return err }},
		side{"tmpfs", func(off int64) error { _, err := img.plain.WriteAt(buf, off); return err }})
}

// BenchmarkMmap maps 1 GiB and touches every page.
func BenchmarkMmap(b *testing.B) {
	img := benchSetup(b)
	b.Run("godax", func(b *testing.B) {
		var calls uint64
		for b.Loop() {
			m, err := img.file.Mmap(0, benchFile, godax.MapShared)
			must(b, err)
			calls = m.MmapCalls()
			touch(m.Bytes())
			must(b, m.Close())
		}
		b.ReportMetric(float64(calls), "mmap-calls")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(benchFile/page), "ns/page")
	})
	b.Run("tmpfs", func(b *testing.B) {
		for b.Loop() {
			mem, err := unix.Mmap(int(img.plain.Fd()), 0, benchFile, unix.PROT_READ, unix.MAP_SHARED)
			must(b, err)
			touch(mem)
			must(b, unix.Munmap(mem))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(benchFile/page), "ns/page")
	})
}

// BenchmarkClean dirties random pages of 1 GiB through a mapping and cleans them.
func BenchmarkClean(b *testing.B) {
	img := benchSetup(b)
	m := img.mapAll(b, godax.MapShared|godax.MapWrite)
	must(b, m.Sync())
	for _, n := range []int{0, 10, 1000, 100000} {
		b.Run(fmt.Sprintf("dirty=%d", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(3, uint64(n)))
			mem, found := m.Bytes(), uint64(0)
			for b.Loop() {
				b.StopTimer()
				for range n {
					mem[r.IntN(benchFile/page)*page]++
				}
				b.StartTimer()
				st, err := m.Writeback()
				must(b, err)
				found = st.Collected
			}
			b.ReportMetric(float64(found), "found-pages")
		})
	}
}

// BenchmarkTree walks and reads a tree of 2,000 small files: through godax, and
// through the kernel on a loop mount of a copy.
func BenchmarkTree(b *testing.B) {
	img := benchSetup(b)
	const files = 2000
	path := filepath.Join(img.dir, "tree")
	fsys, err := newImage(path, 64<<20, 4096, godax.Options{})
	must(b, err)
	for i := range files {
		dir := fmt.Sprintf("d%02d", i%50)
		must(b, fsys.MkdirAll(dir, 0o755))
		must(b, fsys.WriteFile(fmt.Sprintf("%s/f%d", dir, i), make([]byte, 100+i), 0o644))
	}
	must(b, fsys.Close())
	walk := func(b *testing.B, view fs.FS) {
		for b.Loop() {
			n := 0
			must(b, fs.WalkDir(view, ".", func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				n++
				_, err = fs.ReadFile(view, path)
				return err
			}))
			if n != files {
				b.Fatalf("%d files, want %d", n, files)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/file")
	}
	b.Run("godax", func(b *testing.B) {
		fsys, err := godax.Open(path, godax.Options{ReadOnly: true})
		must(b, err)
		defer fsys.Close()
		walk(b, fsys.IOFS())
	})
	b.Run("kernel", func(b *testing.B) {
		dir := b.TempDir()
		if out, err := exec.Command("mount", "-o", "loop,ro", path, dir).CombinedOutput(); err != nil {
			b.Skipf("cannot mount the image (needs root): %v: %s", err, out)
		}
		defer exec.Command("umount", dir).Run()
		walk(b, os.DirFS(dir))
	})
}
