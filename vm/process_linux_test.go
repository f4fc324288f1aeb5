package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"godax/pmem"
)

func TestMerge(t *testing.T) {
	d := kinds[0].open(t, 64*ps)
	fr := func(page, n, dev uint64) Translation {
		return Translation{Page: page, N: n, Kind: Frames, PFN: frame(d, dev), Write: true}
	}
	zero := func(page, n uint64) Translation { return Translation{Page: page, N: n, Kind: Zero} }
	gone := func(page, n uint64) Translation { return Translation{Page: page, N: n, Kind: Gone} }
	ro := fr(1, 1, 1)
	ro.Write = false
	for _, tt := range []struct {
		name string
		in   []Translation
		want uint64 // mmap calls
	}{
		{"pages in a row", []Translation{fr(0, 1, 0), fr(1, 1, 1), fr(2, 4, 2), fr(6, 1, 6)}, 1},
		{"hole between frames", []Translation{fr(0, 1, 0), fr(1, 1, 2)}, 2},
		{"gap between pages", []Translation{fr(0, 1, 0), fr(2, 1, 2)}, 2},
		{"permission", []Translation{fr(0, 1, 0), ro}, 2},
		{"zeros", []Translation{zero(0, 1), zero(1, 2), fr(3, 1, 3), zero(4, 1)}, 3},
		{"gone", []Translation{gone(0, 1), gone(1, 15)}, 1},
		{"the same again", []Translation{fr(0, 8, 0), fr(2, 1, 2), fr(0, 8, 0)}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newView(t, 0, 16, rws, ViewOptions{})
			before := v.MmapCalls()
			for _, tr := range tt.in {
				if err := v.Install(tr); err != nil {
					t.Fatal(err)
				}
			}
			complete(t, v)
			if got := v.MmapCalls() - before; got != tt.want {
				t.Errorf("%d mmap calls, want %d", got, tt.want)
			}
		})
	}
}

func TestContiguousGigabyte(t *testing.T) {
	const n = 1 << 18
	d := kinds[0].open(t, (n+1)*ps) // sparse: costs nothing
	v := newView(t, 0, n, rws, ViewOptions{Align: AlignTo(0, 0, frame(d, 1))})
	for p := uint64(0); p < n; p += 64 {
		install(t, v, p, 64, d, p+1)
	}
	complete(t, v)
	if got := v.MmapCalls(); got != 2 {
		t.Errorf("%d mmap calls, want 2", got)
	}
	if got := v.area.addr(0) % (1 << 30); got != ps {
		t.Errorf("address is %#x modulo 1 GiB, want %#x", got, ps)
	}
}

func TestBytesAndAlign(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			d := k.open(t, 8<<20)
			b, err := d.Bytes(0, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(b); i += ps {
				b[i] = byte(i/ps) | 1
			}
			// File page 1000 is frame 512, and so on for 1024 pages.
			v := newView(t, 1000, 1030, Read|Shared, ViewOptions{Align: AlignTo(1000, 1000, frame(d, 512))})
			install(t, v, 1000, 1024, d, 512)
			if err := v.Install(Translation{Page: 2024, N: 5, Kind: Zero}); err != nil {
				t.Fatal(err)
			}
			if err := v.Install(Translation{Page: 2029, N: 1, Kind: Gone}); err != nil {
				t.Fatal(err)
			}
			complete(t, v)
			if got := v.area.addr(0) % (2 << 20); got != 0 {
				t.Errorf("address is %#x modulo 2 MiB, want 0", got)
			}
			if got := v.Bytes(); !bytes.Equal(got[:1024*ps], b[512*ps:1536*ps]) {
				t.Error("bytes differ from the device's")
			}
			if got := v.Bytes()[1024*ps : 1029*ps]; !bytes.Equal(got, make([]byte, 5*ps)) {
				t.Error("zero pages are not zero")
			}
			wantBus(t, v, 2029, func() { touch(&v.Bytes()[1029*ps]) })
			wantBus(t, v, 1002, func() { v.Bytes()[2*ps] = 1 })
			if k.unit > 1 {
				wantHuge(t, v)
			}
		})
	}
}

