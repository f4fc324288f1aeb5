package vm

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func setPanicOnFault(on bool) bool { return debug.SetPanicOnFault(on) }

func needTracking(t testing.TB) {
	t.Helper()
	if got := WriteTracking(); got != "userfaultfd" {
		t.Skip("write tracking: ", got)
	}
}

// covers returns the runs of whole units that contain the pages.
func covers(pages []uint64, unit uint64) []pageRun {
	var s runSet
	for _, p := range pages {
		s.add(p/unit*unit, unit)
	}
	return s
}

func TestCollect(t *testing.T) {
	needTracking(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			const n = 256 << 20 / ps
			d := k.open(t, n*ps)
			v := newView(t, 0, n, rws, ViewOptions{})
			// Some memory is there before, some is not.
			mem, err := d.Bytes(0, n*ps/2)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(mem); i += 64 * ps {
				mem[i] = 1
			}
			refill(t, v, d)
			b := v.Bytes()
			wantRuns(t, "never touched", collect(t, v, 0, n), nil)
			var sum byte
			for p := 0; p < n; p += 50 {
				sum += b[p*ps]
			}
			wantRuns(t, "only loaded", collect(t, v, 0, n), nil)

			r := rand.New(rand.NewPCG(1, uint64(len(k.name))))
			store := func(count int) (pages []uint64) {
				for range count {
					p := r.Uint64N(n)
					b[p*ps+p%ps]++
					pages = append(pages, p)
				}
				return pages
			}
			pages := store(10)
			wantRuns(t, "after 10 stores", collect(t, v, 0, n), covers(pages, k.unit))
			wantRuns(t, "second", collect(t, v, 0, n), nil)
			for _, p := range pages {
				b[p*ps] = 9
			}
			wantRuns(t, "the same again", collect(t, v, 0, n), covers(pages, k.unit))
			pages = store(3000) // more than one batch of the scan
			wantRuns(t, "after 3000 stores", collect(t, v, 0, n), covers(pages, k.unit))
			wantRuns(t, "last", collect(t, v, 0, n), nil)

			// By range: what lies outside is reported later, once.
			b[100*ps], b[200*ps] = 1, 1
			if k.unit == 1 {
				wantRuns(t, "below", collect(t, v, 0, 200), []pageRun{{100, 1}})
				wantRuns(t, "above", collect(t, v, 0, n), []pageRun{{200, 1}})
			} else {
				wantRuns(t, "below", collect(t, v, 50, 60), []pageRun{{50, 60}})
				wantRuns(t, "rest", collect(t, v, 0, n), []pageRun{{0, 50}, {110, 402}})
			}
			wantRuns(t, "outside the view", collect(t, v, n, 1<<63), nil)
		})
	}
}

// TestCollectPieces has a view of many mappings, of all kinds.
func TestCollectPieces(t *testing.T) {
	needTracking(t)
	const n = 1200
	d := kinds[0].open(t, 2*n*ps)
	v := newView(t, 7, n, rws, ViewOptions{})
	for p := range uint64(n) {
		tr := Translation{Page: 7 + p, N: 1, Kind: Frames, PFN: frame(d, 2*p), Write: true}
		switch p % 5 {
		case 3:
			tr = Translation{Page: 7 + p, N: 1, Kind: Zero}
		case 4:
			tr.Write = false
		}
		if err := v.Install(tr); err != nil {
			t.Fatal(err)
		}
	}
	complete(t, v)
	wantRuns(t, "never touched", collect(t, v, 0, 2*n), nil)
	var want []uint64
	for p := uint64(0); p < n; p += 5 {
		v.Bytes()[p*ps] = 1
		v.Bytes()[(p+2)*ps] = 1
		want = append(want, 7+p, 7+p+2)
	}
	wantRuns(t, "stores", collect(t, v, 0, 2*n), covers(want, 1))
	wantRuns(t, "again", collect(t, v, 0, 2*n), nil)
}

// TestCollectReplaced: what was written before Unmap or a new Install is not lost,
// and pages mapped into a live view are clean.
func TestCollectReplaced(t *testing.T) {
	needTracking(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			u := k.unit
			d := k.open(t, int64(16*u)*ps)
			v := newView(t, 0, 8*u, rws, ViewOptions{})
			refill(t, v, d)
			v.Bytes()[u*ps] = 1
			v.Unmap(u, u, false)
			wantRuns(t, "unmapped", collect(t, v, 0, 8*u), []pageRun{{u, u}})
			wantRuns(t, "unmapped, again", collect(t, v, 0, 8*u), nil)
			refill(t, v, d)
			var want []pageRun
			if u > 1 {
				want = []pageRun{{u, u}} // large pages mapped into a live view
			}
			wantRuns(t, "refilled", collect(t, v, 0, 8*u), want)
			touch(&v.Bytes()[u*ps])
			wantRuns(t, "loaded", collect(t, v, 0, 8*u), nil)
			v.Bytes()[u*ps] = 1
			wantRuns(t, "stored", collect(t, v, 0, 8*u), []pageRun{{u, u}})
			install(t, v, 2*u, 2*u, d, 10*u) // other frames
			complete(t, v)
			wantRuns(t, "replaced", collect(t, v, 0, 8*u), []pageRun{{2 * u, 2 * u}})
		})
	}
}

