package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"

	"godax/fs/axfs/internal/format"
)

// digest stands for contents. No two different ones have ever been found.
type digest [20]byte

func digestOf(b []byte) digest {
	sum := sha256.Sum256(b)
	return digest(sum[:len(digest{})])
}

// fileKey finds files of the same contents.
type fileKey struct {
	size uint64
	sum  digest
}

// summer adds up the digests of pages.
type summer struct{ h hash.Hash }

// add adds the pages of a chunk.
func (s *summer) add(c *chunk, zero digest) {
	for i := range c.span.n {
		if c.hole {
			s.h.Write(zero[:])
		} else {
			s.h.Write(c.sums[i][:])
		}
	}
}

// sum is the digest of all pages added.
func (s *summer) sum() digest { return digest(s.h.Sum(nil)[:len(digest{})]) }

// findDuplicates finds files that are the same: other names of one file always, files of the
// same contents if wanted. Their chosen pages are put together.
func (b *builder) findDuplicates(ctx context.Context) error {
	names := make(map[ID]*inode)
	bySize := make(map[uint64][]*inode)
	pages := uint64(0)
	for _, n := range b.nodes {
		if !n.isType(format.ModeRegular) || n.size == 0 {
			continue
		}
		if first := names[n.id]; first != nil && n.id != (ID{}) && first.size == n.size {
			b.share(n, first)
			continue
		}
		more := b.pagesOf(int64(n.size))
		if more > maxPages-pages {
			return wrap("lstat", n.path(), fmt.Errorf("size %d: %d pages, and %d of other files before it; there can be %d", n.size, more, pages, maxPages))
		}
		pages += more
		names[n.id] = n
		bySize[n.size] = append(bySize[n.size], n)
	}
	if b.o.NoDedup {
		return nil
	}
	var alike []part // files of the same size
	for _, n := range b.nodes {
		if b.primaryOf[n] == nil && n.isType(format.ModeRegular) && len(bySize[n.size]) > 1 {
			alike = append(alike, part{n, []span{{0, b.pagesOf(int64(n.size))}}})
		}
	}
	first := make(map[fileKey]*inode)
	all := summer{sha256.New()}
	return b.read(ctx, slices.Values(alike), true, nil, func(c *chunk) error {
		all.add(c, b.zeroDigest)
		if c.end() < b.pagesOf(int64(c.n.size)) {
			return nil
		}
		key := fileKey{c.n.size, all.sum()}
		all.h.Reset()
		if other := first[key]; other != nil {
			b.share(c.n, other)
		} else {
			first[key] = c.n
		}
		return nil
	})
}

// share lets n have the nodes of first.
func (b *builder) share(n, first *inode) {
	b.primaryOf[n] = first
	first.chosen = union(first.chosen, n.chosen)
	first.raw = first.raw || n.raw
	n.chosen = nil
	b.stats.DupFiles++
	b.stats.DupFileBytes += n.size
}

// primary is the file whose nodes n has: itself, mostly.
func (b *builder) primary(n *inode) *inode {
	for b.primaryOf[n] != nil {
		n = b.primaryOf[n]
	}
	return n
}

// hashRuns makes the runs of XIP pages, and finds out what is in them.
func (b *builder) hashRuns(ctx context.Context) error {
	for _, n := range b.nodes {
		for _, s := range n.chosen {
			n.segs = append(n.segs, segment{span: s})
		}
	}
	if b.o.NoDedup {
		return nil
	}
	var segs []*segment // those to come
	for _, n := range b.nodes {
		for i := range n.segs {
			segs = append(segs, &n.segs[i])
		}
	}
	sum := summer{sha256.New()}
	return b.read(ctx, b.chosenParts, true, nil, func(c *chunk) error {
		s := segs[0]
		sum.add(c, b.zeroDigest)
		for i := range c.span.n {
			if c.hole {
				s.sums = append(s.sums, b.zeroDigest)
			} else {
				s.sums = append(s.sums, c.sums[i])
			}
		}
		if c.end() == s.end() {
			s.sum = sum.sum()
			sum.h.Reset()
			segs = segs[1:]
		}
		return nil
	})
}

// chosenParts yields all XIP pages.
func (b *builder) chosenParts(yield func(part) bool) {
	for _, n := range b.nodes {
		if len(n.chosen) > 0 && !yield(part{n, n.chosen}) {
			return
		}
	}
}
