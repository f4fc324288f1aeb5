package ext

import (
	"syscall"

	"godax/internal/extfmt"
	"godax/vfs"
)

var _ vfs.Exchanger = (*dir)(nil)

// Exchange makes name lead to other and newName in newDir to child. The two entries change over
// in stores back to back, as when a directory moves (store.switchOver): between them
// one inode has two names and the other none. Directories that change places leave
// their parents' link counts too high, if anything.
func (d *dir) Exchange(name string, child vfs.Inode, newDir vfs.Dir, newName string, other vfs.Inode) error {
	in, r, err := d.toRemove(name, child)
	if err != nil {
		return err
	}
	to, ok := newDir.(*dir)
	if !ok || to.fs != d.fs {
		return syscall.EXDEV
	}
	oin, or, err := to.toRemove(newName, other)
	if err != nil {
		return err
	}
	switch {
	case in.ino == oin.ino:
		return nil
	case to.inode == in || d.inode == oin:
		return syscall.EINVAL
	}
	x := exchange{d, to, in, oin, r, or}
	if err := x.run(); err != nil {
		return err
	}
	for _, i := range []*inode{in, oin} {
		if err := i.touch(stampCtime); err != nil {
			return err
		}
	}
	if err := d.changed(); err != nil || to == d {
		return err
	}
	return to.changed()
}

// exchange is two entries that are about to lead to each other's inode.
type exchange struct {
	a, b       *dir
	ain, bin   *inode
	aRec, bRec record
}

func (x *exchange) run() error {
	st := x.a.fs.st
	ops := append(make([]put, 0, 8), put{x.aRec.dev, 4, x.bin.ino}, put{x.bRec.dev, 4, x.ain.ino})
	gainsB := x.a != x.b && x.ain.isDir() && !x.bin.isDir()
	gainsA := x.a != x.b && x.bin.isDir() && !x.ain.isDir()
	for _, gain := range []struct {
		d  *dir
		ok bool
	}{{x.a, gainsA}, {x.b, gainsB}} {
		if gain.ok && gain.d.links() >= extfmt.MaxLinks {
			return syscall.EMLINK
		}
	}
	for _, move := range []struct {
		in *inode
		to *dir
	}{{x.ain, x.b}, {x.bin, x.a}} {
		if x.a == x.b || !move.in.isDir() {
			continue
		}
		child, err := newDir(move.in)
		if err != nil {
			return err
		}
		e, err := child.(*dir).dotdot()
		if err != nil {
			return err
		}
		ops = append(ops, put{e.dev, 4, move.to.ino})
	}
	// While the types differ each entry has one that fits both inodes.
	retype := x.aRec.Type != x.bRec.Type
	if retype {
		if err := x.setTypes(extfmt.FTUnknown, extfmt.FTUnknown); err != nil {
			return err
		}
	}
	switch {
	case gainsA:
		if err := x.a.setLinks(x.a.links() + 1); err != nil {
			return err
		}
	case gainsB:
		if err := x.b.setLinks(x.b.links() + 1); err != nil {
			return err
		}
	}
	if err := st.switchOver(ops...); err != nil {
		return err
	}
	if retype {
		if err := x.setTypes(x.bRec.Type, x.aRec.Type); err != nil {
			return err
		}
	}
	switch {
	case gainsA:
		return x.b.lostChild()
	case gainsB:
		return x.a.lostChild()
	}
	return nil
}

// setTypes stores the types of the two entries.
func (x *exchange) setTypes(a, b uint8) error {
	for _, e := range []struct {
		r record
		t uint8
	}{{x.aRec, a}, {x.bRec, b}} {
		word := load32(e.r.blk[e.r.Off+4:]) & 0x00ffffff
		if err := x.a.fs.st.put32(e.r.dev+4, word|uint32(e.t)<<24); err != nil {
			return err
		}
	}
	return nil
}
