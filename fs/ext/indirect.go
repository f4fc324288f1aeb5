package ext

import (
	"fmt"
	"syscall"

	"godax/internal/extfmt"
)

// indirect is the block map of ext2: 12 direct pointers, then a single, a double and
// a triple indirect block (kernel documentation, filesystems/ext4, "The Contents of
// inode.i_block").
//
// Pointers come from the medium and are believed only after isData. Nothing
// follows them deeper than three levels, so a block that is its own child costs a
// wrong answer, not an endless loop.
type indirect struct{ in *inode }

var _ blockMap = (*indirect)(nil)

// maxLeaves bounds how many pointer blocks one lookup reads.
const maxLeaves = 1024

// ptrShift is log2 of the pointers in an indirect block.
func (f *FS) ptrShift() uint { return f.sb.BlockShift - 2 }

// mapBlocks is the number of blocks that the pointers of one inode can reach.
func (f *FS) mapBlocks() uint64 {
	s := f.ptrShift()
	return extfmt.NDirect + 1<<s + 1<<(2*s) + 1<<(3*s)
}

// maxFileSize is the size in bytes up to which files can grow: what the pointers
// reach, what i_blocks can count, and 2 GiB less one byte in revision 0.
func (f *FS) maxFileSize() int64 {
	if f.sb.Rev == 0 {
		return 1<<31 - 1
	}
	n := f.mapBlocks()
	// i_blocks counts 2^32-1 sectors at most, pointer blocks included: one for each
	// 2^s blocks, and one for each 2^s of those, and a few.
	s := f.ptrShift()
	limit := uint64(1<<32-1) >> (f.sb.BlockShift - 9)
	limit -= limit>>s + limit>>(2*s) + 8
	return int64(min(n, limit)) << f.sb.BlockShift
}

// split returns the way to block lblk: depth indirect blocks, entered through
// i_block[idx[0]], with the slots idx[1..depth]. ok is false past the last block.
func (f *FS) split(lblk uint64) (idx [4]uint32, depth int, ok bool) {
	if lblk < extfmt.NDirect {
		idx[0] = uint32(lblk)
		return idx, 0, true
	}
	lblk -= extfmt.NDirect
	s := f.ptrShift()
	for depth = 1; depth <= 3; depth++ {
		if span := uint64(1) << (uint(depth) * s); lblk >= span {
			lblk -= span
			continue
		}
		idx[0] = uint32(extfmt.NDirect + depth - 1)
		for d := depth; d >= 1; d-- {
			idx[d] = uint32(lblk & (1<<s - 1))
			lblk >>= s
		}
		return idx, depth, true
	}
	return idx, 0, false
}

// leaf returns the pointers from lblk's on to the end of the block they lie in. If a
// block on the way is missing ptrs is nil and hole is the number of blocks from lblk
// on that it would have led to.
func (m *indirect) leaf(lblk uint64) (ptrs []byte, hole uint64, err error) {
	in, f := m.in, m.in.fs
	idx, depth, ok := f.split(lblk)
	if !ok {
		return nil, 1<<63 - lblk, nil
	}
	if depth == 0 {
		return in.raw[extfmt.InodeBlock+4*idx[0] : extfmt.InodeBlock+4*extfmt.NDirect], 0, nil
	}
	s := f.ptrShift()
	p := in.pointer(int(idx[0]))
	for d := 1; ; d++ {
		if p == 0 {
			span := uint64(1) << (uint(depth-d+1) * s)
			var done uint64 // where lblk is inside the missing subtree
			for i := d; i <= depth; i++ {
				done = done<<s | uint64(idx[i])
			}
			return nil, span - done, nil
		}
		b, err := m.pointers(uint64(p))
		if err != nil {
			return nil, 0, err
		}
		if d == depth {
			return b[4*idx[d]:], 0, nil
		}
		p = load32(b[4*idx[d]:])
	}
}

// pointers returns the bytes of an indirect block.
func (m *indirect) pointers(p uint64) ([]byte, error) {
	f := m.in.fs
	if !f.isData(p, 1) {
		return nil, m.in.corrupt("i_block", p, "indirect block is not one a file can have")
	}
	return f.st.view(f.blockOff(p), f.blockSize())
}

