package ext

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"godax/internal/daxtest"
	"godax/vfs"
)

// crashPoints runs an operation and collects the image as it is after each store: what
// a process killed there leaves. Images that differ only in ways seen before are
// left out, and a sample of at most limit is kept.
func (f *testFS) crashPoints(limit int, op func()) [][]byte {
	image := daxtest.DeviceBytes(f.t, f.dev)
	seed := maphash.MakeSeed()
	seen := map[uint64]bool{}
	var points [][]byte
	n := 0
	r := rand.New(rand.NewPCG(1, 2))
	take := func() {
		if h := maphash.Bytes(seed, image); seen[h] {
			return
		} else {
			seen[h] = true
		}
		n++
		// Reservoir sampling: every state has the same chance.
		switch i := r.IntN(n); {
		case len(points) < limit:
			points = append(points, bytes.Clone(image))
		case i < limit:
			points[i] = bytes.Clone(image)
		}
	}
	f.st.hook, f.st.between = func(int64, int) { take() }, take
	defer func() { f.st.hook, f.st.between = nil, nil }()
	op()
	return points
}

// A process killed after any store of a change to a file leaves an image that
// e2fsck -p repairs without a question, and other files whole.
func TestCrashAtEveryStore(t *testing.T) {
	daxtest.Tool(t, "e2fsck")
	ctx := context.Background()
	limit := 24
	if testing.Short() {
		limit = 8
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Each operation gets a file of 600 blocks with a hole; it reaches double indirection
	// with blocks of 1 KiB.
	ops := []struct {
		name string
		do   func(t *testing.T, f *testFS, fl *file, bs int64)
	}{
		{"append", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, second(fl.WriteAt(ctx, fill(int(5*bs)+7, 3), fl.size())))
		}},
		{"append far", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, second(fl.WriteAt(ctx, fill(int(bs), 3), fl.size()+(300+bs*bs/16)*bs)))
		}},
		{"fill hole", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, second(fl.WriteAt(ctx, fill(int(20*bs), 3), 100*bs+3)))
		}},
		{"reserve", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, fl.Allocate(ctx, vfs.AllocReserve, 90*bs, 600*bs))
		}},
		{"truncate", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, fl.Truncate(ctx, 5*bs+1))
		}},
		{"truncate to nothing", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, fl.Truncate(ctx, 0))
		}},
		{"grow", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, fl.Truncate(ctx, 5<<30))
		}},
		{"punch", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, fl.Allocate(ctx, vfs.AllocPunch, 7*bs+1, 400*bs))
		}},
		{"punch to the end", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, fl.Allocate(ctx, vfs.AllocPunch, 11*bs, fl.size()))
		}},
		{"unlinked", func(t *testing.T, f *testFS, fl *file, bs int64) {
			must(t, f.root().Unlink("file", fl))
			f.evict(fl)
		}},
		{"create", func(t *testing.T, f *testFS, fl *file, bs int64) {
			in, err := f.root().Create("new", vfs.NewInode{Mode: 0o600})
			must(t, err)
			must(t, second(in.(*file).WriteAt(ctx, fill(3, 4), 0)))
			f.evict(in)
		}},
		{"close", func(t *testing.T, f *testFS, fl *file, bs int64) {
			f.evict(fl)
			must(t, f.Close(ctx))
		}},
	}
	for _, bs := range []int{1024, 4096} {
		for _, op := range ops {
			t.Run(fmt.Sprintf("%d/%s", bs, op.name), func(t *testing.T) {
				f := newFS(t, 600*int64(bs)*3, bs, "iomap")
				kept := fill(20*bs+11, 1)
				other := f.create("kept")
				must(t, second(other.WriteAt(ctx, kept, 0)))
				must(t, other.Sync(ctx, false))
				f.evict(other)
				fl := f.create("file")
				must(t, second(fl.WriteAt(ctx, fill(600*bs, 2), 0)))
				must(t, fl.Allocate(ctx, vfs.AllocPunch, 100*int64(bs), 50*int64(bs)))
				must(t, fl.Sync(ctx, false))

				points := f.crashPoints(limit, func() { op.do(t, f, fl, int64(bs)) })
				if len(points) == 0 {
					t.Fatal("no stores")
				}
				for i, image := range points {
					fixed, err := daxtest.FsckPreen(t, image)
					if err != nil {
						t.Fatalf("crash point %d of %d: %v", i, len(points), err)
					}
					g := mountTest(t, daxtest.MemoryDevice(t, fixed), vfs.MountOptions{ReadOnly: true})
					compare(t, fmt.Sprintf("crash point %d: other file", i), contents(t, g.open("kept").(*file)), kept)
				}
			})
		}
	}
}

// The state says whether the last user closed the file system.
func TestState(t *testing.T) {
	f := newFS(t, 1<<20, 1024, "iomap")
	killed := bytes.Clone(daxtest.DeviceBytes(t, f.dev))
	f.closeClean()

	dev := daxtest.MemoryDevice(t, killed)
	if _, err := mount(dev, vfs.MountOptions{}); !isNotClean(err) {
		t.Errorf("mount after a crash: got %v, want ErrNotClean", err)
	}
	g := mountTest(t, dev, vfs.MountOptions{ReadOnly: true})
	if d := g.Describe(); !d.ReadOnly || d.Why == "" {
		t.Errorf("read-only mount after a crash: %+v", d)
	}
	fixed, err := daxtest.FsckPreen(t, killed)
	if err != nil {
		t.Fatal(err)
	}
	mountTest(t, daxtest.MemoryDevice(t, fixed), vfs.MountOptions{}).closeClean()
}
