package dax_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/hook"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// disk is a file system of one file that survives crashes: its metadata, which block is
// where and how large the file is, goes to the first device in one step (commit), to the
// older of two slots. Blocks are zeroed when they are allocated, and what a commit frees is
// given out only after it. It is the instrument of the crash tests.
type disk struct {
	t    testing.TB
	m    *dax.Mapping
	devs []*psim.Device

	inode   sync.RWMutex // the inode lock
	commits sync.Mutex   // one commit at a time

	mu      sync.Mutex // guards what follows
	blocks  map[uint64]place
	durable map[uint64]place // as the metadata on the medium says
	free    map[place]bool
	leaving []place // freed, but the metadata on the medium leads there
	size    int64   // on the medium
	gen     uint64
	zeroed  bool // blocks were zeroed since the last commit
}

// place is a block: a page of one of the devices.
type place struct {
	dev  int
	page uint64
}

const (
	diskPages = 64 // of each device
	dataPage  = 16 // the first that is no metadata
	oldByte   = 0xee
)

// newDisk makes an empty file on n devices whose blocks are full of old bytes.
func newDisk(t testing.TB, n int, c dax.Config) *disk {
	t.Helper()
	images := make([][]byte, n)
	for i := range images {
		images[i] = make([]byte, diskPages*pageSize)
		for j := dataPage * pageSize; j < len(images[i]); j++ {
			images[i][j] = oldByte
		}
	}
	return diskOf(t, images, c)
}

// diskOf mounts what a crash left.
func diskOf(t testing.TB, images [][]byte, c dax.Config) *disk {
	t.Helper()
	found, err := recovered(images)
	if err != nil {
		t.Fatal(err)
	}
	if c.PMDOrder == 0 {
		c.PMDOrder = pmdOrder
	}
	d := &disk{t: t, m: dax.NewMapping(c), blocks: found.blocks, durable: maps.Clone(found.blocks),
		free: map[place]bool{}, size: found.size, gen: found.gen}
	for i, image := range images {
		dev, err := psim.FromImage(image)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		d.devs = append(d.devs, dev)
		for p := uint64(dataPage); p < diskPages; p++ {
			d.free[place{i, p}] = true
		}
	}
	for _, b := range d.blocks {
		delete(d.free, b)
	}
	d.m.SetSize(found.size)
	return d
}

// found is the file in an image.
type found struct {
	gen    uint64
	size   int64
	blocks map[uint64]place
	images [][]byte
}

// recovered reads the newest slot that is whole, and checks what it says.
func recovered(images [][]byte) (*found, error) {
	best := &found{blocks: map[uint64]place{}, images: images}
	for slot := range 2 {
		b := images[0][slot*pageSize:][:pageSize]
		le := binary.LittleEndian
		n := le.Uint64(b[24:])
		if gen := le.Uint64(b[8:]); gen <= best.gen || n > diskPages*uint64(len(images)) || le.Uint64(b) != sum(b, n) {
			continue
		} else {
			best = &found{gen: gen, size: int64(le.Uint64(b[16:])), blocks: map[uint64]place{}, images: images}
		}
		for i := range n {
			best.blocks[le.Uint64(b[32+16*i:])] = place{int(b[47+16*i]), le.Uint64(b[40+16*i:]) & (1<<56 - 1)}
		}
	}
	used := map[place]bool{}
	for p, b := range best.blocks {
		if used[b] || b.dev >= len(images) || b.page < dataPage || b.page >= diskPages {
			return nil, fmt.Errorf("page %d: block %v of the image is used twice, or is none", p, b)
		}
		used[b] = true
	}
	return best, nil
}

func sum(b []byte, n uint64) uint64 {
	return uint64(crc32.ChecksumIEEE(b[8:32+16*n])) | 1<<40
}

// bytes are those of the file.
func (f *found) bytes() []byte {
	b := make([]byte, (f.size+pageSize-1)/pageSize*pageSize)
	for p, at := range f.blocks {
		if int(p)*pageSize < len(b) {
			copy(b[p*pageSize:][:pageSize], f.images[at.dev][at.page*pageSize:])
		}
	}
	return b[:f.size]
}

