package ext

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"godax/internal/daxtest"
	"godax/internal/extfmt"
	"godax/vfs"
)

// The map of a file after random allocations and frees is what a plain map of blocks
// says, no block has two owners, and the bitmaps add up.
func TestIndirectModel(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			f := newFS(t, 8<<20, bs, "iomap")
			in := f.create("file").inode
			free := f.freeBlocks.Load()
			has := map[uint64]uint64{}
			owner := map[uint64]uint64{}
			ptrs := uint64(bs / 4)
			bases := []uint64{0, 8, 12 + ptrs - 5, 12 + ptrs + ptrs*ptrs - 9, 12 + ptrs + 7*ptrs - 3, 12 + ptrs + ptrs*ptrs + ptrs*ptrs*3 - 2}
			r := rand.New(rand.NewPCG(3, uint64(bs)))
			for i := range 1500 {
				lblk := bases[r.IntN(len(bases))] + r.Uint64N(20)
				n := 1 + r.Uint64N(30)
				switch r.IntN(3) {
				case 0:
					x, err := in.blocks(lblk, n, true)
					if err != nil {
						t.Fatalf("op %d: allocate %d+%d: %v", i, lblk, n, err)
					}
					if x.n < 1 || x.n > n || x.pblk == 0 {
						t.Fatalf("op %d: allocate %d+%d: %+v", i, lblk, n, x)
					}
					for k := range x.n {
						l, p := lblk+k, x.pblk+k
						if old, ok := has[l]; ok != !x.new || ok && old != p {
							t.Fatalf("op %d: block %d: got %d, new %v, had %d", i, l, p, x.new, old)
						}
						if o, ok := owner[p]; ok && o != l {
							t.Fatalf("op %d: block %d belongs to %d and %d", i, p, o, l)
						}
						has[l], owner[p] = p, l
					}
				case 1:
					x, err := in.blocks(lblk, n, false)
					if err != nil || x.n < 1 || x.n > n {
						t.Fatalf("op %d: lookup %d+%d: %+v, %v", i, lblk, n, x, err)
					}
					for k := range x.n {
						want := has[lblk+k]
						if got := x.pblk + k; x.pblk == 0 && want != 0 || x.pblk != 0 && got != want {
							t.Fatalf("op %d: lookup %d+%d: %+v, block %d is at %d", i, lblk, n, x, lblk+k, want)
						}
					}
				case 2:
					in.mu.Lock()
					err := in.bmap.free(lblk, lblk+n)
					in.mu.Unlock()
					if err != nil {
						t.Fatalf("op %d: free %d+%d: %v", i, lblk, n, err)
					}
					for l := lblk; l < lblk+n; l++ {
						delete(owner, has[l])
						delete(has, l)
					}
				}
			}
			in.mu.Lock()
			err := in.bmap.free(0, f.mapBlocks())
			in.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			if in.sectors() != 0 || f.freeBlocks.Load() != free {
				t.Errorf("after freeing all: %d sectors, %d free blocks, want 0, %d", in.sectors(), f.freeBlocks.Load(), free)
			}
			f.evict(&file{inode: in})
			f.closeClean()
		})
	}
}

// Runs are as long as they are contiguous, across pointer blocks, and holes as long as the
// missing subtree.
func TestLookupLengths(t *testing.T) {
	f := newFS(t, 8<<20, 1024, "iomap")
	in := f.create("file").inode
	const last = 12 + 256 + 256*256 + 256*256*256
	if x, err := in.blocks(0, 1<<40, false); err != nil || x.pblk != 0 || x.n != 1<<40 {
		t.Errorf("empty file: %+v, %v", x, err)
	}
	// One block in the middle of the triple indirect range.
	at := uint64(12 + 256 + 256*256 + 5*256*256)
	if _, err := in.blocks(at, 1, true); err != nil {
		t.Fatal(err)
	}
	if x, err := in.blocks(0, 1<<40, false); err != nil || x.pblk != 0 || x.n != at {
		t.Errorf("hole before block %d: %+v, %v", at, x, err)
	}
	if x, err := in.blocks(at+1, last-at-1, false); err != nil || x.pblk != 0 || x.n != last-at-1 {
		t.Errorf("hole behind block %d: %+v, %v", at, x, err)
	}
	if err := (&file{inode: in}).cut(0); err != nil {
		t.Fatal(err)
	}
	f.evict(&file{inode: in})
	f.closeClean()
}

