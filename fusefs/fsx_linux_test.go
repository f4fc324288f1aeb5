package fusefs_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"godax"
	"godax/fusefs"
)

var (
	fsxOps   = flag.Int("fsx.ops", 0, "operations of each fsx; 0 is 3000")
	fsxBlock = flag.Int("fsx.block", 0, "block size of fsx; 0 is each")
	fsxSeed  = flag.Uint64("fsx.seed", 0, "seed of fsx; 0 is a new one")
)

const (
	fsxMax = 256 << 10 // bytes of the file
	fsxLen = 48 << 10  // of one operation
)

// TestFsx changes one file by all ways there are, in random order, and compares with a model
// after each read: read(2), write(2), O_DIRECT, O_APPEND, mappings of the kernel, truncation,
// holes, copies, in a process of its own; and beside it calls, views and pins of the Go API in
// the process that serves.
func TestFsx(t *testing.T) {
	needFuse(t)
	for _, bs := range []int{1024, 2048, 4096} {
		if *fsxBlock != 0 && bs != *fsxBlock {
			continue
		}
		for mode, name := range map[fusefs.CacheMode]string{fusefs.CacheShared: "shared", fusefs.CacheExclusive: "exclusive", fusefs.CacheNone: "none"} {
			t.Run(fmt.Sprintf("%d/%s", bs, name), func(t *testing.T) {
				seed := *fsxSeed
				if seed == 0 {
					seed = uint64(time.Now().UnixNano())
				}
				ops := *fsxOps
				if ops == 0 {
					ops = 3000
				}
				if mode == fusefs.CacheNone {
					ops /= 4
				}
				runFsx(t, bs, mode, ops, seed)
			})
		}
	}
}

// fsx is a run.
type fsx struct {
	t     *testing.T
	r     *rand.Rand
	child *fsxProcess
	file  *godax.File
	views bool // of the Go API may be used
	sizes bool // the Go API may change the size
	view  *godax.Mapping
	off   int64 // of the view
	model []byte
	log   []string

	// mapDirty: the kernel may hold bytes that were stored to through its mapping; viewDirty:
	// it may hold bytes from before a store through a view. Whoever wants to see
	// the others' has to say so, with fsync here and Sync there.
	mapDirty, viewDirty bool
}

func runFsx(t *testing.T, bs int, mode fusefs.CacheMode, ops int, seed uint64) {
	m := mountImage(t, newImage(t, 32<<20, bs), fusefs.Options{Cache: mode})
	m.watch.Reset(mountLimit + time.Duration(ops)*5*time.Millisecond)
	file, err := m.fsys.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() }) // if the test has not come to it
	f := &fsx{t: t, r: rand.New(rand.NewPCG(seed, 1)), child: startChild(t, m.path("f")), file: file, views: mode == fusefs.CacheShared, sizes: mode != fusefs.CacheExclusive}
	t.Cleanup(func() {
		if f.view != nil {
			_ = f.view.Close()
		}
		_ = f.child.in.Close()
		_ = f.child.cmd.Wait()
	})
	defer func() {
		if t.Failed() {
			t.Logf("replay with -fsx.seed %d -fsx.block %d; the last operations:\n%s", seed, bs, strings.Join(f.log[max(0, len(f.log)-40):], "\n"))
		}
	}()
	for i := 0; i < ops && !t.Failed(); i++ {
		f.step()
	}
	f.closeView()
	f.child.must(fsxOp{Kind: "fsync"})
	f.compare("at the end, the kernel", 0, f.child.must(fsxOp{Kind: "read", Len: fsxMax + 1}).Data, f.model)
	f.goRead(0, fsxMax+1)
	f.child.stop()
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	m.closeClean(t)
}

// span is a random range; within says that it lies in the file.
func (f *fsx) span(within bool) (off, n int64) {
	limit := int64(fsxMax)
	if within {
		limit = int64(len(f.model))
	}
	if limit == 0 {
		return 0, 0
	}
	off = f.r.Int64N(limit)
	n = 1 + f.r.Int64N(min(fsxLen, limit-off))
	if f.r.IntN(4) == 0 {
		off &^= 4095
	}
	if f.r.IntN(4) == 0 && n > 4096 {
		n &^= 4095
	}
	return off, n
}

