package godax_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"godax"
	"godax/pmem"
)

// touchCall is one call of Options.Touched.
type touchCall struct {
	ino    uint64
	off, n int64
}

// TestTouched: reads, mappings and pins are told of, whether the index knows the frames or not;
// writes, directories and attributes are not.
func TestTouched(t *testing.T) {
	var mu sync.Mutex
	var got []touchCall
	dev, err := pmem.NewMemory(16<<20, pmem.MemoryOptions{})
	must(t, err)
	defer dev.Close()
	o := backends[0].make(t, dev)
	o.Touched = func(ino uint64, off, n int64) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, touchCall{ino, off, n})
	}
	f, err := godax.OpenDevice(dev, o)
	must(t, err)
	defer closeFS(t, f)
	must(t, f.Mkdir("d", 0o755))
	must(t, f.WriteFile("d/a", bytes.Repeat([]byte("x"), 5*page), 0o644))
	_, err = f.ReadDir("d")
	must(t, err)
	fi, err := f.Stat("d/a")
	must(t, err)
	ino := fi.Sys().(*godax.Stat).Ino
	a, err := f.Open("d/a")
	must(t, err)
	defer a.Close()
	if len(got) != 0 {
		t.Errorf("told of %v before anything was read", got)
	}
	b := make([]byte, 100)
	for range 2 {
		_, err = a.ReadAt(b, 4000)
		must(t, err)
	}
	m, err := a.Mmap(page, 2*page, godax.MapRead|godax.MapShared)
	must(t, err)
	must(t, m.Close())
	p, err := a.Pin(3*page, 5, false)
	must(t, err)
	p.Release()
	_, err = a.ReadAt(nil, 0)
	must(t, err)
	want := []touchCall{{ino, 4000, 100}, {ino, 4000, 100}, {ino, page, 2 * page}, {ino, 3 * page, 5}}
	if !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}
