package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"godax/fs/axfs/internal/format"
)

// inode is one file of the image.
type inode struct {
	parent *inode // of the root: itself
	name   string
	mode   uint32 // st_mode
	modeAt uint64 // mode index
	nameAt uint64 // in strings
	size   uint64 // inode_file_size
	first  uint64 // array_index
	n      uint64 // num_entries
	id     ID
	target string // of a symlink

	chosen []span    // pages to be in place, of a regular file
	raw    bool      // its short last page is to be byte aligned
	segs   []segment // where the chosen pages are
}

// span are consecutive pages of a file.
type span struct{ page, n uint64 }

// end is the page after the last.
func (s span) end() uint64 { return s.page + s.n }

// modeID is what a mode index stands for.
type modeID struct {
	mode     uint32
	uid, gid uint32
}

// isType reports whether the file is of the type t, of the format's constants.
func (n *inode) isType(t uint32) bool { return n.mode&format.ModeType == t }

// path is the path of n from the root, "." for the root.
func (n *inode) path() string {
	if n.parent == n {
		return "."
	}
	var elems []string
	for ; n.parent != n; n = n.parent {
		elems = append(elems, n.name)
	}
	slices.Reverse(elems)
	return strings.Join(elems, "/")
}

// scan reads the tree, breadth first: so siblings have consecutive numbers.
func (b *builder) scan(ctx context.Context) error {
	at, err := b.src.Lstat(".")
	if err == nil && !at.Mode.IsDir() {
		err = errors.New("is not a directory")
	}
	if err != nil {
		return wrap("lstat", ".", err)
	}
	modes := make(map[modeID]uint64)
	names := make(map[string]uint64) // names in strings
	root := &inode{name: "./"}
	root.parent = root
	if err := b.addInode(root, at, modes, names); err != nil {
		return err
	}
	seen := map[ID]*inode{at.ID: root}
	for i := 0; i < len(b.nodes); i++ {
		dir := b.nodes[i]
		if !dir.isType(format.ModeDir) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		children, err := b.readDir(dir)
		if err != nil {
			return wrap("readdir", dir.path(), err)
		}
		dir.first = uint64(len(b.nodes))
		for _, name := range children {
			n := &inode{parent: dir, name: name}
			at, err := b.src.Lstat(n.path())
			if err == nil && b.o.Exclude[at.ID] {
				continue
			}
			if err == nil && at.Mode.IsDir() && at.ID != (ID{}) {
				if other := seen[at.ID]; other != nil {
					err = fmt.Errorf("is the same directory as %q", other.path())
				}
				seen[at.ID] = n
			}
			if err == nil {
				err = b.addInode(n, at, modes, names)
			}
			if err != nil {
				return wrap("lstat", n.path(), err)
			}
			dir.n++
			dir.size += uint64(len(name)) + 1
		}
		if dir.n == 0 {
			dir.first = 0
		}
	}
	if root.n == 0 {
		return errEmpty
	}
	b.o.Progress(0, b.total)
	return nil
}

// readDir returns the names in a directory, in the order of the format.
func (b *builder) readDir(dir *inode) ([]string, error) {
	names, err := b.src.ReadDir(dir.path())
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for i, name := range names {
		switch {
		case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
			return nil, fmt.Errorf("entry %q is not a file name", name)
		case len(name) > maxName:
			return nil, fmt.Errorf("name of %d bytes, %d are possible", len(name), maxName)
		case i > 0 && name == names[i-1]:
			return nil, fmt.Errorf("entry %q is there twice", name)
		}
	}
	return names, nil
}

// addInode gives a file the next number.
func (b *builder) addInode(n *inode, at Attr, modes map[modeID]uint64, names map[string]uint64) error {
	var ok bool
	if n.mode, ok = format.UnixMode(at.Mode); !ok {
		return fmt.Errorf("file of type %v", at.Mode.Type())
	}
	if err := b.measure(n, at); err != nil {
		return err
	}
	id := modeID{mode: n.mode, uid: at.UID, gid: at.GID}
	if b.o.AllRoot {
		id.uid, id.gid = 0, 0
	}
	if n.modeAt, ok = modes[id]; !ok {
		n.modeAt = uint64(len(b.ids))
		modes[id] = n.modeAt
		b.ids = append(b.ids, id)
	}
	if n.nameAt, ok = names[n.name]; !ok {
		n.nameAt = uint64(len(b.strings))
		names[n.name] = n.nameAt
		b.strings = append(append(b.strings, n.name...), 0)
	}
	n.id = at.ID
	b.nodes = append(b.nodes, n)
	return nil
}

// measure finds out what inode_file_size is.
func (b *builder) measure(n *inode, at Attr) (err error) {
	switch at.Mode.Type() {
	case fs.ModeDir:
		b.stats.Dirs++
	case 0:
		b.stats.Files++
		if at.Size < 0 {
			return fmt.Errorf("size %d", at.Size)
		}
		n.size = uint64(at.Size)
		b.stats.InputBytes += n.size
		b.total += at.Size
	case fs.ModeSymlink:
		b.stats.Symlinks++
		if n.target, err = b.src.Readlink(n.path()); err != nil {
			return err
		}
		if n.target == "" || len(n.target) > int(b.pageSize) {
			return fmt.Errorf("symbolic link of %d bytes, the format has 1 to %d", len(n.target), b.pageSize)
		}
		n.size = uint64(len(n.target))
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		b.stats.Others++
		v, narrow, ok := format.DeviceNumber(at.Major, at.Minor)
		if !ok {
			return fmt.Errorf("device %d:%d does not fit 12 and 20 bits", at.Major, at.Minor)
		}
		if !narrow {
			b.o.Warn(wrap("device", n.path(), fmt.Errorf("%d:%d does not fit 16 bits: the Linux driver of AXFS will take it for another", at.Major, at.Minor)))
		}
		n.size = v
	default:
		b.stats.Others++
	}
	return nil
}
