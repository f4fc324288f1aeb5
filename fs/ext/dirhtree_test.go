package ext

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"godax/internal/extfmt"
)

// newHtree makes an image with the directory /d of n names, which e2fsck has given an
// index.
func newHtree(t *testing.T, alg string, n int, mkfs ...string) *medium {
	t.Helper()
	size := "8M"
	if n < 1000 {
		size = "1M"
	}
	m := newMedium(t, size, append([]string{"-t", "ext2", "-O", "dir_index",
		"-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef"}, mkfs...)...)
	m.must(m.mkdir("/d"))
	d := m.lookup("/d").(*dir)
	m.must(m.file("/t"))
	for i := range n {
		m.must(d.Link(name5000(i), m.lookup("/t")))
	}
	m.close()
	name := filepath.Join(m.dir, "htree")
	m.must(os.WriteFile(name, m.bytes(), 0o600))
	if out, err := exec.Command("tune2fs", "-E", "hash_alg="+alg, name).CombinedOutput(); err != nil {
		t.Fatalf("tune2fs: %v\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fyD", name).CombinedOutput(); err != nil && err.(*exec.ExitError).ExitCode() > 1 {
		t.Fatalf("e2fsck -D: %v\n%s", err, out)
	}
	b, err := os.ReadFile(name)
	m.must(err)
	m = mediumOf(t, b)
	if m.lookup("/d").(*dir).flags()&extfmt.InodeFlagIndex == 0 {
		t.Fatal("e2fsck has not made an index")
	}
	return m
}

// TestHtree: an index stays right while names come and go, and gives way to a list when a
// leaf is full. e2fsck computes all hashes again.
func TestHtree(t *testing.T) {
	for _, alg := range []string{"legacy", "half_md4", "tea"} {
		for _, flags := range []uint32{1, 2} { // signed, unsigned
			t.Run(fmt.Sprintf("%s/%d", alg, flags), func(t *testing.T) {
				t.Parallel()
				const n = 4000
				m := newHtree(t, alg, n, "-b", "1024")
				if flags == 2 { // the names so far are ASCII: their hashes stay
					m.must(m.f.putSuper32(352, m.f.sb.Flags&^1|2))
					m.close()
					m.reopen()
				}
				d, target := m.lookup("/d").(*dir), m.lookup("/t")
				b, _, err := d.block(0)
				m.must(err)
				if root, err := extfmt.ParseHtreeRoot(b); err != nil || root.Levels != 1 {
					t.Errorf("tree of %d levels, %v", root.Levels, err)
				}
				want := map[string]bool{}
				for i := range n {
					want[name5000(i)] = true
				}
				for i := range n / 2 { // makes room in all leaves
					m.must(d.Unlink(name5000(2*i), target))
					delete(want, name5000(2*i))
				}
				if d.flags()&extfmt.InodeFlagIndex == 0 {
					t.Error("removing names has cost the index")
				}
				m.fsckStrict()
				for i := range 500 {
					name := fmt.Sprintf("new-%d\xff\xc3\xa9", i)
					m.must(d.Link(name, target))
					want[name] = true
				}
				if alg != "legacy" && d.flags()&extfmt.InodeFlagIndex == 0 { // legacy puts these in one leaf
					t.Error("names that fit have cost the index")
				}
				m.fsckStrict()
				m.must(m.rename("/d/new-1\xff\xc3\xa9", "/d/renamed"))
				delete(want, "new-1\xff\xc3\xa9")
				want["renamed"] = true
				m.must(m.file("/other"))
				m.must(m.rename("/other", "/d/renamed"))
				m.fsckStrict()
				for i := 0; d.flags()&extfmt.InodeFlagIndex != 0; i++ {
					name := fmt.Sprintf("more-%d", i)
					m.must(d.Link(name, target))
					want[name] = true
				}
				m.fsckStrict()
				for i := range 500 { // index blocks are room like any other
					name := fmt.Sprintf("after-%d", i)
					m.must(d.Link(name, target))
					want[name] = true
				}
				got := m.list("/d")
				slices.Sort(got)
				var names []string
				for name := range want {
					names = append(names, name)
				}
				slices.Sort(names)
				if diff := cmp.Diff(names, got); diff != "" {
					t.Error(diff)
				}
				m.close()
			})
		}
	}
}

// TestHtreeSmall: an index of one block.
func TestHtreeSmall(t *testing.T) {
	m := newHtree(t, "half_md4", 300, "-b", "4096", "-I", "256")
	d := m.lookup("/d").(*dir)
	for i := range 300 {
		m.must(d.Unlink(name5000(i), m.lookup("/t")))
	}
	m.fsckStrict()
	m.must(m.file("/d/x"))
	if d.flags()&extfmt.InodeFlagIndex == 0 {
		t.Error("the index is gone")
	}
	m.must(m.remove("/d/x"))
	m.must(m.remove("/d"))
	m.close()
}

// TestHtreeHostile: an index that cannot be used is given up, not believed.
func TestHtreeHostile(t *testing.T) {
	for name, spoil := range map[string]func(root []byte){
		"hash":   func(b []byte) { b[0x1c] = 77 },
		"levels": func(b []byte) { b[0x1e] = 9 },
		"count":  func(b []byte) { le.PutUint16(b[0x22:], 0xffff) },
		"child":  func(b []byte) { le.PutUint32(b[0x24:], 0x0fffffff) },
		"to root": func(b []byte) {
			for p := 0x20; p+8 <= len(b); p += 8 {
				le.PutUint32(b[p+4:], 0)
			}
		},
		"reserved": func(b []byte) { b[0x18] = 1 },
	} {
		m := newHtree(t, "half_md4", 200, "-b", "1024")
		d := m.lookup("/d").(*dir)
		b, _, err := d.block(0)
		m.must(err)
		spoil(b)
		for i := range 200 {
			if _, err := d.Lookup(name5000(i)); err != nil {
				t.Errorf("%s: %s: %v", name, name5000(i), err)
			}
		}
		for i := range 20 {
			m.must(d.Link(fmt.Sprintf("new-%d", i), m.lookup("/t")))
		}
		if name != "child" && d.flags()&extfmt.InodeFlagIndex != 0 {
			t.Errorf("%s: the index is still there", name)
		}
		if name != "child" {
			m.close()
		}
	}
}
