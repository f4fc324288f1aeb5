package build

import (
	"bufio"
	"io"
	"iter"

	"godax/fs/axfs/internal/format"
)

// table is a byte table that is yet to be written.
type table struct {
	region format.Region
	values iter.Seq[uint64]
	n      uint64
	depth  uint8
}

// newTable looks at all values, for the width of the table.
func newTable(r format.Region, values iter.Seq[uint64]) *table {
	t := &table{region: r, values: values}
	largest := uint64(0)
	for v := range values {
		t.n++
		largest = max(largest, v)
	}
	t.depth = format.DepthOf(largest)
	return t
}

func (t *table) descriptor() format.Descriptor {
	return format.Descriptor{Size: t.n * uint64(t.depth), MaxIndex: t.n, Depth: t.depth}
}

// write writes the table to an image offset.
func (t *table) write(w io.WriterAt, off int64) error {
	out := bufio.NewWriterSize(io.NewOffsetWriter(w, off), 1<<16)
	var entry []byte
	for v := range t.values {
		entry = format.AppendTable(entry[:0], t.depth, false, []uint64{v})
		if _, err := out.Write(entry); err != nil {
			return err
		}
	}
	return out.Flush()
}

// inodeField yields a field of all inodes.
func (b *builder) inodeField(get func(*inode) uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, n := range b.nodes {
			if !yield(get(n)) {
				return
			}
		}
	}
}

// modeField yields a field of all modes.
func (b *builder) modeField(get func(modeID) uint32) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, m := range b.ids {
			if !yield(uint64(get(m))) {
				return
			}
		}
	}
}

// where is the kind and number of a page.
func (b *builder) where(r ref) (kind, index uint64) {
	if r&refXIP != 0 {
		return format.NodeXIP, uint64(r &^ refXIP)
	}
	at := b.store.at[r]
	return at >> pieceShift, at & pieceIndex
}

// nodeField yields kind or number of all nodes.
func (b *builder) nodeField(kind bool) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, r := range b.refs {
			v, index := b.where(r)
			if !kind {
				v = index
			}
			if !yield(v) {
				return
			}
		}
	}
}

// list yields the values of a slice, and then last, if there is one.
func list(values []uint64, last ...uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, all := range [][]uint64{values, last} {
			for _, v := range all {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// tables are all tables, in the order of the image.
func (b *builder) tables() []*table {
	return []*table{
		newTable(format.NodeType, b.nodeField(true)),
		newTable(format.NodeIndex, b.nodeField(false)),
		newTable(format.CnodeOffset, list(b.store.cnodeOffset)),
		newTable(format.CnodeIndex, list(b.store.cnodeBlock)),
		newTable(format.BanodeOffset, list(b.store.banode)),
		newTable(format.CblockOffset, list(b.store.cblock, b.store.compressed)), // one entry more than cblocks
		newTable(format.InodeFileSize, b.inodeField(func(n *inode) uint64 { return n.size })),
		newTable(format.InodeNameOffset, b.inodeField(func(n *inode) uint64 { return n.nameAt })),
		newTable(format.InodeNumEntries, b.inodeField(func(n *inode) uint64 { return n.n })),
		newTable(format.InodeModeIndex, b.inodeField(func(n *inode) uint64 { return n.modeAt })),
		newTable(format.InodeArrayIndex, b.inodeField(func(n *inode) uint64 { return n.first })),
		newTable(format.Modes, b.modeField(func(m modeID) uint32 { return m.mode })),
		newTable(format.UIDs, b.modeField(func(m modeID) uint32 { return m.uid })),
		newTable(format.GIDs, b.modeField(func(m modeID) uint32 { return m.gid })),
	}
}
