package ext

import (
	"fmt"
	"syscall"

	"godax/internal/extfmt"
)

// slot is a place for a new record: inside the free space of another one.
type slot struct {
	host record
	need int // rec_len that the new record needs at least
}

// maxDirBlocks bounds a directory's size to what i_size_lo holds.
func (f *FS) maxDirBlocks() int64 { return 1<<32/f.blockSize() - 1 }

// makeRoom finds or makes a place for a name that find has just not found. It may
// add a block to the directory, and may turn an htree into a list. ENOSPC.
func (d *dir) makeRoom(name string) (slot, error) {
	need := extfmt.DirentLen(len(name))
	if d.flags()&extfmt.InodeFlagIndex != 0 {
		if i, ok := d.htreeLeaf(name); ok && d.names.hasRoom(i, need) {
			return d.slotIn(i, need)
		}
		// No room in the one leaf that may have the name. Without the flag the index
		// blocks are blocks of unused records.
		if err := d.setFlags(d.flags() &^ extfmt.InodeFlagIndex); err != nil {
			return slot{}, err
		}
	}
	i, ok := d.names.blockWithRoom(need)
	if !ok {
		var err error
		if i, err = d.addBlock(); err != nil {
			return slot{}, err
		}
	}
	return d.slotIn(i, need)
}

// slotIn returns the place in block i for a record of need bytes: in the first record with
// that much free space.
func (d *dir) slotIn(i int64, need int) (slot, error) {
	b, off, err := d.block(i)
	if err != nil {
		return slot{}, err
	}
	format := d.format()
	for at := 0; at < len(b); {
		e, err := format.At(b, at)
		if err != nil {
			return slot{}, d.damaged(err)
		}
		if e.Free() >= need {
			host := record{Dirent: e, pos: i*d.fs.blockSize() + int64(at), dev: off + int64(at), blk: b}
			return slot{host, need}, nil
		}
		at += e.RecLen
	}
	return slot{}, d.corrupt("", uint64(i), "directory block changed under the driver")
}

