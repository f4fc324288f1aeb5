package godax_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"godax"
	"godax/internal/daxtest/memfs"
	"godax/pmem"
	"godax/vfs"
)

func TestReadWriteSeek(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file, err := f.Create("x")
		must(t, err)
		defer file.Close()
		if n, err := file.WriteString("hello, world"); n != 12 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
		if _, err := file.WriteAt([]byte("W"), 7); err != nil {
			t.Fatal(err)
		}
		if off, err := file.Seek(-5, io.SeekEnd); off != 7 || err != nil {
			t.Fatalf("seek: %d, %v", off, err)
		}
		b := make([]byte, 10)
		if n, err := file.Read(b); n != 5 || err != nil || string(b[:n]) != "World" {
			t.Errorf("read: %q, %v", b[:n], err)
		}
		if n, err := file.Read(b); n != 0 || err != io.EOF {
			t.Errorf("read at the end: %d, %v", n, err)
		}
		if n, err := file.Read(nil); n != 0 || err != nil {
			t.Errorf("empty read at the end: %d, %v", n, err)
		}
		if n, err := file.ReadAt(b, 8); n != 4 || err != io.EOF {
			t.Errorf("ReadAt: %d, %v", n, err)
		}
		if n, err := file.ReadAt(b[:4], 8); n != 4 || err != nil {
			t.Errorf("ReadAt up to the end: %d, %v", n, err)
		}
		seeks := []struct {
			off    int64
			whence int
			want   int64
			err    error
		}{
			{3, io.SeekStart, 3, nil},
			{2, io.SeekCurrent, 5, nil},
			{-6, io.SeekCurrent, 0, syscall.EINVAL},
			{1<<63 - 1, io.SeekCurrent, 0, syscall.EOVERFLOW},
			{100, io.SeekEnd, 112, nil},
			{-1, io.SeekStart, 0, syscall.EINVAL},
			{0, 9, 0, syscall.EINVAL},
			{12, godax.SeekData, 0, syscall.ENXIO},
			{12, godax.SeekHole, 0, syscall.ENXIO},
			{-1, godax.SeekHole, 0, syscall.EINVAL},
			{5, godax.SeekHole, 12, nil},
			{5, godax.SeekData, 5, nil},
		}
		for _, tt := range seeks {
			got, err := file.Seek(tt.off, tt.whence)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Seek(%d, %d) = %d, %v, want %d, %v", tt.off, tt.whence, got, err, tt.want, tt.err)
			}
		}
	})
}

func TestOpenFlags(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		must(t, f.WriteFile("x", []byte("abc"), 0o644))
		file, err := f.OpenFile("x", os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0)
		must(t, err)
		if _, err := file.WriteString("def"); err != nil {
			t.Error(err)
		}
		if _, err := file.WriteAt([]byte("x"), 0); err == nil {
			t.Error("WriteAt with O_APPEND works")
		}
		if _, err := file.Read(make([]byte, 1)); !errors.Is(err, syscall.EBADF) {
			t.Errorf("read of a file open for writing: %v", err)
		}
		must(t, file.Close())
		for op, err := range map[string]error{
			"close": file.Close(),
			"sync":  file.Sync(),
			"chmod": file.Chmod(0),
			"read":  second(file.Read(make([]byte, 1))),
			"write": second(file.WriteString("x")),
			"seek":  second(file.Seek(0, io.SeekStart)),
			"pin":   second(file.Pin(0, 1, true)),
		} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s after close: %v", op, err)
			}
		}
		file, err = f.Open("x")
		must(t, err)
		defer file.Close()
		if _, err := file.WriteString("x"); !errors.Is(err, syscall.EBADF) {
			t.Errorf("write to a file open for reading: %v", err)
		}
		if err := file.Truncate(0); !errors.Is(err, syscall.EBADF) {
			t.Errorf("truncate of a file open for reading: %v", err)
		}
		if b, err := f.ReadFile("x"); string(b) != "abcdef" || err != nil {
			t.Errorf("contents %q, %v", b, err)
		}
	})
}

// second drops a result.
func second[T any](_ T, err error) error { return err }

