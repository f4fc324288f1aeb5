package godax_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"godax"
	"godax/pmem/sim"
	"godax/vm"
)

// newFile makes a file of n pages, page i filled with the byte i+1.
func newFile(t testing.TB, f *godax.FS, name string, n int) *godax.File {
	t.Helper()
	file, err := f.Create(name)
	must(t, err)
	for i := range n {
		must(t, second(file.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, page), int64(i)*page)))
	}
	return file
}

func TestMmapShared(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file := newFile(t, f, "x", 8)
		m, err := file.Mmap(2*page, 4*page, godax.MapRead|godax.MapWrite|godax.MapShared)
		must(t, err)
		b := m.Bytes()
		if len(b) != 4*page || b[0] != 3 || b[4*page-1] != 6 {
			t.Fatalf("mapped %d bytes: %d ... %d", len(b), b[0], b[len(b)-1])
		}
		b[5] = 99
		got := make([]byte, 1)
		must(t, second(file.ReadAt(got, 2*page+5)))
		if got[0] != 99 {
			t.Errorf("a store is not in the file: %d", got[0])
		}
		must(t, second(file.WriteAt([]byte{77}, 3*page)))
		if b[page] != 77 {
			t.Errorf("a write is not in the mapping: %d", b[page])
		}
		if _, err := m.Writeback(); err != nil {
			t.Error(err)
		}
		b[3*page] = 1
		st, err := m.Writeback()
		if err != nil || st.Entries == 0 {
			t.Errorf("writeback after a store: %+v, %v", st, err)
		}

		err = file.Close()
		var open *godax.OpenError
		if !errors.As(err, &open) || open.Open[0] != "x: 1 mapping" || !errors.Is(err, syscall.EBUSY) {
			t.Errorf("close while mapped: %v", err)
		}
		if err := f.Close(); !errors.As(err, &open) || open.Open[0] != "x: 1 mapping" {
			t.Errorf("close of the file system while mapped: %v", err)
		}
		must(t, m.Do(func([]byte) error {
			if err := m.Close(); !errors.Is(err, syscall.EBUSY) {
				t.Errorf("close in Do: %v", err)
			}
			return nil
		}))
		must(t, m.Close())
		if err := m.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		if err := m.Do(func([]byte) error { return nil }); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Do after close: %v", err)
		}
		must(t, file.Close())
	})
}

func TestMmapTimes(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file := newFile(t, f, "x", 2)
		old := time.Unix(1000, 0)
		check := func(when string, changed bool) {
			t.Helper()
			fi, err := file.Stat()
			must(t, err)
			if got := !fi.ModTime().Equal(old); got != changed {
				t.Errorf("%s: mtime %v", when, fi.ModTime())
			}
			must(t, f.Chtimes("x", old, old))
		}
		m, err := file.Mmap(0, 2*page, godax.MapRead|godax.MapWrite|godax.MapShared)
		must(t, err)
		must(t, m.Sync())
		must(t, f.Chtimes("x", old, old))
		must(t, m.Sync())
		if how := vm.WriteTracking(); how == "userfaultfd" {
			check("sync of nothing", false)
		} else {
			t.Log("every sync counts as a store:", how)
			must(t, f.Chtimes("x", old, old))
		}
		m.Bytes()[0]++
		must(t, m.Sync())
		check("sync", true)
		m.Bytes()[0]++
		must(t, file.Sync())
		check("sync of the file", true)
		m.Bytes()[page]++
		must(t, m.Close())
		check("close", true)
		must(t, file.Close())
	})
}

func TestMmapHoles(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file, err := f.Create("x")
		must(t, err)
		must(t, file.Truncate(4*page))
		ro, err := file.Mmap(0, 4*page, godax.MapRead|godax.MapShared)
		must(t, err)
		if !bytes.Equal(ro.Bytes(), make([]byte, 4*page)) {
			t.Error("a hole is not zero")
		}
		must(t, second(file.WriteAt([]byte("data"), page)))
		if got := string(ro.Bytes()[page : page+4]); got != "data" {
			t.Errorf("mapping of a filled hole shows %q", got)
		}
		rw, err := file.Mmap(0, 4*page, godax.MapRead|godax.MapWrite|godax.MapShared)
		must(t, err)
		rw.Bytes()[3*page] = 5
		if ro.Bytes()[3*page] != 5 {
			t.Error("two mappings differ")
		}
		must(t, file.PunchHole(page, page))
		if ro.Bytes()[page] != 0 || rw.Bytes()[page] != 0 {
			t.Error("a punched page is not zero")
		}
		must(t, ro.Close())
		must(t, rw.Close())
		must(t, file.Close())
	})
}

func TestMmapPrivate(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		newFile(t, f, "x", 2).Close()
		file, err := f.Open("x")
		must(t, err)
		m, err := file.Mmap(0, 2*page, godax.MapRead|godax.MapWrite|godax.MapPrivate)
		must(t, err)
		m.Bytes()[0] = 100
		got := make([]byte, 1)
		must(t, second(file.ReadAt(got, 0)))
		if got[0] != 1 || m.Bytes()[0] != 100 || m.Bytes()[page] != 2 {
			t.Errorf("file %d, mapping %d %d", got[0], m.Bytes()[0], m.Bytes()[page])
		}
		must(t, m.Close())
		must(t, file.Close())
	})
}

