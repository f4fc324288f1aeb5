package revokefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/logfs"
	"godax/internal/daxtest/revokefs"
	"godax/internal/daxtest/sched"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize = logfs.PageSize
	files    = 12 // pages

	wantMoves = 50 // frames taken back in a run, at least
)

var ctx = context.Background()

func TestMain(m *testing.M) { os.Exit(sched.Main(m)) }

// Frames are taken back in every way, at random, while views are stored to, loaded from,
// pinned and fsynced: every byte stays what its only writer made it.
//
// Guards I17, I24, I25, I28, I31, I33, I40, I56, P2, P10, T5, T17, T35.
func TestSD4_FramesTakenBack(t *testing.T) {
	for _, huge := range []bool{false, true} {
		t.Run(fmt.Sprintf("huge=%t", huge), func(t *testing.T) {
			dev, err := psim.New(256 * pageSize)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			f := revokefs.New(dev, dax.Config{PMDOrder: 2, NoHuge: !huge})
			if err := f.Truncate(ctx, files*pageSize); err != nil {
				t.Fatal(err)
			}
			const writers, rounds = 3, 150
			errs := make([]error, writers+2)
			stop := make(chan struct{})
			var users, revoker sync.WaitGroup
			for i := range writers {
				users.Go(func() { errs[i] = use(f, uint64(i), rounds) })
			}
			for i := range 2 {
				revoker.Go(func() {
					r := rand.New(rand.NewPCG(9, uint64(i)))
					for errs[writers+i] == nil {
						select {
						case <-stop:
							return
						default:
							errs[writers+i] = f.Revoke(ctx, r)
						}
					}
				})
			}
			users.Wait()
			close(stop)
			revoker.Wait()
			if err := errors.Join(append(errs, f.Check())...); err != nil {
				t.Fatal(err)
			}
			if f.Moves() < wantMoves {
				t.Errorf("%d moves", f.Moves())
			}
		})
	}
}

// use stores to a part of every page that is its own, through a view of its own, and looks
// whether what it stored is there, through the view, by read(2) and by a pin. It goes on for
// the given number of rounds, and longer where the scheduler has let nobody take frames back.
func use(f *revokefs.File, id uint64, rounds int) error {
	s := sim.New(sim.Config{PMDOrder: 2})
	v, err := f.Map(ctx, s, 0, files, vm.Read|vm.Write|vm.Shared)
	if err != nil {
		return err
	}
	defer v.Close()
	defer f.M.Detach(v)
	r := rand.New(rand.NewPCG(3, id))
	const part = 256
	var mine [files][part]byte
	for n := 0; n < rounds || n < 1000*rounds && f.Moves() < wantMoves; n++ {
		page := r.Uint64N(files)
		off := int64(page*pageSize + id*part)
		look := func(what string, got []byte, err error) error {
			if err == nil && !bytes.Equal(got, mine[page][:]) {
				err = fmt.Errorf("round %d of %d, page %d: %s gives %x, want %x", n, id, page, what, got[:4], mine[page][:4])
			}
			return err
		}
		got := make([]byte, part)
		switch r.IntN(5) {
		case 0, 1:
			for i := range mine[page] {
				mine[page][i] = byte(n)
			}
			err = v.Store(ctx, mine[page][:], off)
		case 2:
			err = look("a load", got, v.Load(ctx, got, off))
		case 3:
			_, rerr := f.Read(ctx, got, off)
			err = look("read", got, rerr)
		case 4:
			pin, perr := f.M.Pin(ctx, off, part, dax.PinWrite, f)
			if perr != nil {
				return perr
			}
			copy(got, pin.Slices()[0])
			err = look("a pin", got, nil)
			mine[page][0] ^= 0x55
			pin.Slices()[0][0] = mine[page][0]
			pin.Release()
		}
		if err != nil {
			return err
		}
	}
	return s.Check()
}