func TestCopy(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		text := strings.Repeat("some text that spans pages\n", 100_000)
		dst, err := f.Create("dst")
		must(t, err)
		defer dst.Close()
		if n, err := dst.ReadFrom(strings.NewReader(text)); n != int64(len(text)) || err != nil {
			t.Fatalf("ReadFrom: %d, %v", n, err)
		}
		if _, err := dst.Seek(10, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if n, err := dst.WriteTo(&out); n != int64(len(text)-10) || err != nil || out.String() != text[10:] {
			t.Errorf("WriteTo: %d, %v", n, err)
		}
		if b, err := f.ReadFile("dst"); err != nil || string(b) != text {
			t.Errorf("ReadFile: %d bytes, %v", len(b), err)
		}
	})
}

func TestHoles(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file, err := f.Create("x")
		must(t, err)
		defer file.Close()
		must(t, file.Truncate(10*page))
		must(t, second(file.WriteAt(bytes.Repeat([]byte{7}, 2*page), 3*page)))
		must(t, file.Allocate(8*page, 3*page))
		tests := []struct {
			off, data, hole int64 // -1 is ENXIO
		}{
			{0, 3 * page, 0}, {3*page - 1, 3 * page, 3*page - 1}, {3 * page, 3 * page, 5 * page},
			{4*page + 1, 4*page + 1, 5 * page}, {5 * page, 8 * page, 5 * page},
			{9 * page, 9 * page, 11 * page}, {11 * page, -1, -1},
		}
		check := func(whence int, off, want int64) {
			t.Helper()
			got, err := file.Seek(off, whence)
			if want < 0 && !errors.Is(err, syscall.ENXIO) || want >= 0 && (err != nil || got != want) {
				t.Errorf("Seek(%d, %d) = %d, %v, want %d", off, whence, got, err, want)
			}
		}
		for _, tt := range tests {
			check(godax.SeekData, tt.off, tt.data)
			check(godax.SeekHole, tt.off, tt.hole)
		}
		must(t, file.PunchHole(3*page, page))
		check(godax.SeekData, 0, 4*page)
		must(t, file.ZeroRange(4*page+10, 20))
		b := make([]byte, 40)
		must(t, second(file.ReadAt(b, 4*page)))
		if want := append(append(bytes.Repeat([]byte{7}, 10), make([]byte, 20)...), bytes.Repeat([]byte{7}, 10)...); !bytes.Equal(b, want) {
			t.Errorf("after zeroing: %v", b)
		}
		type run struct {
			off, n int64
			kind   godax.ExtentKind
		}
		want := []run{{0, 4 * page, godax.Hole}, {4 * page, page, godax.Direct}, {5 * page, 3 * page, godax.Hole}, {8 * page, 3 * page, godax.Direct}}
		var got []run
		for e, err := range file.Extents() {
			must(t, err)
			if e.Kind == godax.Cached {
				e.Kind = godax.Direct // blocks smaller than a page
			}
			if n := len(got); n > 0 && got[n-1].kind == e.Kind && got[n-1].off+got[n-1].n == e.Off {
				got[n-1].n += e.Len
				continue
			}
			if (e.PFN == 0) != (e.Kind == godax.Hole) {
				t.Errorf("extent %+v", e)
			}
			got = append(got, run{e.Off, e.Len, e.Kind})
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("extents %v, want %v", got, want)
		}
		if err := file.PunchHole(0, 0); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("empty punch: %v", err)
		}
		if err := file.Allocate(1<<62, 1<<62); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("huge allocation: %v", err)
		}
		dir, err := f.Open("/")
		must(t, err)
		var dirErrs []error
		for _, err := range dir.Extents() {
			dirErrs = append(dirErrs, err)
		}
		if len(dirErrs) != 1 || !errors.Is(dirErrs[0], syscall.EISDIR) {
			t.Errorf("extents of a directory: %v", dirErrs)
		}
		must(t, dir.Close())
	})
}

func TestReadDir(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		must(t, f.Mkdir("d", 0o755))
		for i := range 10 {
			must(t, f.WriteFile(fmt.Sprintf("d/%d", i), nil, 0o644))
		}
		dir, err := f.Open("d")
		must(t, err)
		defer dir.Close()
		var all []string
		for {
			names, err := dir.Readdirnames(3)
			if err == io.EOF {
				break
			}
			must(t, err)
			all = append(all, names...)
			must(t, f.Remove("d/"+names[0])) // what was listed may go
		}
		if got := strings.Join(all, ""); got != "0123456789" {
			t.Errorf("listed %s", got)
		}
		must(t, second(dir.Seek(0, io.SeekStart)))
		rest, err := dir.ReadDir(-1)
		if err != nil || len(rest) != 6 {
			t.Errorf("after rewinding: %v, %v", rest, err)
		}
		if _, err := dir.Read(make([]byte, 1)); !errors.Is(err, syscall.EISDIR) {
			t.Errorf("read of a directory: %v", err)
		}
		must(t, f.RemoveAll("d"))
		must(t, second(dir.Seek(0, io.SeekStart)))
		if rest, err := dir.ReadDir(-1); err != nil || len(rest) != 0 {
			t.Errorf("removed directory lists %v, %v", rest, err)
		}
	})
}

