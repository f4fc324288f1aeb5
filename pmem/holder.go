package pmem

import (
	"slices"
	"sync"
)

// Holder is who uses a device, and is told what happens to it (Linux: struct
// dax_holder_operations).
type Holder interface {
	// NotifyFailure: the n frames from pfn on have gone bad.
	NotifyFailure(pfn PFN, n uint64)

	// NotifyRemoval: the device is gone. Its frames lead nowhere any more.
	NotifyRemoval(dev Device)
}

// holders are the holders of each device, in the order they came.
//
// Locks: mu is a leaf; holders are called without it.
var holders struct {
	mu   sync.Mutex
	list map[DeviceID][]Holder
}

// Hold makes h a holder of the device until release is called.
func Hold(dev Device, h Holder) (release func()) {
	holders.mu.Lock()
	defer holders.mu.Unlock()
	if holders.list == nil {
		holders.list = make(map[DeviceID][]Holder)
	}
	id := dev.ID()
	holders.list[id] = append(slices.Clip(holders.list[id]), h)
	return func() {
		holders.mu.Lock()
		defer holders.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(holders.list[id]), func(x Holder) bool { return x == h })
		if len(rest) == 0 {
			delete(holders.list, id)
			return
		}
		holders.list[id] = rest
	}
}

func holdersOf(dev Device) []Holder {
	holders.mu.Lock()
	defer holders.mu.Unlock()
	return holders.list[dev.ID()]
}

// NotifyFailure tells the holders that n pages of the device are bad. A device calls it
// with no lock held when it learns of them.
func NotifyFailure(dev Device, page, n uint64) {
	for _, h := range holdersOf(dev) {
		h.NotifyFailure(MakePFN(dev.ID(), page), n)
	}
}

// NotifyRemoval tells the holders that the device is gone. A device calls it with no lock
// held when every access fails already.
func NotifyRemoval(dev Device) {
	for _, h := range holdersOf(dev) {
		h.NotifyRemoval(dev)
	}
}
