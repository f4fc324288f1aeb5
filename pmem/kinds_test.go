//go:build linux

package pmem_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"godax/internal/daxtest"
	"godax/pmem"
	"godax/pmem/sim"
)

const huge = 2 << 20

// kind makes devices of one kind for tests.
type kind struct {
	name string
	want pmem.Info // Kind, Volatile, Flush, PageSize, MapSync

	// make returns a device of at least size bytes. A kind made of a file has a path
	// as well.
	make func(t testing.TB, size int64, o pmem.Options) pmem.Device
	file func(t testing.TB, size int64) string // nil for memory
}

// kinds are all kinds of devices that every machine has; the others skip.
func kinds() []kind {
	memory := func(o pmem.MemoryOptions) func(testing.TB, int64, pmem.Options) pmem.Device {
		return func(t testing.TB, size int64, _ pmem.Options) pmem.Device {
			t.Helper()
			if o.HugePages {
				daxtest.ReserveHugePages(t, 16*2<<20)
			}
			d, err := pmem.NewMemory(size, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			return d
		}
	}
	file := func(k kind) kind {
		k.make = func(t testing.TB, size int64, o pmem.Options) pmem.Device {
			t.Helper()
			return open(t, k.file(t, size), o)
		}
		return k
	}
	return []kind{
		{
			name: "memory",
			want: pmem.Info{Kind: pmem.KindMemory, Volatile: true, Flush: "none", PageSize: pmem.PageSize},
			make: memory(pmem.MemoryOptions{}),
		},
		{
			name: "huge memory",
			want: pmem.Info{Kind: pmem.KindHuge, Volatile: true, Flush: "none", PageSize: huge},
			make: memory(pmem.MemoryOptions{HugePages: true}),
		},
		{
			name: "simulated",
			want: pmem.Info{Kind: pmem.KindSim, Flush: "simulated", PageSize: pmem.PageSize},
			make: func(t testing.TB, size int64, _ pmem.Options) pmem.Device {
				t.Helper()
				d, err := sim.New(size)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { d.Close() })
				return d
			},
		},
		file(kind{
			name: "file",
			want: pmem.Info{Kind: pmem.KindFile, Flush: "msync", PageSize: pmem.PageSize},
			file: func(t testing.TB, size int64) string { return newFile(t, t.TempDir(), size) },
		}),
		file(kind{
			name: "tmpfs",
			want: pmem.Info{Kind: pmem.KindTmpfs, Volatile: true, Flush: "none", PageSize: pmem.PageSize},
			file: func(t testing.TB, size int64) string {
				dir, err := os.MkdirTemp("/dev/shm", "godax")
				if err != nil {
					t.Skipf("no tmpfs at /dev/shm: %v", err)
				}
				t.Cleanup(func() { os.RemoveAll(dir) })
				return newFile(t, dir, size)
			},
		}),
		file(kind{
			name: "hugetlbfs",
			want: pmem.Info{Kind: pmem.KindHuge, Volatile: true, Flush: "none", PageSize: huge},
			file: func(t testing.TB, size int64) string {
				return newFile(t, mountHuge(t), (size+huge-1)/huge*huge)
			},
		}),
		file(kind{
			name: "dax file",
			want: pmem.Info{Kind: pmem.KindDAXFile, Flush: pmem.FlushInstruction(), PageSize: pmem.PageSize, MapSync: true},
			file: func(t testing.TB, size int64) string {
				dir := os.Getenv("GODAX_TEST_DAX_DIR")
				if dir == "" {
					t.Skip("no DAX mount: GODAX_TEST_DAX_DIR is not set")
				}
				dir, err := os.MkdirTemp(dir, "godax")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(dir) })
				return newFile(t, dir, size)
			},
		}),
		file(kind{
			name: "dax device",
			want: pmem.Info{Kind: pmem.KindDAXDevice, Flush: pmem.FlushInstruction(), PageSize: huge, MapSync: true},
			file: func(t testing.TB, size int64) string {
				path := os.Getenv("GODAX_TEST_DAX_DEVICE")
				if path == "" {
					t.Skip("no DAX character device to overwrite: GODAX_TEST_DAX_DEVICE is not set")
				}
				return path
			},
		}),
	}
}

// open opens the device at path until the end of the test.
func open(t testing.TB, path string, o pmem.Options) pmem.Device {
	t.Helper()
	d, err := pmem.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// newFile makes a file of size zeros.
func newFile(t testing.TB, dir string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// mountHuge mounts a hugetlbfs until the end of the test.
func mountHuge(t testing.TB) string {
	t.Helper()
	daxtest.ReserveHugePages(t, 16*2<<20)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting hugetlbfs needs root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}
