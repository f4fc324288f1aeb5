package build

import (
	"bufio"
	"context"
	"errors"
	"sync"

	"godax/fs/axfs/internal/format"
)

// ref says where a page is: the number of an XIP page, or of a piece.
type ref uint64

const refXIP ref = 1 << 63 // the rest is a page of the XIP region, else a piece

// Where a piece is: its kind, and its number as cnode or banode.
const (
	pieceShift = 62
	pieceIndex = 1<<pieceShift - 1
)

// pieces are the stored pages that are not in place, as they come to lie.
type pieces struct {
	at          []uint64 // by piece: kind << pieceShift | number
	stored      []int64  // by piece: bytes it takes; only if somebody asks
	cnodeBlock  []uint64
	cnodeOffset []uint64
	banode      []uint64 // offset of a banode
	cblock      []uint64 // offset of a cblock
	compressed  uint64   // bytes of the region
	bytes       uint64   // of the other
}

// packer cuts the pages of files into pieces and blocks. One goroutine uses it.
type packer struct {
	b      *builder
	known  map[digest]ref
	zero   ref // of a full page of zeros
	zeroOK bool
	next   uint64 // number of the next piece
	cur    *block
	send   func(*block) error
}

// use gives the pages of a chunk their place.
func (p *packer) use(c *chunk) error {
	refs := p.b.refs[c.n.first+c.page:][:c.span.n]
	size := c.size(p.b.pageSize)
	if c.n.isType(format.ModeRegular) {
		p.b.add(size)
	}
	if c.hole {
		for i := range refs {
			if err := p.zeroPage(&refs[i]); err != nil {
				return err
			}
		}
		return nil
	}
	for i, page := range c.pages(p.b.pageSize) {
		bare := c.n.raw && int64(len(page)) < p.b.pageSize
		var err error
		switch {
		case c.zero[i]:
			err = p.zeroPage(&refs[i])
		case c.sums == nil:
			refs[i], err = p.add(page, bare)
		default:
			err = p.page(&refs[i], page, c.sums[i], bare)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shared counts a page that is stored already.
func (p *packer) shared(size int) {
	p.b.stats.DupPages++
	p.b.stats.DupPageBytes += uint64(size)
}

// page gives one page its place.
func (p *packer) page(r *ref, page []byte, sum digest, bare bool) (err error) {
	if at, ok := p.b.xipHash[sum]; ok {
		*r = refXIP | ref(at)
		p.shared(len(page))
		return nil
	}
	known, ok := p.known[sum]
	if ok {
		*r = known
		p.shared(len(page))
		return nil
	}
	if *r, err = p.add(page, bare); err == nil {
		p.known[sum] = *r
	}
	return err
}

// zeroPage gives a full page of zeros its place: the same as all others.
func (p *packer) zeroPage(r *ref) (err error) {
	p.b.stats.ZeroPages++
	if p.zeroOK {
		*r = p.zero
		p.shared(int(p.b.pageSize))
		return nil
	}
	if at, ok := p.b.xipHash[p.b.zeroDigest]; ok {
		p.zero = refXIP | ref(at)
		p.shared(int(p.b.pageSize))
	} else if p.zero, err = p.add(zeros[:p.b.pageSize], false); err != nil {
		return err
	}
	p.zeroOK = true
	*r = p.zero
	return nil
}

// add makes a new piece.
func (p *packer) add(data []byte, bare bool) (ref, error) {
	id := p.next
	p.next++
	if bare {
		one := &block{buf: append([]byte(nil), data...), bare: true, pieces: []blockPiece{{id, 0, len(data)}}}
		return ref(id), p.send(one)
	}
	if p.cur != nil && (len(p.cur.buf)+len(data) > p.b.o.BlockSize || len(p.cur.pieces) == p.b.o.BlockPages) {
		if err := p.flush(); err != nil {
			return 0, err
		}
	}
	if p.cur == nil {
		p.cur = &block{buf: make([]byte, 0, p.b.o.BlockSize)}
	}
	p.cur.pieces = append(p.cur.pieces, blockPiece{id, len(p.cur.buf), len(data)})
	p.cur.buf = append(p.cur.buf, data...)
	return ref(id), nil
}

// flush sends the block on its way.
func (p *packer) flush() error {
	cur := p.cur
	p.cur = nil
	if cur == nil {
		return nil
	}
	return p.send(cur)
}

// restParts yields the pages that are not in place, and the targets of symbolic links.
func (b *builder) restParts(yield func(part) bool) {
	for _, n := range b.nodes {
		if b.primaryOf[n] == nil && n.n > 0 && !n.isType(format.ModeDir) {
			if !yield(part{n, complement(n.chosen, n.n)}) {
				return
			}
		}
	}
}

// complement are the pages before end that are not in spans.
func complement(all []span, end uint64) []span {
	var rest []span
	at := uint64(0)
	for _, s := range all {
		if s.page > at {
			rest = append(rest, span{at, s.page - at})
		}
		at = s.end()
	}
	if at < end {
		rest = append(rest, span{at, end - at})
	}
	return rest
}

// number gives all files their nodes.
func (b *builder) number() {
	next := uint64(0)
	for _, n := range b.nodes {
		if !n.isType(format.ModeRegular) && !n.isType(format.ModeSymlink) {
			continue
		}
		n.n = b.pagesOf(int64(n.size))
		if n.n == 0 {
			continue
		}
		if first := b.primary(n); first != n {
			n.first = first.first
			continue
		}
		n.first = next
		next += n.n
	}
	b.refs = make([]ref, next)
	for _, n := range b.nodes {
		for _, s := range n.segs {
			for i := range s.n {
				b.refs[n.first+s.page+i] = refXIP | ref(s.at+i)
			}
		}
	}
}

// writePieces reads all that is not in place, and writes it to the temporary files.
func (b *builder) writePieces(ctx context.Context, out *spool) (_ *pieces, err error) {
	compressors := make([]*compressor, b.o.Workers)
	for i := range compressors {
		if compressors[i], err = newCompressor(b.o.Level); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	todo := make(chan *block)
	queue := make(chan *block, 2*b.o.Workers)
	for _, c := range compressors {
		wg.Go(func() {
			for blk := range todo {
				blk.err = c.pack(blk)
				close(blk.done)
			}
		})
	}
	store := new(pieces)
	var writeErr error
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		if writeErr = store.write(queue, out, b.o.OnPage != nil); writeErr != nil {
			cancel()
		}
	})
	p := &packer{b: b, known: make(map[digest]ref)}
	p.send = func(blk *block) error {
		blk.done = make(chan struct{})
		select {
		case todo <- blk:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case queue <- blk:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	err = b.read(ctx, b.restParts, !b.o.NoDedup, nil, p.use)
	if err == nil {
		err = p.flush()
	}
	close(todo)
	close(queue)
	<-written
	if writeErr != nil {
		return nil, writeErr
	}
	return store, err
}

// write writes finished blocks in their order.
func (s *pieces) write(queue <-chan *block, out *spool, keepStored bool) error {
	comp := bufio.NewWriterSize(out.compressed, 1<<20)
	plain := bufio.NewWriterSize(out.bytes, 1<<20)
	for b := range queue {
		<-b.done
		if b.err != nil {
			return b.err
		}
		if b.stream != nil {
			total := 0
			for _, p := range b.packed {
				total += p.n
			}
			for _, p := range b.packed {
				s.set(p.id, format.NodeCompressed, uint64(len(s.cnodeBlock)), keepStored, int64(len(b.stream)*p.n/total))
				s.cnodeBlock = append(s.cnodeBlock, uint64(len(s.cblock)))
				s.cnodeOffset = append(s.cnodeOffset, uint64(p.off))
			}
			s.cblock = append(s.cblock, s.compressed)
			s.compressed += uint64(len(b.stream))
			if _, err := comp.Write(b.stream); err != nil {
				return err
			}
		}
		for _, p := range b.plain {
			s.set(p.id, format.NodeByteAligned, uint64(len(s.banode)), keepStored, int64(p.n))
			s.banode = append(s.banode, s.bytes)
			s.bytes += uint64(p.n)
			if _, err := plain.Write(b.buf[p.off : p.off+p.n]); err != nil {
				return err
			}
		}
	}
	return errors.Join(comp.Flush(), plain.Flush())
}

// set notes where a piece lies.
func (s *pieces) set(id uint64, kind, index uint64, keepStored bool, stored int64) {
	for uint64(len(s.at)) <= id {
		s.at = append(s.at, 0)
		if keepStored {
			s.stored = append(s.stored, 0)
		}
	}
	s.at[id] = kind<<pieceShift | index
	if keepStored {
		s.stored[id] = stored
	}
}
