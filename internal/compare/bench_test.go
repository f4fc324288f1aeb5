package compare

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func BenchmarkOpen(b *testing.B) {
	im := get(b)
	for _, r := range readers {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.open(b, r.image(im)).close(b)
			}
		})
	}
}

func BenchmarkWalk(b *testing.B) { walks(b, nil) }

func BenchmarkSmallFiles(b *testing.B) { walks(b, make([]byte, 16<<10)) }

func walks(b *testing.B, buf []byte) {
	im := get(b)
	for _, r := range readers {
		b.Run(r.name, func(b *testing.B) {
			f := r.open(b, r.image(im))
			defer f.close(b)
			b.ReportAllocs()
			for b.Loop() {
				if n := f.walk(b, buf); n != small+smallDirs+2 {
					b.Fatalf("%d names", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*small), "ns/file")
		})
	}
}

// BenchmarkRead reads 4 KiB at a time from the two large files.
func BenchmarkRead(b *testing.B) {
	im := get(b)
	for _, name := range []string{"big", "packed"} {
		want, err := os.ReadFile(filepath.Join(im.dir, "tree", name))
		check(b, err)
		order := make([]int64, len(want)/page)
		for i := range order {
			order[i] = int64(i) * page
		}
		for _, way := range []string{"seq", "rand"} {
			if way == "rand" {
				r := rand.New(rand.NewPCG(1, 2))
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			buf := make([]byte, page)
			b.Run(name+"/"+way+"/copy", func(b *testing.B) {
				b.SetBytes(page)
				for i := 0; b.Loop(); i++ {
					copy(buf, want[order[i%len(order)]:])
				}
			})
			for _, r := range readers {
				b.Run(name+"/"+way+"/"+r.name, func(b *testing.B) {
					f := r.open(b, r.image(im))
					b.Cleanup(func() { f.close(b) }) // after the file
					read := f.open(b, name)
					check(b, read(buf, page))
					if !bytes.Equal(buf, want[page:2*page]) {
						b.Fatal("other bytes")
					}
					b.SetBytes(page)
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						check(b, read(buf, order[i%len(order)]))
					}
				})
			}
		}
	}
}