// TestDirEntryInfo: Info is of now, of the directory that was listed while it is in memory, and
// of its path afterwards.
func TestDirEntryInfo(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		must(t, f.MkdirAll("top/d/sub", 0o755))
		for _, name := range []string{"a", "b", "c"} {
			must(t, f.WriteFile("top/d/"+name, []byte(name), 0o644))
		}
		must(t, f.Symlink("a", "top/d/link"))
		entries, err := f.ReadDir("top/d/")
		must(t, err)
		check := func(dir string, gone ...string) {
			t.Helper()
			for _, e := range entries {
				got, err := e.Info()
				if slices.Contains(gone, e.Name()) {
					if pe, ok := errors.AsType[*fs.PathError](err); !errors.Is(err, fs.ErrNotExist) || !ok || pe.Path != "top/d/"+e.Name() {
						t.Errorf("%s, which is gone: %v, %v", e.Name(), got, err)
					}
					continue
				}
				must(t, err)
				want, err := f.Lstat(dir + "/" + e.Name())
				must(t, err)
				if got.Name() != want.Name() || got.Size() != want.Size() || got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) ||
					got.IsDir() != want.IsDir() || *got.Sys().(*godax.Stat) != *want.Sys().(*godax.Stat) {
					t.Errorf("%s: %v, %+v; want %v, %+v", e.Name(), got, got.Sys(), want, want.Sys())
				}
			}
		}
		if len(entries) != 5 {
			t.Fatalf("%d entries", len(entries))
		}
		check("top/d")
		must(t, f.Truncate("top/d/b", 9))
		must(t, f.Remove("top/d/a"))
		check("top/d", "a")
		must(t, f.Rename("top/d", "moved"))
		check("moved", "a")
		must(t, f.RemoveAll("moved"))
		check("", "a", "b", "c", "link", "sub")
		must(t, f.Mkdir("top/d", 0o755)) // the old one is not in memory any more
		must(t, f.WriteFile("top/d/c", []byte("new"), 0o644))
		check("top/d", "a", "b", "link", "sub")
	})
}

func TestOpenUnlinked(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		free, before := f.Statfs().Free, inodes(f)
		must(t, f.WriteFile("x", bytes.Repeat([]byte{1}, 3*page), 0o644))
		one, err := f.OpenFile("x", os.O_RDWR, 0)
		must(t, err)
		two, err := f.Open("x")
		must(t, err)
		must(t, f.Remove("x"))
		must(t, f.WriteFile("x", []byte("other"), 0o644))
		must(t, second(one.WriteAt([]byte("still here"), 0)))
		must(t, one.Close())
		b := make([]byte, 10)
		if _, err := two.ReadAt(b, 0); err != nil || string(b) != "still here" {
			t.Errorf("unlinked file holds %q, %v", b, err)
		}
		fi, err := two.Stat()
		must(t, err)
		if n := fi.Sys().(*godax.Stat).Nlink; n != 0 {
			t.Errorf("%d links", n)
		}
		if got := inodes(f); got != before+2 {
			t.Errorf("%d inodes, want %d", got, before+2)
		}
		must(t, two.Close())
		if got := inodes(f); got != before+1 {
			t.Errorf("%d inodes after the last close, want %d", got, before+1)
		}
		must(t, f.Remove("x"))
		if got := f.Statfs().Free; got != free {
			t.Errorf("%d pages free, want %d", got, free)
		}
	})
}

func TestCloseWhileOpen(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		populate(t, f)
		one, err := f.Open("hello")
		must(t, err)
		two, err := f.Open("a/b")
		must(t, err)
		err = f.Close()
		var open *godax.OpenError
		if !errors.As(err, &open) || fmt.Sprint(open.Open) != "[a/b hello]" || !errors.Is(err, syscall.EBUSY) {
			t.Fatalf("close with two files open: %v", err)
		}
		if _, err := f.Stat("hello"); err != nil {
			t.Errorf("after the refused close: %v", err)
		}
		must(t, one.Close())
		must(t, two.Close())
		must(t, f.Close())
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		if _, err := f.Stat("hello"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("stat after close: %v", err)
		}
		if err := f.Sync(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("sync after close: %v", err)
		}
	})
}

