package axfs

import (
	"fmt"
	"time"

	"godax/fs/axfs/internal/format"
	"godax/pmem"
	"godax/vfs"
)

// Statfs counts in pages of the image. Nothing is free.
func (f *FS) Statfs() vfs.Statfs {
	size := f.sb.PageSize()
	return vfs.Statfs{
		BlockSize: size, Blocks: (f.im.size + uint64(size) - 1) / uint64(size),
		Files: f.sb.Files, NameMax: format.MaxName,
	}
}

// Describe returns what there is to know about the image.
func (f *FS) Describe() vfs.Description {
	sb := f.sb
	d := vfs.Description{Type: "axfs", ReadOnly: true, Why: "axfs images are built at once, and only read", Features: f.features(), Mappable: f.mappable()}
	add := func(k, format string, args ...any) {
		d.Details = append(d.Details, vfs.KV{Key: k, Value: fmt.Sprintf(format, args...)})
	}
	add("version", "%d.%d.%d", sb.Version[0], sb.Version[1], sb.Version[2])
	add("layout", "%v", sb.Layout)
	add("image size", "%d", sb.Size)
	if sb.MmapSize != sb.Size {
		add("mapped part", "%d", sb.MmapSize)
	}
	add("page size", "%d", sb.PageSize())
	add("cblock size", "%d", sb.CblockSize)
	add("inodes", "%d", sb.Files)
	add("nodes", "%d", f.nodes)
	for id := format.Strings; id <= format.Compressed; id++ {
		add(id.String(), "%d bytes", f.regions[id].Size)
	}
	var stored, size uint64
	for id := format.NodeType; id < format.NumRegions; id++ {
		stored, size = stored+f.regions[id].Stored(), size+f.regions[id].Size
	}
	add("tables", "%d bytes, stored in %d", size, stored)
	if sb.Timestamp != 0 && sb.Timestamp <= maxTime {
		add("built", "%s", f.time.UTC().Format(time.RFC3339))
	}
	return d
}

// features names what the image has beyond the plainest one.
func (f *FS) features() []string {
	var list []string
	add := func(has bool, name string) {
		if has {
			list = append(list, name)
		}
	}
	add(f.xip.size > 0, "xip")
	add(f.compressed.size > 0, "zlib")
	add(f.byteAligned.size > 0, "byte_aligned")
	compressed, incore := false, false
	for _, d := range f.regions {
		compressed = compressed || d.CompressedSize != 0
		incore = incore || d.Incore
	}
	add(compressed, "compressed_regions")
	add(incore, "incore_regions")
	add(f.sb.MmapSize != f.sb.Size, "split")
	add(f.sb.Planar(), "planar_tables")
	return list
}

// mappable says what can be mapped where it is.
func (f *FS) mappable() string {
	pages := f.xip.size >> f.sb.PageShift
	switch {
	case f.xip.size == 0:
		return "nothing directly: no page is XIP, so all are cached pages"
	case f.mapDev != nil:
		return fmt.Sprintf("%d XIP pages of %d bytes; other pages are cached", pages, f.sb.PageSize())
	case f.xip.mem != nil:
		return "nothing directly: the xip region is to be kept in memory, so all are cached pages"
	}
	return fmt.Sprintf("nothing directly: the xip region is not on the mapped part, or not aligned to %d bytes", pmem.PageSize)
}