func (m *indirect) lookup(lblk, max uint64) (run, error) {
	if max == 0 {
		return run{}, fmt.Errorf("ext: lookup of no blocks: %w", syscall.EINVAL)
	}
	var r run
	for range maxLeaves {
		ptrs, hole, err := m.leaf(lblk + r.n)
		if err != nil && r.n > 0 {
			break // what comes before it is good
		}
		if err != nil {
			return run{}, err
		}
		if ptrs == nil {
			if r.pblk != 0 {
				break
			}
			r.n += min(hole, max-r.n)
			if r.n == max {
				break
			}
			continue
		}
		n := r.extend(ptrs, max)
		if r.n == max || n < len(ptrs)/4 {
			break
		}
	}
	if r.pblk == 0 || m.in.fs.isData(r.pblk, r.n) {
		return r, nil
	}
	if r.n > 1 && m.in.fs.isData(r.pblk, 1) {
		return run{pblk: r.pblk, n: 1}, nil
	}
	return run{}, m.in.corrupt("i_block", r.pblk, fmt.Sprintf("block %d of the file is not one a file can have", lblk))
}

// extend appends pointers to the run for as long as they continue it, and returns
// how many did. An empty run becomes what the first pointer is.
func (r *run) extend(ptrs []byte, max uint64) (n int) {
	for ; n < len(ptrs)/4 && r.n < max; n++ {
		p := uint64(le.Uint32(ptrs[4*n:]))
		switch {
		case r.n == 0:
			r.pblk = p
		case r.pblk == 0 && p == 0, r.pblk != 0 && p == r.pblk+r.n:
		default:
			return n
		}
		r.n++
	}
	return n
}

func (m *indirect) allocate(lblk, max uint64) (run, error) {
	in, f := m.in, m.in.fs
	r, err := m.lookup(lblk, max)
	if err != nil || r.pblk != 0 {
		return r, err
	}
	idx, depth, ok := f.split(lblk)
	if !ok {
		return run{}, syscall.EFBIG
	}
	room := uint64(f.sb.AddrsPerBlock - idx[depth])
	if depth == 0 {
		room = extfmt.NDirect - uint64(idx[0])
	}
	if int64(lblk+1)<<f.sb.BlockShift > 1<<31-1 {
		if err := f.setLargeFile(); err != nil {
			return run{}, err
		}
	}
	data, n, err := in.allocData(lblk, min(r.n, room), r.n)
	if err != nil {
		return run{}, err
	}
	if err := m.link(idx, depth, data, n); err != nil {
		_ = f.freeRun(in.name(), data, n) // the first error counts
		return run{}, err
	}
	return run{pblk: data, n: n, new: true}, nil
}

func (m *indirect) attach(lblk, pblk uint64) error {
	idx, depth, ok := m.in.fs.split(lblk)
	if !ok {
		return syscall.EFBIG
	}
	return m.link(idx, depth, pblk, 1)
}

// link makes n blocks at data the ones that idx and its successors lead to, adding
// the indirect blocks that are missing on the way. Whatever is new is filled before a
// single store makes it reachable.
func (m *indirect) link(idx [4]uint32, depth int, data, n uint64) error {
	in, f := m.in, m.in.fs
	slot := in.off + extfmt.InodeBlock + 4*int64(idx[0]) // the pointer to be set
	p := in.pointer(int(idx[0]))
	d := 1
	for ; d <= depth && p != 0; d++ {
		b, err := m.pointers(uint64(p))
		if err != nil {
			return err
		}
		slot = f.blockOff(uint64(p)) + 4*int64(idx[d])
		p = load32(b[4*idx[d]:])
	}
	if d > depth {
		if err := f.st.publish32(slot, uint32(data), int(n)); err != nil {
			return err
		}
		return in.addBlocks(int64(n))
	}
	added, err := m.addLevels(depth - d + 1)
	if err != nil {
		return err
	}
	undo := func(err error) error {
		for _, b := range added {
			_ = f.freeRun(in.name(), b, 1) // the first error counts
		}
		return err
	}
	// added[i] is the block at level d+i; the last one holds the data pointers.
	buf := make([]byte, 4*n)
	for i := range n {
		le.PutUint32(buf[4*i:], uint32(data+i))
	}
	for i := len(added) - 1; i >= 0; i-- {
		if err := f.st.write(f.blockOff(added[i])+4*int64(idx[d+i]), buf); err != nil {
			return undo(err)
		}
		buf = le.AppendUint32(nil, uint32(added[i]))
	}
	if err := f.st.put32(slot, uint32(added[0])); err != nil {
		return undo(err)
	}
	return in.addBlocks(int64(n) + int64(len(added)))
}

