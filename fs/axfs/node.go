package axfs

import (
	"fmt"

	"godax/fs/axfs/internal/format"
	"godax/pmem"
)

// piece says where the bytes of one of our pages of a file are: n of them at off; the rest
// of the page lies behind the end of the file.
type piece struct {
	kind   uint64 // format.NodeXIP and others
	n      uint64 // from 1 to pmem.PageSize
	off    uint64 // in the region of its kind; of a compressed one in the inflated cblock
	cblock uint64 // of a compressed one
}

// node is the number of the node that byte off of the file or symlink lies in.
func (in *inode) node(off uint64) uint64 { return in.first + off>>in.fs.sb.PageShift }

// corruptNode makes an error about a node.
func (f *FS) corruptNode(node uint64, field string, value uint64, reason string) error {
	return format.Corrupt(fmt.Sprintf("node %d", node), -1, field, value, reason)
}

// kind is the kind of a node, and its number in the space of that kind.
func (f *FS) kind(node uint64) (kind, index uint64, err error) {
	kind, ok := f.tables[format.NodeType].At(node)
	index, ok2 := f.tables[format.NodeIndex].At(node)
	if !ok || !ok2 {
		return 0, 0, f.corruptNode(node, "", node, fmt.Sprintf("there are %d nodes", f.nodes))
	}
	return kind, index, nil
}

// piece finds the bytes of a page, in our pages, of a file or symlink. The page is before
// the end. Errors: vfs.ErrCorrupt.
func (in *inode) piece(page uint64) (piece, error) {
	f := in.fs
	off := page * pmem.PageSize
	node := in.node(off)
	kind, index, err := f.kind(node)
	if err != nil {
		return piece{}, err
	}
	p := piece{kind: kind, n: min(in.size-off, pmem.PageSize)}
	size := uint64(f.sb.PageSize())
	within := off % size                    // of our page in the image's
	want := min(in.size-(off-within), size) // bytes of the node in the file
	switch kind {
	case format.NodeXIP:
		if index >= f.xip.size>>f.sb.PageShift {
			return piece{}, f.corruptNode(node, "node_index", index, fmt.Sprintf("xip has %d pages", f.xip.size>>f.sb.PageShift))
		}
		p.off = index<<f.sb.PageShift + within
	case format.NodeByteAligned:
		at, err := f.at(format.BanodeOffset, index)
		if err != nil {
			return piece{}, fmt.Errorf("node %d: %w", node, err)
		}
		if at > f.byteAligned.size || want > f.byteAligned.size-at {
			return piece{}, f.corruptNode(node, "banode_offset", at, fmt.Sprintf("%d bytes from there on, byte_aligned has %d", want, f.byteAligned.size))
		}
		p.off = at + within
	case format.NodeCompressed:
		if p.cblock, err = f.at(format.CnodeIndex, index); err != nil {
			return piece{}, fmt.Errorf("node %d: %w", node, err)
		}
		at, err := f.at(format.CnodeOffset, index)
		if err != nil {
			return piece{}, fmt.Errorf("node %d: %w", node, err)
		}
		if limit := uint64(f.sb.CblockSize); at > limit || want > limit-at {
			return piece{}, f.corruptNode(node, "cnode_offset", at, fmt.Sprintf("%d bytes from there on, cblock_size is %d", want, limit))
		}
		p.off = at + within
	default:
		return piece{}, f.corruptNode(node, "node_type", kind, "not from 0 to 2")
	}
	return p, nil
}

// read copies the bytes of a piece to b, which has p.n. Errors: vfs.ErrCorrupt, those of
// the devices.
func (f *FS) read(b []byte, p piece) error {
	switch p.kind {
	case format.NodeXIP, format.NodeByteAligned:
		src, err := f.inPlace(p)
		copy(b, src)
		return err
	}
	return f.cblocks.use(p.cblock, func(block []byte) error {
		if p.off > uint64(len(block)) || p.n > uint64(len(block))-p.off {
			return format.Corrupt(fmt.Sprintf("cblock %d", p.cblock), -1, "", p.off, fmt.Sprintf("%d bytes from there on, it has %d", p.n, len(block)))
		}
		copy(b, block[p.off:])
		return nil
	})
}

// inPlace returns the bytes of a piece that is not compressed.
func (f *FS) inPlace(p piece) ([]byte, error) {
	if p.kind == format.NodeXIP {
		return f.xip.bytes(p.off, p.n)
	}
	return f.byteAligned.bytes(p.off, p.n)
}

// readNodes copies bytes of the file or symlink that are before its end, past the index
// of DAX, up to the first page that takes (if not nil) does not want, and returns how many. Bytes
// that lie side by side are copied at once, as long as they can be: what comes before a bad page
// is read. Errors: vfs.ErrCorrupt, those of the devices.
func (in *inode) readNodes(b []byte, off uint64, takes func(page, kind uint64) bool) (n int, err error) {
	wanted := func(page uint64) (p piece, ok bool, err error) {
		p, err = in.piece(page)
		return p, err == nil && (takes == nil || takes(page, p.kind)), err
	}
	join := true
	for n < len(b) {
		at, left := off+uint64(n), uint64(len(b)-n)
		p, ok, err := wanted(at / pmem.PageSize)
		if !ok {
			return n, err
		}
		skip := at % pmem.PageSize
		p.off, p.n = p.off+skip, p.n-skip
		alone := min(p.n, left)
		for join && p.kind != format.NodeCompressed && p.n < left {
			next, ok, _ := wanted((at + p.n) / pmem.PageSize)
			if !ok || next.kind != p.kind || next.off != p.off+p.n {
				break // its turn comes
			}
			p.n += next.n
		}
		p.n = min(p.n, left)
		err = in.fs.read(b[n:][:p.n], p)
		if err != nil && p.n > alone {
			join = false
			continue
		}
		if err != nil {
			return n, err
		}
		n += int(p.n)
	}
	return n, nil
}
