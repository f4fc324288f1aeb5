package axfs

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"godax/fs/axfs/internal/format"
)

// TestFile is a file of an image that a test makes.
type TestFile struct {
	Path  string // without a slash in front; directories above are made
	Mode  fs.FileMode
	Data  []byte // contents, or target
	Kinds string // how its pages are stored: X, C, B; the last letter goes for the rest
	Rdev  uint64
	Same  string // path of an earlier file whose nodes it has
}

// TestImage says how a test's image is laid out. The zero value makes one with pages of 4 KiB in
// cblocks of one page.
type TestImage struct {
	PageShift  uint8
	Cblock     int    // bytes of a cblock
	Depth      uint8  // of all tables; 0 is the least that does
	Align      uint64 // of the xip region; at least a page
	Skew       uint64 // bytes that the xip region is moved from there
	Dedup      bool   // equal XIP pages are stored once
	Junk       byte   // what XIP tails are filled up with
	Layout     format.Layout
	Compressed bool // tables and strings
	Incore     []format.Region
	Split      bool // data regions but xip lie behind mmap_size
	Timestamp  uint64
	Edit       func(*TestTables) // changes the tables before they are written
}

// TestTables are the tables of an image before they are written.
type TestTables struct {
	T     [format.NumRegions][]uint64 // the tables
	Data  [format.NumRegions][]byte   // the data regions
	Super format.Superblock
}

// Build makes the image.
func (o TestImage) Build(t testing.TB, files ...TestFile) []byte {
	t.Helper()
	o.PageShift = cmp.Or(o.PageShift, 12)
	o.Cblock = cmp.Or(o.Cblock, 1<<o.PageShift)
	o.Align = max(o.Align, 1<<o.PageShift)
	b := &testBuilder{o: o, nodes: map[string][2]uint64{}, xip: map[string]uint64{}}
	b.tree(files)
	b.finish()
	tables := TestTables{T: b.t, Data: b.data}
	tables.Super = format.Superblock{
		CblockSize: uint32(o.Cblock), Files: uint64(len(b.t[format.InodeFileSize])), Blocks: uint64(len(b.t[format.NodeType])),
		Version: [3]uint8{2, 2, 0}, PageShift: o.PageShift, Layout: o.Layout, Timestamp: o.Timestamp,
	}
	if o.Layout == format.LayoutV1 {
		tables.Super.Version = [3]uint8{1, 9, 1}
	}
	if o.Edit != nil {
		o.Edit(&tables)
	}
	return o.write(tables)
}

type testBuilder struct {
	o     TestImage
	t     [format.NumRegions][]uint64
	data  [format.NumRegions][]byte
	nodes map[string][2]uint64 // first node and number by path
	xip   map[string]uint64
	block []byte // the open cblock
}

