package ext

import (
	"fmt"
	"testing"

	"godax/vfs"
)

// BenchmarkLookup finds names in directories of several sizes: with the index the time
// does not depend on the size.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 1000, 50000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMedium(b, "16M", "-t", "ext2", "-b", "4096")
			m.must(m.file("/t"))
			m.must(m.mkdir("/d"))
			d, target := m.lookup("/d").(*dir), m.lookup("/t")
			names := make([]string, n)
			for i := range names {
				names[i] = name5000(i)
				m.must(target.(*file).setLinks(1))
				m.must(d.Link(names[i], target))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := d.Lookup(names[i%n]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkLink adds n names to an empty directory; the time of one does not grow.
func BenchmarkLink(b *testing.B) {
	for _, n := range []int{1000, 10000, 50000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMedium(b, "16M", "-t", "ext2", "-b", "4096")
			m.must(m.file("/t"))
			target := m.lookup("/t")
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				p := fmt.Sprintf("/d%d", i)
				m.must(m.mkdir(p))
				d := m.lookup(p).(*dir)
				b.StartTimer()
				for j := range n {
					_ = target.(*file).setLinks(1)
					if err := d.Link(name5000(j), target); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				for j := range n {
					_ = target.(*file).setLinks(2)
					m.must(d.Unlink(name5000(j), target))
				}
				m.must(m.remove(p))
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/link")
		})
	}
}

// BenchmarkReadDir lists a directory of 10,000 names.
func BenchmarkReadDir(b *testing.B) {
	m := newMedium(b, "16M", "-t", "ext2", "-b", "4096")
	m.must(m.file("/t"))
	m.must(m.mkdir("/d"))
	d, target := m.lookup("/d").(*dir), m.lookup("/t")
	const n = 10000
	for i := range n {
		m.must(d.Link(name5000(i), target))
	}
	for b.Loop() {
		got := 0
		if err := d.ReadDir(0, func(vfs.Dirent) bool { got++; return true }); err != nil || got != n {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/name")
}

// TestLookupAllocates nothing once the index is built.
func TestLookupAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	m := newMedium(t, "2M", "-t", "ext2", "-b", "1024")
	m.must(m.mkdir("/d"))
	m.must(m.file("/d/name"))
	d := m.lookup("/d").(*dir)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Lookup("name"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a lookup allocates %v times", n)
	}
	m.close()
}
