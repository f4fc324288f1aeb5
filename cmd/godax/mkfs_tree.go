package main

import (
	"errors"
	"os"
	"syscall"

	"godax/fs/axfs/build"
)

// tree is a directory of a source, for the builder.
type tree struct {
	src  source
	root string
}

// openTree opens the directory that arg names.
func openTree(im *images, arg string) (build.Source, error) {
	n := parseName(arg)
	t := tree{src: hostSource{}, root: n.path}
	if n.inImage() {
		fsys, err := im.get(n)
		if err != nil {
			return nil, err
		}
		t.src = imageStore{fsys}
	}
	at, err := t.src.Stat(t.root)
	if err != nil {
		return nil, err
	}
	if !at.mode.IsDir() {
		return nil, syscall.ENOTDIR
	}
	return t, nil
}

// at is the source's path of a path of the tree.
func (t tree) at(p string) string { return t.src.Join(t.root, p) }

// Lstat returns the attributes of a file; the root may be named by a link.
func (t tree) Lstat(p string) (build.Attr, error) {
	look := t.src.Lstat
	if p == "." {
		look = t.src.Stat
	}
	at, err := look(t.at(p))
	if err != nil {
		return build.Attr{}, err
	}
	return build.Attr{
		Mode: at.mode, UID: at.uid, GID: at.gid, Size: at.size, Major: at.major, Minor: at.minor,
		ID: build.ID{Dev: at.id.dev, Ino: at.id.ino},
	}, nil
}

func (t tree) ReadDir(p string) ([]string, error) { return t.src.ReadDir(t.at(p)) }
func (t tree) Readlink(p string) (string, error)  { return t.src.Readlink(t.at(p)) }

// Open opens a file. On the host something else may have taken its place since it was
// looked at: a link is not followed, and a pipe not waited for.
func (t tree) Open(p string) (build.Reader, error) {
	if _, host := t.src.(hostSource); host {
		f, err := os.OpenFile(t.at(p), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return t.src.Open(t.at(p))
}

// treeError names the file in an error with one of the tree that from names.
func treeError(from string, err error) error {
	fe, ok := errors.AsType[*build.FileError](err)
	if !ok {
		return err
	}
	return failure(fe.Op, parseName(from).join(fe.Path).String(), fe.Err)
}
