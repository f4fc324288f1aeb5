package ext

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"godax/internal/extfmt"
	"godax/vfs"
)

// TestBigDirectory: thousands of names, added, found, listed and removed again.
func TestBigDirectory(t *testing.T) {
	const n = 5000
	forFormats(t, "8M", func(t *testing.T, m *medium) {
		m.must(m.mkdir("/d"))
		d := m.lookup("/d").(*dir)
		m.must(m.file("/target"))
		target := m.lookup("/target")
		start := time.Now()
		for i := range n {
			m.must(d.Link(name5000(i), target))
		}
		t.Logf("%d links in %v", n, time.Since(start))
		start = time.Now()
		for i := range n {
			if ino, err := d.Lookup(name5000(i)); err != nil || ino != target.Attr().Ino {
				t.Fatalf("%s: inode %d, %v", name5000(i), ino, err)
			}
			if _, err := d.Lookup(name5000(i) + "-"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s-: %v", name5000(i), err)
			}
		}
		t.Logf("%d lookups in %v", 2*n, time.Since(start))
		if got := len(m.list("/d")); got != n {
			t.Errorf("%d names listed", got)
		}
		size := d.size()
		rnd := rand.New(rand.NewPCG(1, 2))
		for _, i := range rnd.Perm(n)[:n/2] {
			m.must(d.Unlink(name5000(i), target))
			m.want("lookup of what is gone", func() error { _, err := d.Lookup(name5000(i)); return err }(), fs.ErrNotExist)
		}
		for i := range n {
			if _, err := d.Lookup(name5000(i)); err != nil {
				m.must(d.Link(name5000(i), target))
			}
		}
		if d.size() > size+size/10 {
			t.Errorf("space is not used again: the directory grew from %d to %d bytes", size, d.size())
		}
		m.fsckStrict()
		for i := range n {
			m.must(d.Unlink(name5000(i), target))
		}
		m.must(m.remove("/d"))
	})
}

func name5000(i int) string { return fmt.Sprintf("%d-%s", i, strings.Repeat("n", i*7%40)) }

// TestReadDirPositions: names that stay are seen once, from whatever position reading
// goes on, while others come and go.
func TestReadDirPositions(t *testing.T) {
	forFormats(t, "2M", func(t *testing.T, m *medium) {
		m.must(m.mkdir("/d"))
		d := m.lookup("/d").(*dir)
		m.must(m.file("/t"))
		target := m.lookup("/t")
		rnd := rand.New(rand.NewPCG(3, 4))
		stay := map[string]bool{}
		for i := range 300 {
			name := name5000(i)
			m.must(d.Link(name, target))
			if i%2 == 0 {
				stay[name] = true
			}
		}
		var moving []string
		for i := range 300 {
			if name := name5000(i); !stay[name] {
				moving = append(moving, name)
			}
		}
		next := 1000
		for range 5 {
			seen := map[string]int{}
			pos := uint64(0)
			for {
				n := 1 + rnd.IntN(4)
				m.must(d.ReadDir(pos, func(e vfs.Dirent) bool {
					seen[e.Name]++
					if e.Off <= pos {
						t.Fatalf("position %d after %d", e.Off, pos)
					}
					pos = e.Off
					n--
					return n > 0
				}))
				if n > 0 {
					break
				}
				for range 3 { // between two calls the directory changes
					i := rnd.IntN(len(moving))
					m.must(d.Unlink(moving[i], target))
					moving[i] = fmt.Sprintf("%d-%s", next, strings.Repeat("m", rnd.IntN(60)))
					next++
					m.must(d.Link(moving[i], target))
				}
			}
			for name := range stay {
				if seen[name] != 1 {
					t.Errorf("%s seen %d times", name, seen[name])
				}
			}
			for _, name := range moving {
				m.must(d.Unlink(name, target))
				m.must(d.Link(name, target))
			}
		}
		for _, pos := range []uint64{1, 13, uint64(d.size()) - 1, uint64(d.size()), 1 << 40, 1<<64 - 1} {
			m.must(d.ReadDir(pos, func(e vfs.Dirent) bool {
				if e.Off <= pos {
					t.Errorf("position %d after %d", e.Off, pos)
				}
				return true
			}))
		}
	})
}

// TestParallelLookup: lookups build the index together.
func TestParallelLookup(t *testing.T) {
	m := newMedium(t, "2M", "-t", "ext2", "-b", "1024")
	m.must(m.mkdir("/d"))
	m.must(m.file("/t"))
	for i := range 500 {
		m.must(m.lookup("/d").(*dir).Link(name5000(i), m.lookup("/t")))
	}
	m.evict(m.lookup("/d").Attr().Ino) // and the index with it
	d := m.lookup("/d").(*dir)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				i = (i*7 + g*100) % 500
				if _, err := d.Lookup(name5000(i)); err != nil {
					t.Errorf("%s: %v", name5000(i), err)
				}
				if _, err := d.Lookup("none"); !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	m.close()
}

