package vm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"godax/pmem"
)

const (
	ps  = pmem.PageSize
	rws = Read | Write | Shared
)

// kinds are the kinds of memory that can be mapped here.
var kinds = []struct {
	name string
	open func(t testing.TB, size int64) pmem.Device
	unit uint64 // pages
}{
	{"memfd", func(t testing.TB, size int64) pmem.Device {
		return opened(t)(pmem.NewMemory(size, pmem.MemoryOptions{}))
	}, 1},
	{"tmpfs", func(t testing.TB, size int64) pmem.Device { return image(t, "/dev/shm", size) }, 1},
	{"disk", func(t testing.TB, size int64) pmem.Device { return image(t, t.TempDir(), size) }, 1},
	{"hugetlb", func(t testing.TB, size int64) pmem.Device {
		hugePages(t, size)
		return opened(t)(pmem.NewMemory(size, pmem.MemoryOptions{HugePages: true}))
	}, 512},
}

func opened(t testing.TB) func(pmem.Device, error) pmem.Device {
	return func(d pmem.Device, err error) pmem.Device {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
}

func image(t testing.TB, dir string, size int64) pmem.Device {
	t.Helper()
	f, err := os.CreateTemp(dir, "godax-vm-*")
	if err != nil {
		t.Skipf("no file in %s: %v", dir, err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	err = errors.Join(f.Truncate(size), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	return opened(t)(pmem.Open(f.Name(), pmem.Options{}))
}

// hugePages lets the kernel make huge pages on demand while the test runs.
func hugePages(t testing.TB, size int64) {
	t.Helper()
	const control = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages"
	add := func(pages int64) error {
		b, err := os.ReadFile(control)
		if err != nil {
			return err
		}
		old, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			return err
		}
		return os.WriteFile(control, fmt.Append(nil, max(0, old+pages)), 0)
	}
	pages := 2 * size >> 21 // as much again for private copies
	if err := add(pages); err != nil {
		t.Skipf("no huge pages (needs root): %v", err)
	}
	t.Cleanup(func() { add(-pages) })
}

// touch loads a byte.
func touch(b *byte) { sink.Add(uint32(*b)) }

var sink atomic.Uint32

func newView(t testing.TB, page, n uint64, flags Flags, o ViewOptions) *ProcessView {
	t.Helper()
	v, err := NewView(page, n, flags, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func frame(d pmem.Device, page uint64) pmem.PFN { return pmem.MakePFN(d.ID(), page) }

// install fills [page, page+n) with the device's frames from devPage on.
func install(t testing.TB, v *ProcessView, page, n uint64, d pmem.Device, devPage uint64) {
	t.Helper()
	tr := Translation{Page: page, N: n, Kind: Frames, PFN: frame(d, devPage), Write: v.flags.SharedWrite()}
	if err := v.Install(tr); err != nil {
		t.Fatal(err)
	}
}

func complete(t testing.TB, v *ProcessView) {
	t.Helper()
	if err := v.Complete(); err != nil {
		t.Fatal(err)
	}
}

// refill takes the stale runs, as DAX does, and fills them with the device's
// frames from the same page numbers.
func refill(t testing.TB, v *ProcessView, d pmem.Device) (runs []pageRun) {
	t.Helper()
	for {
		page, n, ok := v.TakeStale()
		if !ok {
			break
		}
		runs = append(runs, pageRun{page, n})
		install(t, v, page, n, d, page)
	}
	complete(t, v)
	return runs
}

func collect(t testing.TB, v *ProcessView, page, n uint64) []pageRun {
	t.Helper()
	var got []pageRun
	if err := v.Collect(page, n, func(page, n uint64) { got = append(got, pageRun{page, n}) }); err != nil {
		t.Fatal(err)
	}
	return got
}

func wantRuns(t testing.TB, what string, got, want []pageRun) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: runs %v, want %v", what, got, want)
	}
}

// wantBus expects f to raise a bus error at the page.
func wantBus(t testing.TB, v *ProcessView, page uint64, f func()) {
	t.Helper()
	err := v.Do(func() error { f(); return nil })
	var bus *BusError
	if !errors.As(err, &bus) || bus.Page != page {
		t.Errorf("got %v, want a bus error at page %d", err, page)
	}
}
