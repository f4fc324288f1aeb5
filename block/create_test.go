package block_test

import (
	"errors"
	"syscall"
	"testing"

	"godax/block"
	"godax/dax"
	"godax/pmem"
	"godax/pmem/sim"
)

const ps = pmem.PageSize

// fixture is a mapping of 16 pages on a simulated device of 64, and what was
// answered for it.
type fixture struct {
	dev   *sim.Device
	m     *dax.Mapping
	trace []dax.Trace
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dev, err := sim.New(64 * ps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	x := &fixture{dev: dev}
	x.m = dax.NewMapping(dax.Config{PMDOrder: 2, Trace: func(tr dax.Trace) { x.trace = append(x.trace, tr) }})
	x.m.SetSize(16 * ps)
	return x
}

// ask reads or writes a byte of the page with populate as the file system.
func (x *fixture) ask(page int64, write bool, populate func(r *dax.Request) error) error {
	p := dax.PopulateFunc(populate)
	var err error
	if write {
		_, err = x.m.WriteAt(nil, []byte{1}, page*ps, p)
	} else {
		_, err = x.m.ReadAt(nil, make([]byte, 1), page*ps, p)
	}
	return err
}

func TestCreatePFNs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		page   int64
		write  bool
		e      block.Extent
		setup  func(d *sim.Device)
		pages  uint64 // in the index afterwards
		want   error
		noAttr bool
	}{
		{name: "hole", page: 5, e: block.Extent{Off: 0, Len: 16 * ps}, pages: 12},
		{name: "unwritten", page: 5, e: block.Extent{Off: 0, Len: 16 * ps, Kind: block.Unwritten, Addr: ps}, pages: 12},
		{name: "mapped", page: 5, e: block.Extent{Off: 0, Len: 16 * ps, Kind: block.Mapped, Addr: 16 * ps}, pages: 12},
		{name: "reaches past the file", page: 5, e: block.Extent{Off: 0, Len: 48 * ps, Kind: block.Mapped}, pages: 12},
		{name: "other colour", page: 5, e: block.Extent{Off: 0, Len: 16 * ps, Kind: block.Mapped, Addr: 17 * ps}, pages: 9 + 3},
		{name: "does not fill the slot", page: 5, e: block.Extent{Off: 5 * ps, Len: 2 * ps, Kind: block.Mapped, Addr: 17 * ps}, pages: 2},
		{name: "small blocks, congruent", page: 5, e: block.Extent{Off: 5*ps - 1024, Len: 2 * ps, Kind: block.Mapped, Addr: 18*ps - 1024}, pages: 1},
		{name: "small blocks, not congruent", page: 5, e: block.Extent{Off: 5 * ps, Len: 2 * ps, Kind: block.Mapped, Addr: 18*ps + 1024}, want: dax.ErrNotMappable},
		{name: "does not cover", page: 5, e: block.Extent{Off: 6 * ps, Len: 2 * ps}, want: syscall.EIO},
		{name: "covers a part", page: 5, e: block.Extent{Off: 5 * ps, Len: ps - 1}, want: syscall.EIO},
		{name: "empty", page: 5, e: block.Extent{Off: 5 * ps}, want: syscall.EIO},
		{name: "negative", page: 5, e: block.Extent{Off: -5 * ps, Len: 100 * ps}, want: syscall.EIO},
		{name: "wraps", page: 5, e: block.Extent{Off: 5 * ps, Len: 1<<63 - 1}, want: syscall.EIO},
		{name: "delalloc", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Delalloc}, want: dax.ErrNotMappable},
		{name: "inline", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Inline}, want: dax.ErrNotMappable},
		{name: "unknown kind", page: 5, e: block.Extent{Len: 16 * ps, Kind: 77}, want: syscall.EIO},
		{name: "hole for a write", page: 5, write: true, e: block.Extent{Len: 16 * ps}, want: syscall.EIO},
		{name: "unwritten for a write", page: 5, write: true, e: block.Extent{Len: 16 * ps, Kind: block.Unwritten}, want: syscall.EIO},
		{name: "past the device", page: 5, e: block.Extent{Off: 5 * ps, Len: ps, Kind: block.Mapped, Addr: 64 * ps}, want: pmem.ErrOutOfRange},
		{name: "address at the end of int64", page: 5, e: block.Extent{Off: 5 * ps, Len: ps, Kind: block.Mapped, Addr: 1<<63 - ps}, want: pmem.ErrOutOfRange},
		{name: "negative address", page: 5, e: block.Extent{Off: 5 * ps, Len: ps, Kind: block.Mapped, Addr: -ps}, want: dax.ErrNotMappable},
		{name: "reaches past the device", page: 5, e: block.Extent{Off: 5 * ps, Len: 10 * ps, Kind: block.Mapped, Addr: 60 * ps},
			want: pmem.ErrOutOfRange},
		{name: "short answers", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Mapped},
			setup: func(d *sim.Device) { d.SetMaxRun(1) }, pages: 12},
		{name: "poisoned", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Mapped},
			setup: func(d *sim.Device) { d.Poison(5, 1) }, want: pmem.ErrPoisoned},
		{name: "poison before it", page: 6, e: block.Extent{Len: 16 * ps, Kind: block.Mapped},
			setup: func(d *sim.Device) { d.Poison(4, 1) }, pages: 10},
		{name: "poison behind it", page: 5, e: block.Extent{Off: 5 * ps, Len: 11 * ps, Kind: block.Mapped, Addr: 5 * ps},
			setup: func(d *sim.Device) { d.Poison(7, 1) }, pages: 1},
		{name: "shared", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Mapped, Flags: block.Shared}, pages: 12, noAttr: true},
		{name: "read-only", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Mapped, Flags: block.ReadOnly}, pages: 12, noAttr: true},
		{name: "removed", page: 5, e: block.Extent{Len: 16 * ps, Kind: block.Mapped},
			setup: func(d *sim.Device) { d.Remove() }, want: pmem.ErrRemoved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newFixture(t)
			if tt.setup != nil {
				tt.setup(x.dev)
			}
			e := tt.e
			if e.Kind == block.Mapped {
				e.Device = x.dev
			}
			err := x.ask(tt.page, tt.write, func(r *dax.Request) error {
				return block.CreatePFNs(r, e)
			})
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			pages, _ := x.m.Pages()
			if tt.want != nil {
				if pages != 0 {
					t.Errorf("%d pages in the index after an error", pages)
				}
				return
			}
			asked := x.trace[0].Answers
			for _, a := range asked {
				if w := a.Attr&dax.Writable != 0; a.Kind == dax.Direct && w == tt.noAttr {
					t.Errorf("answer %+v: permission to store %t", a, w)
				}
				if a.Kind == dax.Direct && int64(a.PFN.Page()) != e.Addr/ps+int64(a.Page)-e.Off/ps {
					t.Errorf("answer %+v: wrong frame", a)
				}
			}
			if pages != tt.pages {
				t.Errorf("%d pages in the index, want %d: %+v", pages, tt.pages, asked)
			}
			if err := x.m.CheckInvariants(true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBufferHead(t *testing.T) {
	const stale = -99 // leave Size as it came
	for _, tt := range []struct {
		name  string
		bh    block.BufferHead
		write bool
		pages uint64
		want  error // any error if errAny
	}{
		{"hole without a size", block.BufferHead{Size: stale}, false, 1, nil},
		{"hole with a size", block.BufferHead{State: block.BHHoleSize, Size: 3 * ps}, false, 3, nil},
		{"hole, all that was asked", block.BufferHead{State: block.BHHoleSize, Size: stale}, false, 16, nil},
		{"unwritten", block.BufferHead{State: block.BHUnwritten | block.BHMapped, Size: 2 * ps}, false, 2, nil},
		{"mapped", block.BufferHead{State: block.BHMapped, Size: 2 * ps, BlockNr: 9}, false, 2, nil},
		{"mapped and new", block.BufferHead{State: block.BHMapped | block.BHNew, Size: ps, BlockNr: 63}, true, 1, nil},
		{"delayed", block.BufferHead{State: block.BHDelay, Size: ps}, false, 0, dax.ErrNotMappable},
		{"hole for a write", block.BufferHead{Size: stale}, true, 0, syscall.EIO},
		{"block behind the last", block.BufferHead{State: block.BHMapped, Size: ps, BlockNr: 64}, false, 0, errAny},
		{"absurd block", block.BufferHead{State: block.BHMapped, Size: ps, BlockNr: 1 << 63}, false, 0, errAny},
		{"more than asked", block.BufferHead{State: block.BHHoleSize, Size: 1 << 62}, false, 0, errAny},
		{"no size", block.BufferHead{State: block.BHMapped, BlockNr: 3}, false, 0, errAny},
		{"negative size", block.BufferHead{State: block.BHHoleSize, Size: -ps}, false, 0, errAny},
		{"part of a block", block.BufferHead{State: block.BHHoleSize, Size: ps + 5}, false, 0, errAny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newFixture(t)
			err := x.ask(0, tt.write, func(r *dax.Request) error {
				return block.GetBlock(func(iblock uint64, bh *block.BufferHead, create bool) error {
					if create != tt.write || iblock != 0 {
						t.Errorf("asked for block %d, create %t", iblock, create)
					}
					bh.State, bh.BlockNr, bh.Device = tt.bh.State, tt.bh.BlockNr, x.dev
					if tt.bh.Size != stale {
						bh.Size = tt.bh.Size
					}
					return nil
				}).Populate(r, ps)
			})
			if tt.want == errAny && err == nil || tt.want != errAny && !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if pages, _ := x.m.Pages(); pages != tt.pages {
				t.Errorf("%d pages in the index, want %d", pages, tt.pages)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestIomap(t *testing.T) {
	d := newFixture(t).dev
	ok := block.Iomap{Type: block.IomapMapped, Offset: ps, Length: 2 * ps, Addr: 3 * ps, Device: d, Flags: block.IomapNew | block.IomapShared}
	e, err := ok.Extent()
	want := block.Extent{Off: ps, Len: 2 * ps, Kind: block.Mapped, Flags: block.New | block.Shared, Device: d, Addr: 3 * ps}
	if err != nil || e != want {
		t.Errorf("got %+v, %v; want %+v", e, err, want)
	}
	for typ, kind := range map[block.IomapType]block.Kind{
		block.IomapHole: block.Hole, block.IomapDelalloc: block.Delalloc, block.IomapUnwritten: block.Unwritten, block.IomapInline: block.Inline,
	} {
		im := block.Iomap{Type: typ, Length: 1, Addr: block.NullAddr}
		if e, err := im.Extent(); err != nil || e.Kind != kind {
			t.Errorf("type %d: %v, %v", typ, e.Kind, err)
		}
	}
	for name, change := range map[string]func(im *block.Iomap){
		"no address": func(im *block.Iomap) { im.Addr = block.NullAddr },
		"no device":  func(im *block.Iomap) { im.Device = nil },
		"no length":  func(im *block.Iomap) { im.Length = 0 },
		"offset":     func(im *block.Iomap) { im.Offset = -1 },
		"wraps":      func(im *block.Iomap) { im.Length = 1<<63 - 1 },
		"type":       func(im *block.Iomap) { im.Type = 9 },
	} {
		im := ok
		change(&im)
		if e, err := im.Extent(); err == nil {
			t.Errorf("%s: accepted as %+v", name, e)
		}
	}
}
