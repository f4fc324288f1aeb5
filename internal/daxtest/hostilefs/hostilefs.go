// Package hostilefs is a file system of one file that breaks one promise of a populate, as
// [Lie] says, for tests of what the DAX core makes of it. What it does not lie about it
// does right: page p of the file lies on page p of the device, once it is allocated.
package hostilefs

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"godax/block"
	"godax/dax"
	"godax/pmem"
	"godax/vm"
)

// PageSize is the size of a page.
const PageSize = pmem.PageSize

// Lie is the promise that is broken, and how. The numbers are those of the test scenarios.
type Lie uint8

const (
	Honest Lie = iota

	Nothing      // S-H1: success, and nothing is inserted
	Neighbour    // S-H2: only the next page is inserted
	Widen        // S-H3: more than the slot that is held, around it
	NoDevice     // S-H4: a frame that is on no open device
	PastDevice   // S-H4: a frame behind the device's last
	AcrossEnd    // S-H4: a run of which the end is behind it
	Misaligned   // S-H4: frames of another colour, which no huge page can be made of
	OneFrame     // S-H5: the frame of page 0 for every page, not said to be shared
	BigHole      // S-H6: a hole is said to reach over pages that have storage
	OnePage      // S-H7: every answer is one page long; no lie, but ext2
	StaleSize    // S-H8: a buffer head of a hole with the size that was asked for
	SharedWrite  // S-H9: permission to store to shared storage
	NoWrite      // S-H9: no permission to store in answer to a write
	HoleForWrite // S-H9: a hole in answer to a write
	ReadAllocs   // S-H10: a read allocates
	Panics       // S-H13
	Delalloc     // S-H20
	Inline       // S-H20
	Twice        // the page is answered twice
	Empty        // a run of no pages
	Wraps        // a run whose end is before its begin
	CopyOutside  // a copy on write of pages outside the slot
	CopyShared   // a copy that is shared
	CopyOnRead   // a copy in answer to a read
	CopyOnto     // a frame is copied onto itself
	Lies
)

var names = [Lies]string{"honest", "nothing", "neighbour", "widen", "no device", "past the device", "across the end",
	"misaligned", "one frame", "big hole", "one page", "stale size", "shared write", "no write", "hole for write",
	"read allocates", "panics", "delalloc", "inline", "twice", "empty", "wraps", "copy outside", "copy shared",
	"copy on read", "copy onto itself"}

func (l Lie) String() string { return names[l] }

// File is the file.
type File struct {
	M   *dax.Mapping
	Dev pmem.Device

	mu     sync.Mutex // guards what follows
	lie    Lie
	has    map[uint64]bool // pages with storage
	calls  int
	during func(*dax.Request) // called at the begin of PopulatePFNs
}

var (
	_ dax.Populator = (*File)(nil)
	_ vm.Handler    = (*File)(nil)
)

// New makes a sparse file of n pages on a device that has more.
func New(dev pmem.Device, n uint64, c dax.Config, lie Lie) *File {
	if c.PMDOrder == 0 {
		c.PMDOrder = 2
	}
	f := &File{M: dax.NewMapping(c), Dev: dev, lie: lie, has: map[uint64]bool{}}
	f.M.SetSize(int64(n) * PageSize)
	return f
}

// Tell changes the lie.
func (f *File) Tell(lie Lie) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lie = lie
}

// During has PopulatePFNs call do, with no lock of this package held.
func (f *File) During(do func(*dax.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.during = do
}

// Calls is the number of PopulatePFNs calls.
func (f *File) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Allocated is the number of pages with storage.
func (f *File) Allocated() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.has)
}

// Give gives a page storage, behind the back of DAX (S-H18).
func (f *File) Give(page uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has[page] = true
}

// Take takes a page's storage, behind the back of DAX (S-H18).
func (f *File) Take(page uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.has, page)
}

// Fault implements [vm.Handler].
func (f *File) Fault(ft *vm.Fault) error { return f.M.Fault(ft, f) }

func (f *File) pfn(page uint64) pmem.PFN { return pmem.MakePFN(f.Dev.ID(), page) }

