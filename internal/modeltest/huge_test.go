package modeltest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"godax"
	"godax/internal/daxtest"
	"godax/pmem"
)

// Kinds of memory for the image.
const (
	memoryDevice  = "memory"  // a memory file of 4 KiB pages
	tmpfsDevice   = "tmpfs"   // a file on a tmpfs of huge pages
	hugetlbDevice = "hugetlb" // a memory file of huge pages, which can be mapped whole only
)

const hugePage = 2 << 20

// huge reports whether the run is about pages of 2 MiB.
func (c config) huge() bool { return c.device == tmpfsDevice || c.device == hugetlbDevice }

// reserve gets the memory for a run, for the time of the test.
func reserve(t *testing.T, cfg *config) {
	t.Helper()
	switch cfg.device {
	case tmpfsDevice:
		cfg.dir = daxtest.HugeTmpfs(t, cfg.size+hugePage)
	case hugetlbDevice:
		daxtest.ReserveHugePages(t, cfg.size+32<<20) // and what private views may copy
	}
}

// openMemory makes the memory for the image.
func openMemory(cfg config) (pmem.Device, error) {
	if cfg.device != tmpfsDevice {
		return pmem.NewMemory(cfg.size, pmem.MemoryOptions{HugePages: cfg.device == hugetlbDevice})
	}
	path := filepath.Join(cfg.dir, "image")
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(path, cfg.size); err != nil {
		return nil, err
	}
	return pmem.Open(path, pmem.Options{})
}

// hugeStats is what was found in the views of a run when they were made.
type hugeStats struct {
	views int   // with at least one page of 2 MiB
	bytes int64 // in such pages
}

func (h hugeStats) String() string {
	if h.views == 0 {
		return ""
	}
	return fmt.Sprintf(", %d views with %d MiB in huge pages", h.views, h.bytes>>20)
}

// look expects the kernel to have mapped in huge pages, once touched, every run of a new view
// that lies in the device as it does in memory.
func (h *hugeStats) look(f *godax.File, v *godax.Mapping, o op) error {
	b := v.Bytes()
	at := int64(reflect.ValueOf(b).Pointer())
	runs, err := hugeRuns(f)
	if err != nil {
		return err
	}
	var want int64
	var sum byte
	for _, run := range runs {
		if run < o.Off || run+hugePage > o.Off+pageUp(o.N) || (at+run-o.Off)%hugePage != 0 {
			continue
		}
		want += hugePage
		if err := v.Do(func(b []byte) error { sum += b[run-o.Off]; return nil }); err != nil {
			return fmt.Errorf("touch %d: %w", run, err)
		}
	}
	if want == 0 {
		return nil
	}
	got, err := daxtest.HugeMapped(b)
	if err != nil {
		return err
	}
	if got < want {
		return fmt.Errorf("%d bytes of the view are mapped in pages of 2 MiB, want %d (%d)", got, want, sum)
	}
	h.views++
	h.bytes += got
	return nil
}

// hugeRuns returns the offsets in the file of the runs that one huge page can map.
func hugeRuns(f *godax.File) (runs []int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for e, err := range f.Extents() {
		if err != nil {
			return nil, err
		}
		for run := (e.Off + hugePage - 1) / hugePage * hugePage; run+hugePage <= min(e.Off+e.Len, pageUp(fi.Size())); run += hugePage {
			if e.Kind == godax.Direct && (int64(e.PFN.Page())*pageSize+run-e.Off)%hugePage == 0 {
				runs = append(runs, run)
			}
		}
	}
	return runs, nil
}

// unmappable returns an error if memory that is mapped in units of 2 MiB was refused, or a part
// of a view of it raised SIGBUS, although the file has the units whole.
func (r *runner) unmappable(o op, got outcome) error {
	if !r.m.wholeUnits {
		return nil
	}
	var v view
	var first, end int64 // of the file's bytes one of which must be in no whole unit
	switch {
	case (o.Kind == opMmap || o.Kind == opPrivate) && got.err == errNotMappable:
		v = view{h: r.m.handles[o.Slot], off: o.Off, n: o.N}
		first, end = o.Off, o.Off+pageUp(o.N)
	case (o.Kind == opLoad || o.Kind == opStore) && got.err == "EFAULT":
		v = *r.m.views[o.Slot2]
		first = (v.off + o.Off + got.n) &^ (pageSize - 1)
		end = first + pageSize
	default:
		return nil
	}
	end = min(end, pageUp(v.h.n.size))
	var f *godax.File
	for i, h := range r.m.handles {
		if h == v.h {
			f = r.dax.handles[i]
		}
	}
	runs, err := hugeRuns(f)
	if err != nil {
		return err
	}
	whole := map[int64]bool{}
	for _, run := range runs {
		whole[run] = run >= v.off && run+hugePage <= v.off+pageUp(v.n)
	}
	for at := first &^ (hugePage - 1); at < end; at += hugePage {
		if !whole[at] {
			return nil
		}
	}
	return errors.New(o.String() + ": cannot be mapped, but all of it is in whole units of 2 MiB")
}