// wantHuge verifies with smaps that the view's first mapping has 2 MiB pages.
func wantHuge(t *testing.T, v *ProcessView) {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, at, ok := bytes.Cut(smaps, fmt.Appendf(nil, "%08x-", v.area.addr(0)))
	if !ok {
		t.Fatalf("no mapping at %#x", v.area.addr(0))
	}
	at, _, _ = bytes.Cut(at, []byte("VmFlags"))
	for _, line := range []string{"MMUPageSize:        2048 kB", "Shared_Hugetlb:"} {
		if !bytes.Contains(at, []byte(line)) {
			t.Errorf("no %q in\n%s", line, at)
		}
	}
}

func TestAlignTo(t *testing.T) {
	d := kinds[0].open(t, 64*ps)
	for _, tt := range []struct {
		first, at uint64
		pfn       pmem.PFN
		want      uint64
	}{
		{0, 0, frame(d, 7), 7 * ps},
		{10, 12, frame(d, 7), 5 * ps},
		{12, 10, frame(d, 7), 9 * ps},
		{0, 9, frame(d, 7), 1<<64 - 2*ps},
		{3, 3, 0, 3 * ps},
	} {
		if got := AlignTo(tt.first, tt.at, tt.pfn); got != tt.want {
			t.Errorf("AlignTo(%d, %d, %#x) = %#x, want %#x", tt.first, tt.at, uint64(tt.pfn), got, tt.want)
		}
	}
	for _, align := range []uint64{0, ps, 511 * ps, 1<<64 - 2*ps} {
		v := newView(t, 5, 3, Read, ViewOptions{Align: align})
		if got, want := uint64(v.area.addr(0))%(2<<20), align%(2<<20); got != want {
			t.Errorf("Align %#x: address is %#x modulo 2 MiB", align, got)
		}
	}
	v := newView(t, 512, 1024, Read, ViewOptions{})
	for _, tt := range []struct {
		page  uint64
		order uint
		want  bool
	}{{512, 0, true}, {1535, 0, true}, {1536, 0, false}, {511, 0, false}, {512, 9, true}, {1535, 9, true}, {600, 18, false}, {600, 1, false}} {
		if got := v.Congruent(tt.page, tt.order); got != tt.want {
			t.Errorf("Congruent(%d, %d) = %v", tt.page, tt.order, got)
		}
	}
}

func TestNotMappable(t *testing.T) {
	huge := kinds[3].open(t, 4<<20)
	small := kinds[0].open(t, 16*ps)
	for _, tt := range []struct {
		name string
		tr   Translation
		want error
	}{
		{"part of a huge page", Translation{Page: 0, N: 8, PFN: frame(huge, 0)}, ErrNotMappable},
		{"wrong colour", Translation{Page: 8, N: 512, PFN: frame(huge, 512)}, ErrNotMappable},
		{"past the device", Translation{Page: 0, N: 17, PFN: frame(small, 0)}, pmem.ErrOutOfRange},
		{"no device", Translation{Page: 0, N: 1, PFN: pmem.MakePFN(4000, 0)}, pmem.ErrOutOfRange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newView(t, 0, 1024, Read|Shared, ViewOptions{})
			if err := v.Install(tt.tr); err != nil {
				t.Fatal(err)
			}
			if err := v.Complete(); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			wantBus(t, v, tt.tr.Page, func() { touch(&v.Bytes()[tt.tr.Page*ps]) })
			if _, _, ok := v.TakeStale(); !ok {
				t.Error("TakeStale has lost the first run")
			} else if _, _, ok := v.TakeStale(); ok {
				t.Error("what cannot be mapped became stale: it would be filled for ever")
			}
		})
	}
}

