package blockfs_test

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// modelOp is an operation of the model. do says whether it was possible.
type modelOp struct {
	name   string
	weight int
	do     func(m *model, f, other *modelFile) bool
}

var modelOps = []modelOp{
	{"write", 12, (*model).write},
	{"read", 6, (*model).read},
	{"write from a view", 5, (*model).writeFromView},
	{"read to a view", 5, (*model).readToView},
	{"load", 6, (*model).load},
	{"store", 12, (*model).store},
	{"store past the end", 3, (*model).pollute},
	{"store privately", 6, (*model).storePrivately},
	{"truncate", 8, (*model).truncate},
	{"allocate", 6, (*model).allocate},
	{"punch", 6, (*model).punch},
	{"zero", 5, (*model).zero},
	{"collapse", 5, (*model).collapse},
	{"insert", 5, (*model).insert},
	{"clone", 8, (*model).clone},
	{"dedupe", 6, (*model).dedupe},
	{"copy range", 4, (*model).copyRange},
	{"exchange", 6, (*model).exchange},
	{"unshare", 4, (*model).unshare},
	{"fsync", 5, (*model).fsync},
	{"sync", 2, (*model).sync},
	{"freeze", 2, (*model).freeze},
	{"invalidate", 5, (*model).invalidate},
	{"evict", 3, (*model).evict},
	{"remount", 2, (*model).remount},
	{"pin", 5, (*model).pinSome},
	{"unpin", 5, func(m *model, f, _ *modelFile) bool { return m.unpin(f) }},
}

func (m *model) pick() modelOp {
	total := 0
	for _, op := range modelOps {
		total += op.weight
	}
	n := m.r.IntN(total)
	for _, op := range modelOps {
		if n -= op.weight; n < 0 {
			return op
		}
	}
	panic("not reached")
}

// off picks a byte up to limit, edges of pages and huge pages preferred.
func (m *model) off(limit int64) int64 {
	o := m.r.Int64N(limit + 1)
	switch m.r.IntN(4) {
	case 0:
		o -= o % pageSize
	case 1:
		o -= o % (pageSize << m.order)
	case 2:
		o += m.r.Int64N(3) - 1 - o%pageSize
	}
	return min(max(o, 0), limit)
}

// part picks at least a byte of the file.
func (m *model) part(f *modelFile) (off, n int64, ok bool) {
	size := int64(len(f.want))
	if size == 0 {
		return 0, 0, false
	}
	off = m.off(size - 1)
	return off, 1 + min(m.off(9*pageSize), size-off-1), true
}

// wholePages picks pages that lie in the file as a whole.
func (m *model) wholePages(f *modelFile) (off, n int64, ok bool) {
	pages := int64(len(f.want)) / pageSize
	if pages == 0 {
		return 0, 0, false
	}
	page := m.r.Int64N(pages)
	return page * pageSize, (1 + m.r.Int64N(pages-page)) * pageSize, true
}

func (m *model) data(n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.r.Uint32()) | 1
	}
	return b
}

// free calls an operation that has to wait for pins of the pages [from, to) of the files. If
// one is in the way the operation must say so when it may not wait, and change nothing;
// then the pin ends.
func (m *model) free(do func(ctx context.Context) error, ranges ...pinRange) {
	m.t.Helper()
	for _, r := range ranges {
		if r.f.pin == nil || r.from >= r.to {
			continue
		}
		first, end := r.f.pinOff/pageSize, (r.f.pinOff+r.f.pinLen+pageSize-1)/pageSize
		switch {
		case r.from < end && first < r.to:
			if err := do(dax.NoWait(ctx)); !errors.Is(err, dax.ErrWouldBlock) {
				m.fatalf("%v, pages %d to %d of %s are pinned", err, first, end, r.f.name)
			}
			m.compare()
			m.unpin(r.f)
		case end < r.from, first > r.to: // far away
		default:
			m.unpin(r.f)
		}
	}
	m.ok(do(ctx))
}

// pinRange is the pages of a file that have to be idle.
type pinRange struct {
	f        *modelFile
	from, to int64
}

func (m *model) write(f, _ *modelFile) bool {
	off := m.off(modelMax - 1)
	n := min(m.off(7*pageSize), modelMax-off)
	m.note("%d+%d", off, n)
	b := m.data(n)
	if got, err := f.f.Write(ctx, b, off); int64(got) != n || err != nil {
		m.fatalf("%d bytes, %v", got, err)
	}
	f.wrote(b, off)
	return n > 0
}

// wrote puts bytes there, and makes the file larger if need be.
func (f *modelFile) wrote(b []byte, off int64) {
	if end := off + int64(len(b)); len(b) > 0 && end > int64(len(f.want)) {
		f.resized(end)
	}
	if len(b) > 0 {
		copy(f.want[off:], b)
	}
}

func (m *model) read(f, _ *modelFile) bool {
	off := m.off(modelMax)
	b := make([]byte, m.off(7*pageSize))
	m.note("%d+%d", off, len(b))
	n, err := f.f.Read(ctx, b, off)
	m.ok(err)
	size := int64(len(f.want))
	m.same(f, "read", b[:n], f.want[min(off, size):min(off+int64(len(b)), size)])
	return true
}

