package blockfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"godax/dax"
	"godax/internal/daxtest"
	"godax/internal/daxtest/blockfs"
	"godax/internal/daxtest/sched"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize = blockfs.PageSize

	sharedRW = vm.Read | vm.Write | vm.Shared
	sharedRO = vm.Read | vm.Shared
	private  = vm.Read | vm.Write
)

var ctx = context.Background()

func TestMain(m *testing.M) { os.Exit(sched.Main(m)) }

// world is a file system with what a test does to it.
type world struct {
	t     testing.TB
	fs    *blockfs.FS
	devs  []*psim.Device
	space *sim.Space
	views map[*sim.View]*blockfs.File
	bad   bool // media went bad: what the file system says cannot be written back
}

// newWorld makes a file system on devices of 128 pages, or for real huge pages 4096, and
// checks it at the end.
func newWorld(t testing.TB, c blockfs.Config, devices int) *world {
	t.Helper()
	w := &world{t: t, views: map[*sim.View]*blockfs.File{}}
	var list []pmem.Device
	size := int64(128)
	if c.Mapping.PMDOrder == dax.PMDOrder {
		size = 4096
	}
	for range devices {
		d, err := psim.New(size * pageSize)
		if err != nil {
			t.Fatal(err)
		}
		w.devs = append(w.devs, d)
		list = append(list, d)
	}
	w.fs = blockfs.New(c, list...)
	order := c.Mapping.PMDOrder
	if order == 0 {
		order = 2
	}
	w.space = sim.New(sim.Config{PMDOrder: order})
	t.Cleanup(w.end)
	return w
}

// end checks everything (K1, K2, K3, K5, K8) and closes.
func (w *world) end() {
	w.t.Helper()
	w.check()
	for v, f := range w.views {
		if err := f.Unmap(v); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.fs.Close(); err != nil && !w.bad {
		w.t.Error(err)
	}
	for _, d := range w.devs {
		d.Close()
	}
}

// check verifies at quiescence that all say the same.
func (w *world) check() {
	w.t.Helper()
	if err := errors.Join(w.fs.Check(), w.space.Check()); err != nil {
		w.t.Error(err)
	}
	for _, f := range w.fs.Files() {
		if views, pins := f.M.Busy(); pins != 0 {
			w.t.Errorf("file %d: %d views, %d pins", f.ID, views, pins)
		}
	}
}

// view maps a whole file of n pages.
func (w *world) view(f *blockfs.File, page, n uint64, flags vm.Flags) *sim.View {
	w.t.Helper()
	v, err := f.Map(ctx, w.space, page, n, flags)
	if err != nil {
		w.t.Fatal(err)
	}
	w.views[v] = f
	return v
}

// remove deletes files, their views first, and commits.
func (w *world) remove(files ...*blockfs.File) {
	w.t.Helper()
	for _, f := range files {
		for v, g := range w.views {
			if f == g {
				w.ok(f.Unmap(v))
				delete(w.views, v)
			}
		}
		w.ok(w.fs.Remove(ctx, f))
	}
	w.ok(w.fs.Commit())
}

// file makes a file of the bytes.
func (w *world) file(b []byte) *blockfs.File {
	w.t.Helper()
	f := w.fs.Create()
	w.write(f, b, 0)
	return f
}

func (w *world) write(f *blockfs.File, b []byte, off int64) {
	w.t.Helper()
	if n, err := f.Write(ctx, b, off); n != len(b) || err != nil {
		w.t.Fatalf("write of %d bytes at %d: %d, %v", len(b), off, n, err)
	}
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// holds verifies that a file is the bytes, as read(2), a new view and the blocks say.
func (w *world) holds(what string, f *blockfs.File, want []byte) {
	w.t.Helper()
	got := make([]byte, len(want)+1)
	n, err := f.Read(ctx, got, 0)
	if err != nil {
		w.t.Fatalf("%s: read: %v", what, err)
	}
	equal(w.t, what+", read", got[:n], want)
	if len(want) == 0 {
		return
	}
	raw, err := f.Raw(0, int64(len(want)))
	w.ok(err)
	equal(w.t, what+", blocks", raw, want)
	for v, g := range w.views {
		if first, pages := v.Bounds(); g == f && first == 0 && pages*pageSize >= uint64(len(want)) && v.Flags()&vm.Shared != 0 {
			equal(w.t, what+", an old view", load(w.t, v, 0, len(want)), want)
		}
	}
	v, err := f.Map(ctx, w.space, 0, uint64(len(want)+pageSize-1)/pageSize, sharedRO)
	w.ok(err)
	equal(w.t, what+", a new view", load(w.t, v, 0, len(want)), want)
	w.ok(f.Unmap(v))
}

// durable verifies that a file is the bytes on the medium.
func (w *world) durable(what string, f *blockfs.File, want []byte) {
	w.t.Helper()
	for p := 0; p*pageSize < len(want); p++ {
		got := make([]byte, pageSize)
		if e, ok := f.Ext(uint64(p)); ok && !e.Raw {
			got = w.devs[e.Block.Dev].Durable()[e.Block.Page*pageSize:][:pageSize]
		}
		equal(w.t, fmt.Sprintf("%s, page %d on the medium", what, p), got, want[p*pageSize:][:pageSize])
	}
}

// What tests of several packages have in common.
var (
	equal = daxtest.Equal
	isErr = daxtest.IsErr
	load  = daxtest.Load
	store = daxtest.Store
)

// pages makes n pages, each full of one byte: first, first+1, ...
func pages(first byte, n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, bytes.Repeat([]byte{first + byte(i)}, pageSize)...)
	}
	return b
}

// eachOrder runs the test with small and with huge slots that the file's pages fill.
func eachOrder(t *testing.T, c blockfs.Config, test func(t *testing.T, w *world)) {
	for _, order := range []uint{0, 1, 2, 3} {
		t.Run(fmt.Sprintf("order %d", order), func(t *testing.T) {
			c := c
			if c.Mapping.PMDOrder = order; order == 0 {
				c.Mapping.PMDOrder, c.Mapping.NoHuge, c.Scatter = 2, true, true
			}
			test(t, newWorld(t, c, 2))
		})
	}
}
