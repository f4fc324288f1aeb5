package pmem

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
)

const maxDevices = 1<<pfnDeviceBits - 1 // numbers 1..4095

// registered is a device as [Lookup] finds it. Immutable.
type registered struct {
	dev   Device
	pages uint64 // frames that the device has
}

// registry holds every open device under its number.
//
// Locks: mu guards free and fresh. It is a leaf: nothing is called with it held.
// table is read without it.
var registry struct {
	table [maxDevices + 1]atomic.Pointer[registered]

	mu    sync.Mutex
	fresh DeviceID   // numbers 1..fresh have been given out at least once
	free  []DeviceID // numbers given back, the one that has rested longest first
}

// Register gives a new device its number and makes its frames known to [Lookup].
// build is called once, with no lock held, and returns the device, whose ID must
// be that number. The device calls [Unregister] when it is closed.
//
// Errors: those of build; ENFILE when 4095 devices are open; EINVAL for a device
// that answers to another number, EFBIG for one of more than [MaxPages] pages.
func Register[D Device](build func(id DeviceID) (D, error)) (D, error) {
	var none D
	id, err := takeID()
	if err != nil {
		return none, err
	}
	dev, err := build(id)
	if err != nil {
		releaseID(id)
		return none, err
	}
	if dev.ID() != id {
		releaseID(id)
		return none, fmt.Errorf("pmem: device answers to number %d, registered as %d: %w", dev.ID(), id, syscall.EINVAL)
	}
	size := dev.Size()
	if size < 0 || size > maxSize {
		releaseID(id)
		return none, fmt.Errorf("pmem: device of %d bytes, at most %d are possible: %w", size, int64(maxSize), syscall.EFBIG)
	}
	registry.table[id].Store(&registered{dev, uint64(size) / PageSize})
	return dev, nil
}

// Unregister takes a device out of what [Lookup] finds and gives its number back.
// It reports whether dev was registered.
func Unregister(dev Device) bool {
	id := dev.ID()
	if id == 0 || id > maxDevices {
		return false
	}
	slot := &registry.table[id]
	r := slot.Load()
	if r == nil || r.dev != dev || !slot.CompareAndSwap(r, nil) {
		return false
	}
	releaseID(id)
	return true
}

// Lookup returns the open device that owns the frame; false when there is none,
// or when the device has no such frame. It takes no lock and does not allocate.
func Lookup(pfn PFN) (Device, bool) {
	id := pfn >> pfnPageBits
	if id > maxDevices {
		return nil, false
	}
	r := registry.table[id].Load()
	if r == nil || pfn.Page() >= r.pages {
		return nil, false
	}
	return r.dev, true
}

// takeID returns a number that no device has: one never used if there is any,
// otherwise the one that was given back first.
func takeID() (DeviceID, error) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.fresh < maxDevices {
		registry.fresh++
		return registry.fresh, nil
	}
	if len(registry.free) == 0 {
		return 0, fmt.Errorf("pmem: all %d device numbers are in use: %w", maxDevices, syscall.ENFILE)
	}
	id := registry.free[0]
	registry.free = registry.free[1:]
	return id, nil
}

func releaseID(id DeviceID) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	registry.free = append(registry.free, id)
}