// writeFromView writes what a view of one of the files shows.
func (m *model) writeFromView(f, other *modelFile) bool {
	src := other
	if m.r.IntN(2) == 0 {
		src = f
	}
	from, n, ok := m.part(src)
	off := m.off(modelMax - 1)
	n = min(n, modelMax-off)
	if !ok || src == f && off < from+n && from < off+n {
		return false
	}
	m.note("%d+%d from %d of %s", off, n, from, src.name)
	b := slices.Clone(src.want[from : from+n])
	got, err := f.f.WriteFrom(ctx, off, n, userBuffer(src.shared.Load, from))
	if got != n || err != nil {
		m.fatalf("%d bytes, %v", got, err)
	}
	f.wrote(b, off)
	return true
}

// readToView reads into a view of one of the files.
func (m *model) readToView(f, other *modelFile) bool {
	dst := other
	if m.r.IntN(2) == 0 {
		dst = f
	}
	off, n, ok := m.part(f)
	to, n2, ok2 := m.part(dst)
	n = min(n, n2)
	if !ok || !ok2 || dst == f && off < to+n && to < off+n {
		return false
	}
	m.note("%d+%d to %d of %s", off, n, to, dst.name)
	got, err := f.f.ReadTo(ctx, off, n, userBuffer(dst.shared.Store, to))
	if got != n || err != nil {
		m.fatalf("%d bytes, %v", got, err)
	}
	copy(dst.want[to:], f.want[off:off+n])
	return true
}

// userBuffer makes of an access of a view what copies between frames and a user's buffer.
func userBuffer(access func(ctx context.Context, b []byte, off int64) error, off int64) func(b []byte) (int, error) {
	return func(b []byte) (int, error) {
		if err := access(ctx, b, off); err != nil {
			return 0, err
		}
		off += int64(len(b))
		return len(b), nil
	}
}

func (m *model) load(f, _ *modelFile) bool {
	v := []*sim.View{f.shared, f.private}[m.r.IntN(2)]
	off := m.off(modelMax - 1)
	b := make([]byte, 1+m.off(min(5*pageSize, modelMax-off)-1))
	m.note("%d+%d", off, len(b))
	err := v.Load(ctx, b, off)
	m.bus(f, err, off, int64(len(b)))
	if err != nil || v == f.private {
		return true
	}
	want := f.want[min(off, int64(len(f.want))):]
	in := min(len(want), len(b))
	m.same(f, "load", b[:in], want[:in])
	return true
}

// bus expects a bus error where an access meets pages that lie past the end as a whole.
func (m *model) bus(f *modelFile, err error, off, n int64) {
	m.t.Helper()
	var bus *vm.BusError
	switch past := off+n > pageUp(int64(len(f.want))); {
	case past && (!errors.As(err, &bus) || !errors.Is(err, dax.ErrBeyondEnd)):
		m.fatalf("%v, want a bus error", err)
	case !past:
		m.ok(err)
	}
}

func pageUp(n int64) int64 { return (n + pageSize - 1) / pageSize * pageSize }

func (m *model) store(f, _ *modelFile) bool {
	off := m.off(modelMax - 1)
	b := m.data(1 + m.off(min(5*pageSize, modelMax-off)-1))
	m.note("%d+%d", off, len(b))
	err := f.shared.Store(ctx, b, off)
	m.bus(f, err, off, int64(len(b)))
	copy(f.want[min(off, int64(len(f.want))):], b)
	return true
}

// pollute stores from the end of the file to the end of its page: bytes that nobody may see.
func (m *model) pollute(f, _ *modelFile) bool {
	size := int64(len(f.want))
	n := pageUp(size) - size
	if n == 0 {
		return false
	}
	m.ok(f.shared.Store(ctx, bytes.Repeat([]byte{0xff}, int(n)), size))
	return true
}

// storePrivately stores to pages that lie in the file as a whole: what a private copy has
// past the end of the file stays as it was.
func (m *model) storePrivately(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	n = min(n, int64(len(f.want))/pageSize*pageSize-off)
	if !ok || n <= 0 {
		return false
	}
	m.note("%d+%d", off, n)
	b := m.data(n)
	m.ok(f.private.Store(ctx, b, off))
	for at := off; at < off+n; {
		page := at / pageSize
		if f.copies[page] == nil {
			f.copies[page] = slices.Clone(f.want[page*pageSize : (page+1)*pageSize])
		}
		at += int64(copy(f.copies[page][at-page*pageSize:], b[at-off:]))
	}
	return true
}

func (m *model) fsync(f, _ *modelFile) bool {
	off, n, ok := m.part(f)
	if ok {
		m.note("%d+%d", off, n)
		m.ok(f.f.Fsync(ctx, off, n))
	}
	return ok
}

func (m *model) sync(_, _ *modelFile) bool {
	m.ok(m.fs.Sync(ctx))
	return true
}
