package dax_test

import (
	"bytes"
	"errors"
	"sync"
	"syscall"
	"testing"

	"godax/dax"
	"godax/vm"
)

// cachedFile is a file whose pages have no frames of their own: its bytes lie in
// disk, not aligned to anything.
type cachedFile struct {
	m      *dax.Mapping
	frames *dax.Frames

	mu      sync.Mutex
	disk    []byte
	fills   int
	written map[uint64]int // length of the last WriteCached, by page
	fillErr error
	sinkErr error
}

func newCached(t *testing.T, pages int, limit, max int64) *cachedFile {
	t.Helper()
	fr, err := dax.NewFrames(limit*pageSize, max*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	c := &cachedFile{frames: fr, disk: fill(pages*pageSize, 6), written: map[uint64]int{}}
	c.m = dax.NewMapping(dax.Config{PMDOrder: pmdOrder, Frames: fr, Host: c})
	c.m.SetSize(int64(len(c.disk)))
	t.Cleanup(func() {
		if err := c.m.CheckInvariants(true); err != nil {
			t.Error(err)
		}
		if err := c.m.Evict(ctx, true); err != nil {
			t.Error(err)
		}
		if err := fr.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cachedFile) PopulatePFNs(r *dax.Request) error {
	return r.InsertCached(r.Page, func(b []byte) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fills++
		if off := int(r.Page) * pageSize; off < len(c.disk) {
			copy(b, c.disk[off:])
		}
		return c.fillErr
	})
}

func (c *cachedFile) WriteCached(page uint64, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sinkErr != nil {
		return c.sinkErr
	}
	c.written[page] = len(b)
	if need := int(page)*pageSize + len(b); need > len(c.disk) {
		c.disk = append(c.disk, make([]byte, need-len(c.disk))...)
	}
	copy(c.disk[page*pageSize:], b)
	return nil
}

func (c *cachedFile) readAll(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, c.m.Size())
	if n, err := c.m.ReadAt(ctx, b, 0, c); n != len(b) || err != nil {
		t.Fatalf("read: %d, %v", n, err)
	}
	return b
}

func TestCachedFillAndLimit(t *testing.T) {
	c := newCached(t, 20, 4, 64)
	want := bytes.Clone(c.disk)
	for range 2 {
		equal(t, "read", c.readAll(t), want)
		if n := c.frames.InUse(); n > 4 {
			t.Errorf("%d frames in use, the limit is 4", n)
		}
	}
	if c.m.Stats().Evicted.Load() == 0 {
		t.Error("nothing was given up")
	}
	if e, ok := first(c.m.Entries(ctx, 0, 1, c)); !ok || e.Kind != dax.Cached {
		t.Errorf("entry %+v", e)
	}
}

func first(seq func(func(dax.Entry, error) bool)) (dax.Entry, bool) {
	for e, err := range seq {
		return e, err == nil
	}
	return dax.Entry{}, false
}

func TestCachedWriteback(t *testing.T) {
	c := newCached(t, 3, 1, 16)
	want := bytes.Clone(c.disk)
	b := fill(2*pageSize, 7)
	copyAt := 2*pageSize + 100
	if n, err := c.m.WriteAt(ctx, b, int64(copyAt), c); n != len(b) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	want = append(want[:copyAt], b...)
	equal(t, "before the writeback", c.readAll(t), want)
	if n := c.frames.InUse(); n < 3 {
		t.Errorf("%d frames: a dirty page was given up", n)
	}
	c.sinkErr = syscall.EIO
	if _, err := c.m.Writeback(ctx, 0, 1<<40); !errors.Is(err, syscall.EIO) {
		t.Errorf("writeback: %v", err)
	}
	c.sinkErr = nil
	st, err := c.m.Writeback(ctx, 0, 1<<40)
	if err != nil || st.Pages != 3 {
		t.Errorf("writeback: %+v, %v; want 3 pages", st, err)
	}
	if c.written[2] != pageSize || c.written[4] != 100 {
		t.Errorf("written %v; want page 2 whole and 100 bytes of page 4", c.written)
	}
	equal(t, "disk", c.disk, want)
	equal(t, "after the writeback", c.readAll(t), want)
}

func TestCachedNoMemory(t *testing.T) {
	c := newCached(t, 8, 3, 3)
	for p := range int64(3) {
		if _, err := c.m.WriteAt(ctx, []byte{1}, p*pageSize, c); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.m.WriteAt(ctx, []byte{1}, 3*pageSize, c)
	isErr(t, err, syscall.ENOMEM)
	_, err = c.m.ReadAt(ctx, make([]byte, 1), 4*pageSize, c)
	isErr(t, err, syscall.ENOMEM)
	if _, err := c.m.Writeback(ctx, 0, pageSize); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.ReadAt(ctx, make([]byte, 1), 4*pageSize, c); err != nil {
		t.Errorf("with one clean page: %v", err)
	}
}

func TestCachedFillError(t *testing.T) {
	c := newCached(t, 4, 2, 4)
	c.fillErr = syscall.EIO
	_, err := c.m.ReadAt(ctx, make([]byte, 1), 0, c)
	isErr(t, err, syscall.EIO)
	if n := c.frames.InUse(); n != 0 {
		t.Errorf("%d frames leaked", n)
	}
	c.fillErr = nil
	equal(t, "afterwards", c.readAll(t), c.disk)
	nothing := dax.PopulateFunc(func(r *dax.Request) error { // a frame for another page only
		return r.InsertCached(r.Page+1, func([]byte) error { return nil })
	})
	c.m.Invalidate(0, dax.ToEnd)
	_, err = c.m.ReadAt(ctx, make([]byte, 1), 0, nothing)
	isErr(t, err, dax.ErrBadAnswer)
	if n := c.frames.InUse(); n != 0 {
		t.Errorf("%d frames leaked by a bad answer", n)
	}
	m := dax.NewMapping(dax.Config{})
	m.SetSize(5)
	_, err = m.ReadAt(ctx, make([]byte, 1), 0, c)
	isErr(t, err, dax.ErrNotMappable)
}

// TestSC35_CachedChangeFails: a change of the layout that fails loses nothing of a cached
// page that was stored to, whose frame is the only place of its bytes.
//
// Guards I33, T17.
func TestSC35_CachedChangeFails(t *testing.T) {
	c := newCached(t, 6, 8, 16)
	want := bytes.Clone(c.disk)
	copy(want[pageSize+5:], "stored")
	if _, err := c.m.WriteAt(ctx, []byte("stored"), pageSize+5, c); err != nil {
		t.Fatal(err)
	}
	fails := func() error { return syscall.EIO }
	isErr(t, c.m.PunchHole(ctx, 0, 4*pageSize, c, fails), syscall.EIO)
	isErr(t, c.m.BreakLayout(ctx, 1, 1, fails), syscall.EIO)
	equal(t, "nothing has changed", c.readAll(t), want)
	if _, err := c.m.Writeback(ctx, 0, c.m.Size()); err != nil {
		t.Fatal(err)
	}
	equal(t, "written back", c.disk, want)
	// One that succeeds gives the frame back.
	if err := c.m.BreakLayout(ctx, 0, 6, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := c.frames.InUse(); n != 0 {
		t.Errorf("%d frames in use", n)
	}
}

func TestCachedMappedAndPinnedStay(t *testing.T) {
	c := newCached(t, 12, 1, 16)
	s := newSpace()
	v, err := s.Map(vm.HandlerFunc(func(f *vm.Fault) error { return c.m.Fault(f, c) }), 0, 1, sharedRW)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := c.m.Pin(ctx, 5*pageSize, 10, 0, c)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(c.disk)
	c.readAll(t)
	equal(t, "pinned bytes", pin.Slices()[0], want[5*pageSize:][:10])
	pin.Release()
	if err := c.m.Attach(ctx, v, c); err != nil {
		t.Fatal(err)
	}
	load(t, v, 0, 1)
	pfn := translation(t, v, 0).PFN
	c.readAll(t)
	if e, ok := first(c.m.Entries(ctx, 0, 1, c)); !ok || e.PFN != pfn {
		t.Errorf("the page has frame %#x, mapped is %#x", uint64(e.PFN), uint64(pfn))
	}
	if err := c.m.CheckInvariants(true); err != nil {
		t.Error(err)
	}
	store(t, v, []byte{0x11}, 3)
	if st, err := c.m.Writeback(ctx, 0, pageSize); err != nil || st.Pages != 1 || c.disk[3] != 0x11 {
		t.Errorf("writeback: %+v, %v, %#x", st, err, c.disk[3])
	}
	if err := c.m.CheckInvariants(true); err != nil {
		t.Error(err)
	}
	c.m.Detach(v)
	v.Close()
}

// A frame must never be given up while a view that has just come maps it: one
// goroutine makes and drops views, another reads so much that frames go round.
func TestCachedEvictionAndViews(t *testing.T) {
	c := newCached(t, 32, 2, 64)
	want := bytes.Clone(c.disk)
	other := newCachedOn(t, c.frames, 32)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			b := make([]byte, pageSize)
			for p := int64(0); ; p = (p + 1) % 32 {
				select {
				case <-stop:
					return
				default:
					other.m.ReadAt(ctx, b, p*pageSize, other)
				}
			}
		})
	}
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for i := range rounds {
		page := uint64(i % 32)
		v, err := newSpace().Map(vm.HandlerFunc(func(f *vm.Fault) error { return c.m.Fault(f, c) }), page, 1, sharedRO)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.m.Attach(ctx, v, c); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			equal(t, "view", load(t, v, int64(page)*pageSize, pageSize), want[page*pageSize:][:pageSize])
		}
		c.m.Detach(v)
		v.Close()
	}
	close(stop)
	wg.Wait()
}

func newCachedOn(t *testing.T, fr *dax.Frames, pages int) *cachedFile {
	c := &cachedFile{frames: fr, disk: fill(pages*pageSize, 60), written: map[uint64]int{}}
	c.m = dax.NewMapping(dax.Config{PMDOrder: pmdOrder, Frames: fr, Host: c})
	c.m.SetSize(int64(len(c.disk)))
	t.Cleanup(func() { c.m.Evict(ctx, true) })
	return c
}

func TestNewFramesRefuses(t *testing.T) {
	for _, a := range [][2]int64{{0, 0}, {-1, pageSize}, {0, pageSize - 1}} {
		if _, err := dax.NewFrames(a[0], a[1]); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("limit %d, max %d: %v", a[0], a[1], err)
		}
	}
}
