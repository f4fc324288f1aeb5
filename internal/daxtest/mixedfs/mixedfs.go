// Package mixedfs is a read-only file system without blocks, for tests of the DAX core: an
// image in which some pages of a file lie as they are, aligned, others aligned to nothing,
// and others compressed (Linux: AXFS, cramfs). The first kind is mapped; the others are
// copied into cached pages, or refused where there is no room for such.
package mixedfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"godax/dax"
	"godax/pmem"
	"godax/vm"
	"godax/vm/sim"
)

// PageSize is the size of a page.
const PageSize = pmem.PageSize

// Kind is how a page is stored.
type Kind uint8

const (
	Hole Kind = iota // not at all
	Plain
	Unaligned
	Compressed
)

// place is where a page's bytes are.
type place struct {
	kind Kind
	off  int64 // on the device
	n    int64 // bytes stored
}

// File is a file.
type File struct {
	M      *dax.Mapping
	dev    pmem.Device
	places []place

	unpacked atomic.Uint64
}

var (
	_ dax.Populator = (*File)(nil)
	_ vm.Handler    = (*File)(nil)
)

// New makes an image of the bytes on the device: kind says how each page is to be stored.
// A hole's bytes must be zeros. With c.Frames nil only plain pages can be accessed.
func New(dev pmem.Device, data []byte, kind func(page uint64) Kind, c dax.Config) (*File, error) {
	c.ReadOnly = true
	f := &File{M: dax.NewMapping(c), dev: dev}
	f.M.SetSize(int64(len(data)))
	n := uint64(len(data)+PageSize-1) / PageSize
	off := int64(n) * PageSize // plain pages lie where they lie in the file, the rest behind
	for p := range n {
		b := make([]byte, PageSize)
		copy(b, data[p*PageSize:])
		pl := place{kind: kind(p), off: int64(p) * PageSize, n: PageSize}
		switch pl.kind {
		case Hole:
			f.places = append(f.places, place{})
			continue
		case Unaligned:
			pl.off = off + 24
		case Compressed:
			pl.off, b = off, pack(b)
		}
		pl.n = int64(len(b))
		if pl.kind != Plain {
			off = pl.off + pl.n
		}
		to, err := dev.Bytes(pl.off, pl.n)
		if err != nil {
			return nil, fmt.Errorf("mixedfs: page %d: %w", p, err)
		}
		copy(to, b)
		f.places = append(f.places, pl)
	}
	return f, nil
}

// pack makes runs of equal bytes: a count, and the byte.
func pack(b []byte) (out []byte) {
	for len(b) > 0 {
		n := 1
		for n < len(b) && b[n] == b[0] {
			n++
		}
		out = append(binary.LittleEndian.AppendUint16(out, uint16(n)), b[0])
		b = b[n:]
	}
	return out
}

func unpack(to, b []byte) error {
	for len(b) >= 3 {
		n := int(binary.LittleEndian.Uint16(b))
		if n > len(to) {
			break
		}
		for i := range n {
			to[i] = b[2]
		}
		to, b = to[n:], b[3:]
	}
	if len(to) != 0 || len(b) != 0 {
		return fmt.Errorf("mixedfs: %d bytes are missing, %d left", len(to), len(b))
	}
	return nil
}

// PopulatePFNs implements [dax.Populator].
func (f *File) PopulatePFNs(r *dax.Request) error {
	first, end := r.Page, r.Page+1
	kind := f.places[r.Page].kind
	for first > r.First() && f.places[first-1].kind == kind {
		first--
	}
	for end < min(r.End(), uint64(len(f.places))) && f.places[end].kind == kind {
		end++
	}
	switch kind {
	case Hole:
		return r.Hole(first, end-first)
	case Plain:
		return r.Insert(first, pmem.MakePFN(f.dev.ID(), first), end-first, 0)
	}
	return r.InsertCached(r.Page, func(b []byte) error { return f.fill(f.places[r.Page], b) })
}

// fill puts the bytes of a page that cannot be mapped into b.
func (f *File) fill(pl place, b []byte) error {
	from, err := f.dev.Bytes(pl.off, pl.n)
	if err != nil {
		return err
	}
	f.unpacked.Add(1)
	if pl.kind == Compressed {
		return unpack(b, from)
	}
	copy(b, from)
	return nil
}

// Unpacked is how often a page was copied that cannot be mapped.
func (f *File) Unpacked() uint64 { return f.unpacked.Load() }

// Read is read(2).
func (f *File) Read(ctx context.Context, b []byte, off int64) (int, error) {
	n, err := f.M.ReadAt(ctx, b, off, f)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Fault implements [vm.Handler].
func (f *File) Fault(ft *vm.Fault) error { return f.M.Fault(ft, f) }

// Map makes a view of the file.
func (f *File) Map(ctx context.Context, s *sim.Space, page, n uint64, flags vm.Flags) (*sim.View, error) {
	v, err := s.Map(f, page, n, flags)
	if err != nil {
		return nil, err
	}
	return v, f.M.Attach(ctx, v, f)
}
