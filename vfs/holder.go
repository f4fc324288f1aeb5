package vfs

import (
	"godax/dax"
	"godax/pmem"
)

// Holder is the ability of a [FileSystem] whose files hand out frames of devices: the
// [Mount] holds the devices (see [pmem.Hold]) from NewMount to Close, and passes on to the
// index of every file in memory what happens to them. The default is none: then only
// accesses find out.
type Holder interface {
	// Devices never changes.
	Devices() []pmem.Device
}

// hold makes m a holder of the file system's devices.
func (m *Mount) hold() {
	if h, ok := m.fs.(Holder); ok {
		for _, dev := range h.Devices() {
			m.release = append(m.release, pmem.Hold(dev, m))
		}
	}
}

// letGo ends what hold began.
func (m *Mount) letGo() {
	for _, release := range m.release {
		release()
	}
	m.release = nil
}

var _ pmem.Holder = (*Mount)(nil)

// NotifyFailure implements [pmem.Holder]: every file's views of the n frames from pfn on
// lose them and are told.
func (m *Mount) NotifyFailure(pfn pmem.PFN, n uint64) {
	m.eachMapping(func(index *dax.Mapping) { index.MemoryFailure(pfn, n) })
}

// NotifyRemoval implements [pmem.Holder]: nothing refers to the device any more.
func (m *Mount) NotifyRemoval(dev pmem.Device) {
	m.eachMapping(func(index *dax.Mapping) { index.Revoke(dev) })
}

// eachMapping calls f for the index of every file in memory, with no lock held. A file that
// is read in meanwhile meets the device as it is now, and one that is on its way out has
// no views.
func (m *Mount) eachMapping(f func(*dax.Mapping)) {
	m.mu.Lock()
	files := m.filesLocked()
	m.mu.Unlock()
	for _, n := range files {
		if index := n.index(); index != nil {
			f(index)
		}
		n.Put()
	}
}

// filesLocked returns the regular files in memory, each with a reference.
func (m *Mount) filesLocked() []*Node {
	files := make([]*Node, 0, len(m.nodes))
	for _, n := range m.nodes {
		if n.state == live && n.file != nil {
			m.refLocked(n)
			files = append(files, n)
		}
	}
	return files
}