// TestCollectEarlyStore: a store to a live view right after mmap, before tracking
// began, is not lost.
func TestCollectEarlyStore(t *testing.T) {
	needTracking(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			u := k.unit
			d := k.open(t, int64(8*u)*ps)
			v := newView(t, 0, 8*u, rws, ViewOptions{})
			refill(t, v, d)
			v.Unmap(2*u, 4*u, false)
			collect(t, v, 0, 8*u)
			v.beforeTrack = func() { v.Bytes()[3*u*ps] = 1 }
			refill(t, v, d)
			want := []pageRun{{3, 1}}
			if u > 1 {
				want = []pageRun{{2 * u, 4 * u}}
			}
			wantRuns(t, "refilled", collect(t, v, 0, 8*u), want)
			wantRuns(t, "again", collect(t, v, 0, 8*u), nil)
		})
	}
}

func TestCollectFallback(t *testing.T) {
	d := kinds[0].open(t, 8*ps)
	v := newView(t, 0, 8, rws, ViewOptions{NoTracking: true})
	install(t, v, 0, 3, d, 0)
	if err := v.Install(Translation{Page: 3, N: 1, Kind: Zero}); err != nil {
		t.Fatal(err)
	}
	if err := v.Install(Translation{Page: 4, N: 1, Kind: Frames, PFN: frame(d, 4)}); err != nil {
		t.Fatal(err)
	}
	install(t, v, 5, 3, d, 5)
	complete(t, v)
	for range 2 {
		wantRuns(t, "all", collect(t, v, 0, 8), []pageRun{{0, 3}, {5, 3}})
		wantRuns(t, "part", collect(t, v, 2, 4), []pageRun{{2, 1}, {5, 1}})
	}
	v.Unmap(6, 1, false)
	wantRuns(t, "unmapped", collect(t, v, 0, 8), []pageRun{{0, 3}, {5, 3}})
	wantRuns(t, "after that", collect(t, v, 0, 8), []pageRun{{0, 3}, {5, 1}, {7, 1}})

	// Views that cannot write have nothing to report.
	for _, flags := range []Flags{Read | Shared, Read, Read | Write} {
		v := newView(t, 0, 8, flags, ViewOptions{})
		refill(t, v, d)
		wantRuns(t, "read-only or private", collect(t, v, 0, 8), nil)
	}
}

// TestCollectRace: of stores by many goroutines none is missed by a collector that
// runs all the time, in a view whose ranges are taken away and filled again.
func TestCollectRace(t *testing.T) {
	needTracking(t)
	for _, procs := range []int{1, 2, 8} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		for _, k := range []int{0, 3} {
			const n, workers, rounds = 2048, 4, 400
			d := kinds[k].open(t, n*ps)
			v := newView(t, 0, n, rws, ViewOptions{})
			refill(t, v, d)
			mem, err := d.Bytes(0, n*ps)
			if err != nil {
				t.Fatal(err)
			}
			last := make([]byte, n*ps/8) // the device's words as of the page's last collection
			seen := func(page, n uint64) {
				for p := page; p < page+n; p++ {
					copy(last[p*ps/8:], mem[p*ps:p*ps+ps/8])
				}
			}
			var storing sync.WaitGroup
			var stop atomic.Bool
			for w := range workers {
				storing.Go(func() {
					r := rand.New(rand.NewPCG(uint64(w), uint64(procs)))
					b := v.Bytes()
					for range rounds {
						b[r.Uint64N(n)*ps+uint64(w)]++
						if r.IntN(50) == 0 {
							runtime.GC()
						}
						runtime.Gosched()
					}
				})
			}
			var rest sync.WaitGroup
			rest.Go(func() { // DAX taking pages away and giving them back
				r := rand.New(rand.NewPCG(9, uint64(procs)))
				for !stop.Load() {
					v.Unmap(r.Uint64N(n/512)*512, 512, false)
					for {
						page, n, ok := v.TakeStale()
						if !ok {
							break
						}
						err := v.Install(Translation{Page: page, N: n, Kind: Frames, PFN: frame(d, page), Write: true})
						if err != nil {
							t.Error(err)
						}
					}
					if err := v.Complete(); err != nil {
						t.Error(err)
					}
					runtime.Gosched()
				}
			})
			rest.Go(func() {
				for !stop.Load() {
					// Copying after the collection sees at least what was collected.
					if err := v.Collect(0, n, seen); err != nil {
						t.Error(err)
					}
					runtime.Gosched()
				}
			})
			storing.Wait()
			stop.Store(true)
			rest.Wait()
			if err := v.Collect(0, n, seen); err != nil {
				t.Fatal(err)
			}
			for p := range n {
				if got, want := last[p*ps/8:p*ps/8+workers], mem[p*ps:p*ps+workers]; !slices.Equal(got, want) {
					t.Errorf("GOMAXPROCS %d, %s: page %d was stored to after its last collection: %v, has %v", procs, kinds[k].name, p, got, want)
				}
			}
		}
	}
}

func TestTranslations(t *testing.T) {
	d := kinds[0].open(t, 8*ps)
	v := newView(t, 3, 5, Read|Write, ViewOptions{})
	install(t, v, 3, 3, d, 2)
	if err := v.Install(Translation{Page: 6, N: 1, Kind: Zero}); err != nil {
		t.Fatal(err)
	}
	complete(t, v)
	v.Bytes()[ps] = 1
	want := []Leaf{{Page: 3, PFN: frame(d, 2)}, {Page: 5, PFN: frame(d, 4)}, {Page: 6, Kind: Zero}}
	if got := v.Translations(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
