package blockfs_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/blockfs"
	"godax/internal/hook"
	psim "godax/pmem/sim"
	"godax/vm/sim"
)

var (
	flagSeed = flag.Uint64("seed", 0, "the seed of the random operations; 0 is a choice of seeds")
	flagOps  = flag.Int("ops", 0, "how many operations a seed runs; 0 is a small number")
)

// TestSE1_TwoFiles runs random operations on two files that come to share blocks, through
// read, write, views and pins, against a plain byte slice for each. Between operations the
// files are evicted, the file system is frozen, and mounted again. -seed and -ops choose;
// GODAX_SOAK makes it long.
//
// Guards I1, I11, I12, I17, I20, I22, I24, I26, I27, I28, I29, I38, I40, I56, T52, T59, T60, T61, T62.
func TestSE1_TwoFiles(t *testing.T) {
	ops, seeds := 400, []uint64{1}
	if round, err := strconv.ParseUint(os.Getenv("GODAX_SOAK"), 10, 64); err == nil {
		ops, seeds = 20_000, []uint64{1000 * round}
	}
	if hook.Enabled { // and so everything is checked after every step
		ops /= 4
	}
	if *flagSeed > 0 {
		seeds = []uint64{*flagSeed}
	}
	if *flagOps > 0 {
		ops = *flagOps
	}
	for _, seed := range seeds {
		for name, c := range map[string]blockfs.Config{
			"iomap":         {},
			"bh":            {Carrier: blockfs.BufferHead},
			"holes by copy": {SourceHoles: true, Stripe: 5},
			"scattered":     {Scatter: true},
			"always asked":  {Mapping: dax.Config{AlwaysAsk: true}},
			"no huge":       {Mapping: dax.Config{NoHuge: true}},
		} {
			for _, order := range []uint{1, 2, 3} {
				t.Run(fmt.Sprintf("seed %d/%s/order %d", seed, name, order), func(t *testing.T) {
					c.Mapping.PMDOrder = order
					m := newModel(t, c, seed)
					for range ops {
						m.step()
					}
					m.close()
					t.Logf("done: %v", m.did)
				})
			}
		}
	}
}

const (
	modelPages = 20 // the most a file has
	modelMax   = modelPages * pageSize
)

// modelFile is a file with what it has to hold.
type modelFile struct {
	name string
	f    *blockfs.File
	want []byte

	shared, private *sim.View        // of modelPages pages
	copies          map[int64][]byte // private copies of pages, which nothing but a cut takes away
	pin             *dax.Pin
	pinOff, pinLen  int64
	pinWrite        bool
}

// model is a file system with two files.
type model struct {
	t     *testing.T
	c     blockfs.Config
	fs    *blockfs.FS
	devs  []*psim.Device // of the first mount
	order uint
	space *sim.Space
	r     *rand.Rand
	files []*modelFile
	log   []string
	did   map[string]int
}

func newModel(t *testing.T, c blockfs.Config, seed uint64) *model {
	t.Helper()
	m := &model{t: t, c: c, order: c.Mapping.PMDOrder, r: rand.New(rand.NewPCG(seed, uint64(c.Mapping.PMDOrder))), did: map[string]int{}}
	for range 2 {
		d, err := psim.New(128 * pageSize)
		m.ok(err)
		m.devs = append(m.devs, d)
	}
	m.fs = blockfs.New(c, m.devs[0], m.devs[1])
	m.space = sim.New(sim.Config{PMDOrder: m.order})
	for _, name := range []string{"a", "b"} {
		m.files = append(m.files, &modelFile{name: name, f: m.fs.Create()})
	}
	m.mapAll()
	return m
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nthe last of %d operations:\n%s", fmt.Sprintf(format, args...), len(m.log), bytes.Join(lines(m.log[max(0, len(m.log)-30):]), []byte("\n")))
}

func lines(list []string) (out [][]byte) {
	for _, l := range list {
		out = append(out, []byte(l))
	}
	return out
}

func (m *model) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.fatalf("%v", err)
	}
}