func TestBadArguments(t *testing.T) {
	d := kinds[0].open(t, 16*ps)
	for _, tt := range []struct {
		page, n uint64
		flags   Flags
	}{{0, 0, rws}, {0, 1 << 50, rws}, {1 << 63, 1, rws}, {0, 1, Write}} {
		if _, err := NewView(tt.page, tt.n, tt.flags, ViewOptions{}); !errors.Is(err, unix.EINVAL) {
			t.Errorf("NewView%v: %v", tt, err)
		}
	}
	ro := newView(t, 10, 4, Read|Shared, ViewOptions{})
	for name, tr := range map[string]Translation{
		"before":   {Page: 9, N: 1, PFN: frame(d, 0)},
		"past":     {Page: 12, N: 3, PFN: frame(d, 0)},
		"empty":    {Page: 12, N: 0, PFN: frame(d, 0)},
		"writable": {Page: 10, N: 1, PFN: frame(d, 0), Write: true},
		"private":  {Page: 10, N: 1, Kind: Private, Copy: make([]byte, ps)},
		"zero":     {Page: 10, N: 1, Kind: Zero, Write: true},
	} {
		if err := ro.Install(tr); err == nil {
			t.Errorf("install %s: no error", name)
		}
	}
	if err := ro.Close(); err != nil {
		t.Error(err)
	}
	ro.Unmap(0, 1<<63, true)
	for name, err := range map[string]error{
		"Close": ro.Close(), "Complete": ro.Complete(),
		"Install": ro.Install(Translation{Page: 10, N: 1, Kind: Zero}),
		"Collect": ro.Collect(10, 4, func(uint64, uint64) {}),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestReadOnlyDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, 4*ps), 0o600); err != nil {
		t.Fatal(err)
	}
	d := opened(t)(pmem.Open(path, pmem.Options{ReadOnly: true}))
	v := newView(t, 0, 4, rws, ViewOptions{})
	install(t, v, 0, 4, d, 0)
	if err := v.Complete(); !errors.Is(err, unix.EACCES) {
		t.Errorf("writable view of a read-only device: %v", err)
	}
	for _, flags := range []Flags{Read | Shared, Read, Read | Write} {
		v := newView(t, 0, 4, flags, ViewOptions{})
		refill(t, v, d)
		if got := v.Bytes()[ps]; got != 7 {
			t.Errorf("flags %#x: reads %d", flags, got)
		}
	}
}

func TestTooManyMappings(t *testing.T) {
	n := uint64(maxMappings()) + 100
	if n > 1<<20 {
		t.Skipf("vm.max_map_count is too high to reach: %d", n)
	}
	d := kinds[0].open(t, int64(2*n)*ps)
	before := mappings.Load()
	v := newView(t, 0, n, Read|Shared, ViewOptions{})
	var err error
	p := uint64(0)
	for ; p < n && err == nil; p++ {
		err = v.Install(Translation{Page: p, N: 1, Kind: Frames, PFN: frame(d, 2*p)})
	}
	if !errors.Is(err, unix.ENOMEM) {
		t.Fatalf("%d mappings: %v", n, err)
	}
	wantBus(t, v, p-2, func() { touch(&v.Bytes()[(p-2)*ps]) })
	v.Unmap(0, n, false)
	if got := mappings.Load(); got != before {
		t.Errorf("%d mappings counted after Unmap, want %d", got, before)
	}
	install(t, v, 0, n, d, 0)
	complete(t, v)
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if got := mappings.Load(); got != before {
		t.Errorf("%d mappings counted after Close, want %d", got, before)
	}
}

func TestUnmapRefill(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			u := k.unit
			d := k.open(t, int64(8*u)*ps)
			v := newView(t, 0, 8*u, rws, ViewOptions{})
			wantRuns(t, "stale at first", refill(t, v, d), []pageRun{{0, 8 * u}})
			b := v.Bytes()
			b[3*u*ps] = 42
			collect(t, v, 0, 8*u)
			v.Unmap(2*u, 3*u, false)
			if b[3*u*ps] != 0 {
				t.Error("old frame still mapped")
			}
			b[4*u*ps] = 1 // lost
			v.Unmap(5*u, 1, false)
			v.Unmap(7*u, 1<<63, false)
			v.Unmap(100*u, 5, false)
			wantRuns(t, "stale", refill(t, v, d), []pageRun{{2 * u, 4 * u}, {7 * u, u}})
			if b[3*u*ps] != 42 || b[4*u*ps] != 0 {
				t.Errorf("after refill %d, %d; want 42, 0", b[3*u*ps], b[4*u*ps])
			}
		})
	}
}

