package pmem

import (
	"errors"
	"sync"
	"syscall"
	"testing"
)

// blank is a device that only has a number and a size.
type blank struct {
	Device
	id   DeviceID
	size int64
}

func (b *blank) ID() DeviceID { return b.id }
func (b *blank) Size() int64  { return b.size }

func register(t testing.TB, size int64) (*blank, error) {
	return Register(func(id DeviceID) (*blank, error) { return &blank{id: id, size: size}, nil })
}

func TestLookup(t *testing.T) {
	d, err := register(t, 3*PageSize+1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		pfn  PFN
		want bool
	}{
		{"first", MakePFN(d.id, 0), true},
		{"last", MakePFN(d.id, 2), true},
		{"partial page", MakePFN(d.id, 3), false},
		{"last number", MakePFN(d.id, MaxPages-1), false},
		{"no device", MakePFN(0, 0), false},
		{"other device", MakePFN(d.id%maxDevices+1, 0), false},
		{"bits above a frame number", MakePFN(d.id, 0) | 1<<PFNBits, false},
		{"all bits", ^PFN(0), false},
	} {
		got, ok := Lookup(c.pfn)
		if ok != c.want || ok && got != Device(d) {
			t.Errorf("%s: Lookup(%#x) = %v, %v, want %v", c.name, uint64(c.pfn), got, ok, c.want)
		}
	}
	if !Unregister(d) {
		t.Error("device was not registered")
	}
	if Unregister(d) {
		t.Error("device was registered twice")
	}
	if _, ok := Lookup(MakePFN(d.id, 0)); ok {
		t.Error("found after Unregister")
	}
}

func TestRegisterRefuses(t *testing.T) {
	wrong := errors.New("wrong")
	for _, c := range []struct {
		name  string
		build func(DeviceID) (*blank, error)
		want  error
	}{
		{"error of build", func(DeviceID) (*blank, error) { return nil, wrong }, wrong},
		{"other number", func(id DeviceID) (*blank, error) { return &blank{id: id + 1}, nil }, syscall.EINVAL},
		{"too large", func(id DeviceID) (*blank, error) { return &blank{id: id, size: maxSize + 1}, nil }, syscall.EFBIG},
		{"negative", func(id DeviceID) (*blank, error) { return &blank{id: id, size: -1}, nil }, syscall.EFBIG},
	} {
		if _, err := Register(c.build); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
}

// TestNumbers takes every number there is, and sees them given out again in the
// order in which they came back.
func TestNumbers(t *testing.T) {
	var devices []*blank
	t.Cleanup(func() {
		for _, d := range devices {
			Unregister(d)
		}
	})
	seen := make(map[DeviceID]bool)
	for {
		d, err := register(t, PageSize)
		if errors.Is(err, syscall.ENFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if d.id == 0 || d.id > maxDevices || seen[d.id] {
			t.Fatalf("number %d given out, seen before: %v", d.id, seen[d.id])
		}
		seen[d.id] = true
		devices = append(devices, d)
	}
	if len(devices) != maxDevices {
		t.Errorf("%d devices fit, want %d", len(devices), maxDevices)
	}
	back := []int{700, 3, 4000}
	for _, i := range back {
		Unregister(devices[i])
	}
	for _, i := range back {
		d, err := register(t, PageSize)
		if err != nil {
			t.Fatal(err)
		}
		if d.id != devices[i].id {
			t.Errorf("number %d given out, want %d", d.id, devices[i].id)
		}
		devices[i] = d
	}
}

func TestLookupAllocates(t *testing.T) {
	d, err := register(t, PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer Unregister(d)
	if n := testing.AllocsPerRun(100, func() { Lookup(MakePFN(d.id, 0)) }); n != 0 {
		t.Errorf("%v allocations per lookup, want 0", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	d, err := register(b, PageSize)
	if err != nil {
		b.Fatal(err)
	}
	defer Unregister(d)
	b.ReportAllocs()
	for b.Loop() {
		Lookup(MakePFN(d.id, 0))
	}
}

// TestRegistryConcurrent registers and looks up from many goroutines: a frame's
// device is the one that carries its number, or none.
func TestRegistryConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				d, err := register(t, PageSize)
				if err != nil {
					t.Error(err)
					return
				}
				if got, ok := Lookup(MakePFN(d.id, 0)); !ok || got != Device(d) {
					t.Errorf("Lookup of device %d = %v, %v", d.id, got, ok)
				}
				if got, ok := Lookup(MakePFN(d.id+1, 0)); ok && got.ID() != d.id+1 {
					t.Errorf("Lookup of device %d answers %d", d.id+1, got.ID())
				}
				if !Unregister(d) {
					t.Errorf("device %d is gone", d.id)
				}
			}
		})
	}
	wg.Wait()
}
