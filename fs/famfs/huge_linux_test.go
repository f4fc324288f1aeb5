package famfs_test

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fs/famfs"
	"godax/internal/daxtest"
	"godax/pmem"
)

const (
	gib      = 1 << 30
	hugePage = 2 * mib
)

// hugeFS makes a famfs in memory of 2 MiB pages with a file of size bytes.
func hugeFS(t testing.TB, size int64, o godax.CreateOptions) (pmem.Device, *godax.File) {
	t.Helper()
	total := size + 16*mib
	daxtest.ReserveHugePages(t, total)
	dev, err := pmem.NewMemory(total, pmem.MemoryOptions{HugePages: true})
	must(t, err)
	t.Cleanup(func() { must(t, dev.Close()) })
	must(t, famfs.Format(dev, famfs.FormatOptions{System: us}))
	f, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	o.Perm = 0o644
	file, err := f.CreateSized("large", size, o)
	must(t, err)
	t.Cleanup(func() { must(t, file.Close()) })
	return dev, file
}

// TestHugeFile: a file of 1 GiB in memory of 2 MiB pages is mapped in those, all of it, by the
// kernel's own account; in one system call if it lies in one run, and in one for each piece if it
// is striped.
func TestHugeFile(t *testing.T) {
	size := int64(gib)
	if testing.Short() {
		size = 64 * mib
	}
	for _, c := range []struct {
		name  string
		o     godax.CreateOptions
		calls uint64
	}{
		{"simple", godax.CreateOptions{}, 1},
		{"striped", godax.CreateOptions{Stripe: godax.Stripe{Strips: 4, Chunk: 2 * mib}}, uint64(size / hugePage)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, file := hugeFS(t, size, c.o)
			for _, flags := range []godax.MapFlags{godax.MapShared, godax.MapShared | godax.MapWrite} {
				m, err := file.Mmap(0, int(size), flags)
				must(t, err)
				touch(m.Bytes())
				got, err := daxtest.HugeMapped(m.Bytes())
				must(t, err)
				if got != size {
					t.Errorf("flags %d: %d of %d bytes are mapped in pages of 2 MiB", flags, got, size)
				}
				// One call reserves the addresses.
				if n := m.MmapCalls(); n > c.calls+1 {
					t.Errorf("flags %d: %d calls of mmap for %d pieces", flags, n, c.calls)
				}
				if flags&godax.MapWrite != 0 {
					m.Bytes()[size-1] = 9
				}
				must(t, m.Close())
			}
			var b [1]byte
			if _, err := file.ReadAt(b[:], size-1); err != nil || b[0] != 9 {
				t.Errorf("stored 9, read %d, %v", b[0], err)
			}
		})
	}
}

// BenchmarkFirstTouch maps 1 GiB and touches every page for the first time: a file of a famfs,
// and the same memory through a plain mmap of the device, in turn. The ratio of the medians
// is the cost of all that is between.
func BenchmarkFirstTouch(b *testing.B) {
	dev, file := hugeFS(b, gib, godax.CreateOptions{})
	fd, _, _ := dev.(pmem.Mappable).Backing()
	var ours, plain []time.Duration
	for b.Loop() {
		start := time.Now()
		m, err := file.Mmap(0, gib, godax.MapShared)
		must(b, err)
		touch(m.Bytes())
		ours = append(ours, time.Since(start))
		must(b, m.Close())

		start = time.Now()
		mem, err := unix.Mmap(fd, 10*mib, gib, unix.PROT_READ, unix.MAP_SHARED)
		must(b, err)
		touch(mem)
		plain = append(plain, time.Since(start))
		must(b, unix.Munmap(mem))
	}
	slices.Sort(ours)
	slices.Sort(plain)
	a, p := ours[len(ours)/2], plain[len(plain)/2]
	b.ReportMetric(float64(a.Microseconds()), "famfs-us/GiB")
	b.ReportMetric(float64(p.Microseconds()), "mmap-us/GiB")
	b.ReportMetric(float64(a)/float64(p), "ratio")
}
