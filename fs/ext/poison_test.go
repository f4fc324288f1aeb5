package ext

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"godax/pmem"
	"godax/pmem/sim"
	"godax/vfs"
)

// A page of a file that goes bad is EIO, and comes back by punching and writing it.
func TestBadPage(t *testing.T) {
	ctx := context.Background()
	dev, err := sim.New(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	if err := Format(dev, FormatOptions{}); err != nil {
		t.Fatal(err)
	}
	f := mountTest(t, dev, vfs.MountOptions{})
	fl := f.create("file")
	want := fill(16*pmem.PageSize, 1)
	if _, err := fl.WriteAt(ctx, want, 0); err != nil {
		t.Fatal(err)
	}
	x, err := fl.blocks(5, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Poison(x.pblk, 1); err != nil {
		t.Fatal(err)
	}
	var b [10]byte
	if _, err := fl.ReadAt(ctx, b[:], 5*pmem.PageSize); !errors.Is(err, pmem.ErrPoisoned) {
		t.Fatalf("read: got %v, want ErrPoisoned", err)
	}
	if err := fl.Allocate(ctx, vfs.AllocPunch, 5*pmem.PageSize, pmem.PageSize); err != nil {
		t.Fatal(err)
	}
	if _, err := fl.ReadAt(ctx, b[:], 5*pmem.PageSize); err != nil || b != [10]byte{} {
		t.Errorf("read of the hole: %v, %v", b, err)
	}
	// Every free block is taken, the bad one as well.
	if _, err := fl.WriteAt(ctx, want[:100], 5*pmem.PageSize); err != nil {
		t.Fatal(err)
	}
	if err := fl.Allocate(ctx, vfs.AllocReserve, 16*pmem.PageSize, int64(f.Statfs().Free-8)*pmem.PageSize); err != nil {
		t.Fatal(err)
	}
	copy(want[5*pmem.PageSize:], want[:100])
	clear(want[5*pmem.PageSize+100 : 6*pmem.PageSize])
	if got := contents(t, fl)[:len(want)]; !bytes.Equal(got, want) {
		t.Error("the file has changed")
	}
	f.evict(fl)
	f.closeClean()
}
