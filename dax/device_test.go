package dax_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"godax/dax"
	"godax/pmem"
	psim "godax/pmem/sim"
)

// Crashes and devices that fail.

// checkCrashes looks at many images that a crash now could leave.
func checkCrashes(t *testing.T, f *file, dev *psim.Device, what string, want []byte) {
	t.Helper()
	for seed := range uint64(20) {
		image := dev.Crash(rand.New(rand.NewPCG(seed, 3)))
		for p := range uint64(len(want) / pageSize) {
			d, _ := f.device(p)
			equal(t, what, image[d*pageSize:][:pageSize], want[p*pageSize:][:pageSize])
		}
	}
}

// TestSF1_SF2_Crash: what was stored before a writeback, through views of mixed orders, is there
// after a crash; stores after it change their own lines only.
//
// Guards I30, I31, T25, T26, T27.
func TestSF1_SF2_Crash(t *testing.T) {
	for _, onePage := range []bool{false, true} {
		f, dev := newSimFile(t, 64, dax.Config{})
		f.onePage = onePage
		data := fill(2*run, 1)
		f.mustWrite(data, 0)
		s := newSpace()
		huge, small := f.mapView(s, 0, 8, sharedRW), f.mapView(s, 1, 2, sharedRW)
		store(t, huge, []byte{1}, 10)
		store(t, small, []byte{2}, pageSize+20)
		data[10], data[pageSize+20] = 1, 2
		f.sync()
		checkCrashes(t, f, dev, "after the first writeback", data)
		store(t, small, []byte{3}, 2*pageSize)
		store(t, huge, []byte{4}, 3*pageSize)
		f.mustWrite([]byte{5}, run)
		for _, off := range []int{2 * pageSize, 3 * pageSize, run} {
			// These lines may have either content, all others are as synced.
			for seed := range uint64(20) {
				image := dev.Crash(rand.New(rand.NewPCG(seed, 4)))
				d, _ := f.device(uint64(off) / pageSize)
				equal(t, "rest of the page", image[d*pageSize+64:][:pageSize-64], data[off+64:][:pageSize-64])
			}
		}
		data[2*pageSize], data[3*pageSize], data[run] = 3, 4, 5
		f.sync()
		checkCrashes(t, f, dev, "after the second writeback", data)
		f.check()
	}
}

// TestSG5_DeviceAnswers: a device that answers in pieces costs huge pages only; its errors are
// passed up.
//
// Guards I52, C3, C4, A1.
func TestSG5_DeviceAnswers(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	data := fill(3*run, 1)
	f.mustWrite(data, 0)
	f.sync()
	dev.SetMaxRun(1)
	if err := f.m.Invalidate(0, dax.ToEnd); err != nil {
		t.Fatal(err)
	}
	v := f.mapView(newSpace(), 0, 12, sharedRW)
	equal(t, "short answers, view", load(t, v, 0, 3*run), data)
	equal(t, "short answers, read", f.mustRead(1, 3*run-1), data[1:])
	f.mustWrite(data[:run], run+5)
	f.check()

	dev.SetMaxRun(0)
	f.sync()
	if err := f.m.Invalidate(0, dax.ToEnd); err != nil {
		t.Fatal(err)
	}
	stop := dev.Inject(psim.Fault{Op: psim.OpDirectAccess, Err: syscall.ENXIO})
	_, err := f.read(make([]byte, 1), 0)
	isErr(t, err, syscall.ENXIO)
	isBus(t, "load", v.Load(ctx, make([]byte, 1), 0), syscall.ENXIO)
	stop()
	f.check()
	load(t, v, 0, 1)
}

