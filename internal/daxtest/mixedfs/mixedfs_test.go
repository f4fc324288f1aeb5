package mixedfs_test

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/mixedfs"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize = mixedfs.PageSize

	sharedRO = vm.Read | vm.Shared
	private  = vm.Read | vm.Write
)

var ctx = context.Background()

// kinds of the 16 pages: a huge run of plain pages, all kinds in one, compressed ones, plain again.
var kinds = []mixedfs.Kind{
	mixedfs.Plain, mixedfs.Plain, mixedfs.Plain, mixedfs.Plain,
	mixedfs.Plain, mixedfs.Compressed, mixedfs.Hole, mixedfs.Unaligned,
	mixedfs.Compressed, mixedfs.Compressed, mixedfs.Compressed, mixedfs.Compressed,
	mixedfs.Plain, mixedfs.Plain, mixedfs.Plain, mixedfs.Plain,
}

// mixed makes the image; limit is the number of cached pages, 0 for none at all.
func mixed(t *testing.T, limit int64) (*mixedfs.File, pmem.Device, []byte) {
	t.Helper()
	var want []byte
	for p, k := range kinds {
		b := bytes.Repeat([]byte{byte(p + 1)}, pageSize)
		if k == mixedfs.Hole {
			clear(b)
		}
		want = append(want, b...)
	}
	want = want[:len(want)-100]
	dev, err := psim.New(64 * pageSize)
	ok(t, err)
	t.Cleanup(func() { dev.Close() })
	c := dax.Config{PMDOrder: 2}
	if limit > 0 {
		c.Frames, err = dax.NewFrames(limit*pageSize, 16*pageSize)
		ok(t, err)
	}
	f, err := mixedfs.New(dev, want, func(p uint64) mixedfs.Kind { return kinds[p] }, c)
	ok(t, err)
	t.Cleanup(func() {
		ok(t, f.M.CheckInvariants(true))
		if _, pins := f.M.Busy(); pins != 0 {
			t.Errorf("%d pins", pins)
		}
		if c.Frames != nil {
			ok(t, f.M.Evict(ctx, false))
			ok(t, c.Frames.Close())
		}
	})
	return f, dev, want
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, f *mixedfs.File, flags vm.Flags) *sim.View {
	t.Helper()
	v, err := f.Map(ctx, sim.New(sim.Config{PMDOrder: 2}), 0, 16, flags)
	ok(t, err)
	t.Cleanup(func() {
		ok(t, f.M.Detach(v))
		v.Close()
	})
	return v
}

// Plain pages are mapped where they lie, huge where they fill a huge page; the others are
// served from copies, however few there may be at a time, and no frame of the device is
// ever shown for one of them.
//
// Guards I24, I49, P2, P7, P15, T22, T82.
func TestSH14_MixedPages(t *testing.T) {
	for _, limit := range []int64{16, 2} {
		f, dev, want := mixed(t, limit)
		got := make([]byte, len(want))
		n, err := f.Read(ctx, got, 0)
		if n != len(want) || err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read: %d, %v", n, err)
		}
		var b bytes.Buffer
		_, err = f.M.ReadTo(ctx, 0, int64(len(want)), f, b.Write)
		ok(t, err)
		if !bytes.Equal(b.Bytes(), want) {
			t.Error("ReadTo gives something else")
		}
		v := view(t, f, sharedRO)
		for range 2 {
			got = make([]byte, 16*pageSize)
			ok(t, v.Load(ctx, got, 0))
			if !bytes.Equal(got[:len(want)], want) {
				t.Fatal("the view shows something else")
			}
		}
		for _, l := range v.Translations() {
			direct := l.Kind == vm.Frames && l.PFN.Device() == dev.ID()
			switch k := kinds[l.Page]; {
			case k == mixedfs.Hole && l.Kind != vm.Zero, (k == mixedfs.Plain) != direct:
				t.Errorf("page %d, kind %d: %+v", l.Page, k, l)
			case direct && l.PFN.Page() != l.Page:
				t.Errorf("page %d: frame %d", l.Page, l.PFN.Page())
			case (l.Page < 4 || l.Page >= 12) != (l.Order == 2):
				t.Errorf("page %d: order %d", l.Page, l.Order)
			}
		}
		for e, err := range f.M.Entries(ctx, 0, 16, f) {
			ok(t, err)
			want := map[mixedfs.Kind]dax.Kind{mixedfs.Plain: dax.Direct, mixedfs.Hole: dax.Hole, mixedfs.Compressed: dax.Cached, mixedfs.Unaligned: dax.Cached}
			if e.Kind != want[kinds[e.Page]] || e.Attr&dax.Writable != 0 {
				t.Errorf("entry %+v", e)
			}
		}
	}
}

// Without room for copies the pages that cannot be mapped are refused, one by one; the
// others are served.
//
// Guards I50, I52, P15, F10.
func TestSH14_Refused(t *testing.T) {
	f, _, want := mixed(t, 0)
	v := view(t, f, sharedRO)
	p := view(t, f, private)
	for page, k := range kinds {
		off, b := int64(page)*pageSize, make([]byte, 1)
		refused := k == mixedfs.Compressed || k == mixedfs.Unaligned
		_, read := f.Read(ctx, b, off)
		pin, err := f.M.Pin(ctx, off, 1, 0, f)
		if err == nil {
			pin.Release()
		}
		for what, err := range map[string]error{"read": read, "load": v.Load(ctx, b, off), "private store": p.Store(ctx, []byte{99}, off)} {
			if errors.Is(err, dax.ErrNotMappable) != refused || !refused && err != nil {
				t.Errorf("page %d, kind %d: %s: %v", page, k, what, err)
			}
		}
		if (err == nil) != (k == mixedfs.Plain) {
			t.Errorf("page %d, kind %d: pin: %v", page, k, err)
		}
		if !refused && b[0] != want[off] {
			t.Errorf("page %d: %d", page, b[0])
		}
	}
}

// Stores to a private view of a page that has no frame of its own go to a copy, and never
// to what other views show; the file system is read-only.
//
// Guards I20, I51, T31, T81.
func TestT81_PrivateStores(t *testing.T) {
	f, dev, want := mixed(t, 16)
	before := dev.(*psim.Device).Durable()
	v, p := view(t, f, sharedRO), view(t, f, private)
	for page := range int64(15) {
		if page%2 == 0 {
			ok(t, p.Load(ctx, make([]byte, 1), page*pageSize))
		}
		ok(t, p.Store(ctx, []byte("mine"), page*pageSize+10))
	}
	got := make([]byte, len(want))
	ok(t, v.Load(ctx, got, 0))
	if !bytes.Equal(got, want) {
		t.Error("a private store is seen in another view")
	}
	if n, err := f.Read(ctx, got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) {
		t.Error("a private store is seen by read")
	}
	ok(t, p.Load(ctx, got[:4], 9*pageSize+10))
	if string(got[:4]) != "mine" {
		t.Errorf("the private copy is %q", got[:4])
	}
	if after := dev.(*psim.Device).Durable(); !bytes.Equal(after, before) {
		t.Error("the device has changed")
	}
	if _, err := f.M.WriteAt(ctx, []byte{1}, 0, f); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write: %v", err)
	}
	if _, err := f.Map(ctx, sim.New(sim.Config{PMDOrder: 2}), 0, 16, vm.Read|vm.Write|vm.Shared); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a shared writable view: %v", err)
	}
}
