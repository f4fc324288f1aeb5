package dax_test

import (
	"testing"

	"godax/dax"
	"godax/vm"
)

// TestStatsNow: what is dirty now, which accesses were served, and what the store of
// cached pages holds.
func TestStatsNow(t *testing.T) {
	f := newFile(t, 16, dax.Config{NoHuge: true})
	f.mustWrite(fill(2*pageSize, 1), 0)
	f.mustWrite(fill(10, 2), 5*pageSize)
	if n := f.m.DirtyPages(); n != 3 {
		t.Errorf("%d dirty pages, want 3", n)
	}
	if _, err := f.m.Writeback(ctx, 0, 1<<20); err != nil {
		t.Fatal(err)
	}
	v := f.mapView(newSpace(), 0, 6, sharedRW)
	load(t, v, 0, 1)
	storeByte(t, v, 1, pageSize)
	store(t, v, []byte{1}, 0) // to a translation for reading
	acc := &f.m.Stats().Accesses
	if l, s, w := acc[vm.Load].Load(), acc[vm.Store].Load(), acc[vm.MkWrite].Load(); l != 1 || s != 1 || w != 1 {
		t.Errorf("%d loads, %d stores, %d writes to what is there; want 1 each", l, s, w)
	}
	if n := f.m.DirtyPages(); n != 2 {
		t.Errorf("%d dirty pages after two stores", n)
	}
	if n, store := f.m.CachedBytes(); n != 0 || store != nil {
		t.Errorf("%d cached bytes in a file without a store", n)
	}
	c := newCached(t, 4, 4, 4)
	if _, err := c.m.ReadAt(ctx, make([]byte, 2*pageSize), 0, c); err != nil {
		t.Fatal(err)
	}
	if n, store := c.m.CachedBytes(); n != 2*pageSize || store != c.frames {
		t.Errorf("%d cached bytes, want 2 pages", n)
	}
}