// commit makes the metadata durable as it is now.
func (d *disk) commit() error {
	d.commits.Lock()
	defer d.commits.Unlock()
	d.mu.Lock()
	blocks, size, leaving := maps.Clone(d.blocks), d.m.Size(), d.leaving
	zeroed := d.zeroed
	if size == d.size && maps.Equal(blocks, d.durable) {
		d.mu.Unlock()
		return nil
	}
	d.leaving, d.zeroed = nil, false
	d.mu.Unlock()
	for _, dev := range d.devs {
		if !zeroed {
			break
		}
		if err := dev.Barrier(); err != nil {
			return err
		}
	}
	b := make([]byte, 32, pageSize)
	le := binary.LittleEndian
	le.PutUint64(b[8:], d.gen+1)
	le.PutUint64(b[16:], uint64(size))
	le.PutUint64(b[24:], uint64(len(blocks)))
	for _, p := range slices.Sorted(maps.Keys(blocks)) {
		b = le.AppendUint64(b, p)
		b = le.AppendUint64(b, blocks[p].page|uint64(blocks[p].dev)<<56)
	}
	le.PutUint64(b, sum(b, uint64(len(blocks))))
	off := int64(d.gen%2) * pageSize
	slot, err := d.devs[0].Bytes(off, int64(len(b)))
	if err != nil {
		return err
	}
	copy(slot, b)
	if err := errors.Join(d.devs[0].Flush(off, int64(len(b))), d.devs[0].Barrier()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gen, d.size, d.durable = d.gen+1, size, blocks
	for _, at := range leaving {
		d.free[at] = true
	}
	return nil
}

// tryCommit commits if it is not the allocation itself that is at a step.
func (d *disk) tryCommit() error {
	if !d.mu.TryLock() {
		return nil
	}
	d.mu.Unlock()
	return d.commit()
}

// fsync is the file system's: data, barrier, metadata.
func (d *disk) fsync() error {
	if _, err := d.m.Writeback(nil, 0, 1<<62); err != nil {
		return err
	}
	return d.commit()
}

func (d *disk) allocLocked(page uint64) error {
	if _, ok := d.blocks[page]; ok {
		return nil
	}
	at := place{int(page/pmdPages) % len(d.devs), dataPage + page}
	if !d.free[at] {
		ok := false
		for p := uint64(dataPage); p < diskPages && !ok; p++ {
			for i := range d.devs {
				if at = (place{i, p}); d.free[at] {
					ok = true
					break
				}
			}
		}
		if !ok {
			return syscall.ENOSPC
		}
	}
	off := int64(at.page) * pageSize
	b, err := d.devs[at.dev].Bytes(off, pageSize)
	if err != nil {
		return err
	}
	clear(b)
	if err := d.devs[at.dev].Flush(off, pageSize); err != nil {
		return err
	}
	delete(d.free, at)
	d.blocks[page], d.zeroed = at, true
	return nil
}

// PopulatePFNs answers with the runs that are.
func (d *disk) PopulatePFNs(r *dax.Request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Intent == dax.IntentWrite {
		if err := d.allocLocked(r.Page); err != nil {
			return err
		}
		for p := r.From(); p < r.End() && int64(p)*pageSize < r.Off+r.Len; p++ {
			if d.allocLocked(p) != nil {
				break
			}
		}
	}
	at, mapped := d.blocks[r.Page]
	alike := func(p uint64) bool {
		b, ok := d.blocks[p]
		return ok == mapped && (!ok || b.dev == at.dev && b.page-at.page == p-r.Page)
	}
	first, end := r.Page, r.Page+1
	for first > r.First() && alike(first-1) {
		first--
	}
	for end < r.End() && alike(end) {
		end++
	}
	for p := first; p < end && mapped && r.Sync; p++ {
		if d.blocks[p] != d.durable[p] || d.m.Size() != d.size {
			r.MetadataPending()
		}
	}
	if !mapped {
		return r.Hole(first, end-first)
	}
	run, err := d.devs[at.dev].DirectAccess(at.page, 1, 0)
	if err != nil {
		return err
	}
	return r.Insert(first, run.PFN-pmem.PFN(r.Page-first), end-first, dax.Writable)
}

// Fault is step 1. A fault that finds no space gets what a commit gives back (T32).
func (d *disk) Fault(ft *vm.Fault) error {
	err := d.m.Fault(ft, d)
	if errors.Is(err, syscall.ENOSPC) {
		if err := d.commit(); err != nil {
			return err
		}
		err = d.m.Fault(ft, d)
	}
	if errors.Is(err, dax.ErrMetadataPending) {
		if err := d.commit(); err != nil {
			return err
		}
		return d.m.FinishSync(ft)
	}
	return err
}

// drop frees the blocks of the pages [first, end).
func (d *disk) drop(first, end uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, at := range d.blocks {
		if p < first || p >= end {
			continue
		}
		delete(d.blocks, p)
		if d.durable[p] == at {
			d.leaving = append(d.leaving, at)
		} else {
			d.free[at] = true
		}
	}
	return nil
}

func (d *disk) write(b []byte, off int64) error {
	d.inode.Lock()
	defer d.inode.Unlock()
	_, err := d.m.WriteAt(nil, b, off, d)
	return err
}

func (d *disk) truncate(ctx context.Context, size int64) error {
	d.inode.Lock()
	defer d.inode.Unlock()
	return d.m.Truncate(ctx, size, d, func() error { return d.drop(uint64(size+pageSize-1)/pageSize, dax.ToEnd) })
}

func (d *disk) punch(off, n int64) error {
	d.inode.Lock()
	defer d.inode.Unlock()
	return d.m.PunchHole(nil, off, n, d, func() error {
		end := uint64(off+n) / pageSize
		if off+n >= d.m.Size() {
			end = uint64(d.m.Size()+pageSize-1) / pageSize
		}
		return d.drop(uint64(off+pageSize-1)/pageSize, end)
	})
}

func (d *disk) mapView(s *sim.Space, page, n uint64, flags vm.Flags) *sim.View {
	d.t.Helper()
	v, err := s.Map(d, page, n, flags)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.m.Attach(nil, v, d); err != nil {
		d.t.Fatal(err)
	}
	return v
}

func (d *disk) check() {
	d.t.Helper()
	if err := d.m.CheckInvariants(true); err != nil {
		d.t.Fatal(err)
	}
}

// latest is a source of random numbers with which Crash chooses the newest contents.
type latest struct{}

func (latest) Uint64() uint64 { return ^uint64(0) }

// crashed calls check for the file in many images that a crash now could leave: the
// unluckiest, the luckiest, and some between.
func (d *disk) crashed(samples int, check func(f *found)) {
	d.t.Helper()
	for i := range samples + 2 {
		images := make([][]byte, len(d.devs))
		for j, dev := range d.devs {
			switch i {
			case 0:
				images[j] = dev.Durable()
			case 1:
				images[j] = dev.Crash(rand.New(latest{}))
			default:
				images[j] = dev.Crash(rand.New(rand.NewPCG(uint64(i), uint64(j))))
			}
		}
		f, err := recovered(images)
		if err != nil {
			d.t.Error(err)
			return
		}
		check(f)
	}
}

// atEveryStep runs op, and before every call of a device and at every pause point step. It
// returns how many there were.
func (d *disk) atEveryStep(op func(), step func()) (n int) {
	d.t.Helper()
	within := false
	at := func() {
		if !within { // step may call devices itself
			within = true
			defer func() { within = false }()
			n++
			step()
		}
	}
	for _, dev := range d.devs {
		dev.Hook(func(psim.Call) { at() })
		defer dev.Hook(nil)
	}
	defer hook.Set(hook.Set(&hook.Hooks{At: func(hook.Point, any, uint64) { at() }}))
	op()
	at()
	return n
}
