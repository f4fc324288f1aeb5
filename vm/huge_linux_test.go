package vm

import (
	"errors"
	"testing"

	"godax/internal/daxtest"
)

// pageHuge is PAGE_IS_HUGE of linux/fs.h.
const pageHuge = 1 << 6

// hugeRunsOf returns the runs of pages that the kernel has mapped by entries of 2 MiB.
func hugeRunsOf(t *testing.T, v *ProcessView) (runs runSet) {
	t.Helper()
	if !v.kernel.canScan {
		t.Skip("this kernel does not scan page tables")
	}
	want := pmScan{mask: pagePresent | pageHuge, returned: pageHuge}
	start := v.area.addr(0)
	err := v.kernel.scan(want, start, start+v.area.length, v.vec, func(r pageRegion) {
		first, _ := v.pageAt(uintptr(r.start))
		runs.add(first, (r.end-r.start)/ps)
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func touchPages(v *ProcessView) {
	for b := v.Bytes(); len(b) > 0; b = b[ps:] {
		touch(&b[0])
	}
}

// TestHugeTmpfs: what the kernel maps in huge pages on a tmpfs that has them, and that stores
// are found whether it does or not.
func TestHugeTmpfs(t *testing.T) {
	const n = 8 * 512
	d := image(t, daxtest.HugeTmpfs(t, n*ps), n*ps)
	mem := daxtest.DeviceBytes(t, d)
	for i := 0; i < len(mem); i += ps {
		mem[i] = 1
	}
	all := []pageRun{{0, n}}
	for _, c := range []struct {
		name  string
		flags Flags
		o     ViewOptions
		huge  []pageRun
	}{
		{"loads", Read | Shared, ViewOptions{}, all},
		{"loads, no huge pages", Read | Shared | NoHuge, ViewOptions{}, nil},
		{"loads, not congruent", Read | Shared, ViewOptions{Align: ps}, nil},
		{"stores, tracked", rws, ViewOptions{}, nil},
		{"stores, not tracked", rws, ViewOptions{NoTracking: true}, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, 0, n, c.flags, c.o)
			refill(t, v, d)
			if v.tracks() {
				needTracking(t)
			}
			touchPages(v)
			wantRuns(t, "huge", hugeRunsOf(t, v), c.huge)
			if v.flags.SharedWrite() {
				want := all
				if v.tracks() {
					want = []pageRun{{5, 1}, {700, 1}}
				}
				v.Bytes()[5*ps]++
				v.Bytes()[700*ps]++
				wantRuns(t, "stores", collect(t, v, 0, n), want)
			}
			if len(c.huge) == 0 {
				return
			}
			// Without one page the rest of the huge page around it becomes small.
			v.Unmap(700, 1, false)
			v.TakeStale()
			if err := v.Install(Translation{Page: 700, N: 1, Kind: Zero}); err != nil {
				t.Fatal(err)
			}
			complete(t, v)
			touchPages(v)
			wantRuns(t, "huge, without page 700", hugeRunsOf(t, v), []pageRun{{0, 512}, {1024, n - 1024}})
		})
	}
}

// TestHugeCollect: stores through huge pages are found, the huge page as a whole, and it stays
// one.
func TestHugeCollect(t *testing.T) {
	needTracking(t)
	const n = 8 * 512
	d := kinds[3].open(t, n*ps)
	v := newView(t, 0, n, rws, ViewOptions{})
	refill(t, v, d)
	touchPages(v)
	for i := range 3 {
		wantRuns(t, "huge", hugeRunsOf(t, v), []pageRun{{0, n}})
		wantRuns(t, "before", collect(t, v, 0, n), nil)
		v.Bytes()[(700+i)*ps]++
		wantRuns(t, "stored", collect(t, v, 0, n), []pageRun{{512, 512}})
	}
}

// TestLargePagesInPart: of a run that is not in whole large pages, what is can be mapped; the
// rest can when its neighbours have come.
func TestLargePagesInPart(t *testing.T) {
	const u = 512
	d := kinds[3].open(t, 4*u*ps)
	v := newView(t, 0, 4*u, Read|Shared, ViewOptions{})
	v.TakeStale()
	mem := daxtest.DeviceBytes(t, d)
	mem[u*ps], mem[2*u*ps], mem[3*u*ps] = 1, 2, 3
	install(t, v, 1, 3*u-1+100, d, 1)
	if err := v.Complete(); !errors.Is(err, ErrNotMappable) {
		t.Errorf("got %v, want %v", err, ErrNotMappable)
	}
	if b := v.Bytes(); b[u*ps] != 1 || b[2*u*ps] != 2 {
		t.Errorf("whole units: got %d, %d, want 1, 2", b[u*ps], b[2*u*ps])
	}
	for _, page := range []uint64{1, u - 1, 3 * u, 3*u + 99} {
		wantBus(t, v, page, func() { touch(&v.Bytes()[page*ps]) })
	}
	v.Unmap(3*u+100, u-100, false)
	wantRuns(t, "filled", refill(t, v, d), []pageRun{{3 * u, u}})
	if got := v.Bytes()[3*u*ps]; got != 3 {
		t.Errorf("after that: got %d, want 3", got)
	}
}

// TestUnmapBetweenInstalls: what is taken away while a view is filled cuts nothing else off
// what is installed next to it, and is not mapped after all.
func TestUnmapBetweenInstalls(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			u := max(k.unit, 2)
			d := k.open(t, int64(4*u)*ps)
			v := newView(t, 0, 4*u, rws, ViewOptions{})
			v.TakeStale()
			install(t, v, 0, u/2, d, 0)
			v.Unmap(u/2, u/2, false) // as for a hole that has got frames
			install(t, v, u/2, u/2, d, u/2)
			complete(t, v)
			wantMmaps(t, v, 3) // reserved, taken away, mapped
			if k.unit == 1 {
				install(t, v, 2, 6, d, 2)
				v.Unmap(4, 1, false)
				complete(t, v)
				var got []uint64
				for _, l := range v.Translations() {
					got = append(got, l.Page)
				}
				want := []uint64{0, 1, 2, 3}
				if len(got) != len(want) {
					t.Errorf("pages %v are mapped, want %v", got, want)
				}
			}
			refill(t, v, d)
			mem := daxtest.DeviceBytes(t, d)
			mapped := u
			if k.unit == 1 {
				mapped = 4 * u
			}
			for page := range mapped {
				if mem[page*ps] = byte(page) | 1; v.Bytes()[page*ps] != byte(page)|1 {
					t.Fatalf("page %d: got %d", page, v.Bytes()[page*ps])
				}
			}
		})
	}
}

func wantMmaps(t *testing.T, v *ProcessView, want uint64) {
	t.Helper()
	if got := v.MmapCalls(); got != want {
		t.Errorf("%d mmap calls, want %d", got, want)
	}
}
