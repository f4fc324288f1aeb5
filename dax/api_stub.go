package dax

import (
	"context"
	"iter"

	"godax/pmem"
	"godax/vm"
)

// Bodies follow; the signatures are settled.

type Kind uint8

const (
	Hole Kind = iota
	Direct
	Cached
)

type Config struct {
	PMDOrder uint    // order of a huge page; 0 means 9
	ReadOnly bool    // W is never given
	Frames   *Frames // where cached pages live; nil if the file has none
	Host     Host    // the inode; nil if it needs to know nothing
	Trace    func(Trace)
}

// Host is what the mapping asks of its inode.
type Host interface {
	// WriteCached stores the bytes of a dirty cached page (already clipped to the end of the file)
	// in the page's blocks and flushes them to the device. Called with the entry locked.
	WriteCached(page uint64, b []byte) error
}

// Trace is one PopulatePFNs call and its answer, for tests.
type Trace struct {
	Page, N uint64
	Intent  Intent
	Err     error
	Answers []Entry
}

// Entry is a run of the index as Entries reports it.
type Entry struct {
	Page, N uint64
	Kind    Kind
	PFN     pmem.PFN
	Order   uint
	Dirty   bool
	Attr    Attr
}

type Frames struct{}

// NewFrames makes a store for cached pages: clean ones above limit bytes are given up; never more than max bytes.
func NewFrames(limit, max int64) (*Frames, error) { panic("soon") }
func (f *Frames) Close() error                    { panic("soon") }

type Mapping struct{ size int64 }

func NewMapping(c Config) *Mapping { panic("soon") }
func (m *Mapping) Size() int64     { panic("soon") }
func (m *Mapping) SetSize(n int64) { panic("soon") }

func (r *Request) Insert(page uint64, pfn pmem.PFN, n uint64, attr Attr) error { panic("soon") }
func (r *Request) InsertCached(page uint64, fill func(b []byte) error) error   { panic("soon") }
func (r *Request) Hole(page, n uint64) error                                   { panic("soon") }
func (r *Request) MetadataPending()                                            { panic("soon") }

func (m *Mapping) Fault(f *vm.Fault, p Populator) error { panic("soon") }
func (m *Mapping) ReadAt(ctx context.Context, b []byte, off int64, p Populator) (int, error) {
	panic("soon")
}
func (m *Mapping) WriteAt(ctx context.Context, b []byte, off int64, p Populator) (int, error) {
	panic("soon")
}

// Writeback cleans the pages of [off, off+n): collects, tags, protects, flushes. Barrier included.
func (m *Mapping) Writeback(ctx context.Context, off, n int64) (WritebackStats, error) { panic("soon") }

type WritebackStats struct{ Collected, Entries, Pages uint64 }

// Truncate, inode lock exclusive: change runs when nothing refers to the pages past size any more (or, growing, right away)
// and stores the size and frees the blocks on the medium.
func (m *Mapping) Truncate(ctx context.Context, size int64, p Populator, change func() error) error {
	panic("soon")
}

// PunchHole, inode lock exclusive: zeroes the partial pages at the edges, and runs change with the whole range free of
// entries, translations and pins.
func (m *Mapping) PunchHole(ctx context.Context, off, n int64, p Populator, change func() error) error {
	panic("soon")
}

// ZeroRange, inode lock exclusive: makes exactly these bytes read as zero, without changing the extent map. Does not extend.
func (m *Mapping) ZeroRange(ctx context.Context, off, n int64, p Populator) error { panic("soon") }

// BreakLayout runs change with pages [page, page+n) free of entries, translations, pins, and faults excluded.
func (m *Mapping) BreakLayout(ctx context.Context, page, n uint64, p Populator, change func() error) error {
	panic("soon")
}

// Invalidate unmaps and removes clean entries.
func (m *Mapping) Invalidate(page, n uint64) error { panic("soon") }

func (m *Mapping) Pin(ctx context.Context, off, n int64, write bool, p Populator) (*Pin, error) {
	panic("soon")
}

type Pin struct{}

func (p *Pin) Slices() [][]byte { panic("soon") }
func (p *Pin) Release()         { panic("soon") }

func (m *Mapping) Attach(ctx context.Context, v vm.View, p Populator) error { panic("soon") }
func (m *Mapping) Detach(v vm.View)                                         { panic("soon") }

// Entries yields what holds [off, off+n) in order, asking p (IntentRead) where the index has nothing.
func (m *Mapping) Entries(ctx context.Context, page, n uint64, p Populator) iter.Seq2[Entry, error] {
	panic("soon")
}

// Busy reports how many views and pins there are.
func (m *Mapping) Busy() (views, pins int) { panic("soon") }

// Evict waits for pins, writes back (or discards) and empties the index.
func (m *Mapping) Evict(ctx context.Context, discard bool) error { panic("soon") }
func (m *Mapping) CheckInvariants() error                        { panic("soon") }

const ToEnd = ^uint64(0)
