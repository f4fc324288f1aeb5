package vm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"godax/pmem"
)

const benchPages = 1 << 30 / ps

// benchDevice is 1 GiB of memory, all of it there.
func benchDevice(b *testing.B) pmem.Device {
	b.Helper()
	d := kinds[0].open(b, benchPages*ps)
	mem, err := d.Bytes(0, benchPages*ps)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(mem); i += ps {
		mem[i] = 1
	}
	return d
}

// BenchmarkCollect: 1 GiB with some pages stored to since the last time. Not the
// stores, only the collection is timed.
func BenchmarkCollect(b *testing.B) {
	needTracking(b)
	d := benchDevice(b)
	v := newView(b, 0, benchPages, rws, ViewOptions{Align: AlignTo(0, 0, frame(d, 0))})
	refill(b, v, d)
	r := rand.New(rand.NewPCG(1, 1))
	for _, dirty := range []int{0, 10, 1000, 100000} {
		b.Run(fmt.Sprint(dirty), func(b *testing.B) {
			var found uint64
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for range dirty {
					v.Bytes()[r.Uint64N(benchPages)*ps]++
				}
				b.StartTimer()
				found = 0
				if err := v.Collect(0, benchPages, func(_, n uint64) { found += n }); err != nil {
					b.Fatal(err)
				}
			}
			if dirty > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(found), "ns/page")
			}
		})
	}
}

// BenchmarkMap: making and closing a view of 1 GiB.
func BenchmarkMap(b *testing.B) {
	d := benchDevice(b)
	for _, c := range []struct {
		name  string
		flags Flags
		step  uint64
		o     ViewOptions
	}{
		{"read", Read | Shared, benchPages, ViewOptions{}},
		{"read/installs of 512 pages", Read | Shared, 512, ViewOptions{}},
		{"write", rws, benchPages, ViewOptions{}},
		{"write/untracked", rws, benchPages, ViewOptions{NoTracking: true}},
		{"write/prefault", rws, benchPages, ViewOptions{Prefault: true}},
		{"private", Read | Write, benchPages, ViewOptions{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var calls uint64
			for b.Loop() {
				v, err := NewView(0, benchPages, c.flags, c.o)
				if err != nil {
					b.Fatal(err)
				}
				for p := uint64(0); p < benchPages; p += c.step {
					install(b, v, p, c.step, d, p)
				}
				complete(b, v)
				calls = v.MmapCalls()
				if err := v.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(calls), "mmaps")
		})
	}
}

// BenchmarkTouch: mapping 1 GiB that is in memory and accessing each page once,
// against a plain mmap of the same file.
func BenchmarkTouch(b *testing.B) {
	d := benchDevice(b)
	fd, _, _ := d.(pmem.Mappable).Backing()
	load := func(m []byte) {
		var sum byte
		for i := 0; i < len(m); i += ps {
			sum += m[i]
		}
		sink.Add(uint32(sum))
	}
	store := func(m []byte) {
		for i := 0; i < len(m); i += ps {
			m[i] = 1
		}
	}
	for _, a := range []struct {
		name  string
		f     func([]byte)
		prot  int
		flags Flags
	}{
		{"load/read-only", load, unix.PROT_READ, Read | Shared},
		{"load/writable", load, unix.PROT_READ | unix.PROT_WRITE, rws},
		{"store", store, unix.PROT_READ | unix.PROT_WRITE, rws},
	} {
		perPage := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchPages, "ns/page")
		}
		b.Run(a.name+"/plain mmap", func(b *testing.B) {
			for b.Loop() {
				m, err := unix.Mmap(fd, 0, benchPages*ps, a.prot, unix.MAP_SHARED)
				if err != nil {
					b.Fatal(err)
				}
				a.f(m)
				unix.Munmap(m)
			}
			perPage(b)
		})
		for _, o := range []struct {
			name string
			o    ViewOptions
		}{{"view", ViewOptions{}}, {"view untracked", ViewOptions{NoTracking: true}}, {"view prefault", ViewOptions{Prefault: true}}} {
			b.Run(a.name+"/"+o.name, func(b *testing.B) {
				for b.Loop() {
					v, err := NewView(0, benchPages, a.flags, o.o)
					if err != nil {
						b.Fatal(err)
					}
					install(b, v, 0, benchPages, d, 0)
					complete(b, v)
					a.f(v.Bytes())
					v.Close()
				}
				perPage(b)
			})
		}
	}
}

// BenchmarkFirstStore: a store to a page that was collected, against one to a page
// that was not.
func BenchmarkFirstStore(b *testing.B) {
	needTracking(b)
	d := benchDevice(b)
	v := newView(b, 0, benchPages, rws, ViewOptions{})
	refill(b, v, d)
	b.Run("collected", func(b *testing.B) {
		p := uint64(benchPages)
		for b.Loop() {
			if p == benchPages {
				b.StopTimer()
				for i := 0; i < benchPages*ps; i += ps {
					v.Bytes()[i]++
				}
				collect(b, v, 0, benchPages)
				b.StartTimer()
				p = 0
			}
			v.Bytes()[p*ps]++
			p++
		}
	})
	b.Run("written", func(b *testing.B) {
		for i := 0; i < benchPages*ps; i += ps {
			v.Bytes()[i]++
		}
		p := uint64(0)
		for b.Loop() {
			v.Bytes()[p%benchPages*ps]++
			p++
		}
	})
}
