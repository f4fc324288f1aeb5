package pmem

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCacheLines runs the device code for persistent memory on ordinary memory,
// which takes the same instructions.
func TestCacheLines(t *testing.T) {
	if FlushInstruction() == "" {
		t.Skip("this processor has no instruction to flush caches from a program")
	}
	const size = 3*PageSize + 77
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	d, err := newMapped(fd, size, flushLines, Info{Kind: KindDAXFile, PageSize: smallPageSize()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if i := d.Info(); i.Volatile || i.Flush != FlushInstruction() {
		t.Errorf("volatile %v, flush %q, want false, %q", i.Volatile, i.Flush, FlushInstruction())
	}
	b, err := d.Bytes(0, size)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = byte(i)
	}
	want := bytes.Clone(b)
	for off := int64(0); off < size; off += 191 {
		for _, n := range []int64{0, 1, 64, 65, size - off} {
			if err := d.Flush(off, min(n, size-off)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := d.Barrier(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("contents changed")
	}
	if n := testing.AllocsPerRun(100, func() { d.Flush(5, 1000) }); n != 0 {
		t.Errorf("%v allocations per Flush, want 0", n)
	}
}

// TestNoSyncOnOrdinaryFiles: MAP_SYNC is refused where it would promise too much.
func TestNoSyncOnOrdinaryFiles(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, PageSize); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		if acceptsSync(fd, smallPageSize(), readOnly) {
			t.Errorf("read-only %v: a memory file accepts MAP_SYNC", readOnly)
		}
	}
}

// TestBarriersWait: a Barrier that finds its range taken by another Barrier does
// not return before that one.
func TestBarriersWait(t *testing.T) {
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.info.Kind != KindFile {
		t.Skipf("temporary files are of kind %s", d.info.Kind)
	}
	b, err := d.Bytes(0, size)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += PageSize {
		b[i] = 1
	}
	if err := d.Flush(0, size); err != nil {
		t.Fatal(err)
	}
	first := make(chan error)
	go func() { first <- d.Barrier() }()
	for taken := false; !taken; {
		runtime.Gosched()
		d.mu.Lock()
		taken = d.flushTo == 0
		d.mu.Unlock()
	}
	if err := d.Barrier(); err != nil {
		t.Error(err)
	}
	var st unix.Cachestat_t
	if err := unix.Cachestat(uint(d.fd), &unix.CachestatRange{Len: size}, &st, 0); err != nil {
		t.Logf("cannot tell dirty pages: %v", err)
	}
	if n := st.Dirty + st.Writeback; n != 0 {
		t.Errorf("%d pages are dirty after Barrier", n)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// A reader that takes no lock may hold bytes of a device that is closed: they stay
// readable, and are no longer those of the file.
func TestReadableAfterClose(t *testing.T) {
	d, err := NewMemory(4*PageSize, MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bytes(0, 4*PageSize)
	if err != nil {
		t.Fatal(err)
	}
	b[PageSize] = 7
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if b[0] != 0 || b[PageSize] != 0 {
		t.Errorf("bytes after Close: %d %d", b[0], b[PageSize])
	}
	runtime.KeepAlive(d)
}
