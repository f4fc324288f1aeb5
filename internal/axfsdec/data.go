package axfsdec

import "fmt"

// nodes decodes where the pages of a file are.
func (im *Image) nodes(e *Entry) error {
	if e.Type() == TypeSymlink && (e.Size == 0 || e.Size > im.PageSize) {
		return fmt.Errorf("symlink of %d bytes", e.Size)
	}
	pages := e.Size / im.PageSize
	if e.Size%im.PageSize != 0 {
		pages++
	}
	types, index := im.tables[NodeType], im.tables[NodeIndex]
	n := im.tables[InodeNumEntries][e.Ino]
	if n != pages {
		return fmt.Errorf("%d nodes for %d pages", n, pages)
	}
	if pages > 0 && (e.First > im.Blocks || pages > im.Blocks-e.First) {
		return fmt.Errorf("nodes from %d, %d, of %d blocks", e.First, pages, im.Blocks)
	}
	if im.Blocks > uint64(len(types)) || im.Blocks > uint64(len(index)) {
		return fmt.Errorf("%d blocks, %d types, %d indexes", im.Blocks, len(types), len(index))
	}
	for i := range pages {
		t := types[e.First+i]
		if t > 2 {
			return fmt.Errorf("node %d of type %d", e.First+i, t)
		}
		e.Nodes = append(e.Nodes, Node{"XCB"[t], index[e.First+i]})
	}
	return nil
}

// Data returns the contents of a file or the target of a symlink.
func (im *Image) Data(e *Entry) ([]byte, error) {
	var all []byte
	for i := range e.Nodes {
		b, err := im.Page(e, i)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// Page returns the bytes of page i, up to the end of the file. They must not be changed.
func (im *Image) Page(e *Entry, i int) ([]byte, error) {
	n := e.Nodes[i]
	want := min(im.PageSize, e.Size-uint64(i)*im.PageSize)
	b, err := im.node(n, want)
	if err != nil {
		return nil, fmt.Errorf("%q, page %d, %c %d: %w", e.Path, i, n.Kind, n.Index, err)
	}
	return b, nil
}

// node returns the first want bytes of a node.
func (im *Image) node(n Node, want uint64) ([]byte, error) {
	switch n.Kind {
	case 'X':
		return part(im.data[XIP], n.Index*im.PageSize, im.PageSize, want)
	case 'B':
		offs := im.tables[BanodeOffset]
		if n.Index >= uint64(len(offs)) {
			return nil, fmt.Errorf("of %d banodes", len(offs))
		}
		return part(im.data[ByteAligned], offs[n.Index], want, want)
	}
	blocks, offs := im.tables[CnodeIndex], im.tables[CnodeOffset]
	if n.Index >= uint64(len(blocks)) || n.Index >= uint64(len(offs)) {
		return nil, fmt.Errorf("of %d and %d cnodes", len(blocks), len(offs))
	}
	b, err := im.cblock(blocks[n.Index])
	if err != nil {
		return nil, err
	}
	return part(b, offs[n.Index], want, want)
}

// part is the first want of the n bytes of b at off, which must be there.
func part(b []byte, off, n, want uint64) ([]byte, error) {
	if off > uint64(len(b)) || n > uint64(len(b))-off {
		return nil, fmt.Errorf("%d bytes at %d of %d", n, off, len(b))
	}
	return b[off : off+want], nil
}

// cblock inflates a compressed block.
func (im *Image) cblock(i uint64) ([]byte, error) {
	if b, ok := im.blocks[i]; ok {
		return b, nil
	}
	offs, all := im.tables[CblockOffset], im.data[Compressed]
	if i >= uint64(len(offs)) || i+1 >= uint64(len(offs)) {
		return nil, fmt.Errorf("cblock %d of %d", i, len(offs)-1)
	}
	start, end := offs[i], offs[i+1]
	if start > end || end > uint64(len(all)) {
		return nil, fmt.Errorf("cblock %d from %d to %d of %d", i, start, end, len(all))
	}
	if end-start > im.CblockSize {
		return nil, fmt.Errorf("cblock %d of %d bytes, cblock_size %d", i, end-start, im.CblockSize)
	}
	b, err := inflate(all[start:end], im.CblockSize)
	if err != nil {
		return nil, fmt.Errorf("cblock %d: %w", i, err)
	}
	im.blocks = map[uint64][]byte{i: b}
	return b, nil
}

// XIPPage is a whole page of the xip region, and where it is in the image.
func (im *Image) XIPPage(index uint64) (page []byte, off uint64, err error) {
	b, err := part(im.data[XIP], index*im.PageSize, im.PageSize, im.PageSize)
	return b, im.Regions[XIP].Offset + index*im.PageSize, err
}
