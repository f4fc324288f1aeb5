package pmem_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"

	"godax/pmem"
)

// needs64 skips what a 32-bit address space has no room for.
func needs64(t testing.TB) {
	t.Helper()
	if math.MaxInt == math.MaxInt32 {
		t.Skip("needs a 64-bit address space")
	}
}

func TestNewMemoryRefuses(t *testing.T) {
	needs64(t)
	for _, c := range []struct {
		name string
		size int64
		want error
	}{
		{"nothing", 0, syscall.EINVAL},
		{"negative", -1, syscall.EINVAL},
		{"one byte too many", pmem.MaxPages*pmem.PageSize + 1, syscall.EFBIG},
		{"most", math.MaxInt64, syscall.EFBIG},
		{"more than the address space", pmem.MaxPages * pmem.PageSize, syscall.ENOMEM},
	} {
		d, err := pmem.NewMemory(c.size, pmem.MemoryOptions{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: NewMemory(%d) = %v, %v, want %v", c.name, c.size, d, err, c.want)
		}
	}
	d, err := pmem.NewMemory(1<<46, pmem.MemoryOptions{HugePages: true})
	if !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("64 TiB of huge pages: %v, %v, want ENOMEM", d, err)
	}
	t.Log(err)
}

func TestNewMemoryRoundsUp(t *testing.T) {
	d, err := pmem.NewMemory(pmem.PageSize+1, pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, want := d.Size(), int64(2*pmem.PageSize); got != want {
		t.Errorf("size %d, want %d", got, want)
	}
}

// TestMemoryIsSparse makes far more memory than the machine has.
func TestMemoryIsSparse(t *testing.T) {
	needs64(t)
	d, err := pmem.NewMemory(1<<40, pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b, err := d.Bytes(1<<40-1, 1)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 1
	fd, _, _ := d.(pmem.Mappable).Backing()
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if got := st.Blocks * 512; got > huge {
		t.Errorf("%d bytes allocated for one page", got)
	}
	if err := syscall.Ftruncate(fd, 1<<20); !errors.Is(err, syscall.EPERM) {
		t.Errorf("cutting the memory file: %v, want EPERM", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(path("empty"), nil, 0o600))
	must(os.WriteFile(path("full"), make([]byte, pmem.PageSize), 0o600))
	must(syscall.Mkfifo(path("fifo"), 0o600))
	must(os.Symlink("loop", path("loop")))
	socket, err := net.Listen("unix", path("socket"))
	must(err)
	defer socket.Close()
	shm := newFile(t, mustTemp(t, "/dev/shm"), math.MaxInt64&^(pmem.PageSize-1))

	for _, c := range []struct {
		name, path string
		o          pmem.Options
		want       error
	}{
		{"missing", path("missing"), pmem.Options{}, fs.ErrNotExist},
		{"no path", "", pmem.Options{}, fs.ErrNotExist},
		{"empty", path("empty"), pmem.Options{}, syscall.EINVAL},
		{"directory", dir, pmem.Options{}, syscall.EISDIR},
		{"directory, reading", dir, pmem.Options{ReadOnly: true}, syscall.EISDIR},
		{"fifo", path("fifo"), pmem.Options{}, errors.ErrUnsupported},
		{"fifo, reading", path("fifo"), pmem.Options{ReadOnly: true}, errors.ErrUnsupported},
		{"socket", path("socket"), pmem.Options{}, syscall.ENXIO},
		{"symlink to itself", path("loop"), pmem.Options{}, syscall.ELOOP},
		{"character device", "/dev/null", pmem.Options{}, errors.ErrUnsupported},
		{"zeros", "/dev/zero", pmem.Options{ReadOnly: true}, errors.ErrUnsupported},
		{"shared writer", path("full"), pmem.Options{Shared: true}, syscall.EINVAL},
		{"huge", shm, pmem.Options{ReadOnly: true}, syscall.EFBIG},
		{"proc file", "/proc/version", pmem.Options{ReadOnly: true}, syscall.EINVAL},
	} {
		d, err := pmem.Open(c.path, c.o)
		if err == nil {
			d.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		if e, ok := errors.AsType[*fs.PathError](err); !ok || e.Path != c.path || e.Op != "open" {
			t.Errorf("%s: error %#v is not a path error of open and the path", c.name, err)
		}
	}
	// A refused open has given its lock back.
	open(t, path("full"), pmem.Options{})
}

func mustTemp(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "godax")
	if err != nil {
		t.Skipf("no %s: %v", parent, err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestSizes opens images that are no multiple of a page: Bytes covers the last
// bytes, DirectAccess whole pages only.
func TestSizes(t *testing.T) {
	for _, size := range []int64{1, pmem.PageSize - 1, pmem.PageSize, pmem.PageSize + 1, huge - 1, huge, huge + 1, 5*huge + 7} {
		path := newFile(t, t.TempDir(), size)
		d := open(t, path, pmem.Options{})
		if d.Size() != size {
			t.Errorf("size %d, want %d", d.Size(), size)
		}
		b, err := d.Bytes(0, size)
		if err != nil {
			t.Fatal(err)
		}
		b[size-1] = 0xa5
		if err := d.Flush(size-1, 1); err != nil {
			t.Error(err)
		}
		if err := d.Barrier(); err != nil {
			t.Error(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, b) {
			t.Errorf("file of %d bytes differs from the device", size)
		}
		pages := uint64(size / pmem.PageSize)
		if _, err := d.DirectAccess(pages, 1, pmem.Normal); !errors.Is(err, pmem.ErrOutOfRange) {
			t.Errorf("size %d: page %d: error %v, want %v", size, pages, err, pmem.ErrOutOfRange)
		}
		if _, ok := pmem.Lookup(pmem.MakePFN(d.ID(), pages)); ok {
			t.Errorf("size %d: the partial page has a frame", size)
		}
		if pages > 0 {
			if run, err := d.DirectAccess(0, pages, pmem.Normal); err != nil || run.Pages() != pages {
				t.Errorf("size %d: %d pages, error %v, want %d", size, run.Pages(), err, pages)
			}
		}
	}
}

func TestReadOnly(t *testing.T) {
	for _, k := range kinds() {
		if k.file == nil {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			path := k.file(t, huge)
			d := open(t, path, pmem.Options{ReadOnly: true})
			if !d.ReadOnly() || !d.Info().ReadOnly {
				t.Error("not read-only")
			}
			b, err := d.Bytes(0, 8)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Flush(0, 8); err != nil {
				t.Error(err)
			}
			if err := d.Barrier(); err != nil {
				t.Error(err)
			}
			if storeFaults(b) == nil {
				t.Error("a store succeeded")
			}
		})
	}
}

// storeFaults stores to b and returns the fault that this raised, if any.
func storeFaults(b []byte) (fault any) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() }()
	b[0]++
	return nil
}

// TestLocks opens a file twice: first one way, then the other. So an image that is mounted is
// nobody's raw device at the same time.
//
// Guards I49, T72.
func TestLocks(t *testing.T) {
	write := pmem.Options{}
	read := pmem.Options{ReadOnly: true}
	shared := pmem.Options{ReadOnly: true, Shared: true}
	for _, c := range []struct {
		name          string
		first, second pmem.Options
		want          error
	}{
		{"writer, writer", write, write, pmem.ErrInUse},
		{"writer, reader", write, read, pmem.ErrInUse},
		{"writer, shared reader", write, shared, nil},
		{"reader, writer", read, write, pmem.ErrInUse},
		{"reader, reader", read, read, nil},
		{"reader, shared reader", read, shared, nil},
		{"shared reader, writer", shared, write, nil},
		{"shared reader, reader", shared, read, nil},
	} {
		for _, k := range kinds() {
			if k.file == nil {
				continue
			}
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				path := k.file(t, pmem.PageSize)
				first := open(t, path, c.first)
				second, err := pmem.Open(path, c.second)
				if !errors.Is(err, c.want) {
					t.Fatalf("error %v, want %v", err, c.want)
				}
				if err == nil {
					second.Close()
					return
				}
				if e, ok := errors.AsType[*fs.PathError](err); !ok || e.Path != path || !errors.Is(err, syscall.EBUSY) {
					t.Errorf("error %#v is not EBUSY with the path", err)
				}
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				open(t, path, c.second)
			})
		}
	}
}

// TestCut cuts a file behind the device's back: what was stored is reported lost,
// for good, also when the file has its size again.
func TestCut(t *testing.T) {
	path := newFile(t, t.TempDir(), 4*pmem.PageSize)
	d := open(t, path, pmem.Options{})
	b, err := d.Bytes(0, d.Size())
	if err != nil {
		t.Fatal(err)
	}
	b[3*pmem.PageSize] = 1
	if err := os.Truncate(path, pmem.PageSize); err != nil {
		t.Fatal(err)
	}
	if storeFaults(b[3*pmem.PageSize:]) == nil {
		t.Error("a store beyond the end of the file succeeded")
	}
	b[0] = 1
	if err := d.Flush(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := d.Barrier(); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("Barrier: %v, want %v", err, pmem.ErrRemoved)
	}
	if err := os.Truncate(path, 4*pmem.PageSize); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := d.Barrier(); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("next Barrier: %v, want %v", err, pmem.ErrRemoved)
	}
}

// FuzzRanges: arbitrary arguments give an answer inside the device or an error.
func FuzzRanges(f *testing.F) {
	const size = 5*pmem.PageSize + 100
	path := newFile(f, f.TempDir(), size)
	d := open(f, path, pmem.Options{})
	all, err := d.Bytes(0, size)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(1), uint64(2), int64(3), int64(4))
	f.Add(uint64(math.MaxUint64), uint64(2), int64(math.MaxInt64), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, page, n uint64, off, length int64) {
		run, err := d.DirectAccess(page, n, pmem.Normal)
		if inside := n > 0 && page < 5 && n <= 5-page; inside != (err == nil) {
			t.Fatalf("DirectAccess(%d, %d): %v", page, n, err)
		}
		if err == nil {
			if err := pmem.CheckRun(d, page, n, run); err != nil {
				t.Fatal(err)
			}
		}
		b, err := d.Bytes(off, length)
		if inside := off >= 0 && length >= 0 && off <= size && length <= size-off; inside != (err == nil) {
			t.Fatalf("Bytes(%d, %d): %v", off, length, err)
		}
		if err == nil && length > 0 && (&b[0] != &all[off] || int64(len(b)) != length) {
			t.Fatalf("Bytes(%d, %d) is elsewhere, %d bytes", off, length, len(b))
		}
		if e := d.Flush(off, length); (e == nil) != (err == nil) {
			t.Fatalf("Flush(%d, %d): %v, Bytes: %v", off, length, e, err)
		}
	})
}
