package toyfs_test

import (
	"context"
	"io/fs"
	"slices"
	"syscall"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

const slotPages = 512 // every file has room for 2 MiB of its own on the device

type FS struct {
	dev    pmem.Device
	inodes []*Inode // by number; 0 is the directory, whose lock guards the list
}

type Inode struct {
	vfs.Plain     // reading, writing and mapping, by way of PopulatePFNs
	vfs.NoChanges // nothing can be changed but what is below
	fs            *FS
	ino           uint64
	mode          fs.FileMode
	name          string
	slot          pmem.Run // where the file's bytes are
}

var Driver = vfs.Driver{Name: "toy", Probe: func(pmem.Device) bool { return true }, Mount: mount}

func mount(dev pmem.Device, _ vfs.MountOptions) (vfs.FileSystem, error) {
	f := &FS{dev: dev}
	f.add("", fs.ModeDir|0o755, pmem.Run{})
	return f, nil
}

func (f *FS) add(name string, mode fs.FileMode, slot pmem.Run) *Inode {
	i := &Inode{fs: f, ino: uint64(len(f.inodes)), mode: mode, name: name, slot: slot}
	i.Plain = vfs.Plain{Index: dax.NewMapping(dax.Config{}), Frames: i}
	f.inodes = append(f.inodes, i)
	return i
}

func (f *FS) Root() uint64                        { return 0 }
func (f *FS) Inode(ino uint64) (vfs.Inode, error) { return f.inodes[ino], nil }
func (f *FS) Statfs() vfs.Statfs                  { return vfs.Statfs{BlockSize: pmem.PageSize} }
func (f *FS) Describe() vfs.Description           { return vfs.Description{Type: "toy"} }
func (f *FS) Sync(context.Context) error          { return nil }
func (f *FS) Close(context.Context) error         { return nil }

func (i *Inode) Parent() (uint64, error)     { return 0, nil }
func (i *Inode) Evict(context.Context) error { return nil } // all stays in memory
func (i *Inode) Attr() vfs.Attr {
	return vfs.Attr{Ino: i.ino, Mode: i.mode, Nlink: 1, Size: i.Index.Size()}
}

// PopulatePFNs says which frames hold the pages of the file from r.Page on.
func (i *Inode) PopulatePFNs(r *dax.Request) error {
	if r.Page >= i.slot.Pages() {
		return syscall.EFBIG
	}
	return r.Insert(r.Page, i.slot.PFN+pmem.PFN(r.Page), min(r.N, i.slot.Pages()-r.Page), dax.Writable)
}

func (i *Inode) Lookup(name string) (uint64, error) {
	n := slices.IndexFunc(i.fs.inodes, func(f *Inode) bool { return f.name == name })
	if n < 0 {
		return 0, fs.ErrNotExist
	}
	return uint64(n), nil
}

func (i *Inode) ReadDir(pos uint64, yield func(vfs.Dirent) bool) error {
	for _, f := range i.fs.inodes[1+pos:] {
		if !yield(vfs.Dirent{Name: f.name, Ino: f.ino, Type: f.mode.Type(), Off: f.ino}) {
			break
		}
	}
	return nil
}

func (i *Inode) Create(name string, n vfs.NewInode) (vfs.Inode, error) {
	if _, err := i.Lookup(name); err == nil {
		return nil, fs.ErrExist
	}
	slot, err := i.fs.dev.DirectAccess(uint64(len(i.fs.inodes)-1)*slotPages, slotPages, pmem.Normal)
	if err != nil || !n.Mode.IsRegular() {
		return nil, syscall.ENOSPC
	}
	return i.fs.add(name, n.Mode, slot), nil
}