// TestSG5_EmptyAnswer: an empty answer is an error, not a loop or a panic.
//
// Guards I54, A1.
func TestSG5_EmptyAnswer(t *testing.T) {
	under, err := psim.New(16 * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	lying := &lyingDevice{Device: under}
	lying.id = func() pmem.DeviceID { return under.ID() }
	d, err := pmem.Register(func(id pmem.DeviceID) (*lyingDevice, error) {
		lying.id = func() pmem.DeviceID { return id }
		return lying, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer pmem.Unregister(d)
	m := dax.NewMapping(dax.Config{})
	m.SetSize(pageSize)
	p := dax.PopulateFunc(func(r *dax.Request) error {
		return r.Insert(0, pmem.MakePFN(d.ID(), 3), 1, dax.Writable)
	})
	for name, do := range map[string]func() error{
		"read":  func() error { _, err := m.ReadAt(ctx, make([]byte, 10), 5, p); return err },
		"write": func() error { _, err := m.WriteAt(ctx, make([]byte, 10), 5, p); return err },
		"pin":   func() error { _, err := m.Pin(ctx, 5, 10, dax.PinWrite, p); return err },
	} {
		if err := do(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want EIO", name, err)
		}
	}
}

type lyingDevice struct {
	*psim.Device
	id func() pmem.DeviceID
}

func (d *lyingDevice) ID() pmem.DeviceID { return d.id() }
func (d *lyingDevice) DirectAccess(page, n uint64, mode pmem.Mode) (pmem.Run, error) {
	return pmem.Run{}, nil
}

// TestSG7_Poison: a bad page is an error for loads, stores, reads, pins, copies and writes to a
// part of it, with its neighbours untouched; a write of the whole page makes it good.
//
// Guards I43, I45, I52, T41, T43, T88.
func TestSG7_Poison(t *testing.T) {
	for _, cold := range []bool{false, true} { // whether the index knows the page
		f, dev := newSimFile(t, 64, dax.Config{})
		data := fill(2*run, 1)
		f.mustWrite(data, 0)
		f.sync()
		v := f.mapView(newSpace(), 0, 8, sharedRW)
		if cold {
			if err := f.m.Invalidate(0, dax.ToEnd); err != nil {
				t.Fatal(err)
			}
		} else {
			load(t, v, pageSize, 1) // a huge translation
		}
		d, _ := f.device(1)
		if err := dev.Poison(d, 1); err != nil {
			t.Fatal(err)
		}
		isBus(t, "load", v.Load(ctx, make([]byte, 1), pageSize), pmem.ErrPoisoned)
		isBus(t, "store", v.Store(ctx, []byte{1}, pageSize), pmem.ErrPoisoned)
		w := f.mapView(newSpace(), 0, 8, sharedRO)
		equal(t, "the page after it", load(t, w, 2*pageSize, pageSize), data[2*pageSize:3*pageSize])
		isBus(t, "load through another view", w.Load(ctx, make([]byte, 1), pageSize), pmem.ErrPoisoned)
		if l, ok := w.Lookup(1); ok {
			t.Errorf("a bad page is mapped: %+v", l)
		}
		p := f.mapView(newSpace(), 0, 8, private)
		isBus(t, "private store", p.Store(ctx, []byte{1}, pageSize), pmem.ErrPoisoned)
		_, err := f.m.Pin(ctx, pageSize, 5, 0, f)
		isErr(t, err, pmem.ErrPoisoned)

		b := make([]byte, run)
		n, err := f.read(b, 0)
		if n != pageSize || !errors.Is(err, pmem.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Errorf("read: %d, %v", n, err)
		}
		equal(t, "bytes before", b[:n], data[:n])
		if n, err := f.write(make([]byte, 100), pageSize-50); n != 50 || !errors.Is(err, pmem.ErrPoisoned) {
			t.Errorf("write into a part: %d, %v", n, err)
		}
		clear(data[pageSize-50 : pageSize])
		fresh := fill(pageSize, 9)
		f.mustWrite(fresh, pageSize)
		copy(data[pageSize:], fresh)
		if dev.Poisoned(d) {
			t.Error("still bad after it was overwritten whole")
		}
		equal(t, "read", f.mustRead(0, 2*run), data)
		equal(t, "view", load(t, v, 0, 2*run), data)
		f.sync()
		f.check()
		f.m.Detach(p)
		f.m.Detach(w)
		f.m.Detach(v)
	}
}

// TestSG10_DeviceGone: after the device went away every access is an error, and the file can be
// given up.
//
// Guards I48.
func TestSG10_DeviceGone(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.mustWrite(fill(2*run, 1), 0)
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	load(t, v, 0, 1)
	dev.Remove()
	isBus(t, "load, nothing mapped", v.Load(ctx, make([]byte, 1), run), pmem.ErrRemoved)
	_, err := f.read(make([]byte, 1), 0)
	isErr(t, err, pmem.ErrRemoved)
	_, err = f.write(make([]byte, 1), 0)
	isErr(t, err, syscall.EIO)
	_, err = f.m.Writeback(ctx, 0, 2*run)
	isErr(t, err, pmem.ErrRemoved)
	_, err = f.m.Pin(context.Background(), 0, 1, 0, f)
	isErr(t, err, pmem.ErrRemoved)
	f.check()
	f.m.Detach(v)
	if err := f.m.Evict(ctx, false); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("evict: %v", err)
	}
	if err := f.m.Evict(ctx, true); err != nil {
		t.Errorf("evict with discard: %v", err)
	}
}
