package famfs

import (
	"fmt"
	"math"
	"syscall"

	"godax/internal/famfsfmt"
	"godax/vfs"
)

// Buckets of a device, from each of which a striped file takes one strip (section 5).
const (
	bucketMin = 1 << 30 // bytes
	bucketMax = 64      // number
)

// place chooses the storage of a file, and takes nothing yet: appends are one at a time, and
// space is used once the entry is replayed. Errors: ENOSPC, EINVAL for a stripe that the
// format does not have.
func (f *FS) place(e *famfsfmt.Entry, s vfs.Stripe) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if e.Size > uint64(math.MaxInt64-f.unit) {
		return fmt.Errorf("famfs: %d bytes: %w", e.Size, syscall.EFBIG)
	}
	if s == (vfs.Stripe{}) {
		return f.placeSimple(e)
	}
	chunk := s.Chunk
	if chunk == 0 {
		chunk = max(f.unit, famfsfmt.UnitHuge)
	}
	switch {
	case s.Strips < 1 || s.Strips > famfsfmt.MaxStrips:
		return fmt.Errorf("famfs: %d strips: a file has 1 to %d: %w", s.Strips, famfsfmt.MaxStrips, syscall.EINVAL)
	case chunk < 0 || chunk&(chunk-1) != 0 || chunk%f.unit != 0:
		return fmt.Errorf("famfs: chunks of %d bytes: not a power of two that is a multiple of the allocation unit, %d: %w", chunk, f.unit, syscall.EINVAL)
	case e.Size < uint64(chunk):
		return f.placeSimple(e) // one strip would have all of it
	}
	e.Chunk = uint64(chunk)
	return f.placeStrips(e, s.Strips)
}

// placeSimple finds the first free run that holds the file.
func (f *FS) placeSimple(e *famfsfmt.Entry) error {
	n := roundUp(int64(e.Size), f.unit)
	for i := range f.devices {
		d := &f.devices[i]
		if d.dev == nil {
			continue
		}
		if off, ok := d.space.find(n, f.unit, 0, d.size); ok {
			e.Extents = []famfsfmt.Extent{{Device: uint64(i), Off: uint64(off), Len: uint64(n)}}
			return nil
		}
	}
	return fmt.Errorf("famfs: no free run of %d bytes (free are %d in all): %w", n, f.free, syscall.ENOSPC)
}

// bucket is a part of a device.
type bucket struct {
	device   int
	from, to int64
}

// buckets cuts the devices into equal parts, n or more in all: those of the reference if they
// suffice, else n parts of what can hold data. They come in turn from each device.
func (f *FS) buckets(n int) (all []bucket) {
	devices := 0
	for _, d := range f.devices {
		if d.dev != nil {
			devices++
		}
	}
	least := int64((n + devices - 1) / devices)
	for part := int64(0); ; part++ {
		more := false
		for i, d := range f.devices {
			from, count := int64(0), min(d.size/bucketMin, bucketMax)
			if count < least {
				from, count = d.first, least
			}
			if d.dev == nil || part >= count {
				continue
			}
			size := (d.size - from) / count / f.unit * f.unit
			all = append(all, bucket{i, from + part*size, from + (part+1)*size})
			more = true
		}
		if !more {
			return all
		}
	}
}

// placeStrips takes one strip from each of n buckets, beginning at another one for each file.
// What buckets that are full lack comes from anywhere.
func (f *FS) placeStrips(e *famfsfmt.Entry, n int) error {
	length, ok := famfsfmt.StripLen(e.Size, e.Chunk, uint64(f.unit), uint64(n))
	if !ok {
		return fmt.Errorf("famfs: %d bytes in %d strips: %w", e.Size, n, syscall.EFBIG)
	}
	spaces := make([]space, len(f.devices)) // with the strips chosen so far; add changes no list in place
	for i, d := range f.devices {
		spaces[i] = d.space
	}
	take := func(b bucket) bool {
		off, ok := spaces[b.device].find(int64(length), f.unit, b.from, b.to)
		if ok {
			e.Extents = append(e.Extents, famfsfmt.Extent{Device: uint64(b.device), Off: uint64(off), Len: length})
			spaces[b.device].add([]claim{{span{off, off + int64(length)}, e.Seq}}, func(uint64, claim) {})
		}
		return ok
	}
	all := f.buckets(n)
	for i := 0; i < len(all) && len(e.Extents) < n; i++ {
		take(all[(int(e.Seq%uint64(len(all)))+i)%len(all)])
	}
	for i, d := range f.devices {
		for d.dev != nil && len(e.Extents) < n && take(bucket{i, 0, d.size}) {
		}
	}
	if len(e.Extents) < n {
		return fmt.Errorf("famfs: of %d strips of %d bytes only %d have room: %w", n, length, len(e.Extents), syscall.ENOSPC)
	}
	return nil
}
