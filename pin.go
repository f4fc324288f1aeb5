package godax

import (
	"sync"
	"syscall"

	"godax/dax"
	"godax/vfs"
)

// Pin holds slices straight into the device. Until Release, whoever would take the
// pages away (truncate, punch) waits, and the file cannot be closed.
type Pin struct {
	f     *File
	off   int64
	n     int64
	write bool
	pin   *dax.Pin

	once sync.Once
}

// Pin pins the n bytes at off, which must lie before the end of the file
// (ErrBeyondEnd). With write the slices may be stored to, and holes get storage.
// Without write no slice may be stored to, and a hole is ErrNotMappable: it has no bytes
// to point to. Unlike a Mapping a pin works on every device.
//
// Do not truncate or punch what you have pinned from the same goroutine: it waits for
// itself. And while another goroutine's truncate waits for the pin, all other calls
// on the file but Pin.Sync wait for that truncate: use the slices, Release, and only then go on.
func (f *File) Pin(off int64, n int, write bool) (*Pin, error) {
	p, err := f.pin(off, n, write)
	if err != nil {
		return nil, f.wrap("pin", err)
	}
	return p, nil
}

func (f *File) pin(off int64, n int, write bool) (*Pin, error) {
	if err := f.h.Hold(vfs.UsePin); err != nil {
		return nil, err
	}
	file, err := f.regular(true, write)
	var flags dax.PinFlags
	if write {
		flags = dax.PinWrite
	}
	if err == nil {
		// Now, since whoever is told may wait for others that wait for the pin.
		f.tellHeld(off, int64(n), write)
		var pin *dax.Pin
		if pin, err = file.Mapping().Pin(background, off, int64(n), flags, file); err == nil {
			f.h.Touched(off, int64(n))
			return &Pin{f: f, off: off, n: int64(n), write: write, pin: pin}, nil
		}
	}
	f.h.Release(vfs.UsePin)
	return nil, err
}

// tellHeld lets other front ends know that bytes can be stored to unseen from now on, or were.
func (f *File) tellHeld(off, n int64, write bool) {
	if write && off >= 0 && n > 0 {
		f.fs.m.TellNode(f.h.Node(), off, n)
	}
}

// regular returns the driver's file if f is one and open for what is wanted: EISDIR,
// EBADF, EROFS.
func (f *File) regular(read, write bool) (vfs.File, error) {
	file := f.h.File()
	switch {
	case file == nil:
		return nil, syscall.EISDIR
	case read && !f.h.Readable(), write && !f.h.Writable():
		return nil, syscall.EBADF
	case write && f.fs.m.ReadOnly():
		return nil, syscall.EROFS
	}
	return file, nil
}

// Slices are the bytes, in order; the pieces end where frames are not contiguous.
func (p *Pin) Slices() [][]byte { return p.pin.Slices() }

// Sync makes stores to the pinned bytes durable, with the metadata needed to find
// them.
func (p *Pin) Sync() error {
	_, err := p.f.h.SyncRange(background, p.off, p.n)
	return p.f.wrap("sync", err)
}

// Release gives the pin back; the slices must not be used any more. Further calls do
// nothing.
func (p *Pin) Release() {
	p.once.Do(func() {
		p.pin.Release()
		p.f.tellHeld(p.off, p.n, p.write)
		p.f.h.Release(vfs.UsePin)
	})
}
