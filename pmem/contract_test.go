//go:build linux

package pmem_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"godax/pmem"
)

// TestContract runs the contract of the Device interface over every kind.
func TestContract(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			d := k.make(t, 3*huge, pmem.Options{})
			t.Run("info", func(t *testing.T) { testInfo(t, k, d) })
			checkContract(t, d)
		})
	}
}

// checkContract tests A1, A2, A4, A6 and A7 on a healthy writable device of at
// least four pages. It changes the contents.
func checkContract(t *testing.T, d pmem.Device) {
	t.Run("ranges", func(t *testing.T) { testRanges(t, d) })
	t.Run("runs", func(t *testing.T) { testRuns(t, d) })
	t.Run("same bytes", func(t *testing.T) { testSameBytes(t, d) })
	t.Run("lookup", func(t *testing.T) { testLookup(t, d) })
	t.Run("backing", func(t *testing.T) { testBacking(t, d) })
	t.Run("allocations", func(t *testing.T) { testAllocations(t, d) })
	t.Run("flush", func(t *testing.T) { testFlush(t, d) })
	t.Run("closed", func(t *testing.T) { testClosed(t, d) }) // the last: it closes d
}

func testInfo(t *testing.T, k kind, d pmem.Device) {
	got, want := d.Info(), k.want
	want.Path, want.DeviceSize = got.Path, d.Size()
	if got != want {
		t.Errorf("Info() = %+v, want %+v", got, want)
	}
	if (got.Path != "") != (k.file != nil) {
		t.Errorf("Path is %q", got.Path)
	}
}

// testRanges: a request out of range fails, is not rounded, and has no effect (A2).
func testRanges(t *testing.T, d pmem.Device) {
	pages, size := uint64(d.Size())/pmem.PageSize, d.Size()
	for _, c := range []struct {
		page, n uint64
		want    error
	}{
		{0, 1, nil},
		{0, pages, nil},
		{pages - 1, 1, nil},
		{1, pages - 1, nil},
		{0, 0, pmem.ErrOutOfRange},
		{pages, 0, pmem.ErrOutOfRange},
		{pages, 1, pmem.ErrOutOfRange},
		{0, pages + 1, pmem.ErrOutOfRange},
		{1, pages, pmem.ErrOutOfRange},
		{pages - 1, 2, pmem.ErrOutOfRange},
		{pages - 1, math.MaxUint64, pmem.ErrOutOfRange},
		{math.MaxUint64, 1, pmem.ErrOutOfRange},
		{math.MaxUint64, math.MaxUint64, pmem.ErrOutOfRange},
		{1, math.MaxUint64, pmem.ErrOutOfRange},
		{1 << 52, 1, pmem.ErrOutOfRange}, // page*PageSize wraps to 0
	} {
		for _, mode := range []pmem.Mode{pmem.Normal, pmem.RecoveryWrite} {
			if _, err := d.DirectAccess(c.page, c.n, mode); !errors.Is(err, c.want) {
				t.Errorf("DirectAccess(%d, %d, %d) = %v, want %v", c.page, c.n, mode, err, c.want)
			}
		}
	}
	for _, c := range []struct {
		off, n int64
		want   error
	}{
		{0, 0, nil},
		{0, 1, nil},
		{0, size, nil},
		{size, 0, nil},
		{size - 1, 1, nil},
		{size, 1, pmem.ErrOutOfRange},
		{size + 1, 0, pmem.ErrOutOfRange},
		{0, size + 1, pmem.ErrOutOfRange},
		{1, size, pmem.ErrOutOfRange},
		{-1, 1, pmem.ErrOutOfRange},
		{-1, 0, pmem.ErrOutOfRange},
		{0, -1, pmem.ErrOutOfRange},
		{1, -1, pmem.ErrOutOfRange},
		{math.MaxInt64, 1, pmem.ErrOutOfRange},
		{1, math.MaxInt64, pmem.ErrOutOfRange},
		{math.MaxInt64, math.MaxInt64, pmem.ErrOutOfRange},
		{math.MinInt64, math.MinInt64, pmem.ErrOutOfRange},
	} {
		b, err := d.Bytes(c.off, c.n)
		if !errors.Is(err, c.want) {
			t.Errorf("Bytes(%d, %d) = %v, want %v", c.off, c.n, err, c.want)
		}
		if err == nil && (int64(len(b)) != c.n || cap(b) != len(b)) {
			t.Errorf("Bytes(%d, %d): length %d, capacity %d", c.off, c.n, len(b), cap(b))
		}
		if err := d.Flush(c.off, c.n); !errors.Is(err, c.want) {
			t.Errorf("Flush(%d, %d) = %v, want %v", c.off, c.n, err, c.want)
		}
	}
}

// testRuns: every page has a frame, every answer is right, and the same request
// has the same answer (A1, A6, A7).
func testRuns(t *testing.T, d pmem.Device) {
	pages := uint64(d.Size()) / pmem.PageSize
	frames := make([]pmem.PFN, 0, pages)
	for page := uint64(0); page < pages; {
		run, err := d.DirectAccess(page, pages-page, pmem.Normal)
		if err != nil {
			t.Fatal(err)
		}
		if err := pmem.CheckRun(d, page, pages-page, run); err != nil {
			t.Fatal(err)
		}
		for i := range run.Pages() {
			frames = append(frames, run.PFN+pmem.PFN(i))
		}
		page += run.Pages()
	}
	for page, want := range frames {
		run, err := d.DirectAccess(uint64(page), 1, pmem.Normal)
		if err != nil {
			t.Fatal(err)
		}
		if run.PFN != want || run.Pages() != 1 {
			t.Fatalf("page %d alone is frame %#x, %d pages, want %#x, 1", page, uint64(run.PFN), run.Pages(), uint64(want))
		}
	}
}

