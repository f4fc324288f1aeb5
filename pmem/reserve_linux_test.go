package pmem_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"godax/internal/daxtest"
	"godax/pmem"
)

// taken is the bytes that a file takes on its disk.
func taken(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func reserve(t testing.TB, d pmem.Device, off, n int64) error {
	t.Helper()
	r, ok := d.(pmem.Reserver)
	if !ok {
		t.Skip("not a Reserver")
	}
	return r.Reserve(off, n, 0)
}

// Every kind of device has room for stores when Reserve has said so, keeps its contents,
// and refuses what is out of range.
func TestReserve(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			const size = 4 << 20
			d := k.make(t, size, pmem.Options{})
			b, err := d.Bytes(0, size)
			if err != nil {
				t.Fatal(err)
			}
			b[5000] = 7
			for _, r := range [][2]int64{{0, 0}, {1, 1}, {4096, 4096}, {4095, 2}, {1 << 20, 1<<20 + 1}, {0, size}, {size, 0}} {
				if err := reserve(t, d, r[0], r[1]); err != nil {
					t.Errorf("reserve %d at %d: %v", r[1], r[0], err)
				}
			}
			if b[5000] != 7 || b[4999] != 0 || b[size-1] != 0 {
				t.Error("the contents have changed")
			}
			for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, d.Size() + 1}, {d.Size(), 1}, {1, 1<<63 - 1}} {
				if err := reserve(t, d, r[0], r[1]); !errors.Is(err, pmem.ErrOutOfRange) {
					t.Errorf("reserve %d at %d: got %v", r[1], r[0], err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := reserve(t, d, 0, 1); !errors.Is(err, pmem.ErrRemoved) {
				t.Errorf("after Close: got %v", err)
			}
		})
	}
}

// A file takes room on its disk for what is asked, and not for the rest.
func TestReserveTakesBlocks(t *testing.T) {
	for _, k := range kinds() {
		if k.name != "file" && k.name != "tmpfs" {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			path := k.file(t, 64<<20+100)
			d := open(t, path, pmem.Options{})
			if err := reserve(t, d, 5<<20+1, 1<<20-2); err != nil {
				t.Fatal(err)
			}
			if err := reserve(t, d, 64<<20, 100); err != nil {
				t.Fatal(err)
			}
			if n := taken(t, path); n < 1<<20+pmem.PageSize || n > 3<<20 {
				t.Errorf("the file takes %d bytes", n)
			}
			if fi, err := os.Stat(path); err != nil || fi.Size() != 64<<20+100 {
				t.Errorf("size: %d, %v", fi.Size(), err)
			}
		})
	}
}

// What is wished for ahead gets room if there is plenty, and is no reason to fail; what was had
// ahead is known.
func TestReserveAhead(t *testing.T) {
	dir := daxtest.SmallTmpfs(t, 8<<20)
	path := newFile(t, dir, 64<<20)
	d := open(t, path, pmem.Options{}).(interface {
		pmem.Device
		pmem.Reserver
	})
	for _, x := range []struct{ off, n, ahead, want int64 }{
		{0, 100, 1<<20 - 100, 1 << 20},
		{1000, 1 << 19, 1 << 20, 1 << 20},
		{16 << 20, 5000, 6 << 20, 1<<20 + 8192},
		{64<<20 - 10, 10, 1 << 20, 1<<20 + 12288},
	} {
		if err := d.Reserve(x.off, x.n, x.ahead); err != nil {
			t.Fatal(err)
		}
		if got := taken(t, path); got != x.want {
			t.Errorf("reserve %d at %d and %d ahead: the file takes %d bytes, want %d", x.n, x.off, x.ahead, got, x.want)
		}
	}
	daxtest.FillDisk(t, dir, 100<<10)
	if err := d.Reserve(32<<20, 200<<10, 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if err := d.Reserve(40<<20, 80<<10, 1<<20); err != nil {
		t.Errorf("what has failed before has taken the room: %v", err)
	}
}

// On a full disk Reserve says so, and what it has promised before can be stored to.
func TestReserveOnFullDisk(t *testing.T) {
	const size = 16 << 20
	dir := daxtest.SmallTmpfs(t, 4<<20)
	path := newFile(t, dir, size)
	d := open(t, path, pmem.Options{})
	if err := reserve(t, d, 1<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	free := daxtest.FillDisk(t, dir, 0)
	b, err := d.Bytes(0, size)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[1<<20 : 2<<20])
	for _, off := range []int64{0, 1<<20 - 1, 2<<20 - 1, 8 << 20} {
		err := reserve(t, d, off, 2)
		if errno, ok := errors.AsType[syscall.Errno](err); !ok || errno != syscall.ENOSPC {
			t.Errorf("at %d: got %v, want ENOSPC", off, err)
		}
	}
	if err := reserve(t, d, 2<<20-2, 2); err != nil {
		t.Error(err)
	}
	free()
	if err := reserve(t, d, 0, 2); err != nil {
		t.Error(err)
	}
	b[0], b[1] = 1, 2
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := reserve(t, d, 8<<20, 2); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("of a file that was cut: got %v", err)
	}
}

// A file without holes is not asked again; neither is a page that has room.
func TestReserveKnown(t *testing.T) {
	dir := daxtest.SmallTmpfs(t, 8<<20)
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, path, pmem.Options{})
	daxtest.FillDisk(t, dir, 0)
	if err := reserve(t, d, 0, 2<<20); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := reserve(t, d, 0, 2<<20); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReserve(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "godax")
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	d := open(b, newFile(b, dir, 64<<20), pmem.Options{})
	for _, n := range []int64{4, 2 << 20} {
		b.Run(map[int64]string{4: "known/4", 2 << 20: "known/2M"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := reserve(b, d, 2<<20, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