// hugeWeights are weights with more of what changes large files and goes through views.
var hugeWeights = func() (w [nkinds]int) {
	for k, n := range weights {
		if w[k] = n; kind(k) >= opTruncate {
			w[k] = (n + 3) / 4
		}
	}
	for k, n := range map[kind]int{
		opAllocate: 60, opFtruncate: 30, opPunch: 35, opZero: 20, opMmap: 50, opMunmap: 30, opLoad: 90, opStore: 90,
		opMsync: 20, opPrivate: 4, opPin: 15, opUnpin: 18, opPinLoad: 4, opTruncate: 8, opRemove: 25, opClose: 40, opOpen: 60,
		opReopen: 0, // comes by itself now and then
	} {
		w[k] = n
	}
	return w
}()

// largeHandle takes a handle of a large file, mostly, for what is about the file's pages.
func (g *generator) largeHandle(o *op) {
	switch o.Kind {
	case opPread, opPwrite, opPunch, opZero, opMmap, opPrivate, opPin:
	default:
		return
	}
	if g.r.IntN(4) == 0 {
		return
	}
	for i := range nhandles {
		k := (o.Slot + i) % nhandles
		h := g.m.handles[k]
		if h != nil && h.n.isRegular() && h.n.size >= hugePage && h.read && (h.write || o.Kind == opMmap) && (o.Kind != opPwrite || !h.appd) {
			o.Slot = k
			return
		}
	}
}

// edge is an offset at or near a multiple of 2 MiB.
func (g *generator) edge(size int64) int64 {
	at := hugePage * g.r.Int64N(min(size, 16<<20)/hugePage+2)
	switch g.r.IntN(6) {
	case 0:
		at += g.r.Int64N(12000) - 6000
	case 1:
		at += pageSize * (g.r.Int64N(9) - 4)
	case 2:
		at += g.r.Int64N(3) - 1
	case 3:
		at += pageSize * g.r.Int64N(hugePage/pageSize)
	}
	return max(at, 0)
}

// hugeLength makes lengths of what moves few bytes often about 2 MiB, and of others
// sometimes.
func (g *generator) hugeLength(o *op, size int64) {
	often := 40
	switch o.Kind {
	case opAllocate, opPunch, opFtruncate, opZero:
		often = 2
	}
	if g.r.IntN(often) > 0 {
		return
	}
	o.N = hugePage * (1 + g.r.Int64N(3))
	switch g.r.IntN(8) {
	case 0:
		o.N += pageSize * (g.r.Int64N(5) - 2)
	case 1:
		o.N += g.r.Int64N(5) - 2
	}
	switch {
	case o.Kind == opFtruncate:
		o.Off = max(o.Off, 0) / hugePage * hugePage
	case o.Kind == opAllocate && (size < 2*hugePage || g.r.IntN(2) == 0):
		o.Off = max(o.Off, 0) / hugePage * hugePage
		if size < 2*hugePage {
			o.Off = 0
		}
	}
}

// hugeView makes most views begin and end at multiples of 2 MiB.
func (g *generator) hugeView(o *op, size int64) {
	if g.r.IntN(4) > 0 {
		o.Off = o.Off / hugePage * hugePage
	}
	if g.r.IntN(4) > 0 {
		o.N = hugePage * (1 + g.r.Int64N(3))
	}
	o.Arg = g.r.Int64N(2)
	if o.Kind == opMmap && g.r.IntN(2) == 0 && size > 0 {
		o.Off = min(o.Off, (size-1)/hugePage*hugePage)
		if n := (size - o.Off) / hugePage * hugePage; n > 0 {
			o.N = min(o.N, n)
		}
	}
}
