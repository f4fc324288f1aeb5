package axfsdec

import (
	"bytes"
	"fmt"
	"strings"
)

// File types in the upper bits of a mode.
const (
	TypeMask    = 0o170000
	TypeFIFO    = 0o010000
	TypeChar    = 0o020000
	TypeDir     = 0o040000
	TypeBlock   = 0o060000
	TypeFile    = 0o100000
	TypeSymlink = 0o120000
	TypeSocket  = 0o140000
)

// Entry is one inode.
type Entry struct {
	Ino      uint64
	Path     string // from "/"
	Mode     uint32 // with the file type
	UID, GID uint64
	Size     uint64 // of a device: its number
	First    uint64 // array_index
	Nodes    []Node // one for each page of a file or symlink
}

// Node is where a page is.
type Node struct {
	Kind  byte // X in place, C compressed, B byte aligned
	Index uint64
}

// Type is the file type, one of the Type constants.
func (e *Entry) Type() uint32 { return e.Mode & TypeMask }

// Pages is one letter for each page.
func (e *Entry) Pages() string {
	var b strings.Builder
	for _, n := range e.Nodes {
		b.WriteByte(n.Kind)
	}
	return b.String()
}

// tree decodes all inodes, from the root down.
func (im *Image) tree() error {
	for i := InodeFileSize; i <= InodeArrayIndex; i++ {
		if n := uint64(len(im.tables[i])); n < im.Files {
			return fmt.Errorf("%s has %d entries for %d files", RegionNames[i], n, im.Files)
		}
	}
	if im.Files == 0 {
		return fmt.Errorf("superblock: no files")
	}
	seen := make([]bool, im.Files)
	if err := im.inode(0, "", seen); err != nil {
		return err
	}
	if im.Entries[0].Type() != TypeDir {
		return fmt.Errorf("root has mode %#o", im.Entries[0].Mode)
	}
	if im.tables[InodeNumEntries][0] == 0 {
		return fmt.Errorf("root is empty")
	}
	for ino, ok := range seen {
		if !ok {
			return fmt.Errorf("inode %d is in no directory", ino)
		}
	}
	return nil
}

// inode decodes an inode, and what is below it.
func (im *Image) inode(ino uint64, path string, seen []bool) error {
	if seen[ino] {
		return fmt.Errorf("inode %d, %q: is in two directories", ino, path)
	}
	seen[ino] = true
	e := &Entry{Ino: ino, Path: path, Size: im.tables[InodeFileSize][ino], First: im.tables[InodeArrayIndex][ino]}
	if path == "" {
		e.Path = "/"
	}
	im.Entries = append(im.Entries, e)
	m := im.tables[InodeModeIndex][ino]
	for _, t := range []int{Modes, UIDs, GIDs} {
		if m >= uint64(len(im.tables[t])) {
			return fmt.Errorf("inode %d, %q: mode index %d of %d %s", ino, path, m, len(im.tables[t]), RegionNames[t])
		}
	}
	e.Mode, e.UID, e.GID = uint32(im.tables[Modes][m]), im.tables[UIDs][m], im.tables[GIDs][m]
	var err error
	switch e.Type() {
	case TypeDir:
		err = im.directory(e, path, seen)
	case TypeFile, TypeSymlink:
		err = im.nodes(e)
	case TypeChar, TypeBlock, TypeFIFO, TypeSocket:
	default:
		err = fmt.Errorf("mode %#o", e.Mode)
	}
	if err != nil {
		return fmt.Errorf("inode %d, %q: %w", ino, path, err)
	}
	return nil
}

// directory decodes the children of a directory.
func (im *Image) directory(e *Entry, path string, seen []bool) error {
	n := im.tables[InodeNumEntries][e.Ino]
	if n == 0 {
		return nil
	}
	if e.First == 0 || e.First > im.Files || n > im.Files-e.First {
		return fmt.Errorf("%d children from inode %d of %d", n, e.First, im.Files)
	}
	last := ""
	for child := e.First; child < e.First+n; child++ {
		name, err := im.name(child)
		if err != nil {
			return err
		}
		if child > e.First && name <= last {
			return fmt.Errorf("name %q after %q", name, last)
		}
		last = name
		if err := im.inode(child, path+"/"+name, seen); err != nil {
			return err
		}
	}
	return nil
}

// name is the name of an inode.
func (im *Image) name(ino uint64) (string, error) {
	s := im.data[Strings]
	off := im.tables[InodeNameOffset][ino]
	if off >= uint64(len(s)) {
		return "", fmt.Errorf("inode %d: name at %d of %d", ino, off, len(s))
	}
	end := bytes.IndexByte(s[off:], 0)
	if end < 0 {
		return "", fmt.Errorf("inode %d: name at %d has no end", ino, off)
	}
	name := string(s[off : off+uint64(end)])
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.Contains(name, "/") {
		return "", fmt.Errorf("inode %d: name %q", ino, name)
	}
	return name, nil
}
