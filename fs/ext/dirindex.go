package ext

import (
	"hash/maphash"
	"io/fs"
	"sync"
	"syscall"

	"godax/internal/extfmt"
)

// nameIndex knows where the names of one directory are: a hash table from name to
// position, and the largest free space of each block. It is filled block by block as
// far as lookups have to search, so that each block is searched once, and kept
// up to date from then on.
//
// A slot holds 32 bits of the name's hash and the record's position; the record
// itself is compared before it counts. The hash is seeded at random: an image
// cannot choose names that collide.
//
// Locks: mu. Whoever changes the directory holds its vfs lock exclusive too, so what
// a lookup has found stays there while the vfs lock is held.
type nameIndex struct {
	mu    sync.RWMutex
	seed  maphash.Seed
	slots []uint64 // hash<<32 | position/4 + 2; length a power of two, or 0
	taken int      // slots that are not free
	names int      // slots that hold a name
	known int64    // blocks 0 to known-1 are in slots
	full  bool     // maxNames is reached: no further blocks are taken in

	room []uint16            // largest free space in each block, bytes; may be shorter than the directory
	from [roomClasses]uint32 // no block before has room for a record of this class
}

const (
	slotFree = 0
	slotGone = 1 // held a name; a search goes on behind it

	// maxNames bounds the memory of one directory's index to 32 MiB. Names behind
	// are searched for in the blocks.
	maxNames = 1 << 21

	roomClasses = extfmt.MaxDirentLen/4 + 1 // a record's length in words is its class
)

func (x *nameIndex) hash(name []byte) uint32 { return uint32(maphash.Bytes(x.seed, name)) }

// insertLocked adds a name; the name is not in the table.
func (x *nameIndex) insertLocked(name []byte, pos int64) {
	if x.names >= maxNames {
		x.full = true
		return
	}
	if len(x.slots) == 0 {
		x.seed = maphash.MakeSeed()
		x.slots = make([]uint64, 64)
	}
	if 4*(x.taken+1) > 3*len(x.slots) {
		x.growLocked()
	}
	x.placeLocked(uint64(x.hash(name))<<32 | uint64(pos/4+2))
	x.names++
}

// placeLocked puts a slot value at the end of its hash's chain.
func (x *nameIndex) placeLocked(v uint64) {
	mask := len(x.slots) - 1
	i := int(v>>32) & mask
	for x.slots[i] != slotFree {
		i = (i + 1) & mask
	}
	x.slots[i] = v
	x.taken++
}

// growLocked makes room for more names, and drops the gone ones.
func (x *nameIndex) growLocked() {
	old, n := x.slots, len(x.slots)
	if 2*x.names >= n {
		n *= 2
	}
	x.slots, x.taken = make([]uint64, n), 0
	for _, v := range old {
		if v != slotFree && v != slotGone {
			x.placeLocked(v)
		}
	}
}

// removeLocked forgets the name at pos, if it is known.
func (x *nameIndex) removeLocked(name []byte, pos int64) {
	if len(x.slots) == 0 {
		return
	}
	v := uint64(x.hash(name))<<32 | uint64(pos/4+2)
	mask := len(x.slots) - 1
	for i := int(v>>32) & mask; x.slots[i] != slotFree; i = (i + 1) & mask {
		if x.slots[i] == v {
			x.slots[i] = slotGone
			x.names--
			return
		}
	}
}

// add records a name that was just written at pos, in the given block.
func (x *nameIndex) add(name []byte, pos, block int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if block >= x.known {
		return
	}
	if x.insertLocked(name, pos); x.full {
		x.known = min(x.known, block) // the name is found by searching from here
	}
}

func (x *nameIndex) remove(name []byte, pos int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(name, pos)
}

// find returns the record of a name: fs.ErrNotExist, ENAMETOOLONG.
func (d *dir) find(name string) (record, error) {
	if len(name) > extfmt.MaxName {
		return record{}, syscall.ENAMETOOLONG
	}
	d.names.mu.RLock()
	r, ok, err := d.searchKnown(name)
	complete := d.names.known == d.nblocks()
	d.names.mu.RUnlock()
	if ok || err != nil {
		return r, err
	}
	if complete {
		return record{}, fs.ErrNotExist
	}
	return d.findNew(name)
}

