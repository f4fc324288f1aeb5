package dax_test

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"godax/dax"
	"godax/vm"
)

// sharing is a set of read-only files whose pages come from a few blocks of bytes: page p
// of each file has those of block keys[p].
type sharing struct {
	frames *dax.Frames
	blocks [][]byte
	fills  atomic.Int64
	block  func(key uint64) error // called by fill, if set
}

type sharingFile struct {
	*sharing
	m    *dax.Mapping
	keys []uint64
}

func newSharing(t *testing.T, blocks int, limit, max int64) *sharing {
	t.Helper()
	fr, err := dax.NewFrames(limit*pageSize, max*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	s := &sharing{frames: fr}
	for i := range blocks {
		s.blocks = append(s.blocks, fill(pageSize, uint64(i+1)))
	}
	t.Cleanup(func() {
		if err := fr.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *sharing) file(t *testing.T, keys ...uint64) *sharingFile {
	f := &sharingFile{sharing: s, keys: keys}
	f.m = dax.NewMapping(dax.Config{PMDOrder: pmdOrder, ReadOnly: true, Frames: s.frames})
	f.m.SetSize(int64(len(keys)) * pageSize)
	t.Cleanup(func() {
		if err := f.m.CheckInvariants(true); err != nil {
			t.Error(err)
		}
		if err := f.m.Evict(ctx, true); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *sharingFile) PopulatePFNs(r *dax.Request) error {
	key := f.keys[r.Page]
	return r.InsertCachedShared(dax.FrameKey{1, key}, func(b []byte) error {
		f.fills.Add(1)
		if f.block != nil {
			if err := f.block(key); err != nil {
				return err
			}
		}
		copy(b, f.blocks[key])
		return nil
	})
}

func (f *sharingFile) want() (b []byte) {
	for _, k := range f.keys {
		b = append(b, f.blocks[k]...)
	}
	return b
}

func (f *sharingFile) read(t *testing.T) {
	t.Helper()
	b := make([]byte, f.m.Size())
	if n, err := f.m.ReadAt(ctx, b, 0, f); n != len(b) || err != nil || !bytes.Equal(b, f.want()) {
		t.Errorf("read: %d, %v; the right bytes: %v", n, err, bytes.Equal(b, f.want()))
	}
}

func TestSharedFrames(t *testing.T) {
	s := newSharing(t, 3, 16, 32)
	a, b := s.file(t, 0, 1, 1, 2), s.file(t, 2, 0)
	a.read(t)
	b.read(t)
	if n, fills := s.frames.InUse(), s.fills.Load(); n != 3 || fills != 3 {
		t.Errorf("%d frames, filled %d times, for 3 blocks", n, fills)
	}
	x, _ := first(a.m.Entries(ctx, 0, 1, a))
	y, _ := first(b.m.Entries(ctx, 1, 1, b))
	if x.PFN != y.PFN || x.Kind != dax.Cached || x.Attr != dax.SharedPFN || y.Attr != dax.SharedPFN {
		t.Errorf("entries of one block in two files: %+v and %+v", x, y)
	}
	// What one file gives up the other still has.
	if err := a.m.Invalidate(0, dax.ToEnd); err != nil {
		t.Fatal(err)
	}
	if n := s.frames.InUse(); n != 2 {
		t.Errorf("%d frames with two blocks in use", n)
	}
	b.read(t)
	a.read(t)
	if fills := s.fills.Load(); fills != 4 {
		t.Errorf("filled %d times, want 4: block 1 twice", fills)
	}
	_, err := b.m.WriteAt(ctx, []byte{1}, 0, b)
	isErr(t, err, syscall.EROFS)
}

func TestSharedFramesEviction(t *testing.T) {
	s := newSharing(t, 20, 4, 64)
	var keys []uint64
	for k := range uint64(20) {
		keys = append(keys, k, k)
	}
	a, b, c := s.file(t, keys...), s.file(t, keys...), s.file(t, 3)
	v, err := newSpace().Map(vm.HandlerFunc(func(f *vm.Fault) error { return c.m.Fault(f, c) }), 0, 1, sharedRO)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.m.Attach(ctx, v, c); err != nil {
		t.Fatal(err)
	}
	load(t, v, 0, pageSize)
	mapped := translation(t, v, 0).PFN
	for range 3 {
		a.read(t)
		b.read(t)
		if n := s.frames.InUse(); n > 5 {
			t.Errorf("%d frames in use, the limit is 4, and one is mapped", n)
		}
	}
	if got := translation(t, v, 0).PFN; got != mapped {
		t.Errorf("the mapped page has frame %#x now, had %#x", uint64(got), uint64(mapped))
	}
	equal(t, "view", load(t, v, 0, pageSize), s.blocks[3])
	c.m.Detach(v)
	v.Close()
}

func TestSharedFramesErrors(t *testing.T) {
	s := newSharing(t, 1, 16, 32)
	a := s.file(t, 0, 0)
	s.block = func(uint64) error { return syscall.EIO }
	_, err := a.m.ReadAt(ctx, make([]byte, 1), 0, a)
	isErr(t, err, syscall.EIO)
	if n := s.frames.InUse(); n != 0 {
		t.Errorf("%d frames after a failure", n)
	}
	s.block = func(uint64) error { panic("fill") }
	func() {
		defer func() { _ = recover() }()
		a.m.ReadAt(ctx, make([]byte, 1), 0, a)
	}()
	if n := s.frames.InUse(); n != 0 {
		t.Errorf("%d frames after a panic", n)
	}
	s.block = nil
	a.read(t)

	m := dax.NewMapping(dax.Config{Frames: s.frames})
	m.SetSize(pageSize)
	_, err = m.ReadAt(ctx, make([]byte, 1), 0, a)
	isErr(t, err, dax.ErrBadAnswer)
	m = dax.NewMapping(dax.Config{ReadOnly: true})
	m.SetSize(pageSize)
	_, err = m.ReadAt(ctx, make([]byte, 1), 0, a)
	isErr(t, err, dax.ErrNotMappable)
	// An answer with a page that is answered already is not kept.
	twice := dax.PopulateFunc(func(r *dax.Request) error {
		if err := a.PopulatePFNs(r); err != nil {
			return err
		}
		return a.PopulatePFNs(r)
	})
	c := s.file(t, 0)
	_, err = c.m.ReadAt(ctx, make([]byte, 1), 0, twice)
	isErr(t, err, dax.ErrBadAnswer)
	c.read(t)
}

// TestSharedFramesWaiters: several files ask for one block while it is filled. One fills
// it, the others wait, but for those that must not.
func TestSharedFramesWaiters(t *testing.T) {
	for _, fail := range []error{nil, syscall.EIO} {
		s := newSharing(t, 1, 16, 32)
		begun, goOn := make(chan struct{}), make(chan struct{})
		var first sync.Once
		s.block = func(uint64) error {
			first.Do(func() {
				close(begun)
				<-goOn
			})
			return fail
		}
		var files []*sharingFile
		for range 4 {
			files = append(files, s.file(t, 0))
		}
		var wg sync.WaitGroup
		got := make([]error, len(files))
		wg.Go(func() { _, got[0] = files[0].m.ReadAt(ctx, make([]byte, pageSize), 0, files[0]) })
		<-begun
		hasty := s.file(t, 0)
		_, err := hasty.m.ReadAt(dax.NoWait(ctx), make([]byte, 1), 0, hasty)
		isErr(t, err, dax.ErrWouldBlock)
		asked := make(chan struct{}, len(files))
		for i := 1; i < len(files); i++ {
			wg.Go(func() {
				p := dax.PopulateFunc(func(r *dax.Request) error {
					asked <- struct{}{}
					return files[i].PopulatePFNs(r)
				})
				_, got[i] = files[i].m.ReadAt(ctx, make([]byte, pageSize), 0, p)
			})
		}
		for i := 1; i < len(files); i++ {
			<-asked
		}
		close(goOn)
		wg.Wait()
		for i, err := range got {
			if !errors.Is(err, fail) {
				t.Errorf("file %d: %v, want %v", i, err, fail)
			}
		}
		fills, frames := s.fills.Load(), s.frames.InUse()
		if fail == nil && (fills != 1 || frames != 1) {
			t.Errorf("filled %d times, %d frames", fills, frames)
		}
		if fail != nil && frames != 0 { // whoever comes late fills it again
			t.Errorf("%d frames after failures", frames)
		}
	}
}

// TestSharedFramesStorm: readers, views and invalidations of files that share blocks, with
// hardly any frames to spare.
func TestSharedFramesStorm(t *testing.T) {
	s := newSharing(t, 16, 3, 64)
	var wg sync.WaitGroup
	for g := range 4 {
		keys := make([]uint64, 24)
		for i := range keys {
			keys[i] = uint64(i*7+g*3) % 16
		}
		f := s.file(t, keys...)
		wg.Go(func() {
			b := make([]byte, pageSize)
			for i := range 500 {
				p := uint64(i*5+g) % 24
				switch {
				case i%10 == 9:
					if err := f.m.Invalidate(p, 4); err != nil {
						t.Error(err)
					}
				default:
					if _, err := f.m.ReadAt(ctx, b, int64(p)*pageSize, f); err != nil || !bytes.Equal(b, f.blocks[keys[p]]) {
						t.Errorf("page %d: %v, or other bytes", p, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