// addBlock appends a block with one unused record and returns its number.
func (d *dir) addBlock() (int64, error) {
	n, f := d.nblocks(), d.fs
	if n >= f.maxDirBlocks() {
		return 0, syscall.ENOSPC
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := d.bmap.lookup(uint64(n), 1)
	if err != nil {
		return 0, err
	}
	if r.pblk != 0 {
		return 0, d.corrupt("i_block", r.pblk, "block beyond the end of a directory")
	}
	pblk, err := d.allocMeta()
	if err != nil {
		return 0, err
	}
	// The record is there before a pointer is, and the pointer before the size:
	// e2fsck makes the size fit the blocks.
	err = f.st.put32(f.blockOff(pblk)+4, extfmt.Word(int(f.blockSize()), 0, 0))
	if err == nil {
		err = d.bmap.attach(uint64(n), pblk)
	}
	if err != nil {
		_ = f.freeRun(d.inode.name(), pblk, 1) // the first error counts
		return 0, err
	}
	if err := d.setSize((n + 1) * f.blockSize()); err != nil {
		return 0, err
	}
	d.names.mu.Lock()
	defer d.names.mu.Unlock()
	d.names.setRoomLocked(n, int(f.blockSize()))
	if d.names.known == n && !d.names.full {
		d.names.known = n + 1
	}
	return n, nil
}

// htreeLeaf returns the block of an htree that a name belongs in; ok is false if the tree
// cannot be used.
func (d *dir) htreeLeaf(name string) (leaf int64, ok bool) {
	f := d.fs
	if f.sb.Compat&extfmt.CompatDirIndex == 0 {
		return 0, false
	}
	b, _, err := d.block(0)
	if err != nil {
		return 0, false
	}
	root, err := extfmt.ParseHtreeRoot(b)
	if err != nil {
		return 0, false
	}
	h, ok := extfmt.NewNameHash(root.HashVersion, f.sb.HashSeed, f.sb.Flags)
	if !ok {
		return 0, false
	}
	hash := h.Hash(name)
	for level := 0; ; level++ {
		child, err := extfmt.HtreeChild(b, level == 0, hash)
		if err != nil || child == 0 || int64(child) >= d.nblocks() {
			return 0, false
		}
		if level == int(root.Levels) {
			return int64(child), true
		}
		if b, _, err = d.block(int64(child)); err != nil {
			return 0, false
		}
	}
}

// staged is a record that is written and waits for the store that publishes it.
type staged struct {
	publish put
	name    string
	pos     int64 // in the directory
}

// stage writes a record into its place, where no chain leads to it yet.
func (d *dir) stage(s slot, name string, ino uint32, fileType uint8) (staged, error) {
	st, h := d.fs.st, &s.host
	if h.Ino == 0 {
		// The unused record becomes this one; it stays unused until its inode number is
		// stored.
		buf := make([]byte, s.need)
		extfmt.PutDirent(buf, ino, h.RecLen, name, fileType)
		if err := st.write(h.dev+extfmt.DirentHeader, buf[extfmt.DirentHeader:]); err != nil {
			return staged{}, err
		}
		if err := st.put32(h.dev+4, le.Uint32(buf[4:])); err != nil {
			return staged{}, err
		}
		return staged{put{h.dev, 4, ino}, name, h.pos}, nil
	}
	// The host shrinks to its own length, and the rest is the new record.
	used := h.Used()
	buf := make([]byte, s.need)
	extfmt.PutDirent(buf, ino, h.RecLen-used, name, fileType)
	if err := st.write(h.dev+int64(used), buf); err != nil {
		return staged{}, err
	}
	word := load32(h.blk[h.Off+4:])&^0xffff | uint32(used)
	return staged{put{h.dev + 4, 4, word}, name, h.pos + int64(used)}, nil
}

// published records that the store of a staged record was done.
func (d *dir) published(s staged) {
	block := s.pos / d.fs.blockSize()
	d.names.add([]byte(s.name), s.pos, block)
	d.setRoom(block)
}

// link stages and publishes a record.
func (d *dir) link(s slot, name string, ino uint32, fileType uint8) error {
	st, err := d.stage(s, name, ino, fileType)
	if err != nil {
		return err
	}
	if err := d.fs.st.put32(st.publish.off, st.publish.v); err != nil {
		return err
	}
	d.published(st)
	return nil
}

// unlinkPut is the store that makes a record unused.
func unlinkPut(r record) put { return put{r.dev, 4, 0} }

// removed records that unlinkPut of a record was done, and gives its space to the
// record before it in the block.
func (d *dir) removed(r record, name string) error {
	bs := d.fs.blockSize()
	block := r.pos / bs
	d.names.remove([]byte(name), r.pos)
	defer d.setRoom(block)
	var prev record
	err := d.scan(block, func(e record) bool {
		if e.pos < r.pos {
			prev = e
			return true
		}
		r = e // its rec_len may have changed: a rename puts the new name in its space
		return false
	})
	if err != nil || prev.RecLen == 0 {
		return err
	}
	if prev.pos+int64(prev.RecLen) != r.pos || r.Ino != 0 {
		return d.corrupt("", uint64(r.pos), "directory block changed under the driver")
	}
	word := load32(prev.blk[prev.Off+4:])&^0xffff | uint32(prev.RecLen+r.RecLen)
	return d.fs.st.put32(prev.dev+4, word)
}

// child returns the record of a name, which must be for the given inode.
func (d *dir) child(name string, in *inode) (record, error) {
	r, err := d.find(name)
	if err != nil {
		return record{}, err
	}
	if r.Ino != in.ino {
		return record{}, fmt.Errorf("ext: entry is for inode %d, not %d: %w", r.Ino, in.ino, syscall.ESTALE)
	}
	return r, nil
}