// tree numbers the inodes breadth first.
func (b *testBuilder) tree(files []TestFile) {
	byPath := map[string]TestFile{"": {Mode: fs.ModeDir | 0o755}}
	for _, f := range files {
		byPath[f.Path] = f
		for d := path.Dir(f.Path); d != "."; d = path.Dir(d) {
			if _, ok := byPath[d]; !ok {
				byPath[d] = TestFile{Path: d, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	children := map[string][]string{}
	for p := range byPath {
		if p != "" {
			d := strings.TrimPrefix(path.Dir(p), ".")
			children[d] = append(children[d], p)
		}
	}
	order := []string{""}
	first := map[string]uint64{}
	for i := 0; i < len(order); i++ {
		slices.Sort(children[order[i]])
		first[order[i]] = uint64(len(order))
		order = append(order, children[order[i]]...)
	}
	for _, f := range files {
		if f.Same == "" && (f.Mode.IsRegular() || f.Mode.Type() == fs.ModeSymlink) {
			b.contents(f)
		}
	}
	for _, p := range order {
		f := byPath[p]
		mode, _ := format.UnixMode(f.Mode)
		size, at, num := uint64(len(f.Data)), uint64(0), uint64(0)
		switch f.Mode.Type() {
		case fs.ModeDir:
			at, num = first[p], uint64(len(children[p]))
		case 0, fs.ModeSymlink:
			n := b.nodes[cmp.Or(f.Same, p)]
			at, num = n[0], n[1]
			if f.Same != "" {
				size = uint64(len(byPath[f.Same].Data))
			}
		default:
			size = f.Rdev
		}
		b.add(format.InodeFileSize, size)
		b.add(format.InodeNameOffset, uint64(len(b.data[format.Strings])))
		b.add(format.InodeNumEntries, num)
		b.add(format.InodeModeIndex, uint64(len(b.t[format.Modes])))
		b.add(format.InodeArrayIndex, at)
		b.add(format.Modes, uint64(mode))
		b.add(format.UIDs, 0)
		b.add(format.GIDs, 0)
		b.data[format.Strings] = append(append(b.data[format.Strings], path.Base("./"+p)...), 0)
	}
}

func (b *testBuilder) add(r format.Region, v uint64) { b.t[r] = append(b.t[r], v) }

// contents makes the nodes of a file.
func (b *testBuilder) contents(f TestFile) {
	size := 1 << b.o.PageShift
	kinds := cmp.Or(f.Kinds, "C")
	first := uint64(len(b.t[format.NodeType]))
	for i := 0; i*size < len(f.Data); i++ {
		page := f.Data[i*size : min((i+1)*size, len(f.Data))]
		switch kinds[min(i, len(kinds)-1)] {
		case 'X':
			whole := append(bytes.Clone(page), bytes.Repeat([]byte{b.o.Junk}, size-len(page))...)
			index := uint64(len(b.data[format.XIP]) / size)
			if had, ok := b.xip[string(whole)]; ok && b.o.Dedup {
				index = had
			} else {
				b.data[format.XIP] = append(b.data[format.XIP], whole...)
				if b.o.Dedup {
					b.xip[string(whole)] = index
				}
			}
			b.node(format.NodeXIP, index)
		case 'B':
			b.node(format.NodeByteAligned, uint64(len(b.t[format.BanodeOffset])))
			b.add(format.BanodeOffset, uint64(len(b.data[format.ByteAligned])))
			b.data[format.ByteAligned] = append(append(b.data[format.ByteAligned], page...), 0xEE)
		default:
			if len(b.block)+len(page) > b.o.Cblock {
				b.flush()
			}
			b.node(format.NodeCompressed, uint64(len(b.t[format.CnodeIndex])))
			b.add(format.CnodeIndex, uint64(len(b.t[format.CblockOffset])))
			b.add(format.CnodeOffset, uint64(len(b.block)))
			b.block = append(b.block, page...)
		}
	}
	b.nodes[f.Path] = [2]uint64{first, uint64(len(b.t[format.NodeType])) - first}
}

func (b *testBuilder) node(kind, index uint64) {
	b.add(format.NodeType, kind)
	b.add(format.NodeIndex, index)
}

// flush ends the open cblock.
func (b *testBuilder) flush() {
	b.add(format.CblockOffset, uint64(len(b.data[format.Compressed])))
	b.data[format.Compressed] = append(b.data[format.Compressed], Deflate(b.block)...)
	b.block = nil
}

func (b *testBuilder) finish() {
	if len(b.block) > 0 {
		b.flush()
	}
	b.add(format.CblockOffset, uint64(len(b.data[format.Compressed])))
}

// Deflate makes a zlib stream.
func Deflate(b []byte) []byte {
	var buf bytes.Buffer
	z := zlib.NewWriter(&buf)
	_, _ = z.Write(b) // a bytes.Buffer takes everything
	_ = z.Close()
	return buf.Bytes()
}

// write lays the regions out: superblock, descriptors, tables, strings, xip; the other data
// regions come last.
func (o TestImage) write(in TestTables) []byte {
	super := in.Super
	head := super.Layout.SuperblockSize() + int(format.NumRegions)*super.Layout.DescriptorSize()
	img := make([]byte, head)
	var descs [format.NumRegions]format.Descriptor
	put := func(r format.Region, compress bool) {
		d := &descs[r]
		raw := in.Data[r]
		if r.IsTable() {
			d.Depth = o.Depth
			if d.Depth == 0 {
				d.Depth = 1
				for _, v := range in.T[r] {
					d.Depth = max(d.Depth, format.DepthOf(v))
				}
			}
			d.MaxIndex = uint64(len(in.T[r]))
			raw = format.AppendTable(nil, d.Depth, super.Planar(), in.T[r])
		}
		d.Off, d.Size, d.Incore = uint64(len(img)), uint64(len(raw)), slices.Contains(o.Incore, r)
		if compress && len(raw) > 0 {
			raw = Deflate(raw)
			d.CompressedSize = uint64(len(raw))
		}
		img = append(img, raw...)
	}
	for r := format.NodeType; r < format.NumRegions; r++ {
		put(r, o.Compressed)
	}
	put(format.Strings, o.Compressed)
	img = append(img, make([]byte, (o.Align-uint64(len(img))%o.Align)%o.Align+o.Skew)...)
	put(format.XIP, false)
	super.MmapSize = uint64(len(img))
	put(format.ByteAligned, false)
	put(format.Compressed, false)
	img = append(img, 0x48, 0xA0, 0xE4, 0xCD)
	super.Size = uint64(len(img))
	if !o.Split {
		super.MmapSize = super.Size
	}
	at := super.Layout.SuperblockSize()
	for r := range descs {
		super.Descriptors[r] = uint64(at)
		copy(img[at:], descs[r].Append(nil, super.Layout))
		at += super.Layout.DescriptorSize()
	}
	copy(img, super.Append(nil))
	return img
}
