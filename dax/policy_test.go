package dax_test

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	psim "godax/pmem/sim"
	"godax/vm/sim"
)

// TestSI6_ReadOnlyTarget: a view for loads, and a file that is open for reading only, cannot be
// the target of a transfer; the file is unchanged.
//
// Guards I21, T34.
func TestSI6_ReadOnlyTarget(t *testing.T) {
	for _, order := range []uint{1, 2, 9} {
		src := newFile(t, 16, dax.Config{PMDOrder: order})
		src.mustWrite(fill(run, 1), 0)
		f := newFile(t, 16, dax.Config{PMDOrder: order})
		data := fill(run, 2)
		f.mustWrite(data, 0)
		v := f.mapView(sim.New(sim.Config{PMDOrder: order}), 0, pmdPages, sharedRO)
		for _, touched := range []bool{false, true} {
			if touched {
				load(t, v, 0, run)
			}
			n, err := src.m.ReadTo(ctx, 0, run, src, func(b []byte) (int, error) {
				if err := v.Store(ctx, b, 0); err != nil {
					return 0, err
				}
				return len(b), nil
			})
			if n != 0 || !errors.Is(err, sim.ErrSegv) {
				t.Errorf("%d bytes, %v", n, err)
			}
			equal(t, "the target", f.mustRead(0, run), data)
		}
		f.check()
	}
	ro := dax.NewMapping(dax.Config{ReadOnly: true})
	ro.SetSize(run)
	f := newFile(t, 16, dax.Config{})
	if _, err := ro.Pin(ctx, 0, 8, dax.PinWrite, f); !errors.Is(err, syscall.EROFS) {
		t.Errorf("pin to write: %v", err)
	}
	if _, err := ro.WriteFrom(ctx, 0, 8, f, func(b []byte) (int, error) { return len(b), nil }); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write: %v", err)
	}
}

// TestSI8_TransferAgainstTruncate: while another device transfers to or from pinned pages of
// the file a truncate waits; what was transferred is complete, and the blocks are nobody
// else's until then.
//
// Guards I17, I40, T35.
func TestSI8_TransferAgainstTruncate(t *testing.T) {
	for _, write := range []bool{false, true} {
		for _, order := range []uint{1, 2, 3} {
			sched.Enabled(t)
			f, _ := newSimFile(t, 32, dax.Config{PMDOrder: order})
			data := fill(2*run, 1)
			f.mustWrite(data, 0)
			f.sync()
			v := f.mapView(sim.New(sim.Config{PMDOrder: order}), 0, 2*pmdPages, sharedRW)
			load(t, v, run, 1)
			other, err := psim.New(run)
			must(t, err)
			defer other.Close()
			disk, err := other.Bytes(0, run)
			must(t, err)
			copy(disk, fill(run, 7))
			flags := dax.PinFlags(0)
			if write {
				flags = dax.PinWrite
			}
			pin, err := f.m.Pin(ctx, run, run, flags, f)
			must(t, err)
			cut := sched.Go(t, "truncate", func() error { return f.truncate(context.Background(), 100) })
			if !cut.Blocked() {
				t.Fatal("the truncate does not wait for the transfer")
			}
			at := 0
			for _, b := range pin.Slices() {
				if write {
					at += copy(b, disk[at:])
				} else {
					at += copy(disk[at:], b)
				}
			}
			want := data[run:]
			if write {
				want = fill(run, 7)
			}
			if at != run || !write && !bytes.Equal(disk, want) {
				t.Errorf("%d bytes were transferred", at)
			}
			got := make([]byte, run)
			_, err = f.m.ReadAt(ctx, got, run, f) // the truncate has the inode lock
			must(t, err)
			equal(t, "the file, before the truncate", got, want)
			pin.Release()
			must(t, cut.Err())
			if _, ok := f.device(pmdPages); ok {
				t.Error("the block is still the file's")
			}
			f.check()
		}
	}
}
