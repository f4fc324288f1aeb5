package blockfs_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"godax/dax"
	"godax/internal/daxtest/blockfs"
)

// Operations of the model that change what lies where.

func (m *model) truncate(f, _ *modelFile) bool {
	size := m.off(modelMax)
	m.note("%d", size)
	if end := f.pinOff + f.pinLen; f.pin != nil && size < end && end <= pageUp(size) {
		m.unpin(f) // nothing of it goes away, but its last bytes are cleared
	}
	m.free(func(ctx context.Context) error { return f.f.Truncate(ctx, size) }, pinRange{f, pageUp(size) / pageSize, modelPages})
	f.resized(size)
	return true
}

func (m *model) allocate(f, _ *modelFile) bool {
	off := m.off(modelMax - 1)
	n := 1 + min(m.off(5*pageSize), modelMax-off-1)
	if size := int64(len(f.want)); m.r.IntN(2) == 0 && off < size {
		n = min(n, size-off) // keeps the size
	}
	m.note("%d+%d", off, n)
	m.ok(f.f.Allocate(ctx, off, n))
	if off+n > int64(len(f.want)) {
		f.resized(off + n)
	}
	return true
}

func (m *model) punch(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	if !ok {
		return false
	}
	m.note("%d+%d", off, n)
	first, end := pageUp(off)/pageSize, (off+n)/pageSize
	if off+n == int64(len(f.want)) {
		end = pageUp(off+n) / pageSize
	}
	m.free(func(ctx context.Context) error { return f.f.Punch(ctx, off, n) }, pinRange{f, first, max(first, end)})
	clear(f.want[off : off+n])
	return true
}

func (m *model) zero(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	if !ok {
		return false
	}
	m.note("%d+%d", off, n)
	m.ok(f.f.Zero(ctx, off, n))
	clear(f.want[off : off+n])
	return true
}

func (m *model) collapse(f, _ *modelFile) bool {
	off, n, ok := m.wholePages(f)
	if !ok || off+n >= int64(len(f.want)) {
		return false
	}
	m.note("%d+%d", off, n)
	m.free(func(ctx context.Context) error { return f.f.Collapse(ctx, off, n) }, pinRange{f, off / pageSize, modelPages})
	f.want = slices.Delete(f.want, int(off), int(off+n))
	f.cutCopies(int64(len(f.want)))
	return true
}

func (m *model) insert(f, _ *modelFile) bool {
	off, n, ok := m.wholePages(f)
	if !ok || int64(len(f.want))+n > modelMax {
		return false
	}
	m.note("%d+%d", off, n)
	m.free(func(ctx context.Context) error { return f.f.Insert(ctx, off, n) }, pinRange{f, off / pageSize, modelPages})
	f.want = slices.Insert(f.want, int(off), make([]byte, n)...)
	return true
}

// target picks the other place of an operation on two ranges, which may be in the same file.
func (m *model) target(f, other *modelFile, off, n, limit int64) (g *modelFile, to int64, ok bool) {
	g = other
	if m.r.IntN(3) == 0 {
		g = f
	}
	if limit = min(limit, modelMax-n); limit < 0 {
		return nil, 0, false
	}
	to = m.r.Int64N(limit/pageSize+1) * pageSize
	return g, to, g != f || to >= off+n || off >= to+n
}

// both is the pages of two ranges; of one file, those between them as well.
func both(f *modelFile, off int64, g *modelFile, to, n int64) []pinRange {
	first, pages := off/pageSize, pageUp(n)/pageSize
	second := to / pageSize
	if f == g {
		return []pinRange{{f, min(first, second), max(first, second) + pages}}
	}
	return []pinRange{{f, first, first + pages}, {g, second, second + pages}}
}

func (m *model) sharing() bool { return m.c.Carrier == blockfs.Iomap }

func (m *model) clone(f, other *modelFile) bool {
	off, n, ok := m.wholePages(f)
	g, to, ok2 := m.target(f, other, off, n, modelMax)
	if !ok || !ok2 || !m.sharing() {
		return false
	}
	m.note("%d+%d to %d of %s", off, n, to, g.name)
	if to+n > int64(len(g.want)) {
		m.ok(g.f.Truncate(ctx, to+n))
		g.resized(to + n)
	}
	m.free(func(ctx context.Context) error { return g.f.Reflink(ctx, to, f.f, off, n) }, both(f, off, g, to, n)...)
	copy(g.want[to:], f.want[off:off+n])
	return true
}

func (m *model) dedupe(f, other *modelFile) bool {
	off, n, ok := m.wholePages(f)
	if !ok || !m.sharing() {
		return false
	}
	if m.r.IntN(2) == 0 {
		n = pageSize
	}
	g, to, ok := m.target(f, other, off, n, min(int64(len(f.want)), int64(len(other.want)))-n)
	if !ok {
		return false
	}
	m.note("%d+%d to %d of %s", off, n, to, g.name)
	m.free(func(ctx context.Context) error {
		same, err := g.f.Dedupe(ctx, to, f.f, off, n)
		if err == nil && same != bytes.Equal(f.want[off:off+n], g.want[to:to+n]) {
			m.fatalf("the ranges are equal: %t", same)
		}
		return err
	}, both(f, off, g, to, n)...)
	return true
}

