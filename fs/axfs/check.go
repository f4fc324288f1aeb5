package axfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"godax/fs/axfs/internal/format"
)

// childRun says that the inodes from first on, up to the next run's, are the children of a
// directory.
type childRun struct{ first, dir uint64 }

// info is an inode as the tables have it, checked as far as that is possible without
// others. Numbers are those of the image.
type info struct {
	n          uint64
	mode       fs.FileMode
	uid, gid   uint32
	size       uint64 // of a directory only for information; the number of a device
	first, num uint64 // children of a directory, nodes of a file or symlink
}

// corrupt makes an error about inode n.
func (f *FS) corrupt(n uint64, field string, value uint64, reason string) error {
	return format.Corrupt(fmt.Sprintf("inode %d", n), -1, field, value, reason)
}

// info reads inode n into in, which is empty.
func (f *FS) info(n uint64, in *info) error {
	if n >= f.sb.Files {
		return fmt.Errorf("axfs: inode %d of %d: %w", n, f.sb.Files, fs.ErrNotExist)
	}
	in.n = n
	index, ok := f.tables[format.InodeModeIndex].At(n)
	var ok2, ok3, ok4 bool
	in.size, ok2 = f.tables[format.InodeFileSize].At(n)
	in.first, ok3 = f.tables[format.InodeArrayIndex].At(n)
	in.num, ok4 = f.tables[format.InodeNumEntries].At(n)
	if !ok || !ok2 || !ok3 || !ok4 {
		return f.corrupt(n, "", n, "the tables of inodes end before it") // loadRegions has seen to that
	}
	o, err := f.owner(n, index)
	if err != nil {
		return err
	}
	in.mode, in.uid, in.gid = o.mode, o.uid, o.gid
	return f.checkInfo(in)
}

// owner is an entry of the tables modes, uids and gids.
type owner struct {
	mode     fs.FileMode
	uid, gid uint32
}

// maxOwners is how many entries of the tables modes, uids and gids are kept decoded. Images
// have few.
const maxOwners = 1024

// loadOwners decodes the first entries of the tables modes, uids and gids, up to the first
// that is wrong.
func (f *FS) loadOwners() {
	n := min(f.tables[format.Modes].Len(), maxOwners)
	owners := make([]owner, 0, n)
	for i := range n {
		o, err := f.owner(0, i)
		if err != nil {
			break
		}
		owners = append(owners, o)
	}
	f.owners = owners
}

// owner returns the mode and owner of inode n, which has the given mode index.
func (f *FS) owner(n, index uint64) (owner, error) {
	if index < uint64(len(f.owners)) {
		return f.owners[index], nil
	}
	mode, ok := f.tables[format.Modes].At(index)
	if !ok {
		return owner{}, f.corrupt(n, "inode_mode_index", index, fmt.Sprintf("modes has %d entries", f.tables[format.Modes].Len()))
	}
	o := owner{}
	if o.mode, ok = format.FileMode(mode); !ok {
		return owner{}, f.corrupt(n, "mode", mode, "of no known type")
	}
	uid, ok := f.tables[format.UIDs].At(index)
	gid, ok2 := f.tables[format.GIDs].At(index)
	if !ok || !ok2 || uid > math.MaxUint32 || gid > math.MaxUint32 {
		return owner{}, f.corrupt(n, "inode_mode_index", index, "no such entry in uids or gids, or one of more than 32 bits")
	}
	o.uid, o.gid = uint32(uid), uint32(gid)
	return o, nil
}

// ownerOf returns the mode and owner of inode n.
func (f *FS) ownerOf(n uint64) (owner, error) {
	index, ok := f.tables[format.InodeModeIndex].At(n)
	if !ok {
		return owner{}, f.noEntry(format.InodeModeIndex, n)
	}
	return f.owner(n, index)
}

// checkInfo checks what the inode leads to.
func (f *FS) checkInfo(in *info) error {
	switch in.mode.Type() {
	case fs.ModeDir:
		if in.num == 0 {
			in.first = 0 // means nothing
		} else if in.first == 0 || in.first > f.sb.Files || in.num > f.sb.Files-in.first {
			return f.corrupt(in.n, "inode_array_index", in.first, fmt.Sprintf("%d children from there on, there are %d inodes and the first is the root", in.num, f.sb.Files))
		}
	case 0, fs.ModeSymlink:
		if in.mode.Type() == fs.ModeSymlink && (in.size == 0 || in.size > uint64(f.sb.PageSize())) {
			return f.corrupt(in.n, "inode_file_size", in.size, "symbolic link with a length that no target has")
		}
		if in.size == 0 {
			in.first, in.num = 0, 0
			return nil
		}
		pages := (in.size-1)>>f.sb.PageShift + 1
		switch {
		case in.size > math.MaxInt64, pages > in.num:
			return f.corrupt(in.n, "inode_file_size", in.size, fmt.Sprintf("%d pages, and %d nodes", pages, in.num))
		case in.first > f.nodes || pages > f.nodes-in.first:
			return f.corrupt(in.n, "inode_array_index", in.first, fmt.Sprintf("%d nodes from there on, there are %d", pages, f.nodes))
		}
		in.num = pages
	}
	return nil
}

