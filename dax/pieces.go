package dax

import (
	"context"
	"fmt"
	"syscall"

	"godax/pmem"
)

// ReadPieces is ReadAt for who can use the bytes where they are: it appends to pieces slices
// that make up len(b) bytes at off, fewer at the end of the file. They lie in the frames of
// the file itself as far as possible, and are to be read only. Bytes of cached pages are
// copied into b, each to its place. n is how many bytes there are, also with an error. ctx
// may be nil.
//
// Locks: the caller holds the inode lock shared, until it has used the pieces.
func (m *Mapping) ReadPieces(ctx context.Context, b []byte, off int64, p Populator, pieces [][]byte) (_ [][]byte, n int, err error) {
	if off < 0 {
		return pieces, 0, fmt.Errorf("dax: read at %d: %w", off, syscall.EINVAL)
	}
	size := m.size.Load()
	if off >= size {
		return pieces, 0, nil
	}
	b = b[:min(int64(len(b)), size-off)]
	for n < len(b) {
		if err := canceled(ctx); err != nil {
			return pieces, n, err
		}
		piece, err := m.readInPlace(ctx, b[n:], off+int64(n))
		if err == errMiss {
			if err = m.fill(ctx, pageOf(off+int64(n)), p); err != nil {
				return pieces, n, err
			}
			continue
		}
		if err != nil {
			return pieces, n, err
		}
		pieces = append(pieces, piece)
		n += len(piece)
	}
	return pieces, n, nil
}

// readInPlace returns the first bytes at off, at most len(b): those in the frames of one
// entry, zeroes, or in b a copy of a cached page. errMiss if the index has nothing.
func (m *Mapping) readInPlace(ctx context.Context, b []byte, off int64) ([]byte, error) {
	page := pageOf(off)
	if val, order, ok := m.index.Load(page); ok && word(val).is(wCached) {
		end := int64(base(page, order)+pages(order)) * pmem.PageSize
		b = b[:min(int64(len(b)), end-off)]
		_, err := m.copyCached(ctx, page, b, off, false)
		return b, err
	}
	return m.readBytes(ctx, off, int64(len(b)))
}
