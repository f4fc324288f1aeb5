package ext

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"godax/internal/extfmt"
	"godax/pmem"
	"godax/vfs"
)

// What the driver can do with an image that has a feature. Incompatible features are
// judged by extfmt.DecodeSuperblock.
const (
	knownCompat   = extfmt.CompatExtAttr | extfmt.CompatResizeInode | extfmt.CompatDirIndex
	knownROCompat = extfmt.ROCompatSparseSuper | extfmt.ROCompatLargeFile
)

// probe looks at the magic number.
func probe(dev pmem.Device) bool {
	b, err := dev.Bytes(extfmt.SuperOffset, extfmt.SuperSize)
	return err == nil && le.Uint16(b[56:]) == extfmt.Magic
}

// mount opens the file system on dev. Errors: vfs.ErrCorrupt, vfs.ErrUnsupported,
// vfs.ErrNotClean for writing to an image that was not closed properly, ENOSPC for writing to
// one whose tables have no room underneath, those of the device.
func mount(dev pmem.Device, o vfs.MountOptions) (vfs.FileSystem, error) {
	f, err := load(dev, o)
	if err != nil {
		return nil, err
	}
	if f.readOnly {
		return f, nil
	}
	if err := f.beginWriting(); err != nil {
		return nil, err
	}
	return f, nil
}

// load reads the superblock and the descriptors, and decides whether the file system
// can be written. Nothing is changed.
func load(dev pmem.Device, o vfs.MountOptions) (*FS, error) {
	if dev.Size() < extfmt.SuperOffset+extfmt.SuperSize {
		return nil, extfmt.Corrupt("superblock", extfmt.SuperOffset, "", uint64(dev.Size()), "image is too short")
	}
	b, err := dev.Bytes(extfmt.SuperOffset, extfmt.SuperSize)
	if err != nil {
		return nil, err
	}
	sb, err := extfmt.DecodeSuperblock(b, dev.Size())
	if err != nil {
		return nil, err
	}
	f := &FS{dev: dev, sb: sb, now: o.Now, cacheBytes: o.CacheBytes}
	if f.now == nil {
		f.now = time.Now
	}
	switch o.Carrier {
	case "", "iomap":
	case "bh":
		f.useBH = true
	default:
		return nil, fmt.Errorf("ext: carrier %q is neither iomap nor bh", o.Carrier)
	}
	f.st = newStore(dev, int64(sb.BlocksCount)<<sb.BlockShift)
	f.wasClean = sb.State&extfmt.StateValid != 0 && sb.State&extfmt.StateError == 0
	f.roCompat.Store(sb.ROCompat)
	f.compat.Store(sb.Compat)
	asked := o.ReadOnly || dev.ReadOnly()
	if err := f.judge(asked); err != nil {
		return nil, err
	}
	return f, f.loadGroups()
}

// judge decides whether the image is opened for reading only.
func (f *FS) judge(asked bool) error {
	odd := extfmt.CompatNames(f.sb.Compat &^ knownCompat)
	odd = append(odd, extfmt.ROCompatNames(f.sb.ROCompat&^knownROCompat)...)
	switch {
	case len(odd) > 0:
		f.readOnly = true
		f.why = "features that only reading is safe with: " + strings.Join(odd, ", ")
	case !f.wasClean && asked:
		f.readOnly = true
		f.why = "not closed properly, or with errors: run e2fsck -p"
	case asked:
		f.readOnly = true
	case !f.wasClean:
		return fmt.Errorf("ext: state is %#x: run e2fsck -p, or open read-only: %w", f.sb.State, vfs.ErrNotClean)
	}
	return nil
}

