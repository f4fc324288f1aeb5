package ext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest"
	"godax/internal/extfmt"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
	"godax/vm/sim"
)

// TestSI4_Refusals: what cannot be mapped directly is refused, or served by copies, when it
// is opened, never at a fault: inline data, extents, and data journalled by a driver that
// has a journal; blocks that are no pages.
//
// Guards I50, C1, T36, T37, T84.
func TestSI4_Refusals(t *testing.T) {
	ctx := context.Background()
	f := newFS(t, 4<<20, 4096, "iomap")
	for _, flag := range []uint32{extfmt.InodeFlagInline, extfmt.InodeFlagExtents, extfmt.InodeFlagInline | 1<<25} { // with the wish to be DAX
		fl := f.create(fmt.Sprintf("flag %x", flag))
		ino := fl.Attr().Ino
		raw := fl.raw[32:36]
		f.evict(fl)
		le.PutUint32(raw, le.Uint32(raw)|flag)
		if _, err := f.Inode(ino); !errors.Is(err, vfs.ErrCorrupt) {
			t.Errorf("flags %#x: %v", flag, err)
		}
		le.PutUint32(raw, le.Uint32(raw)&^flag)
	}
	f.closeClean()

	// A journal is not replayed and not kept up, so an image that has one is not written to.
	dev := daxtest.MemoryImage(t, daxtest.Mke2fs(t, 16<<20, "-b", "4096", "-O", "has_journal"))
	j, err := mount(dev, vfs.MountOptions{})
	if err == nil {
		if d := j.Describe(); !d.ReadOnly {
			t.Errorf("an image with a journal is mounted for writing: %+v", d)
		}
		err = j.Close(ctx)
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}

	for _, bs := range []int{1024, 2048} {
		f := newFS(t, 4<<20, bs, "iomap")
		fl := f.create("file")
		if _, err := fl.WriteAt(ctx, fill(5*pmem.PageSize, 1), 0); err != nil {
			t.Fatal(err)
		}
		for e, err := range fl.Mapping().Entries(ctx, 0, 5, fl) {
			if err != nil || e.Kind != dax.Cached {
				t.Errorf("blocks of %d bytes: %+v, %v", bs, e, err)
			}
		}
		f.evict(fl)
		f.closeClean()
	}
}

// TestSI5_Pairings: each of a direct and a cached file as the source of a transfer, through a
// view or straight from its frames, and as its target, in sizes from a part of a page to
// more than a huge one. A direct page is never written back as a copy would be.
//
// Guards I24, I49, I55, T40.
func TestSI5_Pairings(t *testing.T) {
	ctx := context.Background()
	const most = 2<<20 + 3*pmem.PageSize + 100
	var files [4]*file // direct, cached; sources, then targets
	for i := range files {
		f := newFS(t, 8<<20, []int{4096, 1024}[i%2], "iomap")
		files[i] = f.create("file")
		if _, err := files[i].WriteAt(ctx, fill(most+pmem.PageSize, uint64(i)), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.closeClean)
		fl := files[i]
		t.Cleanup(func() { f.evict(fl) })
	}
	for _, from := range files[:2] {
		src := contents(t, from)
		view := mapSim(t, sim.New(sim.Config{}), from, 0, most/pmem.PageSize+2, vm.Read|vm.Shared)
		for _, to := range files[2:] {
			target := mapSim(t, sim.New(sim.Config{}), to, 0, most/pmem.PageSize+2, vm.Read|vm.Write|vm.Shared)
			want := contents(t, to)
			for i, n := range []int64{1024, pmem.PageSize, 2 << 20, most} {
				at, off := int64(i*512), int64(i%2)*pmem.PageSize
				n = min(n, most-at)
				copy(want[off:], src[at:at+n])
				for name, transfer := range map[string]func() (int64, error){
					"view to file": func() (int64, error) {
						pos := at
						return to.Mapping().WriteFrom(ctx, off, n, to, func(b []byte) (int, error) {
							err := view.Load(ctx, b, pos)
							pos += int64(len(b))
							return len(b), err
						})
					},
					"file to view": func() (int64, error) {
						pos := off
						return from.Mapping().ReadTo(ctx, at, n, from, func(b []byte) (int, error) {
							err := target.Store(ctx, b, pos)
							pos += int64(len(b))
							return len(b), err
						})
					},
				} {
					if err := to.Mapping().ZeroRange(ctx, off, n, to); err != nil {
						t.Fatal(err)
					}
					if done, err := transfer(); done != n || err != nil {
						t.Fatalf("%s, %d bytes: %d, %v", name, n, done, err)
					}
					if got := contents(t, to); !bytes.Equal(got, want) {
						t.Fatalf("%s, %d bytes: wrong bytes", name, n)
					}
				}
			}
			if err := to.Sync(ctx, false); err != nil {
				t.Fatal(err)
			}
			unmapSim(t, to, target)
		}
		unmapSim(t, from, view)
	}
	for i, fl := range files {
		want := []dax.Kind{dax.Direct, dax.Cached}[i%2]
		for e, err := range fl.Mapping().Entries(ctx, 0, 10, fl) {
			if err != nil || e.Kind != want {
				t.Errorf("file %d: %+v, %v", i, e, err)
			}
		}
		if err := fl.Mapping().CheckInvariants(true); err != nil {
			t.Error(err)
		}
	}
}
