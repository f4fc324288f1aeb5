package daxtest_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/blockfs"
	"godax/internal/daxtest/logfs"
	"godax/internal/daxtest/mixedfs"
	"godax/internal/daxtest/revokefs"
	"godax/internal/daxtest/sched"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize  = pmem.PageSize
	filePages = 20
)

var ctx = context.Background()

func TestMain(m *testing.M) { os.Exit(sched.Main(m)) }

// backend is what all file systems for tests can do with a file.
type backend interface {
	vm.Handler
	Read(ctx context.Context, b []byte, off int64) (int, error)
	Write(ctx context.Context, b []byte, off int64) (int, error)
	Truncate(ctx context.Context, size int64) error
	Punch(ctx context.Context, off, n int64) error
	Zero(ctx context.Context, off, n int64) error
	Map(ctx context.Context, s *sim.Space, page, n uint64, flags vm.Flags) (*sim.View, error)
}

// subject is a backend with what is done to it.
type subject struct {
	name    string
	f       backend
	m       *dax.Mapping
	fsync   func() error
	between func(r *rand.Rand) error // what the file system does on its own
	check   func() error
}

func device(t testing.TB, pages int64) pmem.Device {
	t.Helper()
	d, err := psim.New(pages * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func blockBackend(c blockfs.Config, devices int) func(t testing.TB) *subject {
	return func(t testing.TB) *subject {
		var list []pmem.Device
		for range devices {
			list = append(list, device(t, 128))
		}
		fs := blockfs.New(c, list...)
		f := fs.Create()
		s := &subject{f: f, m: f.M, fsync: func() error { return f.Fsync(ctx, 0, 1<<62) }, check: fs.Check}
		if c.Carrier == blockfs.Iomap {
			// Somebody clones the file now and then, and drops the clone.
			s.between = func(r *rand.Rand) error {
				if n := f.M.Size(); n > 0 && r.IntN(4) == 0 {
					clone := fs.Create()
					if err := clone.Reflink(ctx, 0, f, 0, n); err != nil {
						return err
					}
					if r.IntN(2) == 0 {
						return fs.Remove(ctx, clone)
					}
					if len(fs.Files()) > 4 {
						return fs.Remove(ctx, fs.Files()[1])
					}
				}
				return nil
			}
		}
		return s
	}
}

var backends = map[string]func(t testing.TB) *subject{
	"bh":            blockBackend(blockfs.Config{Carrier: blockfs.BufferHead}, 1),
	"iomap":         blockBackend(blockfs.Config{}, 2),
	"three devices": blockBackend(blockfs.Config{Stripe: 3}, 3),
	"scattered":     blockBackend(blockfs.Config{Scatter: true}, 1),
	"no huge":       blockBackend(blockfs.Config{Mapping: dax.Config{PMDOrder: 2, NoHuge: true}}, 1),
	"always asked":  blockBackend(blockfs.Config{Mapping: dax.Config{PMDOrder: 2, AlwaysAsk: true}}, 1),
	"holes by copy": blockBackend(blockfs.Config{SourceHoles: true, Mapping: dax.Config{PMDOrder: 1}}, 1),
	"no zero pages": blockBackend(blockfs.Config{Mapping: dax.Config{PMDOrder: 3, NoHugeZero: true}}, 1),
	"log-structured": func(t testing.TB) *subject {
		f := logfs.New(device(t, 256), dax.Config{PMDOrder: 2})
		return &subject{f: f, m: f.M, fsync: func() error { return f.Fsync(ctx) }, check: f.Check}
	},
	"revoking": func(t testing.TB) *subject {
		f := revokefs.New(device(t, 256), dax.Config{PMDOrder: 2})
		return &subject{f: f, m: f.M, fsync: func() error { return f.Fsync(ctx) }, check: f.Check,
			between: func(r *rand.Rand) error { return f.Revoke(ctx, r) }}
	},
}

// script does random operations and returns what they gave, one line each, and the file at
// the end. Only own depends on
// the backend.
func (s *subject) script(t testing.TB, seed uint64) (lines []string, data []byte) {
	t.Helper()
	space := sim.New(sim.Config{PMDOrder: 2})
	view := func(flags vm.Flags) *sim.View {
		v, err := s.f.Map(ctx, space, 0, filePages+4, flags)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	shared, private := view(vm.Read|vm.Write|vm.Shared), view(vm.Read|vm.Write)
	r, own := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	bus := func(err error) string { // a SIGBUS is a SIGBUS, whatever the reason
		if err != nil {
			return "SIGBUS"
		}
		return "ok"
	}
	for i := range 80 {
		op := r.IntN(10)
		off, n := r.Int64N(filePages*pageSize), 1+r.Int64N(5*pageSize)
		if r.IntN(2) == 0 {
			off, n = off/pageSize*pageSize, (n+pageSize-1)/pageSize*pageSize
		}
		n = min(n, filePages*pageSize-off)
		b, got := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, int(n)), make([]byte, n)
		line := fmt.Sprintf("%d %d+%d: ", op, off, n)
		switch op {
		case 0, 1:
			done, err := s.f.Write(ctx, b, off)
			line += fmt.Sprint(done, err)
		case 2:
			line += fmt.Sprint(s.f.Truncate(ctx, off))
		case 3:
			line += fmt.Sprint(s.f.Punch(ctx, off, n))
		case 4:
			line += fmt.Sprint(s.f.Zero(ctx, off, n))
		case 5:
			line += bus(shared.Store(ctx, b, off))
		case 6:
			line += bus(private.Store(ctx, b[:1+n/9], off))
		case 7:
			line += bus(private.Load(ctx, got, off))
		case 8:
			line += bus(shared.Load(ctx, got, off))
		case 9:
			line += fmt.Sprint(s.fsync())
		}
		done, err := s.f.Read(ctx, got[:min(len(got), 64)], off)
		lines = append(lines, fmt.Sprintf("%s; %x read %d %v; size %d", line, got, done, err, s.m.Size()))
		if s.between != nil {
			if err := s.between(own); err != nil {
				t.Fatal(err)
			}
		}
		if i%4 != 0 {
			continue
		}
		if err := s.check(); err != nil {
			t.Fatalf("%s: after %.60s: %v", s.name, lines[len(lines)-1], err)
		}
	}
	data = make([]byte, s.m.Size())
	if n, err := s.f.Read(ctx, data, 0); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	for _, v := range []*sim.View{shared, private} {
		if err := s.m.Detach(v); err != nil {
			t.Fatal(err)
		}
		v.Close()
	}
	if err := s.m.Evict(ctx, false); err != nil {
		t.Fatal(err)
	}
	return lines, data
}

// Every backend gives the same results for the same operations, whatever it does on its own
// in between; and the read-only one gives what the others have at the end.
//
// Guards I20, I22, I24, I27, I28, I29, T7.
func TestSE7_BackendsAgree(t *testing.T) {
	for seed := range uint64(3) {
		var want []string
		var data []byte
		first := ""
		for name, backend := range backends {
			s := backend(t)
			s.name = name
			lines, end := s.script(t, seed)
			if want == nil {
				want, data, first = lines, end, name
			}
			for i := range lines {
				if lines[i] != want[i] {
					t.Fatalf("seed %d, operation %d:\n%s: %.200s\n%s: %.200s", seed, i, first, want[i], name, lines[i])
				}
			}
			if !bytes.Equal(end, data) {
				t.Fatalf("seed %d: the files of %s and %s differ", seed, first, name)
			}
		}
		readOnly(t, seed, data)
	}
}

// readOnly verifies that an image of the bytes reads as the bytes.
func readOnly(t *testing.T, seed uint64, data []byte) {
	t.Helper()
	if len(data) == 0 {
		return
	}
	frames, err := dax.NewFrames(3*pageSize, 32*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 3))
	f, err := mixedfs.New(device(t, 128), data, func(uint64) mixedfs.Kind { return mixedfs.Plain + mixedfs.Kind(r.IntN(3)) }, dax.Config{PMDOrder: 2, Frames: frames})
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Map(ctx, sim.New(sim.Config{PMDOrder: 2}), 0, filePages+4, vm.Read|vm.Shared)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if err := v.Load(ctx, got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("seed %d: the view of the image: %v", seed, err)
	}
	if n, err := f.Read(ctx, got, 0); n != len(data) || err != nil || !bytes.Equal(got, data) {
		t.Errorf("seed %d: read of the image: %d, %v", seed, n, err)
	}
	if err := f.M.CheckInvariants(true); err != nil {
		t.Error(err)
	}
	_ = f.M.Detach(v)
	v.Close()
	if err := f.M.Evict(ctx, false); err != nil {
		t.Error(err)
	}
	if err := frames.Close(); err != nil {
		t.Error(err)
	}
}
