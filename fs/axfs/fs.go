package axfs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"godax/dax"
	"godax/fs/axfs/internal/format"
	"godax/pmem"
	"godax/vfs"
)

// Driver is the driver of AXFS.
var Driver = vfs.Driver{Name: "axfs", Probe: probe, Mount: mount}

// FS is one mounted image. All of it is immutable once it is mounted, but for cblocks, which
// has a lock of its own, and what is made when it is first needed.
type FS struct {
	im *image
	sb *format.Superblock

	tables  [format.NumRegions]format.Table
	owners  []owner // the first of modes, uids and gids
	strings []byte
	nodes   uint64 // entries of the node tables
	time    time.Time
	regions [format.NumRegions]format.Descriptor

	xip, byteAligned, compressed region

	// Where the XIP pages can be mapped; mapDev is nil if they cannot.
	mapDev   pmem.Device
	mapFirst uint64 // page of the device

	children []childRun // by first child

	cblocks    cblockCache
	cacheBytes int64
	framesOnce sync.Once // makes frames
	frames     *dax.Frames
	framesErr  error
	sharedOnce sync.Once // makes shared
	shared     bitmap    // XIP pages that several pages of files are
	trace      func(dax.Trace)
}

// rootIno is the root's inode number. Those of the image begin with 0, which means "no inode" to
// many, so all are shown one higher.
const rootIno = 1

// mount opens the image on dev. Errors: vfs.ErrCorrupt, vfs.ErrUnsupported, EINVAL for
// devices that do not fit the image, those of the devices.
func mount(dev pmem.Device, o vfs.MountOptions) (vfs.FileSystem, error) {
	f, err := load(dev, o)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// load reads the superblock and the regions, and checks the tree.
func load(dev pmem.Device, o vfs.MountOptions) (*FS, error) {
	sb, err := readSuperblock(dev)
	if err != nil {
		return nil, err
	}
	im, err := newImage(dev, o.Devices, sb)
	if err != nil {
		return nil, err
	}
	if sb.Layout != format.LayoutV1 { // version 1 has no magic number at the end
		if err := im.checkEnd(); err != nil {
			return nil, err
		}
	}
	f := &FS{im: im, sb: sb, cacheBytes: o.CacheBytes}
	if f.cacheBytes <= 0 {
		f.cacheBytes = defaultCacheBytes
	}
	if sb.Timestamp <= maxTime {
		f.time = time.Unix(int64(sb.Timestamp), 0)
	} else {
		f.time = time.Unix(0, 0)
	}
	if err := f.loadRegions(); err != nil {
		return nil, err
	}
	f.loadOwners()
	f.cblocks.init(f)
	return f, f.checkTree()
}

// maxTime is the end of the year 9999. A later time is not believed.
const maxTime = 253402300799

// loadRegions reads the 18 regions.
func (f *FS) loadRegions() error {
	l := newLoader(f.im, f.sb)
	for _, r := range []struct {
		id  format.Region
		dst *region
	}{{format.XIP, &f.xip}, {format.ByteAligned, &f.byteAligned}, {format.Compressed, &f.compressed}} {
		var err error
		if *r.dst, f.regions[r.id], err = l.load(r.id); err != nil {
			return err
		}
	}
	var err error
	if f.strings, f.regions[format.Strings], err = l.whole(format.Strings); err != nil {
		return err
	}
	for id := format.NodeType; id < format.NumRegions; id++ {
		b, d, err := l.whole(id)
		if err != nil {
			return err
		}
		f.regions[id] = d
		f.tables[id] = format.NewTable(b, d.Depth, f.sb.Planar())
	}
	for _, id := range []format.Region{format.InodeFileSize, format.InodeNameOffset, format.InodeNumEntries, format.InodeModeIndex, format.InodeArrayIndex} {
		if n := f.tables[id].Len(); n < f.sb.Files {
			return format.Corrupt("superblock", 0, "files", f.sb.Files, fmt.Sprintf("the table %v has %d entries", id, n))
		}
	}
	f.nodes = min(f.tables[format.NodeType].Len(), f.tables[format.NodeIndex].Len())
	if dev, first, ok := f.xip.pages(); ok {
		f.mapDev, f.mapFirst = dev, first
	}
	return nil
}

// at is entry i of a table. Errors: vfs.ErrCorrupt if there is none.
func (f *FS) at(id format.Region, i uint64) (uint64, error) {
	v, ok := f.tables[id].At(i)
	if !ok {
		return 0, f.noEntry(id, i)
	}
	return v, nil
}

// noEntry is the error of a table that has no entry i.
func (f *FS) noEntry(id format.Region, i uint64) error {
	return format.Corrupt("table "+id.String(), -1, "index", i, fmt.Sprintf("it has %d entries", f.tables[id].Len()))
}

// Root is the root directory's inode number.
func (f *FS) Root() uint64 { return rootIno }

// Devices implements [vfs.Holder].
func (f *FS) Devices() []pmem.Device { return f.im.devices() }

// Sync has nothing to do.
func (f *FS) Sync(context.Context) error { return nil }

// Limits of cached pages.
const (
	// defaultCacheBytes is how much is kept while nobody uses it, if the mount does not say.
	defaultCacheBytes = 64 << 20
	// maxMapped bounds what views can hold on to besides: all pages of all nodes, if that is
	// less. Only what is used takes memory.
	maxMapped  = 64 << 30
	cacheSlack = 256 << 20
)

// cache returns where cached pages live, made when it is first asked for.
func (f *FS) cache() (*dax.Frames, error) {
	f.framesOnce.Do(func() {
		mapped := uint64(maxMapped)
		if f.nodes < maxMapped>>f.sb.PageShift {
			mapped = f.nodes << f.sb.PageShift
		}
		f.frames, f.framesErr = dax.NewFrames(f.cacheBytes, f.cacheBytes+int64(mapped)+cacheSlack)
	})
	return f.frames, f.framesErr
}

// Close gives the memory back.
func (f *FS) Close(context.Context) error {
	f.framesOnce.Do(func() {})
	if f.frames == nil {
		return nil
	}
	return f.frames.Close()
}