// addLevels allocates n zeroed blocks for pointers.
func (m *indirect) addLevels(n int) (added []uint64, err error) {
	for range n {
		b, err := m.in.allocMeta()
		if err != nil {
			for _, b := range added {
				_ = m.in.fs.freeRun(m.in.name(), b, 1) // the first error counts
			}
			return nil, err
		}
		added = append(added, b)
	}
	return added, nil
}

func (m *indirect) free(from, to uint64) error {
	in, f := m.in, m.in.fs
	fr := freer{m: m, from: from, to: to}
	_, err := fr.array(in.off+extfmt.InodeBlock, in.raw[extfmt.InodeBlock:][:4*extfmt.NDirect], 0, 0)
	base := uint64(extfmt.NDirect)
	for depth := 1; depth <= 3 && err == nil; depth++ {
		field := extfmt.InodeBlock + 4*(extfmt.NDirect+depth-1)
		_, err = fr.array(in.off+int64(field), in.raw[field:][:4], depth, base)
		base += 1 << (uint(depth) * f.ptrShift())
	}
	if ferr := fr.flush(); err == nil {
		err = ferr
	}
	if aerr := in.addBlocks(-int64(fr.freed)); err == nil {
		err = aerr
	}
	return err
}

// freer frees the blocks [from, to) of a file. It clears the pointer that leads to a
// block or to a whole subtree first; the bits in the bitmaps follow, in runs.
type freer struct {
	m        *indirect
	from, to uint64

	pblk, n uint64 // unlinked, not yet free
	freed   uint64
}

// array frees what the pointers in b, which lies at off on the device, lead to within
// the range. Each leads to a tree of the given depth (0: to a block of data) whose
// first block of the file is base for the first pointer. It reports whether all
// pointers are 0 in the end.
func (fr *freer) array(off int64, b []byte, depth int, base uint64) (empty bool, err error) {
	f := fr.m.in.fs
	span := uint64(1) << (uint(depth) * f.ptrShift())
	empty = true
	for i := range len(b) / 4 {
		p := uint64(load32(b[4*i:]))
		if p == 0 {
			continue
		}
		first := base + uint64(i)*span
		if first >= fr.to || first+span <= fr.from {
			empty = false
			continue
		}
		slot := off + 4*int64(i)
		if fr.from <= first && first+span <= fr.to {
			if err := f.st.put32(slot, 0); err != nil {
				return false, err
			}
			if err := fr.tree(p, depth); err != nil {
				return false, err
			}
			continue
		}
		child, err := fr.m.pointers(p)
		if err != nil {
			return false, err
		}
		gone, err := fr.array(f.blockOff(p), child, depth-1, first)
		if err != nil {
			return false, err
		}
		if !gone {
			empty = false
			continue
		}
		if err := f.st.put32(slot, 0); err != nil {
			return false, err
		}
		if err := fr.add(p); err != nil {
			return false, err
		}
	}
	return empty, nil
}

// tree frees a whole tree that nothing leads to any more. Its pointers stay as they are.
func (fr *freer) tree(p uint64, depth int) error {
	if depth > 0 {
		b, err := fr.m.pointers(p)
		if err != nil {
			return err
		}
		for i := range len(b) / 4 {
			if child := uint64(load32(b[4*i:])); child != 0 {
				if err := fr.tree(child, depth-1); err != nil {
					return err
				}
			}
		}
	}
	return fr.add(p)
}

// add gives one unlinked block back, some time before flush returns. A pointer block
// that is met twice is noticed when its bit is cleared for the second time; until then at most
// one run is outstanding, so a hostile tree ends the walk soon.
func (fr *freer) add(p uint64) error {
	if fr.n > 0 && p == fr.pblk+fr.n {
		fr.n++
		return nil
	}
	err := fr.flush()
	fr.pblk, fr.n = p, 1
	return err
}

func (fr *freer) flush() error {
	if fr.n == 0 {
		return nil
	}
	p, n := fr.pblk, fr.n
	fr.n = 0
	if err := fr.m.in.fs.freeRun(fr.m.in.name(), p, n); err != nil {
		return err
	}
	fr.freed += n
	return nil
}
