package axfs

import (
	"strings"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

// Kinds returns the kinds of the nodes of a file as the manifests of the sample images do.
func (f *FS) Kinds(ino uint64) (string, error) {
	var in info
	if err := f.info(ino-rootIno, &in); err != nil || !in.hasNodes() {
		return "", err
	}
	var b strings.Builder
	for i := range in.num {
		kind, _, err := f.kind(in.first + i)
		if err != nil {
			return "", err
		}
		b.WriteByte("XCB"[kind])
	}
	return b.String(), nil
}

// Inflated is how often a cblock was inflated.
func (f *FS) Inflated() uint64 {
	f.cblocks.mu.Lock()
	defer f.cblocks.mu.Unlock()
	return f.cblocks.inflated
}

// CachedFrames is how many frames hold cached pages.
func (f *FS) CachedFrames() uint64 {
	frames, err := f.cache()
	if err != nil {
		return 0
	}
	return frames.InUse()
}

// TracingDriver is the driver, with a witness of all populate calls, and the last FS that
// it has mounted.
type TracingDriver struct {
	FS    *FS
	Trace func(dax.Trace)
}

// Driver returns the driver.
func (d *TracingDriver) Driver() vfs.Driver {
	drv := Driver
	mount := drv.Mount
	drv.Name = "axfs-traced"
	drv.Mount = func(dev pmem.Device, o vfs.MountOptions) (vfs.FileSystem, error) {
		f, err := mount(dev, o)
		if err != nil {
			return nil, err
		}
		d.FS = f.(*FS)
		d.FS.trace = d.Trace
		return f, nil
	}
	return drv
}