func TestPrivate(t *testing.T) {
	for _, k := range kinds {
		for _, tracking := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", k.name, tracking), func(t *testing.T) {
				u := k.unit
				d := k.open(t, int64(8*u)*ps)
				mem, err := d.Bytes(0, int64(8*u)*ps)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 8 * u {
					mem[i*ps] = byte(i/u) + 1
				}
				v := newView(t, 0, 8*u, Read|Write, ViewOptions{NoTracking: !tracking})
				// Pages 6 and 7 are a hole.
				install(t, v, 0, 6*u, d, 0)
				if err := v.Install(Translation{Page: 6 * u, N: 2 * u, Kind: Zero}); err != nil {
					t.Fatal(err)
				}
				complete(t, v)
				v.TakeStale()
				b := v.Bytes()
				at := func(i uint64) *byte { return &b[i*u*ps] }
				touch(at(1))
				touch(at(6))
				if *at(1) != 2 || *at(6) != 0 {
					t.Fatalf("reads %d, %d", *at(1), *at(6))
				}
				*at(2) = 99
				*at(7) = 98
				if mem[2*u*ps] != 3 || mem[7*u*ps] != 8 {
					t.Error("private store reached the device")
				}
				v.Unmap(0, 8*u, false)
				// The zero part is of small pages: only the page stored to is a copy there.
				want := []pageRun{{0, 2 * u}, {3 * u, 4 * u}}
				if u > 1 {
					want = append(want, pageRun{7*u + 1, u - 1})
				}
				runs := []pageRun{}
				for {
					page, n, ok := v.TakeStale()
					if !ok {
						break
					}
					runs = append(runs, pageRun{page, n})
					if n%u != 0 {
						continue // the rest of the zero part, not mappable on huge pages
					}
					install(t, v, page, n, d, page)
				}
				complete(t, v)
				wantRuns(t, "stale", runs, want)
				for i, want := range []byte{1, 2, 99, 4, 5, 6, 7, 98} {
					if got := *at(uint64(i)); got != want {
						t.Errorf("page %d reads %d, want %d", i, got, want)
					}
				}
				// An install over everything leaves the copies, too.
				install(t, v, 0, 7*u, d, 0)
				complete(t, v)
				if *at(2) != 99 || *at(7) != 98 {
					t.Errorf("copies are %d, %d after install, want 99, 98", *at(2), *at(7))
				}
				v.Unmap(0, 8*u, true)
				wantRuns(t, "stale after truncation", refill(t, v, d), []pageRun{{0, 8 * u}})
				if *at(2) != 3 || *at(7) != 8 {
					t.Errorf("reads %d, %d after truncation, want 3, 8", *at(2), *at(7))
				}
			})
		}
	}
}

func TestDo(t *testing.T) {
	d := kinds[0].open(t, 4*ps)
	v := newView(t, 20, 8, rws, ViewOptions{})
	install(t, v, 20, 4, d, 0)
	if err := v.Install(Translation{Page: 24, N: 4, Kind: Gone}); err != nil {
		t.Fatal(err)
	}
	complete(t, v)
	b := v.Bytes()
	wantBus(t, v, 24, func() { touch(&b[4*ps]) })
	wantBus(t, v, 27, func() { b[8*ps-1] = 1 })
	wantBus(t, v, 24, func() { copy(make([]byte, 2*ps), b[3*ps:5*ps]) })
	var pe interface{ Addr() uintptr }
	if err := v.Do(func() error { b[5*ps] = 1; return nil }); !errors.As(err, &pe) || pe.Addr() != v.area.addr(5*ps) {
		t.Errorf("the cause is not the runtime's fault: %v", err)
	}
	if err := v.Do(func() error { b[0] = 1; return unix.EIO }); err != unix.EIO {
		t.Errorf("got %v, want f's error", err)
	}

	// Faults elsewhere and other panics go on, and the setting is restored.
	other := newView(t, 0, 1, Read, ViewOptions{})
	for name, f := range map[string]func(){
		"other view": func() { touch(&other.Bytes()[0]) },
		"panic":      func() { panic("on") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: swallowed", name)
				}
			}()
			inner := v.Do(func() error { f(); return nil })
			t.Errorf("%s: became %v", name, inner)
		}()
	}
	if on := setPanicOnFault(false); on {
		t.Error("the setting was not restored")
	}
	setPanicOnFault(true)
	if err := v.Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if on := setPanicOnFault(false); !on {
		t.Error("the setting of the caller was lost")
	}
}