// mapAll gives every file its views.
func (m *model) mapAll() {
	m.t.Helper()
	for _, f := range m.files {
		m.mapFile(f)
	}
}

func (m *model) mapFile(f *modelFile) {
	m.t.Helper()
	var err error
	f.shared, err = f.f.Map(ctx, m.space, 0, modelPages, sharedRW)
	m.ok(err)
	f.private, err = f.f.Map(ctx, m.space, 0, modelPages, private)
	m.ok(err)
	f.copies = map[int64][]byte{}
}

func (m *model) unmapFile(f *modelFile) {
	m.t.Helper()
	m.ok(f.f.Unmap(f.shared))
	m.ok(f.f.Unmap(f.private))
}

// step does one operation and looks at everything that is cheap to look at.
func (m *model) step() {
	m.t.Helper()
	f, other := m.files[0], m.files[1]
	if m.r.IntN(2) == 0 {
		f, other = other, f
	}
	op := m.pick()
	m.log = append(m.log, fmt.Sprintf("%d: %s %s", len(m.log), op.name, f.name))
	if op.do(m, f, other) {
		m.did[op.name]++
	} else {
		m.log[len(m.log)-1] += ": not possible"
	}
	for _, f := range m.files {
		if f.f.M.Size() != int64(len(f.want)) {
			m.fatalf("%s has %d bytes, want %d", f.name, f.f.M.Size(), len(f.want))
		}
	}
	if err := errors.Join(m.fs.Check(), m.space.Check()); err != nil {
		m.fatalf("%v", err)
	}
	if len(m.log)%20 == 0 {
		m.compare()
	}
}

// note adds to the last line of the log.
func (m *model) note(format string, args ...any) {
	m.log[len(m.log)-1] += " " + fmt.Sprintf(format, args...)
}

// compare looks at all the bytes, in all ways that there are.
func (m *model) compare() {
	m.t.Helper()
	for _, f := range m.files {
		got := make([]byte, len(f.want)+1)
		n, err := f.f.Read(ctx, got, 0)
		m.ok(err)
		m.same(f, "read", got[:n], f.want)
		if n == 0 {
			continue
		}
		raw, err := f.f.Raw(0, int64(n))
		m.ok(err)
		m.same(f, "the blocks", raw, f.want)
		m.ok(f.shared.Load(ctx, got[:n], 0))
		m.same(f, "the shared view", got[:n], f.want)
		m.ok(f.private.Load(ctx, got[:n], 0))
		want := slices.Clone(f.want)
		for page, b := range f.copies {
			copy(want[page*pageSize:], b)
		}
		m.same(f, "the private view", got[:n], want)
		if f.pin != nil {
			m.same(f, "the pinned bytes", bytes.Join(f.pin.Slices(), nil), f.want[f.pinOff:f.pinOff+f.pinLen])
		}
	}
}

func (m *model) same(f *modelFile, what string, got, want []byte) {
	m.t.Helper()
	if len(got) != len(want) {
		m.fatalf("%s, %s: %d bytes, want %d", f.name, what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			m.fatalf("%s, %s: byte %d is %#x, want %#x", f.name, what, i, got[i], want[i])
		}
	}
}

// close ends everything; nothing may be left.
func (m *model) close() {
	m.t.Helper()
	m.compare()
	for _, f := range m.files {
		m.unpin(f)
		m.unmapFile(f)
		m.ok(m.fs.Remove(ctx, f.f))
	}
	m.ok(m.fs.Commit())
	if n := m.fs.Taken(); n != 0 {
		m.fatalf("%d blocks are left", n)
	}
	m.ok(m.fs.Discard())
}

// resized says what a new size does to the bytes, and to private copies past it.
func (f *modelFile) resized(n int64) {
	f.want = append(f.want[:min(n, int64(len(f.want)))], make([]byte, max(0, n-int64(len(f.want))))...)
	f.cutCopies(n)
}

func (f *modelFile) cutCopies(n int64) {
	for page := range f.copies {
		if page*pageSize >= n {
			delete(f.copies, page)
		}
	}
}
