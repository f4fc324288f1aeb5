package dax

import (
	"context"
	"fmt"
	"syscall"

	"godax/pmem"
)

// zeroTail clears what lies behind the end of the file in its last page, before
// the file is extended past it: bytes stored there through a view never become
// file data.
//
// Locks: as WriteAt.
func (m *Mapping) zeroTail(ctx context.Context, p Populator) error {
	size := m.size.Load()
	if size%pmem.PageSize == 0 {
		return nil
	}
	if err := m.lockShared(ctx); err != nil {
		return err
	}
	defer m.inval.RUnlock()
	return m.zeroBytes(ctx, size, pmem.PageSize-size%pmem.PageSize, p)
}

// clip returns how many of the n bytes at off, which an operation is about to change, lie
// before the end of the file. Errors: EINVAL for what is negative, EROFS.
func (m *Mapping) clip(what string, off, n int64) (int64, error) {
	switch size := m.size.Load(); {
	case off < 0 || n < 0:
		return 0, fmt.Errorf("dax: %s of %d bytes at %d: %w", what, n, off, syscall.EINVAL)
	case m.cfg.ReadOnly:
		return 0, syscall.EROFS
	case off >= size:
		return 0, nil
	default:
		return min(n, size-off), nil
	}
}

// ZeroRange makes exactly the n bytes at off read as zero, up to the end of the
// file at most, without changing which storage they have (5.10). n may be 0.
//
// Locks: the caller holds the inode lock exclusive.
func (m *Mapping) ZeroRange(ctx context.Context, off, n int64, p Populator) error {
	n, err := m.clip("zero", off, n)
	if err != nil || n == 0 {
		return err
	}
	if m.mustRefill(ctx) {
		return ErrWouldBlock
	}
	defer m.settle()
	if err := m.lockShared(ctx); err != nil {
		return err
	}
	defer m.inval.RUnlock()
	return m.zeroBytes(ctx, off, n, p)
}

// zeroBytes zeroes in place; what reads as zero already is left alone. The last
// page may be zeroed past the end of the file. inval is held.
func (m *Mapping) zeroBytes(ctx context.Context, off, n int64, p Populator) error {
	for n > 0 {
		if err := canceled(ctx); err != nil {
			return err
		}
		page := pageOf(off)
		val, order, ok := m.index.Load(page)
		w := word(val)
		if !ok || !w.is(wMapped|wZero) {
			if err := m.fillLocked(ctx, page, p); err != nil {
				return err
			}
			continue
		}
		k := min(n, int64(base(page, order)+pages(order))*pmem.PageSize-off)
		if !w.is(wZero) {
			var err error
			if k, err = m.zeroPiece(ctx, page, off, k, p); err != nil {
				return err
			}
		}
		off, n = off+k, n-k
	}
	return nil
}

// zeroPiece zeroes at most n bytes of the one mapped entry that off lies in, and
// returns how many.
func (m *Mapping) zeroPiece(ctx context.Context, page uint64, off, n int64, p Populator) (int64, error) {
	k, err := m.writePiece(ctx, zeroes[:min(n, int64(len(zeroes)))], off)
	if err != errMiss {
		return int64(k), err
	}
	n = min(n, pmem.PageSize-off%pmem.PageSize)
	s, err := m.answer(ctx, question{page: page, n: 1, intent: IntentWrite, off: off, length: n}, 0, p)
	if err == nil {
		m.ungrab(s)
	}
	return 0, err
}

// zeroes is what zeroPiece writes; never changed.
var zeroes [64 << 10]byte