func TestPinAndTruncate(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file, err := f.Create("x")
		must(t, err)
		must(t, second(file.WriteAt(bytes.Repeat([]byte{1}, 4*page), 0)))
		m, err := file.Mmap(0, 4*page, godax.MapRead|godax.MapWrite|godax.MapShared)
		must(t, err)
		m.Bytes()[0] = 2
		pin, err := file.Pin(page, 2*page, true)
		must(t, err)
		n := 0
		for _, s := range pin.Slices() {
			n += len(s)
			s[0] = 9
		}
		if n != 2*page {
			t.Errorf("pinned %d bytes", n)
		}
		must(t, pin.Sync())
		err = file.Close()
		var open *godax.OpenError
		if !errors.As(err, &open) || open.Open[0] != "x: 1 mapping, 1 pin" {
			t.Errorf("close while pinned: %v", err)
		}
		synctest.Test(t, func(t *testing.T) {
			done := make(chan error, 1)
			go func() { done <- file.Truncate(2 * page) }()
			synctest.Wait()
			select {
			case err := <-done:
				t.Errorf("truncate did not wait: %v", err)
			default:
				pin.Slices()[0][1] = 9 // still the file's
				m.Bytes()[page+1] = 2
				must(t, pin.Sync())
			}
			pin.Release()
			pin.Release()
			must(t, <-done)
		})
		must(t, file.Truncate(0))
		must(t, m.Close())
		if _, err := file.Pin(0, 1, false); !errors.Is(err, godax.ErrBeyondEnd) {
			t.Errorf("pin past the end: %v", err)
		}
		must(t, file.Truncate(page))
		if _, err := file.Pin(0, 1, false); !errors.Is(err, godax.ErrNotMappable) {
			t.Errorf("pin of a hole: %v", err)
		}
		must(t, file.Close())
	})
}

func TestNoAllocations(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file, err := f.Create("x")
		must(t, err)
		defer file.Close()
		b := make([]byte, page)
		for i := range int64(64) {
			must(t, second(file.WriteAt(b, i*page)))
		}
		off := int64(0)
		if n := testing.AllocsPerRun(1000, func() {
			off = (off + 7*page) % (60 * page)
			if _, err := file.ReadAt(b, off+3); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("ReadAt allocates %v times", n)
		}
		if n := testing.AllocsPerRun(1000, func() {
			off = (off + 7*page) % (60 * page)
			if _, err := file.WriteAt(b, off+3); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("WriteAt allocates %v times", n)
		}
	})
}

func TestReadOnly(t *testing.T) {
	dev, err := pmem.NewMemory(1<<20, pmem.MemoryOptions{})
	must(t, err)
	defer dev.Close()
	f, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true, Drivers: []vfs.Driver{memfs.New(dev).Driver()}})
	must(t, err)
	defer f.Close()
	for op, err := range map[string]error{
		"mkdir": f.Mkdir("x", 0o755), "remove": f.Remove("x"), "chmod": f.Chmod("/", 0),
		"setxattr": f.SetXattr("/", "user.x", nil, 0), "write": f.WriteFile("x", nil, 0o644),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	dev, err := pmem.NewMemory(1<<20, pmem.MemoryOptions{})
	must(t, err)
	defer dev.Close()
	if _, err := godax.OpenDevice(dev, godax.Options{}); !errors.Is(err, godax.ErrUnknownFormat) {
		t.Errorf("empty device: %v", err)
	}
	if _, err := godax.OpenDevice(dev, godax.Options{Type: "nofs"}); !errors.Is(err, godax.ErrUnsupported) {
		t.Errorf("unknown type: %v", err)
	}
	path := t.TempDir() + "/zero"
	must(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	_, err = godax.Open(path, godax.Options{})
	if pe, ok := err.(*fs.PathError); !ok || pe.Path != path || pe.Err != godax.ErrUnknownFormat {
		t.Errorf("file of zeros: %T %v", err, err)
	}
	// A further device that cannot be had is the one the error names.
	_, err = godax.OpenDevice(dev, godax.Options{Drivers: []vfs.Driver{memfs.New(dev).Driver()}, Devices: []string{path, path + ".none"}})
	if pe, ok := err.(*fs.PathError); !ok || pe.Path != path+".none" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing device: %T %v", err, err)
	}
}
