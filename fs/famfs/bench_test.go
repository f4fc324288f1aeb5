package famfs_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"godax"
	"godax/fs/famfs"
	"godax/pmem"
)

// touch loads a byte of every page.
func touch(b []byte) {
	var sum byte
	for ; len(b) > 0; b = b[page:] {
		sum += b[0]
	}
	sink.Store(uint32(sum))
}

// sink keeps the compiler from leaving loads out.
var sink atomic.Uint32

// benchSize is the size of the file that is read and written.
const benchSize = 256 * mib

// benchFile makes a famfs in memory with one file, striped or not.
func benchFile(b *testing.B, stripe godax.Stripe) *godax.File {
	b.Helper()
	dev, err := pmem.NewMemory(benchSize+32*mib, pmem.MemoryOptions{})
	must(b, err)
	b.Cleanup(func() { must(b, dev.Close()) })
	must(b, famfs.Format(dev, famfs.FormatOptions{System: us}))
	f, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
	must(b, err)
	b.Cleanup(func() { must(b, f.Close()) })
	file, err := f.CreateSized("file", benchSize, godax.CreateOptions{Perm: 0o644, Stripe: stripe})
	must(b, err)
	b.Cleanup(func() { must(b, file.Close()) })
	return file
}

// BenchmarkIO reads, overwrites and uses in place 4 KiB at random places and 1 MiB in order,
// each against a bare copy from and to the same memory.
func BenchmarkIO(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	offs := make([]int64, 1<<14)
	for i := range offs {
		offs[i] = r.Int64N(benchSize/page) * page
	}
	for _, kind := range []struct {
		name   string
		stripe godax.Stripe
	}{{"simple", godax.Stripe{}}, {"striped", godax.Stripe{Strips: 4, Chunk: 2 * mib}}} {
		file := benchFile(b, kind.stripe)
		m, err := file.Mmap(0, benchSize, godax.MapShared|godax.MapWrite|godax.MapPopulate)
		must(b, err)
		mem := m.Bytes()
		touch(mem)
		for _, size := range []int64{page, mib} {
			buf := make([]byte, size)
			i := 0
			next := func() int64 {
				i++
				if size == page {
					return offs[i%len(offs)]
				}
				return int64(i) * size % benchSize
			}
			for _, op := range []struct {
				name string
				do   func(off int64) error
			}{
				{"copy", func(off int64) error { copy(buf, mem[off:off+size]); return nil }},
				{"ReadAt", func(off int64) error { _, err := file.ReadAt(buf, off); return err }},
				{"copy-to", func(off int64) error { copy(mem[off:off+size], buf); return nil }},
				{"WriteAt", func(off int64) error { _, err := file.WriteAt(buf, off); return err }},
				{"in-place-word", func(off int64) error { mem[off]++; return nil }},
			} {
				b.Run(fmt.Sprintf("%s/%s/%d", kind.name, op.name, size), func(b *testing.B) {
					b.SetBytes(size)
					b.ReportAllocs()
					for b.Loop() {
						if err := op.do(next()); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
		must(b, m.Close())
	}
}

// BenchmarkCreate makes a file of one page, in a log that has so many entries already: how fast
// allocation stays as the log fills.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{1, 1000, 15000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dev, err := pmem.NewMemory(256*mib, pmem.MemoryOptions{})
			must(b, err)
			defer dev.Close()
			b.ReportAllocs()
			const batch = 256
			var f *godax.FS
			made := batch
			for b.Loop() {
				if made == batch {
					b.StopTimer()
					if f != nil {
						must(b, f.Close())
					}
					must(b, famfs.Format(dev, famfs.FormatOptions{System: us, Unit: 4 * kib}))
					f, err = godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
					must(b, err)
					fill(b, f, n)
					made = 0
					b.StartTimer()
				}
				file, err := f.CreateSized(fmt.Sprintf("new%d", made), page, godax.CreateOptions{})
				must(b, err)
				must(b, file.Close())
				made++
			}
			must(b, f.Close())
		})
	}
}

// fill makes n files in directories of a hundred.
func fill(b testing.TB, f *godax.FS, n int) {
	b.Helper()
	for i := range n {
		dir := fmt.Sprintf("d%d", i/100)
		if i%100 == 0 {
			must(b, f.Mkdir(dir, 0o755))
		}
		file, err := f.CreateSized(fmt.Sprintf("%s/%d", dir, i), page, godax.CreateOptions{})
		must(b, err)
		must(b, file.Close())
	}
}

// BenchmarkMount replays a log; BenchmarkFollow looks whether there is anything new.
func BenchmarkMount(b *testing.B) {
	for _, n := range []int{1, 1000, 15000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dev, err := pmem.NewMemory(256*mib, pmem.MemoryOptions{})
			must(b, err)
			defer dev.Close()
			must(b, famfs.Format(dev, famfs.FormatOptions{System: us, Unit: 4 * kib}))
			f, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
			must(b, err)
			fill(b, f, n)
			must(b, f.Close())
			for b.Loop() {
				f, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true})
				must(b, err)
				must(b, f.Close())
			}
		})
	}
}

// BenchmarkFollow is one look of a client at a medium where nothing is new.
func BenchmarkFollow(b *testing.B) {
	dev, err := pmem.NewMemory(64*mib, pmem.MemoryOptions{})
	must(b, err)
	defer dev.Close()
	must(b, famfs.Format(dev, famfs.FormatOptions{System: us}))
	f, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true})
	must(b, err)
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := f.Follow(0); err != nil {
			b.Fatal(err)
		}
	}
}