// loadGroups reads the group descriptors, and sums up what is free.
func (f *FS) loadGroups() error {
	sb := f.sb
	table := f.blockOff(uint64(sb.FirstDataBlock) + 1)
	b, err := f.st.view(table, int64(sb.Groups)*extfmt.GroupDescSize)
	if err != nil {
		return err
	}
	f.groups = make([]group, sb.Groups)
	for i := range f.groups {
		g := &f.groups[i]
		g.desc = table + int64(i)*extfmt.GroupDescSize
		if g.Group, err = extfmt.DecodeGroup(b[i*extfmt.GroupDescSize:], sb, uint32(i), g.desc); err != nil {
			return err
		}
		g.first = sb.GroupFirst(uint32(i))
		g.blocks = sb.GroupBlocks(uint32(i))
		g.superEnd = g.first + uint64(sb.SuperBlocks(uint32(i)))
		g.free, g.freeInodes, g.dirs = g.FreeBlocks, g.FreeInodes, g.UsedDirs
		f.freeBlocks.Add(int64(g.free))
		f.freeInodes.Add(int64(g.freeInodes))
		f.overhead += uint64(sb.SuperBlocks(uint32(i))) + 2 + uint64(sb.ITableBlocks)
	}
	f.overhead += uint64(sb.FirstDataBlock)
	return nil
}

// beginWriting marks the image as in use, durably, and finishes what its last user
// has left on the orphan list.
func (f *FS) beginWriting() error {
	if err := f.reserveTables(); err != nil {
		return fmt.Errorf("ext: %w", err)
	}
	var seed [4]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	f.generation.Store(le.Uint32(seed[:]))
	now := uint32(f.now().Unix())
	if err := f.putSuper16(extfmt.SuperState, f.sb.State&^extfmt.StateValid); err != nil {
		return err
	}
	if err := f.putSuper32(extfmt.SuperMtime, now); err != nil {
		return err
	}
	if err := f.putSuper16(extfmt.SuperMntCount, f.sb.MntCount+1); err != nil {
		return err
	}
	if err := f.st.flush(); err != nil {
		return err
	}
	return f.processOrphans()
}

// Close writes the counts and, if nothing was found broken, the clean state.
func (f *FS) Close(ctx context.Context) error {
	err := f.close()
	if ferr := f.frames.close(); err == nil {
		err = ferr
	}
	return err
}

func (f *FS) close() error {
	if f.readOnly {
		return nil
	}
	if err := f.putSuper32(extfmt.SuperWtime, uint32(f.now().Unix())); err != nil {
		return err
	}
	if err := f.Sync(context.Background()); err != nil {
		return err
	}
	state := f.sb.State | extfmt.StateValid
	if f.failed.Load() {
		state = extfmt.StateError
	}
	if err := f.putSuper16(extfmt.SuperState, state); err != nil {
		return err
	}
	return f.st.flush()
}

// putSuper16 and putSuper32 store a field of the superblock.
func (f *FS) putSuper16(field int64, v uint16) error {
	f.superMu.Lock()
	defer f.superMu.Unlock()
	return f.st.put16(extfmt.SuperOffset+field, v)
}

// putSuper32 stores a 32-bit field of the superblock.
func (f *FS) putSuper32(field int64, v uint32) error {
	f.superMu.Lock()
	defer f.superMu.Unlock()
	return f.st.put32(extfmt.SuperOffset+field, v)
}

// putCounts stores the superblock's sums, which are kept in memory in between: a check
// of the image adds them up anew.
func (f *FS) putCounts() error {
	if err := f.putSuper32(extfmt.SuperFreeBlocks, uint32(max(f.freeBlocks.Load(), 0))); err != nil {
		return err
	}
	return f.putSuper32(extfmt.SuperFreeInodes, uint32(max(f.freeInodes.Load(), 0)))
}

// setFeature sets a bit of a feature word; word is the copy in memory. Revision 0 has no
// features: ENOTSUP.
func (f *FS) setFeature(field int64, word *atomic.Uint32, bit uint32) error {
	if word.Load()&bit != 0 {
		return nil
	}
	if f.sb.Rev == 0 {
		return fmt.Errorf("ext: revision 0 has no features: %w", syscall.ENOTSUP)
	}
	return f.putSuper32(field, word.Or(bit)|bit)
}

// setLargeFile sets the large_file feature, before a file grows past 2 GiB.
func (f *FS) setLargeFile() error {
	return f.setFeature(extfmt.SuperROCompat, &f.roCompat, extfmt.ROCompatLargeFile)
}

// setExtAttr sets the ext_attr feature, before the first attribute is stored.
func (f *FS) setExtAttr() error {
	return f.setFeature(extfmt.SuperCompat, &f.compat, extfmt.CompatExtAttr)
}