// TestIndexLimit: names behind the limit of the index are found by searching.
func TestIndexLimit(t *testing.T) {
	m := newMedium(t, "2M", "-t", "ext2", "-b", "1024")
	m.must(m.mkdir("/d"))
	d := m.lookup("/d").(*dir)
	m.must(m.file("/t"))
	target := m.lookup("/t")
	names := map[string]bool{}
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 400 {
		if i == 100 {
			d.names.names += maxNames - 100 // as if it were nearly full
		}
		name := name5000(i)
		m.must(d.Link(name, target))
		names[name] = true
		if i > 100 && i%3 == 0 {
			gone := name5000(rnd.IntN(i))
			if names[gone] {
				m.must(d.Unlink(gone, target))
				delete(names, gone)
			}
		}
	}
	if !d.names.full || d.names.known == d.nblocks() {
		t.Errorf("index is not full: %d of %d blocks", d.names.known, d.nblocks())
	}
	for i := range 400 {
		name := name5000(i)
		if _, err := d.Lookup(name); (err == nil) != names[name] {
			t.Errorf("%s: %v, there: %v", name, err, names[name])
		}
	}
	got := m.list("/d")
	slices.Sort(got)
	var want []string
	for n := range names {
		want = append(want, n)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	m.close()
}

// TestHostileDirectory: broken records end in an error, for every operation; what comes before
// them is still found.
func TestHostileDirectory(t *testing.T) {
	m := newMedium(t, "1M", "-t", "ext2", "-b", "1024")
	m.must(m.mkdir("/d"))
	for _, n := range []string{"aaaa", "bbbb", "cccc"} {
		m.must(m.file("/d/" + n))
	}
	clean := slices.Clone(m.bytes())
	ino := m.lookup("/d").Attr().Ino
	for _, c := range []struct {
		name  string
		spoil func(d *dir, r record)
		found bool // the name before is still found by reading
	}{
		{"rec_len 0", func(d *dir, r record) { le.PutUint16(r.blk[r.Off+4:], 0) }, true},
		{"rec_len beyond", func(d *dir, r record) { le.PutUint16(r.blk[r.Off+4:], 0xfffc) }, true},
		{"inode", func(d *dir, r record) { le.PutUint32(r.blk[r.Off:], 0xffffffff) }, true},
		{"slash", func(d *dir, r record) { r.blk[r.Off+8] = '/' }, true},
		{"hole", func(d *dir, r record) { d.put32(extfmt.InodeBlock, 0) }, false},
		{"metadata block", func(d *dir, r record) { d.put32(extfmt.InodeBlock, 1) }, false},
		{"block out of range", func(d *dir, r record) { d.put32(extfmt.InodeBlock, 1<<31) }, false},
	} {
		copy(m.bytes(), clean)
		i, err := m.f.Inode(ino)
		m.must(err)
		d := i.(*dir)
		r, err := d.find("bbbb")
		m.must(err)
		victim, err := m.f.Inode(uint64(r.Ino))
		m.must(err)
		c.spoil(d, r)
		i, err = m.f.Inode(ino) // without an index
		m.must(err)
		d = i.(*dir)
		for range 2 { // with and without what the first try left in the index
			for what, op := range map[string]func() error{
				"lookup":  func() error { _, err := d.Lookup("cccc"); return err },
				"readdir": func() error { return d.ReadDir(0, func(vfs.Dirent) bool { return true }) },
				"create":  func() error { _, err := d.Create("new", vfs.NewInode{}); return err },
				"unlink":  func() error { return d.Unlink("bbbb", victim) },
				"rmdir":   func() error { root, _ := m.f.Inode(2); return root.(*dir).Rmdir("d", d) },
			} {
				err := op()
				if what == "rmdir" && c.found && errors.Is(err, syscall.ENOTEMPTY) {
					continue // the first name says enough
				}
				if !errors.Is(err, vfs.ErrCorrupt) {
					t.Errorf("%s: %s: got %v, want corrupt", c.name, what, err)
				}
			}
		}
	}
	for _, size := range []uint32{0, 1, 1023, 1<<20 + 1024, 1 << 31} {
		copy(m.bytes(), clean)
		in, err := m.f.loadInode(uint32(ino))
		m.must(err)
		m.must(in.put32(extfmt.InodeSizeLow, size))
		if _, err := m.f.Inode(ino); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("size %d: got %v, want corrupt", size, err)
		}
	}
	copy(m.bytes(), clean)
	m.close()
}
