package ext

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkWriteAt is a write of 4 KiB: over what is there, and behind the end, against
// the bare copy.
func BenchmarkWriteAt(b *testing.B) {
	const size = 64 << 20
	ctx := context.Background()
	buf := fill(4096, 1)
	b.Run("copy", func(b *testing.B) {
		dst := make([]byte, size)
		b.SetBytes(4096)
		for i := 0; b.Loop(); i++ {
			copy(dst[i*4096%size:], buf)
		}
	})
	for _, bs := range []int{1024, 4096} {
		f := newFS(b, 256<<20, bs, "iomap")
		fl := f.create("file")
		if _, err := fl.WriteAt(ctx, make([]byte, size), 0); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("overwrite/%d", bs), func(b *testing.B) {
			b.SetBytes(4096)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := fl.WriteAt(ctx, buf, int64(i)*4096%size); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("append/%d", bs), func(b *testing.B) {
			b.SetBytes(4096)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%(size/4096) == 0 {
					if err := fl.Truncate(ctx, 0); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := fl.WriteAt(ctx, buf, fl.size()); err != nil {
					b.Fatal(err)
				}
			}
		})
		f.evict(fl)
	}
}

// BenchmarkBlocks is the search for a block through the indirect blocks.
func BenchmarkBlocks(b *testing.B) {
	f := newFS(b, 256<<20, 4096, "iomap")
	fl := f.create("file")
	if _, err := fl.WriteAt(context.Background(), make([]byte, 64<<20), 0); err != nil {
		b.Fatal(err)
	}
	for _, n := range []uint64{1, 512, 16384} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				if _, err := fl.blocks(i*511%16384, n, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f.evict(fl)
}
