package main

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"godax"
)

// errTwice is a directory that has two names: only a damaged image has that, and
// following it might never end.
var errTwice = errors.New("directory was met before under another name")

// sysOf is the attributes that only files in images have.
func sysOf(fi fs.FileInfo) *godax.Stat {
	if st, ok := fi.Sys().(*godax.Stat); ok {
		return st
	}
	return new(godax.Stat)
}

// walkFunc is called for every file. err is what went wrong with reading its
// attributes (fi is nil then) or, in a second call, its entries. The walk goes on
// unless walkFunc returns an error.
type walkFunc func(p string, fi fs.FileInfo, err error) error

// walk calls fn for p and everything below it, directories before their entries,
// entries by name.
func walk(ctx context.Context, fsys *godax.FS, p string, fn walkFunc) error {
	return walkSeen(ctx, fsys, p, make(map[uint64]bool), fn)
}

func walkSeen(ctx context.Context, fsys *godax.FS, p string, seen map[uint64]bool, fn walkFunc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fi, err := fsys.Lstat(p)
	if err != nil {
		return fn(p, nil, err)
	}
	if err := fn(p, fi, nil); err != nil || !fi.IsDir() {
		return err
	}
	ino := sysOf(fi).Ino
	if seen[ino] {
		return fn(p, fi, errTwice)
	}
	seen[ino] = true
	entries, err := fsys.ReadDir(p)
	if err != nil {
		if err := fn(p, fi, err); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := walkSeen(ctx, fsys, path.Join(p, e.Name()), seen, fn); err != nil {
			return err
		}
	}
	return nil
}
