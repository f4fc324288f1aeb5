package build

import "godax/fs/axfs/internal/format"

// kindLetters are the kinds of pages as manifests have them.
const kindLetters = "XCB"

// report fills in the statistics, and tells of every page.
func (b *builder) report() {
	s := &b.stats
	s.Nodes, s.Blocks = uint64(len(b.refs)), uint64(len(b.store.cblock))
	for _, r := range b.refs {
		switch kind, _ := b.where(r); kind {
		case format.NodeXIP:
			s.XIPNodes++
		case format.NodeCompressed:
			s.CompressedNodes++
		default:
			s.ByteNodes++
		}
	}
	s.XIPBytes = b.xipPages * uint64(b.pageSize)
	s.CompBytes, s.ByteAlignedBytes, s.StringsBytes = b.store.compressed, b.store.bytes, uint64(len(b.strings))
	if b.o.OnPage == nil {
		return
	}
	seen := make(map[ref]bool)
	for _, n := range b.nodes {
		if !n.isType(format.ModeRegular) {
			continue
		}
		name := n.path()
		for page := range n.n {
			r := b.refs[n.first+page]
			kind, _ := b.where(r)
			info := PageInfo{Path: name, Page: page, Kind: kindLetters[kind], Piece: uint64(r), Shared: seen[r], Stored: b.pageSize}
			if r&refXIP == 0 {
				info.Stored = b.store.stored[r]
			}
			seen[r] = true
			b.o.OnPage(info)
		}
	}
}