// testSameBytes: Bytes and DirectAccess show the same memory, which stays where it
// is, and asking changes nothing (A4).
func testSameBytes(t *testing.T, d pmem.Device) {
	rnd := rand.New(rand.NewPCG(1, 2))
	all, err := d.Bytes(0, d.Size())
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i] = byte(rnd.Uint32())
	}
	want := bytes.Clone(all)
	for page := uint64(0); page < uint64(d.Size())/pmem.PageSize; page++ {
		run, err := d.DirectAccess(page, 1, pmem.Normal)
		if err != nil {
			t.Fatal(err)
		}
		if &run.Bytes[0] != &all[page*pmem.PageSize] {
			t.Fatalf("page %d is elsewhere", page)
		}
	}
	if !bytes.Equal(all, want) {
		t.Error("contents changed")
	}
	if d.Size() >= huge && addressOf(all)%huge != 0 {
		t.Errorf("device is at %p, not a multiple of 2 MiB", &all[0])
	}
}

func testLookup(t *testing.T, d pmem.Device) {
	pages := uint64(d.Size()) / pmem.PageSize
	for _, page := range []uint64{0, pages / 2, pages - 1} {
		run, err := d.DirectAccess(page, 1, pmem.Normal)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := pmem.Lookup(run.PFN); !ok || got != d {
			t.Errorf("Lookup of page %d = %v, %v", page, got, ok)
		}
	}
	if _, ok := pmem.Lookup(pmem.MakePFN(d.ID(), pages)); ok {
		t.Error("a frame beyond the device is found")
	}
}

// testBacking maps the device's file a second time and sees the same bytes.
func testBacking(t *testing.T, d pmem.Device) {
	m, ok := d.(pmem.Mappable)
	if !ok {
		t.Fatal("not Mappable")
	}
	fd, off, pageSize := m.Backing()
	if pageSize != d.Info().PageSize || off%pageSize != 0 {
		t.Fatalf("offset %d, page size %d, want %d", off, pageSize, d.Info().PageSize)
	}
	second, err := syscall.Mmap(fd, off, int(pageSize), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(second)
	b, err := d.Bytes(0, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	second[17] = b[17] + 1
	if !bytes.Equal(b, second) {
		t.Error("bytes of the backing file differ")
	}
}

func testAllocations(t *testing.T, d pmem.Device) {
	if d.Info().Kind == pmem.KindSim {
		t.Skip("the simulated device keeps records")
	}
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"DirectAccess", func() { d.DirectAccess(1, 2, pmem.Normal) }},
		{"Bytes", func() { d.Bytes(5, 100) }},
		{"Flush", func() { d.Flush(5, 100) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", c.name, n)
		}
	}
}

func testFlush(t *testing.T, d pmem.Device) {
	b, err := d.Bytes(0, d.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ off, n int64 }{
		{0, 1}, {63, 2}, {pmem.PageSize - 1, 2}, {0, d.Size()}, {d.Size() - 1, 1}, {d.Size(), 0},
	} {
		for i := range b[c.off : c.off+c.n] {
			b[c.off+int64(i)] ^= 0xff
		}
		want := bytes.Clone(b)
		if err := d.Flush(c.off, c.n); err != nil {
			t.Errorf("Flush(%d, %d): %v", c.off, c.n, err)
		}
		if err := d.Barrier(); err != nil {
			t.Errorf("Barrier after Flush(%d, %d): %v", c.off, c.n, err)
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("Flush(%d, %d) changed the contents", c.off, c.n)
		}
	}
	if path := d.Info().Path; path != "" && d.Info().Kind != pmem.KindDAXDevice && d.Info().PageSize == pmem.PageSize {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, b) {
			t.Error("the file differs from the device")
		}
	}
}

// testClosed: a closed device answers ErrRemoved to everything.
func testClosed(t *testing.T, d pmem.Device) {
	if err := d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	checkRemoved(t, d)
	if err := d.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second Close: %v, want %v", err, os.ErrClosed)
	}
	if _, ok := pmem.Lookup(pmem.MakePFN(d.ID(), 0)); ok {
		t.Error("closed device is found")
	}
}

func checkRemoved(t *testing.T, d pmem.Device) {
	t.Helper()
	_, daErr := d.DirectAccess(0, 1, pmem.Normal)
	_, rwErr := d.DirectAccess(0, 1, pmem.RecoveryWrite)
	_, bytesErr := d.Bytes(0, 1)
	for _, c := range []struct {
		name string
		err  error
	}{
		{"DirectAccess", daErr},
		{"DirectAccess for recovery", rwErr},
		{"Bytes", bytesErr},
		{"Flush", d.Flush(0, 1)},
		{"Barrier", d.Barrier()},
	} {
		if !errors.Is(c.err, pmem.ErrRemoved) || !errors.Is(c.err, syscall.EIO) {
			t.Errorf("%s: error %v, want %v, EIO", c.name, c.err, pmem.ErrRemoved)
		}
	}
}
