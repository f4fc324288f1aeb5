package pmem_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"godax/pmem"
)

// dirtyPages is how many pages of the file behind d, of the n at page, are in the
// page cache and not on the disk.
func dirtyPages(t testing.TB, d pmem.Device, page, n uint64) uint64 {
	t.Helper()
	fd, _, _ := d.(pmem.Mappable).Backing()
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(fd), &unix.CachestatRange{Off: page * pmem.PageSize, Len: n * pmem.PageSize}, &st, 0)
	if err == unix.ENOSYS {
		t.Skip("no cachestat(2), kernels before 6.5")
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.Dirty + st.Writeback
}

// TestBarrierWrites: after Barrier the flushed pages are on the disk.
func TestBarrierWrites(t *testing.T) {
	const pages = 64
	d := open(t, newFile(t, t.TempDir(), pages*pmem.PageSize), pmem.Options{})
	if d.Info().Kind != pmem.KindFile {
		t.Skipf("temporary files are of kind %s", d.Info().Kind)
	}
	b, err := d.Bytes(0, d.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		ranges [][2]int64 // offset and length
	}{
		{"one byte", [][2]int64{{8 * pmem.PageSize, 1}}},
		{"across a page", [][2]int64{{9*pmem.PageSize - 1, 2}}},
		{"two ranges, descending", [][2]int64{{40 * pmem.PageSize, pmem.PageSize}, {3 * pmem.PageSize, 5}}},
		{"first byte", [][2]int64{{0, 1}}},
		{"all", [][2]int64{{0, pages * pmem.PageSize}}},
	} {
		for _, r := range c.ranges {
			for i := range r[1] {
				b[r[0]+i]++
			}
		}
		before := dirtyPages(t, d, 0, pages)
		for _, r := range c.ranges {
			if err := d.Flush(r[0], r[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Barrier(); err != nil {
			t.Fatal(err)
		}
		for _, r := range c.ranges {
			first, last := uint64(r[0])/pmem.PageSize, uint64(r[0]+r[1]-1)/pmem.PageSize
			if got := dirtyPages(t, d, first, last-first+1); got != 0 {
				t.Errorf("%s: %d pages from %d on still dirty of %d before", c.name, got, first, before)
			}
		}
	}
}

// BenchmarkBarrier stores to pages of a file, flushes each and waits once.
func BenchmarkBarrier(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			const pages = 256
			d := k.make(b, pages*pmem.PageSize, pmem.Options{})
			mem, err := d.Bytes(0, pages*pmem.PageSize)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(pages * pmem.PageSize)
			for b.Loop() {
				for off := int64(0); off < pages*pmem.PageSize; off += pmem.PageSize {
					mem[off]++
					if err := d.Flush(off, pmem.PageSize); err != nil {
						b.Fatal(err)
					}
				}
				if err := d.Barrier(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDirectAccess is the cost of one answer.
func BenchmarkDirectAccess(b *testing.B) {
	d, err := pmem.NewMemory(64*pmem.PageSize, pmem.MemoryOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.DirectAccess(3, 4, pmem.Normal); err != nil {
			b.Fatal(err)
		}
	}
}