func (m *model) exchange(f, other *modelFile) bool {
	off, n, ok := m.wholePages(f)
	if !ok || !m.sharing() {
		return false
	}
	n = min(n, int64(len(other.want))/pageSize*pageSize)
	g, to, ok := m.target(f, other, off, n, min(int64(len(f.want)), int64(len(other.want)))-n)
	if !ok || n == 0 {
		return false
	}
	m.note("%d+%d with %d of %s", off, n, to, g.name)
	m.free(func(ctx context.Context) error { return f.f.Exchange(ctx, off, g.f, to, n) }, both(f, off, g, to, n)...)
	tmp := slices.Clone(f.want[off : off+n])
	copy(f.want[off:], g.want[to:to+n])
	copy(g.want[to:], tmp)
	return true
}

func (m *model) copyRange(f, other *modelFile) bool {
	off, n, ok := m.part(f)
	to := m.off(modelMax - 1)
	n = min(n, modelMax-to)
	if !ok || !m.sharing() {
		return false
	}
	m.note("%d+%d to %d of %s", off, n, to, other.name)
	got, err := other.f.CopyRange(ctx, to, f.f, off, n)
	if got != n || err != nil {
		m.fatalf("%d bytes, %v", got, err)
	}
	other.wrote(f.want[off:off+n], to)
	return true
}

func (m *model) unshare(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	if !ok {
		return false
	}
	m.note("%d+%d", off, n)
	m.ok(f.f.Unshare(ctx, off, n))
	for page := off / pageSize; page*pageSize < off+n; page++ {
		if e, ok := f.f.Ext(uint64(page)); ok && !e.Raw && m.fs.Refs(e.Block) > 1 {
			m.fatalf("page %d is still shared", page)
		}
	}
	return true
}

// freeze lets nobody store, and has everything durable.
func (m *model) freeze(f, _ *modelFile) bool {
	m.ok(m.fs.Freeze(ctx))
	b := []byte{1}
	if len(f.want) > 0 {
		if err := f.shared.Store(dax.NoWait(ctx), b, 0); !errors.Is(err, dax.ErrWouldBlock) {
			m.fatalf("store to a frozen file: %v", err)
		}
		m.ok(f.shared.Load(dax.NoWait(ctx), b, 0))
	}
	if _, err := f.f.Write(dax.NoWait(ctx), b, 0); !errors.Is(err, dax.ErrWouldBlock) {
		m.fatalf("write to a frozen file: %v", err)
	}
	m.fs.Thaw()
	return true
}

// invalidate takes clean pages out of memory.
func (m *model) invalidate(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	if !ok {
		return false
	}
	m.note("%d+%d", off, n)
	if m.r.IntN(2) == 0 {
		m.ok(f.f.Fsync(ctx, 0, 1<<62))
	}
	if err := f.f.Invalidate(uint64(off/pageSize), uint64(pageUp(n)/pageSize)); err != nil && !errors.Is(err, dax.ErrBusy) {
		m.fatalf("%v", err)
	}
	return true
}

// evict takes a file out of memory, and maps it again.
func (m *model) evict(f, _ *modelFile) bool {
	m.unmapFile(f)
	if f.pin != nil {
		if err := f.f.Evict(dax.NoWait(ctx)); !errors.Is(err, dax.ErrWouldBlock) {
			m.fatalf("eviction of pinned pages: %v", err)
		}
		m.unpin(f)
	}
	m.ok(f.f.Evict(ctx))
	m.mapFile(f)
	return true
}

// remount unmounts and mounts again: all that is left is what the medium has.
func (m *model) remount(_, _ *modelFile) bool {
	for _, f := range m.files {
		m.unpin(f)
		m.unmapFile(f)
	}
	m.ok(m.fs.Sync(ctx))
	im, err := m.fs.Crash(rand.New(rand.NewPCG(m.r.Uint64(), 1)))
	m.ok(err)
	m.ok(m.fs.Discard())
	m.fs, err = im.Open()
	m.ok(err)
	for i, f := range m.fs.Files() {
		m.files[i].f = f
	}
	m.mapAll()
	return true
}

// pinSome pins a part of the file, for storing or for reading; a hole for storing only.
func (m *model) pinSome(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	if !ok || f.pin != nil {
		return false
	}
	write := m.r.IntN(3) > 0
	for page := off / pageSize; page*pageSize < off+n && !write; page++ {
		e, ok := f.f.Ext(uint64(page))
		write = !ok || e.Raw
	}
	var flags dax.PinFlags
	if write {
		flags = dax.PinWrite
	}
	m.note("%d+%d write %t", off, n, write)
	pin, err := f.f.Pin(ctx, off, n, flags)
	m.ok(err)
	f.pin, f.pinOff, f.pinLen, f.pinWrite = pin, off, n, write
	return true
}

// unpin stores through a pin for writing, and ends it.
func (m *model) unpin(f *modelFile) bool {
	if f.pin == nil {
		return false
	}
	if f.pinWrite {
		b := m.data(f.pinLen)
		copy(f.want[f.pinOff:], b)
		for _, s := range f.pin.Slices() {
			b = b[copy(s, b):]
		}
	}
	f.pin.Release()
	f.pin = nil
	return true
}