// Pointers that cannot be are errors, at once, for reading and for freeing.
func TestHostilePointers(t *testing.T) {
	ctx := context.Background()
	type edit func(f *testFS, in *inode, ind, dind uint64)
	set := func(f *testFS, off int64, v uint64) {
		if err := f.st.put32(off, uint32(v)); err != nil {
			f.t.Fatal(err)
		}
	}
	ptr := func(in *inode, i int64) int64 { return in.off + extfmt.InodeBlock + 4*i }
	tests := []struct {
		name string
		lblk uint64 // that must fail to read; ^0 if reads may succeed
		edit edit
	}{
		{"superblock", 3, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 3), 1) }},
		{"descriptors", 3, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 3), 2) }},
		{"bitmap", 3, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 3), f.groups[0].BlockBitmap) }},
		{"inode table", 3, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 3), f.groups[0].InodeTable+1) }},
		{"out of range", 3, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 3), f.sb.BlocksCount) }},
		{"far out of range", 3, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 3), 1<<32-1) }},
		{"indirect block out of range", 20, func(f *testFS, in *inode, _, _ uint64) { set(f, ptr(in, 12), 1<<31) }},
		{"pointer in indirect block", 20, func(f *testFS, in *inode, ind, _ uint64) { set(f, f.blockOff(ind)+4*8, 1<<31) }},
		{"double indirect block is its own child", ^uint64(0), func(f *testFS, in *inode, _, dind uint64) {
			for i := range int64(256) {
				set(f, f.blockOff(dind)+4*i, dind)
			}
		}},
		{"triple indirect block everywhere", ^uint64(0), func(f *testFS, in *inode, _, dind uint64) {
			set(f, ptr(in, 14), dind)
			for i := range int64(256) {
				set(f, f.blockOff(dind)+4*i, dind)
			}
		}},
		{"block twice", ^uint64(0), func(f *testFS, in *inode, ind, _ uint64) { set(f, ptr(in, 4), uint64(in.pointer(3))) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFS(t, 4<<20, 1024, "iomap")
			fl := f.create("file")
			if _, err := fl.WriteAt(ctx, fill(300<<10, 1), 0); err != nil {
				t.Fatal(err)
			}
			if err := fl.Sync(ctx, false); err != nil {
				t.Fatal(err)
			}
			f.evict(fl)
			fl = f.open("file").(*file)
			tt.edit(f, fl.inode, uint64(fl.pointer(12)), uint64(fl.pointer(13)))
			if tt.lblk != ^uint64(0) {
				var b [10]byte
				if _, err := fl.ReadAt(ctx, b[:], int64(tt.lblk)<<10); !errors.Is(err, vfs.ErrCorrupt) {
					t.Errorf("read: got %v, want ErrCorrupt", err)
				}
				if _, err := fl.WriteAt(ctx, b[:], int64(tt.lblk)<<10); !errors.Is(err, vfs.ErrCorrupt) {
					t.Errorf("write: got %v, want ErrCorrupt", err)
				}
			}
			if err := fl.Truncate(ctx, 0); !errors.Is(err, vfs.ErrCorrupt) {
				t.Errorf("truncate: got %v, want ErrCorrupt", err)
			}
			_ = fl.Evict(ctx)
			if err := f.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := mount(f.dev, vfs.MountOptions{}); !isNotClean(err) {
				t.Errorf("mount after damage was met: got %v, want ErrNotClean", err)
			}
		})
	}
}

func FuzzIndirect(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 60, 0, 0, 0}, uint32(3), uint16(20), uint16(400))
	f.Add([]byte{60, 0, 0, 0, 61, 0, 0, 0, 62, 0, 0, 0, 60, 0, 0, 0}, uint32(12), uint16(1), uint16(65535))
	image := make([]byte, 256<<10)
	f.Fuzz(func(t *testing.T, ptrs []byte, lblk uint32, n, garbage uint16) {
		dev := daxtest.MemoryDevice(t, image)
		if err := Format(dev, FormatOptions{BlockSize: 1024}); err != nil {
			t.Fatal(err)
		}
		fs := mountTest(t, dev, vfs.MountOptions{})
		in := fs.create("file").inode
		// The pointers come from the input, and all free blocks are full of pointers too.
		b := daxtest.DeviceBytes(t, dev)
		for i := 60 << 10; i < len(b); i += 4 {
			le.PutUint32(b[i:], uint32(i/4*int(garbage))%300)
		}
		copy(b[in.off+extfmt.InodeBlock:][:4*extfmt.NPointers], ptrs)
		x, err := in.blocks(uint64(lblk), uint64(n)+1, false)
		if err == nil && (x.n < 1 || x.n > uint64(n)+1 || x.pblk != 0 && !fs.isData(x.pblk, x.n)) {
			t.Errorf("lookup %d+%d: %+v", lblk, n, x)
		}
		if err != nil && !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("lookup: unclassified error %v", err)
		}
		_, _ = in.blocks(uint64(lblk), uint64(n)+1, true)
		in.mu.Lock()
		_ = in.bmap.free(uint64(lblk)/2, uint64(lblk)+uint64(n))
		_ = in.bmap.free(0, fs.mapBlocks())
		in.mu.Unlock()
	})
}