func (f *fsx) bytes(n int64) []byte {
	b := make([]byte, n)
	x := f.r.Uint32()
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// put changes the model.
func (f *fsx) put(off int64, b []byte) {
	f.grow(off + int64(len(b)))
	copy(f.model[off:], b)
}

func (f *fsx) grow(size int64) {
	if more := size - int64(len(f.model)); more > 0 {
		f.model = append(f.model, make([]byte, more)...)
	}
}

func (f *fsx) note(format string, args ...any) {
	if f.log = append(f.log, fmt.Sprintf(format, args...)); len(f.log) > 200 {
		f.log = f.log[100:]
	}
}

// compare checks bytes that were read at off.
func (f *fsx) compare(who string, off int64, got, want []byte) {
	f.t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	f.t.Errorf("%s: %d bytes at %d, want %d; they differ from %d on", who, len(got), off, len(want), off+int64(i))
}

// seen is the part of the model that a read of n bytes at off gives.
func (f *fsx) seen(off, n int64) []byte {
	size := int64(len(f.model))
	return f.model[min(off, size):min(off+n, size)]
}

// step does one random operation.
func (f *fsx) step() {
	if f.r.IntN(3) == 0 {
		f.goStep()
		return
	}
	fd := f.r.IntN(2)
	switch f.r.IntN(16) {
	case 0, 1, 2:
		off, n := f.span(false)
		f.note("read fd %d %d+%d", fd, off, n)
		f.compare("read(2)", off, f.child.must(fsxOp{Kind: "read", FD: fd, Off: off, Len: n}).Data, f.seen(off, n))
	case 3, 4, 5:
		off, n := f.span(false)
		b := f.bytes(n)
		f.note("write fd %d %d+%d", fd, off, n)
		f.child.must(fsxOp{Kind: "write", FD: fd, Off: off, Data: b})
		f.put(off, b)
	case 6:
		n := min(1+f.r.Int64N(5000), fsxMax-int64(len(f.model)))
		if n <= 0 {
			return
		}
		b := f.bytes(n)
		f.note("append %d at %d", n, len(f.model))
		f.child.must(fsxOp{Kind: "write", FD: 2, Data: b})
		f.put(int64(len(f.model)), b)
	case 7, 8:
		if off, n := f.span(true); n > 0 {
			f.syncView()
			f.note("mapread %d+%d", off, n)
			f.compare("the kernel's mapping", off, f.child.must(fsxOp{Kind: "mapread", Off: off, Len: n}).Data, f.seen(off, n))
		}
	case 9, 10:
		if off, n := f.span(true); n > 0 {
			f.syncView()
			b := f.bytes(n)
			kind := []string{"mapwrite", "mapsync"}[f.r.IntN(2)]
			f.note("%s %d+%d", kind, off, n)
			f.child.must(fsxOp{Kind: kind, Off: off, Len: n, Data: b})
			f.put(off, b)
			f.mapDirty = true
		}
	case 11:
		size := f.r.Int64N(fsxMax)
		f.note("truncate %d to %d", len(f.model), size)
		f.child.must(fsxOp{Kind: "truncate", FD: fd, Len: size})
		f.resize(size)
	case 12:
		off, n := f.span(false)
		kind := []string{"punch", "zero", "allocate"}[f.r.IntN(3)]
		f.note("%s %d+%d", kind, off, n)
		f.child.must(fsxOp{Kind: kind, FD: fd, Off: off, Len: n})
		if kind != "punch" {
			f.grow(off + n)
		}
		if kind != "allocate" {
			clear(f.seen(off, n))
		}
	case 13:
		f.copyRange(fd)
	case 14:
		kind := []string{"fsync", "fdatasync", "reopen"}[f.r.IntN(3)]
		f.note("%s", kind)
		f.child.must(fsxOp{Kind: kind})
	case 15:
		f.note("size")
		if n := f.child.must(fsxOp{Kind: "size", FD: fd}).N; n != int64(len(f.model)) {
			f.t.Errorf("fstat says %d bytes, want %d", n, len(f.model))
		}
	}
}

func (f *fsx) copyRange(fd int) {
	off, n := f.span(true)
	if n == 0 {
		return
	}
	to := f.r.Int64N(fsxMax - n + 1)
	if off < to+n && to < off+n {
		return
	}
	f.syncView()
	f.note("copy %d+%d to %d", off, n, to)
	b := bytes.Clone(f.seen(off, n))
	f.child.must(fsxOp{Kind: "copy", FD: fd, Off: off, Len: n, To: to})
	f.put(to, b)
}

func (f *fsx) resize(size int64) {
	f.grow(size)
	f.model = f.model[:size:size]
}

// syncMap makes the kernel write what was stored to through its mapping, so that others see it.
func (f *fsx) syncMap() {
	if f.mapDirty {
		f.note("fsync")
		f.child.must(fsxOp{Kind: "fsync"})
		f.mapDirty = false
	}
}

// syncView lets the kernel know that there were stores through a view.
func (f *fsx) syncView() {
	if f.viewDirty && f.view != nil {
		f.note("view sync")
		f.check(f.view.Sync())
	}
	f.viewDirty = false
}

func (f *fsx) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Error(err)
	}
}

