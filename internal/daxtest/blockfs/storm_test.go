package blockfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"godax/internal/daxtest/blockfs"
	"godax/vm/sim"
)

// stormFile is a file with what it has to hold.
type stormFile struct {
	mu   sync.Mutex // one operation of the storm at a time
	f    *blockfs.File
	v    *sim.View
	want []byte
}

const stormPages = 12

// Clones, stores, writes, unsharing, dedupes, exchanges, deletions and fsyncs on a pool of
// files that have blocks in common: each operation has its files to itself, the blocks
// are everybody's. Data and counts are right afterwards, and nothing is left at the end.
//
// Guards I27, I28, I56, T59, T60, T61, T62.
func TestSD7_ReflinkStorm(t *testing.T) {
	const files, workers, rounds = 5, 4, 120
	for _, seed := range []uint64{1, 2} {
		w := newWorld(t, blockfs.Config{SourceHoles: seed == 2}, 2)
		pool := make([]*stormFile, files)
		for i := range pool {
			pool[i] = w.stormFile(byte(40 * i))
		}
		errs := make([]error, workers)
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				for n := range rounds {
					if errs[i] = w.stormStep(r, pool); errs[i] != nil {
						errs[i] = fmt.Errorf("seed %d, worker %d, round %d: %w", seed, i, n, errs[i])
						return
					}
				}
			})
		}
		wg.Wait()
		w.ok(errors.Join(errs...))
		for i, s := range pool {
			w.holds(fmt.Sprint("file ", i), s.f, s.want)
		}
		w.check()
		for _, s := range pool {
			w.remove(s.f)
		}
		if n := w.fs.Taken(); n != 0 {
			t.Errorf("%d blocks are left", n)
		}
	}
}

func (w *world) stormFile(first byte) *stormFile {
	s := &stormFile{want: pages(first, stormPages)}
	s.f = w.file(s.want)
	s.v = w.view(s.f, 0, stormPages, sharedRW)
	return s
}

// stormStep does one random operation.
func (w *world) stormStep(r *rand.Rand, pool []*stormFile) error {
	i, j := r.IntN(len(pool)), r.IntN(len(pool)-1)
	if j >= i {
		j++
	}
	a, b := pool[i], pool[j]
	op := r.IntN(9)
	pool[min(i, j)].mu.Lock()
	defer pool[min(i, j)].mu.Unlock()
	pool[max(i, j)].mu.Lock()
	defer pool[max(i, j)].mu.Unlock()
	n := 1 + r.Int64N(stormPages)
	from, to := r.Int64N(stormPages+1-n)*pageSize, r.Int64N(stormPages+1-n)*pageSize
	n *= pageSize
	odd, few := r.Int64N(stormPages*pageSize-100), 1+r.Int64N(100)
	data := bytes.Repeat([]byte{byte(r.IntN(256))}, int(n))
	switch op {
	case 0:
		copy(b.want[to:to+n], a.want[from:])
		return b.f.Reflink(ctx, to, a.f, from, n)
	case 1:
		copy(a.want[odd:], data[:few])
		return a.v.Store(ctx, data[:few], odd)
	case 2:
		copy(a.want[odd:], data[:few])
		_, err := a.f.Write(ctx, data[:few], odd)
		return err
	case 3:
		copy(a.want[from:], data)
		_, err := a.f.Write(ctx, data, from)
		return err
	case 4:
		return a.f.Unshare(ctx, odd, few)
	case 5:
		same, err := b.f.Dedupe(ctx, to, a.f, from, n)
		if want := bytes.Equal(b.want[to:to+n], a.want[from:from+n]); err == nil && same != want {
			err = fmt.Errorf("dedupe says %t, want %t", same, want)
		}
		return err
	case 6:
		tmp := slices.Clone(b.want[to : to+n])
		copy(b.want[to:], a.want[from:from+n])
		copy(a.want[from:], tmp)
		return a.f.Exchange(ctx, from, b.f, to, n)
	case 7:
		clear(a.want[from : from+n])
		return a.f.Punch(ctx, from, n)
	default:
		got := make([]byte, len(a.want))
		if err := a.v.Load(ctx, got, 0); err != nil {
			return err
		}
		if !bytes.Equal(got, a.want) {
			return errors.New("the view shows something else")
		}
		return a.f.Fsync(ctx, odd, few)
	}
}
