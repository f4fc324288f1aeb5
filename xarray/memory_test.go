package xarray

import (
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
)

// TestNodeSizes: the bytes that Memory counts are those that the allocator takes, and each kind of node
// is in the size class it was made for.
func TestNodeSizes(t *testing.T) {
	tests := []struct {
		name  string
		typ   reflect.Type
		extra uintptr // the allocator's word
		size  uintptr
	}{
		{"leaf", reflect.TypeFor[leaf](), 0, leafBytes},
		{"narrowLeaves", reflect.TypeFor[narrowLeaves](), 0, narrowBytes},
		{"narrow", reflect.TypeFor[narrow](), 0, narrowBytes},
		{"wide", reflect.TypeFor[wide](), 8, wideBytes},
	}
	for _, tt := range tests {
		if got := tt.typ.Size() + tt.extra; got > tt.size {
			t.Errorf("%s: %d bytes, above its class of %d", tt.name, got, tt.size)
		}
	}
	var a Array
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range uint64(1 << 18) {
		a.Store(i, 0, i)
	}
	for i := range uint64(1000) {
		a.Store(1<<30+i<<9, 9, i)
	}
	runtime.ReadMemStats(&after)
	got, want := a.Memory(), after.TotalAlloc-before.TotalAlloc
	if got > want || want > got+got/100 {
		t.Errorf("Memory() = %d, the allocator says %d", got, want)
	}
}

// TestMemoryPerEntry: what an entry costs.
func TestMemoryPerEntry(t *testing.T) {
	tests := []struct {
		order uint
		n     uint64
		max   float64 // bytes
	}{
		{0, 1 << 18, 10},
		{0, 1 << 20, 10},
		{9, 512, 64},
		{9, 1 << 15, 64},
		{18, 64, 64},
	}
	for _, tt := range tests {
		var a Array
		for i := range tt.n {
			a.Store(i<<tt.order, tt.order, i)
		}
		if got := float64(a.Memory()) / float64(tt.n); got > tt.max {
			t.Errorf("%d entries of order %d: %.2f bytes each, want at most %v", tt.n, tt.order, got, tt.max)
		}
	}
}

// TestMemoryReturned: erasing gives nodes back to the heap, and at the end all of them.
func TestMemoryReturned(t *testing.T) {
	const n = 1 << 18
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r := rand.New(rand.NewPCG(1, 2))
	order := r.Perm(n)
	var a Array
	empty := heap()
	for _, i := range order {
		a.Store(uint64(i)*3, 0, uint64(i))
	}
	full := heap()
	if full < empty+a.Memory()*9/10 {
		t.Fatalf("heap grew from %d to %d with nodes of %d bytes", empty, full, a.Memory())
	}
	// What is left when all but one small part is erased is what that part needs.
	for _, i := range order {
		if i >= 1000 {
			a.Erase(uint64(i) * 3)
		}
	}
	if got := a.Memory(); got > 3*1000*10+wideBytes {
		t.Errorf("1000 entries left: %d bytes", got)
	}
	if err := a.Check(); err != nil {
		t.Error(err)
	}
	for i := range uint64(1000) {
		a.Erase(i * 3)
	}
	if a.Memory() != 0 || a.Len() != 0 || a.Pages() != 0 {
		t.Errorf("empty: %d bytes, %d entries, %d pages", a.Memory(), a.Len(), a.Pages())
	}
	if now := heap(); now > empty+64<<10 {
		t.Errorf("heap %d when empty again, %d before", now, empty)
	}
	runtime.KeepAlive(&a)
}

// TestNoAllocs: lookup, search and marks allocate nothing, nor does a store over an entry.
func TestNoAllocs(t *testing.T) {
	var a Array
	for i := range uint64(5000) {
		a.Store(i, 0, i)
	}
	a.Store(1<<18, 18, 1)
	a.SetMark(4999, Mark0)
	tests := []struct {
		name string
		f    func()
	}{
		{"Load", func() { a.Load(1234); a.Load(1<<18 + 5); a.Load(1 << 60) }},
		{"Next", func() { a.Next(1234, 9999); a.Next(5000, 1<<40) }},
		{"NextMarked", func() { a.NextMarked(0, 9999, Mark0) }},
		{"Marked", func() { a.Marked(77, Mark0) }},
		{"SetMark", func() { a.SetMark(77, Mark1); a.ClearMark(77, Mark1) }},
		{"TagMarked", func() { a.TagMarked(0, 1<<20, Mark0, Mark2) }},
		{"Store", func() { a.Store(77, 0, 5); a.Store(1<<18, 18, 6) }},
		{"CompareAndSwap", func() { a.CompareAndSwap(78, 0, 78, 78); a.CompareAndSwap(1<<18, 18, 6, 6) }},
		{"Cursor", func() {
			var c Cursor
			if c.Seek(&a, 79) && c.Marked(Mark1) {
				c.ClearMark(Mark1)
			}
		}},
		{"Erase", func() { a.Erase(1001); a.Store(1001, 0, 5) }},
	}
	for _, tt := range tests {
		if got := testing.AllocsPerRun(100, tt.f); got != 0 {
			t.Errorf("%s: %v allocations", tt.name, got)
		}
	}
}