// goStep does one random operation of the Go API.
func (f *fsx) goStep() {
	f.syncMap()
	kinds := 4
	if f.views {
		kinds = 10
	}
	switch f.r.IntN(kinds) {
	case 0:
		off, n := f.span(false)
		f.goRead(off, n)
	case 1:
		off, n := f.span(!f.sizes)
		if n == 0 {
			return
		}
		b := f.bytes(n)
		f.note("go write %d+%d", off, n)
		_, err := f.file.WriteAt(b, off)
		f.check(err)
		f.put(off, b)
	case 2:
		if !f.sizes {
			return
		}
		size := f.r.Int64N(fsxMax)
		f.note("go truncate %d to %d", len(f.model), size)
		f.check(f.file.Truncate(size))
		f.resize(size)
	case 3:
		if off, n := f.span(true); n > 0 {
			f.note("go punch %d+%d", off, n)
			f.check(f.file.PunchHole(off, n))
			clear(f.seen(off, n))
		}
	case 4:
		f.closeView()
		if f.r.IntN(2) == 0 {
			f.off = f.r.Int64N(fsxMax) &^ 4095
			n := 1 + f.r.IntN(fsxMax/2)
			f.note("view %d+%d", f.off, n)
			var err error
			f.view, err = f.file.Mmap(f.off, n, godax.MapRead|godax.MapWrite|godax.MapShared)
			f.check(err)
		}
	case 5, 6, 7:
		f.useView()
	case 8, 9:
		f.usePin()
	}
}

func (f *fsx) goRead(off, n int64) {
	f.note("go read %d+%d", off, n)
	b := make([]byte, n)
	k, err := f.file.ReadAt(b, off)
	if err != nil && !errors.Is(err, os.ErrClosed) && k < len(f.seen(off, n)) {
		f.t.Error(err)
	}
	f.compare("ReadAt", off, b[:k], f.seen(off, n))
}

func (f *fsx) closeView() {
	if f.view != nil {
		f.note("close the view")
		f.check(f.view.Close())
		f.view = nil
	}
	f.viewDirty = false
}

// useView loads and stores through the view.
func (f *fsx) useView() {
	if f.view == nil {
		return
	}
	end := min(f.off+int64(len(f.view.Bytes())), int64(len(f.model)))
	if end <= f.off {
		return
	}
	off := f.off + f.r.Int64N(end-f.off)
	n := 1 + f.r.Int64N(min(fsxLen, end-off))
	b := f.view.Bytes()[off-f.off:][:n]
	f.note("load %d+%d", off, n)
	f.compare("the view", off, b, f.seen(off, n))
	if f.r.IntN(2) == 0 {
		f.note("store %d+%d", off, n)
		copy(b, f.bytes(n))
		f.put(off, b)
		f.viewDirty = true
	}
}

// usePin stores through a pin.
func (f *fsx) usePin() {
	off, n := f.span(true)
	if n == 0 {
		return
	}
	f.note("pin %d+%d", off, n)
	p, err := f.file.Pin(off, int(n), true)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer p.Release()
	at := off
	for _, s := range p.Slices() {
		f.compare("the pin", at, s, f.seen(at, int64(len(s))))
		copy(s, f.bytes(int64(len(s))))
		f.put(at, s)
		at += int64(len(s))
	}
	if f.r.IntN(3) == 0 { // seen by read(2) while it is held
		f.compare("read(2) during a pin", off, f.child.must(fsxOp{Kind: "read", Off: off, Len: n}).Data, f.seen(off, n))
	}
}
