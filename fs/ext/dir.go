package ext

import (
	"fmt"
	"io/fs"

	"godax/internal/extfmt"
	"godax/vfs"
)

// dir is a directory: a file of blocks, each a chain of records (extfmt.Dirent).
// Positions are byte offsets in that file. The records of an htree's index blocks are
// unused ones that span the block, so all directories read alike, as a list.
//
// The order of stores is what a killed writer leaves behind; e2fsck -p repairs without
// a question: names of inodes with no links (it drops them), link counts that
// do not match, unused records of any kind, a file type of 0. It stops at inodes with
// links and no name, directories with two names, wrong file types, and at records
// that do not chain. So:
//
//   - a record is written where no chain leads yet, and published by one store;
//   - an inode gets its links after its first name, and loses them before its last;
//   - what no order of single stores can do is a switch-over (store.switchOver).
//
// Locks: vfs's lock of the directory, shared for Lookup, ReadDir and Parent, exclusive for
// the rest.
type dir struct {
	*inode
	names nameIndex
}

var (
	_ vfs.Dir    = (*dir)(nil)
	_ vfs.Xattrs = (*dir)(nil)
)

// newDir makes a directory of an inode. Errors: vfs.ErrCorrupt for a size that no
// directory has.
func newDir(in *inode) (vfs.Inode, error) {
	size, bs := in.size(), in.fs.blockSize()
	switch {
	case size <= 0:
		return nil, in.corrupt("i_size", uint64(size), "directory without a block")
	case size%bs != 0:
		return nil, in.corrupt("i_size", uint64(size), "directory size is not a multiple of the block size")
	case uint64(size/bs) > in.fs.sb.BlocksCount:
		return nil, in.corrupt("i_size", uint64(size), "directory larger than the file system")
	}
	return &dir{inode: in}, nil
}

// nblocks is the number of blocks of the directory.
func (d *dir) nblocks() int64 { return d.size() / d.fs.blockSize() }

// format is what decoding records depends on.
func (d *dir) format() extfmt.DirFormat {
	return extfmt.DirFormat{
		FileType: d.fs.sb.Incompat&extfmt.IncompatFiletype != 0,
		Inodes:   d.fs.sb.InodesCount,
	}
}

// fileType is the type that entries for a mode have in this file system.
func (d *dir) fileType(mode fs.FileMode) uint8 {
	if d.fs.sb.Incompat&extfmt.IncompatFiletype == 0 {
		return extfmt.FTUnknown
	}
	return extfmt.FileType(mode)
}

// block returns the bytes of block i of the directory and their place on the device.
func (d *dir) block(i int64) (b []byte, off int64, err error) {
	d.mu.RLock()
	r, err := d.bmap.lookup(uint64(i), 1)
	d.mu.RUnlock()
	if err != nil {
		return nil, 0, err
	}
	if r.pblk == 0 {
		return nil, 0, d.corrupt("i_block", uint64(i), "directory with a hole")
	}
	off = d.fs.blockOff(r.pblk)
	b, err = d.fs.st.view(off, d.fs.blockSize()) // lookup has checked the block's number
	return b, off, err
}

// record is a record of the directory and where it is.
type record struct {
	extfmt.Dirent       // Off counts from the block's start
	pos           int64 // in the directory
	dev           int64 // on the device
	blk           []byte
}

// recordAt decodes the record at a position that is known to be a record's start.
func (d *dir) recordAt(pos int64) (record, error) {
	bs := d.fs.blockSize()
	b, off, err := d.block(pos / bs)
	if err != nil {
		return record{}, err
	}
	e, err := d.format().At(b, int(pos%bs))
	if err != nil {
		return record{}, d.damaged(err)
	}
	return record{Dirent: e, pos: pos, dev: off + pos%bs, blk: b}, nil
}

// damaged adds to an error about a block which directory it is.
func (d *dir) damaged(err error) error { return fmt.Errorf("directory %s: %w", d.inode.name(), err) }

// isDots reports whether a record is for "." or "..".
func isDots(name []byte) bool {
	return len(name) == 1 && name[0] == '.' || len(name) == 2 && name[0] == '.' && name[1] == '.'
}

// scan calls yield for the used records of block i, "." and ".." too, until it
// returns false.
func (d *dir) scan(i int64, yield func(record) bool) error {
	b, off, err := d.block(i)
	if err != nil {
		return err
	}
	format, base := d.format(), i*d.fs.blockSize()
	for at := 0; at < len(b); {
		e, err := format.At(b, at)
		if err != nil {
			return d.damaged(err)
		}
		if !yield(record{Dirent: e, pos: base + int64(at), dev: off + int64(at), blk: b}) {
			return nil
		}
		at += e.RecLen
	}
	return nil
}

// Lookup returns the inode number behind name.
func (d *dir) Lookup(name string) (uint64, error) {
	r, err := d.find(name)
	if err != nil {
		return 0, err
	}
	return uint64(r.Ino), nil
}

// ReadDir calls yield for the entries from position pos on. A position stays good
// while entries come and go: names that stay are seen once, those that come or go
// meanwhile are seen or not. For that, records never move, and reading from the
// middle of a block finds the first record at or behind pos from the block's start.
func (d *dir) ReadDir(pos uint64, yield func(vfs.Dirent) bool) error {
	bs := d.fs.blockSize()
	if pos >= uint64(d.size()) {
		return nil
	}
	goOn := true
	for i := int64(pos) / bs; goOn && i < d.nblocks(); i++ {
		err := d.scan(i, func(r record) bool {
			if r.Ino == 0 || r.pos < int64(pos) || isDots(r.Name) {
				return true
			}
			goOn = yield(vfs.Dirent{
				Name: string(r.Name),
				Ino:  uint64(r.Ino),
				Type: extfmt.TypeMode(r.Type),
				Off:  uint64(r.pos) + uint64(r.RecLen),
			})
			return goOn
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Parent returns the inode number of "..".
func (d *dir) Parent() (uint64, error) {
	r, err := d.dotdot()
	if err != nil {
		return 0, err
	}
	return uint64(r.Ino), nil
}

// dotdot returns the record of "..", which is the second of the directory.
func (d *dir) dotdot() (record, error) {
	dot, err := d.recordAt(0)
	if err != nil {
		return record{}, err
	}
	if dot.Ino != d.ino || string(dot.Name) != "." {
		return record{}, d.corrupt("", uint64(dot.Ino), `first entry is not "." for itself`)
	}
	if int64(dot.RecLen) >= d.fs.blockSize() {
		return record{}, d.corrupt("rec_len", uint64(dot.RecLen), `no ".." behind "."`)
	}
	r, err := d.recordAt(int64(dot.RecLen))
	if err != nil {
		return record{}, err
	}
	if r.Ino == 0 || string(r.Name) != ".." {
		return record{}, d.corrupt("", uint64(r.Ino), `second entry is not ".."`)
	}
	return r, nil
}

// empty reports whether the directory has no entries but "." and "..".
func (d *dir) empty() (bool, error) {
	none := true
	for i := int64(0); none && i < d.nblocks(); i++ {
		err := d.scan(i, func(r record) bool {
			none = r.Ino == 0 || isDots(r.Name)
			return none
		})
		if err != nil {
			return false, err
		}
	}
	return none, nil
}