// name returns the name of inode n where it lies; it must not be kept.
func (f *FS) name(n uint64) ([]byte, error) {
	b, off, err := f.anyName(n)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || bytes.IndexByte(b, '/') >= 0 || string(b) == "." || string(b) == ".." {
		return nil, f.corrupt(n, "inode_name_offset", off, fmt.Sprintf("%q is not a name", b))
	}
	return b, nil
}

// anyName is name for who compares it with one that is good, and so need not look whether it
// can be a name. It also returns where it lies in the region strings.
func (f *FS) anyName(n uint64) (b []byte, off uint64, err error) {
	off, ok := f.tables[format.InodeNameOffset].At(n)
	if !ok {
		return nil, off, f.noEntry(format.InodeNameOffset, n)
	}
	if off >= uint64(len(f.strings)) {
		return nil, off, f.corrupt(n, "inode_name_offset", off, fmt.Sprintf("strings has %d bytes", len(f.strings)))
	}
	b = f.strings[off:]
	b = b[:min(len(b), format.MaxName+1)]
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return nil, off, f.corrupt(n, "inode_name_offset", off, fmt.Sprintf("name of more than %d bytes, or without an end", format.MaxName))
	}
	return b[:end:end], off, nil
}

// checkTree checks every inode, and that they are a tree with the root at its top.
func (f *FS) checkTree() error {
	type dir struct{ first, num, n uint64 }
	var dirs []dir
	for n := range f.sb.Files {
		var in info
		if err := f.info(n, &in); err != nil {
			return err
		}
		switch {
		case in.mode.IsDir() && in.num > 0:
			dirs = append(dirs, dir{in.first, in.num, n})
		case n > 0:
		case !in.mode.IsDir():
			return f.corrupt(0, "mode", uint64(in.mode), "the root is not a directory")
		case f.sb.Layout != format.LayoutV1:
			return f.corrupt(0, "inode_num_entries", 0, "empty file system: the root has no entries")
		}
	}
	byFirst := func(a, b dir) int { return cmp.Compare(a.first, b.first) }
	if !slices.IsSortedFunc(dirs, byFirst) {
		slices.SortFunc(dirs, byFirst)
	}
	next, down := uint64(1), true
	f.children = make([]childRun, len(dirs))
	for i, d := range dirs {
		if d.first != next {
			return f.corrupt(d.n, "inode_array_index", d.first, fmt.Sprintf("inode %d is the child of no directory, or of two", min(d.first, next)))
		}
		if err := f.checkNames(d.n, d.first, d.num); err != nil {
			return err
		}
		next = d.first + d.num
		down = down && d.n < d.first
		f.children[i] = childRun{d.first, d.n}
	}
	if next != f.sb.Files {
		return f.corrupt(next, "", next, "it is the child of no directory")
	}
	if !down { // children that come before their parents may be in a circle
		return f.checkReach()
	}
	return nil
}

// checkNames checks the names of a directory's children: they are sorted, so that each is
// there once, and can be searched.
func (f *FS) checkNames(dir, first, num uint64) error {
	var last []byte
	for n := first; n < first+num; n++ {
		name, err := f.name(n)
		if err != nil {
			return err
		}
		if n > first && bytes.Compare(last, name) >= 0 {
			return f.corrupt(n, "inode_name_offset", n-first, fmt.Sprintf("entry of directory %d: %q comes after %q", dir, name, last))
		}
		last = name
	}
	return nil
}

// checkReach checks that every directory with children can be reached from the root. Each
// inode has one parent, so what cannot be reached is in, or below, a circle.
func (f *FS) checkReach() error {
	parents := make([]int, len(f.children)) // of the children runs, by directory
	for i := range parents {
		parents[i] = i
	}
	slices.SortFunc(parents, func(a, b int) int { return cmp.Compare(f.children[a].dir, f.children[b].dir) })
	find := func(n uint64) int {
		i, _ := slices.BinarySearchFunc(parents, n, func(i int, n uint64) int { return cmp.Compare(f.children[i].dir, n) })
		return i
	}
	reached := 0
	todo := []uint64{0, 1} // from and to of inodes whose children come next
	for len(todo) > 0 {
		from, to := todo[len(todo)-2], todo[len(todo)-1]
		todo = todo[:len(todo)-2]
		for i := find(from); i < len(parents) && f.children[parents[i]].dir < to; i++ {
			reached++
			run := parents[i]
			todo = append(todo, f.children[run].first, f.runEnd(run))
		}
	}
	if reached != len(parents) {
		return f.corrupt(0, "", uint64(len(parents)-reached), "so many directories cannot be reached from the root")
	}
	return nil
}

// runEnd is the inode behind the last child of a run.
func (f *FS) runEnd(run int) uint64 {
	if run+1 < len(f.children) {
		return f.children[run+1].first
	}
	return f.sb.Files
}

// parent returns the directory that inode n lies in; the root is its own.
func (f *FS) parent(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	i, found := slices.BinarySearchFunc(f.children, n, func(r childRun, n uint64) int { return cmp.Compare(r.first, n) })
	if !found {
		i--
	}
	return f.children[i].dir
}

// hasNodes reports whether the inode's contents are in nodes.
func (in *info) hasNodes() bool {
	return in.mode.IsRegular() || in.mode.Type() == fs.ModeSymlink
}