func TestDo(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file := newFile(t, f, "x", 4)
		m, err := file.Mmap(0, 6*page, godax.MapRead|godax.MapShared)
		must(t, err)
		load := func(p int) error {
			return m.Do(func(b []byte) error {
				if got := b[p*page]; got != byte(p+1) {
					t.Errorf("page %d holds %d", p, got)
				}
				return nil
			})
		}
		must(t, load(3))
		if err := load(4); !errors.Is(err, godax.ErrBeyondEnd) {
			t.Errorf("load past the end: %v", err)
		}
		must(t, file.Truncate(page+1))
		must(t, load(0))
		if err := load(3); !errors.Is(err, godax.ErrBeyondEnd) {
			t.Errorf("load of a truncated page: %v", err)
		}
		must(t, file.Truncate(5*page))
		must(t, m.Do(func(b []byte) error {
			if b[page] != 2 || b[page+1] != 0 || b[4*page] != 0 {
				t.Errorf("after extending: %d %d %d", b[page], b[page+1], b[4*page])
			}
			return nil
		}))
		if err := m.Do(func(b []byte) error { b[0] = 1; return nil }); !errors.Is(err, syscall.EFAULT) {
			t.Errorf("store to a mapping for reading: %v", err)
		}
		own := errors.New("own")
		if err := m.Do(func([]byte) error { return own }); err != own {
			t.Errorf("fn's error became %v", err)
		}
		must(t, m.Close())
		must(t, file.Close())
	})
}

func TestDoPoisoned(t *testing.T) {
	dev, err := sim.New(1 << 20)
	must(t, err)
	f, _ := newFSOn(t, dev)
	file := newFile(t, f, "x", 4)
	bad := -1
	for e, err := range file.Extents() {
		must(t, err)
		if bad < 0 {
			bad = int(e.PFN.Page()) + 1 // of the file's page 1
		}
	}
	must(t, dev.Poison(uint64(bad), 1))
	m, err := file.Mmap(0, 4*page, godax.MapRead|godax.MapWrite|godax.MapShared)
	must(t, err)
	err = m.Do(func(b []byte) error {
		if b[0] != 1 || b[2*page] != 3 {
			t.Errorf("good pages hold %d and %d", b[0], b[2*page])
		}
		b[page+1] = 1
		return nil
	})
	var bus *vm.BusError
	if !errors.Is(err, godax.ErrPoisoned) || !errors.As(err, &bus) || bus.Page != 1 {
		t.Errorf("store to a bad page: %v", err)
	}
	must(t, second(file.WriteAt(bytes.Repeat([]byte{8}, page), page)))
	must(t, m.Close())
	must(t, file.Close())
}

func TestMmapRefused(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		newFile(t, f, "x", 2).Close()
		ro, err := f.Open("x")
		must(t, err)
		defer ro.Close()
		wo, err := f.OpenFile("x", os.O_WRONLY, 0)
		must(t, err)
		defer wo.Close()
		dir, err := f.Open("/")
		must(t, err)
		defer dir.Close()
		const rws = godax.MapRead | godax.MapWrite | godax.MapShared
		tests := []struct {
			name  string
			file  *godax.File
			off   int64
			n     int
			flags godax.MapFlags
			want  error
		}{
			{"unaligned", ro, 1, page, godax.MapRead | godax.MapShared, syscall.EINVAL},
			{"negative", ro, -page, page, godax.MapRead | godax.MapShared, syscall.EINVAL},
			{"empty", ro, 0, 0, godax.MapRead | godax.MapShared, syscall.EINVAL},
			{"wraps", ro, 1<<63 - page, page, godax.MapRead | godax.MapShared, syscall.EINVAL},
			{"neither shared nor private", ro, 0, page, godax.MapRead, syscall.EINVAL},
			{"both", ro, 0, page, godax.MapShared | godax.MapPrivate, syscall.EINVAL},
			{"write of a file open for reading", ro, 0, page, rws, syscall.EBADF},
			{"file open for writing", wo, 0, page, rws, syscall.EBADF},
			{"directory", dir, 0, page, godax.MapRead | godax.MapShared, syscall.EISDIR},
			{"sync on volatile memory", ro, 0, page, rws | godax.MapSync, syscall.EOPNOTSUPP},
			{"sync for reading", ro, 0, page, godax.MapRead | godax.MapShared | godax.MapSync, syscall.EINVAL},
		}
		for _, tt := range tests {
			if _, err := tt.file.Mmap(tt.off, tt.n, tt.flags); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		}
	})
}

// A hole is punched under a view that reads and one that stores: filled again, the second
// gives it storage, which the first must see.
func TestPunchUnderTwoViews(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		file, err := f.Create("x")
		must(t, err)
		must(t, second(file.WriteAt(make([]byte, 2*page), 0)))
		r, err := file.Mmap(0, 2*page, godax.MapRead|godax.MapShared)
		must(t, err)
		w, err := file.Mmap(0, 2*page, godax.MapRead|godax.MapWrite|godax.MapShared)
		must(t, err)
		must(t, file.PunchHole(page, page))
		w.Bytes()[page] = 7
		if got := r.Bytes()[page]; got != 7 {
			t.Errorf("the reading view shows %d, want 7", got)
		}
		must(t, w.Close())
		must(t, r.Close())
		must(t, file.Close())
	})
}
