package ext

import (
	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

// Traced is Driver with a function that is told of every PopulatePFNs call and its
// answer, for tests. It is called with the entry locked and must not use the file
// system.
func Traced(trace func(dax.Trace)) vfs.Driver {
	d := Driver
	d.Mount = func(dev pmem.Device, o vfs.MountOptions) (vfs.FileSystem, error) {
		fsys, err := mount(dev, o)
		if f, ok := fsys.(*FS); ok && err == nil {
			f.trace = trace
		}
		return fsys, err
	}
	return d
}
