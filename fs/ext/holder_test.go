package ext

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"godax/dax"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vfs"
	"godax/vm"
	"godax/vm/sim"
)

// holderFile is a file of two huge pages on a mount of its own, open, in an image on a
// simulated device.
func holderFile(t *testing.T) (*psim.Device, *vfs.Mount, *vfs.Handle, []byte) {
	t.Helper()
	ctx := context.Background()
	dev, err := psim.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	if err := Format(dev, FormatOptions{}); err != nil {
		t.Fatal(err)
	}
	fsys, err := mount(dev, vfs.MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := vfs.NewMount(fsys, vfs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := m.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Put()
	n, err := root.Create("file", vfs.NewInode{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Put()
	h, err := n.Open(ctx, os.O_RDWR, "file")
	if err != nil {
		t.Fatal(err)
	}
	want := fill(4<<20, 1)
	if _, err := h.File().WriteAt(ctx, want, 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(ctx, false); err != nil {
		t.Fatal(err)
	}
	// The blocks were allocated in pieces; asked for again they are whole runs.
	if err := h.File().Mapping().Invalidate(0, dax.ToEnd); err != nil {
		t.Fatal(err)
	}
	return dev, m, h, want
}

// hugeRun is the first page of a run of the file that a huge page can map.
func hugeRun(t *testing.T, h *vfs.Handle) uint64 {
	t.Helper()
	f := h.File()
	for e, err := range f.Mapping().Entries(context.Background(), 0, 1024, f) {
		if err != nil {
			t.Fatal(err)
		}
		first := (e.Page + 511) &^ 511
		if e.HugePages(9) > 0 && first+512 <= e.Page+e.N {
			return first
		}
	}
	t.Fatal("no huge run in the file")
	return 0
}

// TestSG8_BadPageOnAMount: three address spaces have the page mapped, one of them small;
// one maps other pages only. The mount tells them all, with the size of what they had.
// An overwrite of the page repairs it.
//
// Guards I43, I44, I45, T41, T42, T43, T88.
func TestSG8_BadPageOnAMount(t *testing.T) {
	ctx := context.Background()
	dev, m, h, want := holderFile(t)
	f := h.File().(*file)
	first := hugeRun(t, h)
	bad := first + 5
	var views []*sim.View
	for _, v := range []struct {
		page, n uint64
		flags   vm.Flags
	}{
		{first, 512, vm.Read | vm.Write | vm.Shared}, {first, 512, vm.Read | vm.Shared},
		{bad, 2, vm.Read}, {bad + 1, 10, vm.Read | vm.Shared},
	} {
		view := mapSim(t, sim.New(sim.Config{}), f, v.page, v.n, v.flags)
		if err := view.Load(ctx, make([]byte, 1), int64(v.page)*pmem.PageSize); err != nil {
			t.Fatal(err)
		}
		views = append(views, view)
	}
	x, err := f.blocks(bad, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Poison(x.pblk, 1); err != nil {
		t.Fatal(err)
	}
	for i, order := range []uint{9, 9, 0} {
		addr := (views[i].Addr() + bad - first) * pmem.PageSize
		if i == 2 {
			addr = views[i].Addr() * pmem.PageSize
		}
		told := []vm.Failure{{Addr: addr, Page: bad, N: 1, Order: order}}
		if got := views[i].Failures(); !slices.Equal(got, told) {
			t.Errorf("view %d was told %+v, want %+v", i, got, told)
		}
		if err := views[i].Load(ctx, make([]byte, 1), int64(bad)*pmem.PageSize); !errors.Is(err, pmem.ErrPoisoned) {
			t.Errorf("view %d: load: %v", i, err)
		}
	}
	if got := views[3].Failures(); len(got) != 0 {
		t.Errorf("a view of other pages was told %+v", got)
	}
	b := make([]byte, pmem.PageSize)
	if err := views[0].Load(ctx, b, int64(bad+1)*pmem.PageSize); err != nil || !bytes.Equal(b, want[(bad+1)*pmem.PageSize:][:len(b)]) {
		t.Errorf("the page after it: %v", err)
	}
	if _, err := h.File().WriteAt(ctx, b[:100], int64(bad)*pmem.PageSize); !errors.Is(err, syscall.EIO) {
		t.Errorf("write into a part: %v", err)
	}
	if _, err := h.File().WriteAt(ctx, b, int64(bad)*pmem.PageSize); err != nil {
		t.Errorf("write of the whole page: %v", err)
	}
	copy(want[bad*pmem.PageSize:], b)
	for i, v := range views[:3] {
		got := make([]byte, pmem.PageSize)
		if err := v.Load(ctx, got, int64(bad)*pmem.PageSize); err != nil || !bytes.Equal(got, b) {
			t.Errorf("view %d of the repaired page: %v", i, err)
		}
	}
	if got := contents(t, f); !bytes.Equal(got, want) {
		t.Error("the file has changed")
	}
	for _, v := range views {
		unmapSim(t, f, v)
	}
	if err := errors.Join(h.Close(), m.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := dev.Poison(x.pblk, 1); err != nil { // nobody is told any more
		t.Fatal(err)
	}
}

// TestSG10_DeviceOfAMountGone: after the device went away no view and no index refers to its
// frames, and every access is an error. What was dirty is reported.
//
// Guards I48, I35.
func TestSG10_DeviceOfAMountGone(t *testing.T) {
	ctx := context.Background()
	dev, m, h, _ := holderFile(t)
	f := h.File().(*file)
	v := mapSim(t, sim.New(sim.Config{}), f, 0, 1024, vm.Read|vm.Write|vm.Shared)
	if err := v.Store(ctx, []byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	dev.Remove()
	if l := v.Translations(); len(l) != 0 {
		t.Errorf("%d translations are left", len(l))
	}
	if pages, _ := f.Mapping().Pages(); pages != 0 {
		t.Errorf("%d pages are left in the index", pages)
	}
	for name, err := range map[string]error{
		"load":  v.Load(ctx, make([]byte, 1), 0),
		"store": v.Store(ctx, []byte{1}, 100<<12),
		"read":  second(h.ReadAt(ctx, make([]byte, 1), 0)),
		"write": second(h.WriteAt(ctx, make([]byte, 1), 0)),
		"sync":  h.Sync(ctx, false),
	} {
		if !errors.Is(err, pmem.ErrRemoved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.Mapping().CheckInvariants(true); err != nil {
		t.Error(err)
	}
	unmapSim(t, f, v)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Close(ctx); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("unmount: %v", err)
	}
}