// searchKnown looks a name up in the table.
//
// Locks: names.mu, shared.
func (d *dir) searchKnown(name string) (r record, ok bool, err error) {
	x := &d.names
	if len(x.slots) == 0 {
		return record{}, false, nil
	}
	hash := uint32(maphash.String(x.seed, name))
	mask := len(x.slots) - 1
	for i := int(hash) & mask; x.slots[i] != slotFree; i = (i + 1) & mask {
		v := x.slots[i]
		if v == slotGone || uint32(v>>32) != hash {
			continue
		}
		r, err := d.recordAt((int64(v&0xffffffff) - 2) * 4)
		if err != nil {
			return record{}, false, err
		}
		if r.Ino != 0 && string(r.Name) == name {
			return r, true, nil
		}
	}
	return record{}, false, nil
}

// findNew looks a name up again, and then in the blocks that the table does not
// have, which it takes into the table on the way.
func (d *dir) findNew(name string) (found record, err error) {
	x := &d.names
	x.mu.Lock()
	defer x.mu.Unlock()
	if r, ok, err := d.searchKnown(name); ok || err != nil {
		return r, err
	}
	ok := false
	for i := x.known; i < d.nblocks(); i++ {
		room := 0
		keep := !x.full && i == x.known
		err := d.scan(i, func(r record) bool {
			room = max(room, r.Free())
			if r.Ino == 0 || isDots(r.Name) {
				return true
			}
			if !ok && string(r.Name) == name {
				found, ok = r, true
			}
			if keep {
				x.insertLocked(r.Name, r.pos)
			}
			return true
		})
		if err != nil {
			x.forgetLocked(d, i)
			return record{}, err
		}
		x.setRoomLocked(i, room)
		if keep && !x.full {
			x.known = i + 1
		}
		if ok {
			return found, nil
		}
	}
	return record{}, fs.ErrNotExist
}

// forgetLocked removes what was taken in of block i, which turned out to be broken.
func (x *nameIndex) forgetLocked(d *dir, i int64) {
	if i != x.known {
		return
	}
	_ = d.scan(i, func(r record) bool { // stops where it stopped before
		if r.Ino != 0 && !isDots(r.Name) {
			x.removeLocked(r.Name, r.pos)
		}
		return true
	})
}

// setRoomLocked records the largest free space in block i.
func (x *nameIndex) setRoomLocked(i int64, room int) {
	for int64(len(x.room)) <= i {
		x.room = append(x.room, 0)
	}
	x.room[i] = uint16(min(room, 1<<16-1))
	for class := min(room/4, roomClasses-1); class > 0 && int64(x.from[class]) > i; class-- {
		x.from[class] = uint32(i)
	}
}

// setRoom is setRoomLocked for a block that was changed.
func (d *dir) setRoom(i int64) {
	room := 0
	if b, _, err := d.block(i); err == nil {
		format := d.format()
		for at := 0; at < len(b); {
			e, err := format.At(b, at)
			if err != nil {
				room = 0 // leave the block alone
				break
			}
			room = max(room, e.Free())
			at += e.RecLen
		}
	}
	d.names.mu.Lock()
	defer d.names.mu.Unlock()
	d.names.setRoomLocked(i, room)
}

// blockWithRoom returns the first block with room for a record of need bytes; ok is
// false if there is none.
func (x *nameIndex) blockWithRoom(need int) (i int64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	class := need / 4
	for i := int64(x.from[class]); i < int64(len(x.room)); i++ {
		x.from[class] = uint32(i)
		if int(x.room[i]) >= need {
			return i, true
		}
	}
	x.from[class] = uint32(len(x.room))
	return 0, false
}

// hasRoom reports whether block i has room for a record of need bytes.
func (x *nameIndex) hasRoom(i int64, need int) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return i < int64(len(x.room)) && int(x.room[i]) >= need
}