// PopulatePFNs implements [dax.Populator].
func (f *File) PopulatePFNs(r *dax.Request) error {
	f.mu.Lock()
	f.calls++
	during := f.during
	f.mu.Unlock()
	if during != nil {
		during(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	frames := uint64(f.Dev.Size()) / PageSize
	write := r.Intent == dax.IntentWrite
	copyTo := func(page, n uint64, attr dax.Attr, src dax.Source) error {
		return r.InsertCopy(page, f.pfn(page), n, attr, src)
	}
	switch f.lie {
	case Nothing:
		return nil
	case Neighbour:
		return r.Insert(r.Page+1, f.pfn(r.Page+1), 1, dax.Writable)
	case Widen:
		f.has[r.Page] = true
		return r.Insert(r.Page&^3, f.pfn(r.Page&^3), 4, dax.Writable)
	case NoDevice:
		return r.Insert(r.Page, 5, 1, dax.Writable)
	case PastDevice:
		return r.Insert(r.Page, f.pfn(frames), 1, dax.Writable)
	case AcrossEnd:
		return r.Insert(r.Page, f.pfn(frames-1), 2, dax.Writable)
	case Misaligned:
		for p := r.First(); p < r.End(); p++ {
			f.has[p] = true
		}
		return r.Insert(r.First(), f.pfn(r.First()+1), r.End()-r.First(), dax.Writable)
	case OneFrame:
		return r.Insert(r.Page, f.pfn(0), 1, dax.Writable)
	case SharedWrite:
		return r.Insert(r.Page, f.pfn(r.Page), 1, dax.Writable|dax.SharedPFN)
	case NoWrite:
		if write {
			return r.Insert(r.Page, f.pfn(r.Page), 1, 0)
		}
	case HoleForWrite:
		if write {
			return r.Hole(r.Page, 1)
		}
	case ReadAllocs:
		f.has[r.Page] = true
	case Panics:
		panic("hostilefs")
	case Delalloc, Inline:
		kind := map[Lie]block.Kind{Delalloc: block.Delalloc, Inline: block.Inline}[f.lie]
		return block.CreatePFNs(r, block.Extent{Off: int64(r.Page) * PageSize, Len: PageSize, Kind: kind})
	case Twice:
		return errors.Join(r.Insert(r.Page, f.pfn(1), 1, dax.Writable), r.Insert(r.Page, f.pfn(2), 1, dax.Writable))
	case Empty:
		return r.Insert(r.Page, f.pfn(r.Page), 0, dax.Writable)
	case Wraps:
		return r.Hole(r.Page, dax.ToEnd)
	case CopyOutside:
		if write {
			return copyTo(r.Page, 1<<r.Order+1, dax.Writable, dax.Source{Zero: true})
		}
	case CopyShared:
		if write {
			return copyTo(r.Page, 1, dax.SharedPFN, dax.Source{Zero: true})
		}
	case CopyOnRead:
		if !write {
			return copyTo(r.Page, 1, dax.Writable, dax.Source{Zero: true})
		}
	case CopyOnto:
		if write {
			return copyTo(r.Page, 1, dax.Writable, dax.Source{PFN: f.pfn(r.Page)})
		}
	}
	return f.answerLocked(r)
}

// answerLocked answers through a buffer head.
func (f *File) answerLocked(r *dax.Request) error {
	if r.Intent == dax.IntentWrite && !f.has[r.Page] {
		b, err := f.Dev.Bytes(int64(r.Page)*PageSize, PageSize)
		if err != nil {
			return err
		}
		clear(b)
		f.has[r.Page] = true
	}
	get := func(iblock uint64, bh *block.BufferHead, create bool) error {
		n := uint64(1)
		for int64(n)*PageSize < bh.Size && f.lie != OnePage && (f.has[iblock+n] == f.has[iblock] || f.lie == BigHole && !f.has[iblock]) {
			n++
		}
		if f.has[iblock] {
			bh.State, bh.BlockNr, bh.Device = block.BHMapped, iblock, f.Dev
		} else if f.lie != StaleSize {
			bh.State = block.BHHoleSize
		}
		if f.lie != StaleSize || f.has[iblock] {
			bh.Size = int64(n) * PageSize
		}
		return nil
	}
	return block.GetBlock(get).Populate(r, PageSize)
}

// ErrStale is what [File.Check] finds.
var ErrStale = errors.New("hostilefs: the index does not say what the file system says (I56)")

// Check compares the index with the file system's truth, while no operation is in flight.
func (f *File) Check() error {
	errs := []error{f.M.CheckInvariants(true)}
	absent := dax.PopulateFunc(func(*dax.Request) error { return syscall.ENOENT })
	for page := range uint64(f.M.Size()+PageSize-1) / PageSize {
		for e, err := range f.M.Entries(nil, page, 1, absent) {
			f.mu.Lock()
			has := f.has[page]
			f.mu.Unlock()
			if err == nil && has != (e.Kind == dax.Direct) {
				errs = append(errs, fmt.Errorf("page %d: %v: %w", page, e.Kind, ErrStale))
			}
		}
	}
	return errors.Join(errs...)
}
