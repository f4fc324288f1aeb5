package godax_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"godax"
	"godax/fs/ext"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vm"
)

const (
	mib      = 1 << 20
	hugePage = 2 * mib
)

// hugeMemory are the kinds of memory on huge pages. On tmpfs a view in which the kernel keeps
// track of single written pages is mapped in small ones.
var hugeMemory = []struct {
	name string
	open func(t *testing.T, size int64) pmem.Device
	unit int64 // bytes in which stores are found, and in which a view loses pages
	mask godax.MapFlags
}{
	{"tmpfs", func(t *testing.T, size int64) pmem.Device {
		path := filepath.Join(daxtest.HugeTmpfs(t, size), "image")
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Truncate(path, size))
		return daxtest.OpenImage(t, path)
	}, page, 0},
	{"hugetlb", func(t *testing.T, size int64) pmem.Device {
		daxtest.ReserveHugePages(t, size)
		dev, err := pmem.NewMemory(size, pmem.MemoryOptions{HugePages: true})
		must(t, err)
		t.Cleanup(func() { must(t, dev.Close()) })
		return dev
	}, hugePage, godax.MapWrite},
}

// touchAll loads a byte of every page.
func touchAll(m *godax.Mapping) {
	for b := m.Bytes(); len(b) > 0; b = b[page:] {
		sink.Add(uint32(b[0]))
	}
}

// sink keeps the compiler from leaving loads out.
var sink atomic.Uint32

// wantHuge compares what the kernel has mapped in huge pages.
func wantHuge(t *testing.T, what string, m *godax.Mapping, want int64) {
	t.Helper()
	got, err := daxtest.HugeMapped(m.Bytes())
	must(t, err)
	if got != want {
		t.Errorf("%s: %d bytes are mapped in pages of 2 MiB, want %d", what, got, want)
	}
}

// TestHugeViews: a view of a large file is mapped in pages of 2 MiB, by what the kernel says;
// with a page punched, all of it but the huge page around that.
func TestHugeViews(t *testing.T) {
	for _, k := range hugeMemory {
		for _, carrier := range []string{"iomap", "bh"} {
			t.Run(k.name+"/"+carrier, func(t *testing.T) {
				const size = 64 * mib
				dev := k.open(t, 96*mib)
				must(t, ext.Format(dev, ext.FormatOptions{}))
				f, err := godax.OpenDevice(dev, godax.Options{Carrier: carrier})
				must(t, err)
				file, err := f.Create("large")
				must(t, err)
				must(t, file.Allocate(0, size))
				must(t, second(file.WriteAt(bytes.Repeat([]byte{7}, size), 0)))
				must(t, file.Sync())

				m, err := file.Mmap(0, size, godax.MapShared|k.mask)
				must(t, err)
				part, err := file.Mmap(3*page, 6*mib, godax.MapShared) // whole huge pages: [2, 6) MiB
				if k.unit == page {
					must(t, err)
					touchAll(part)
					wantHuge(t, "not aligned", part, 4*mib)
					must(t, part.Close())
				} else if err == nil {
					t.Error("memory on huge pages mapped at an offset that is not a multiple of them")
				}
				touchAll(m)
				wantHuge(t, "all", m, size)
				for i, b := range m.Bytes() {
					if b != 7 {
						t.Fatalf("byte %d is %d", i, b)
					}
				}

				const hole = 20*mib + 5*page
				must(t, file.PunchHole(hole, page))
				if k.unit == page {
					touchAll(m)
					wantHuge(t, "punched", m, size-hugePage)
					for i, b := range m.Bytes() {
						if hole := i/page == hole/page; hole != (b == 0) {
							t.Fatalf("byte %d is %d", i, b)
						}
					}
					// What was cut off or punched is huge again when it has come back.
					must(t, file.Truncate(30*mib))
					must(t, file.Truncate(size))
					touchAll(m)
					wantHuge(t, "cut", m, 30*mib-hugePage)
					must(t, file.Allocate(0, size))
					must(t, second(file.WriteAt(bytes.Repeat([]byte{7}, size), 0)))
					touchAll(m)
					wantHuge(t, "whole again", m, size)
				} else if m.Bytes()[hole] != 0 || m.Bytes()[hole-1] != 7 {
					t.Error("the punched page does not read as zero, or more does")
				}
				if k.mask&godax.MapWrite != 0 {
					storeHuge(t, file, m)
				}
				must(t, m.Close())
				must(t, file.Close())
				must(t, f.Close())
				daxtest.FsckClean(t, daxtest.DeviceBytes(t, dev))
			})
		}
	}
}

// storeHuge stores through huge pages and expects a writeback to find which.
func storeHuge(t *testing.T, file *godax.File, m *godax.Mapping) {
	t.Helper()
	if got := vm.WriteTracking(); got != "userfaultfd" {
		t.Log("write tracking: ", got)
		return
	}
	must(t, m.Sync())
	m.Bytes()[10*mib+5]++
	m.Bytes()[40*mib-1]++
	st, err := m.Writeback()
	must(t, err)
	if want := uint64(2 * hugePage / page); st.Collected != want {
		t.Errorf("%d pages found stored to, want %d", st.Collected, want)
	}
	wantHuge(t, "written back", m, int64(len(m.Bytes())))
	if st, err = m.Writeback(); err != nil || st.Collected != 0 {
		t.Errorf("again: %+v, %v", st, err)
	}
	got := make([]byte, 1)
	must(t, second(file.ReadAt(got, 40*mib-1)))
	if got[0] != 8 {
		t.Errorf("read %d, stored 8", got[0])
	}
}
