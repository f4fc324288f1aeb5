package build

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"godax/fs/axfs/internal/format"
)

// Mode chooses files to have in place, by what they are.
type Mode uint8

const (
	ModeNone       Mode = iota // none
	ModeExecutable             // ELF files that the owner may execute, as the published builder does
	ModeELF                    // ELF files: shared libraries seldom are executable
	ModeAll                    // all regular files
)

// XIP chooses the pages that are stored in place: all that any of its fields names.
type XIP struct {
	Mode Mode

	// Globs are patterns of package path for files: one with a slash in it matches the path
	// from the root, one without any element of it. What matches a directory chooses all
	// files below it.
	Globs []string

	Profile      Profile // pages
	WholeProfile bool    // take all pages of the files that Profile names
}

// check refuses patterns that are none.
func (x *XIP) check() error {
	for _, g := range x.Globs {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("pattern %q: %w", g, err)
		}
	}
	if x.Mode > ModeAll {
		return fmt.Errorf("no way %d to choose files", x.Mode)
	}
	return nil
}

// glob reports whether a pattern matches the file.
func (x *XIP) glob(name string) bool {
	for _, g := range x.Globs {
		whole := strings.Contains(g, "/")
		g = cleanPath(strings.TrimSuffix(g, "/"))
		for p := name; p != "."; p = path.Dir(p) {
			text := p
			if !whole {
				text = path.Base(p)
			}
			if ok, err := path.Match(g, text); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// elfMagic begins an ELF file.
const elfMagic = "\x7fELF"

// byMode reports whether the mode chooses the file.
func (b *builder) byMode(n *inode) (bool, error) {
	switch mode := b.o.XIP.Mode; {
	case mode == ModeNone, mode == ModeExecutable && n.mode&0o100 == 0:
		return false, nil
	case mode == ModeAll:
		return true, nil
	}
	if n.size < uint64(len(elfMagic)) {
		return false, nil
	}
	f, err := b.src.Open(n.path())
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [len(elfMagic)]byte
	if k, err := f.ReadAt(magic[:], 0); k < len(magic) && err != nil && err != io.EOF {
		return false, err
	}
	return string(magic[:]) == elfMagic, nil
}

// choose finds the pages to have in place.
func (b *builder) choose(ctx context.Context) error {
	listed := b.o.XIP.Profile.Pages(b.pageSize)
	for _, n := range b.nodes {
		if !n.isType(format.ModeRegular) || n.size == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name := n.path()
		whole, err := b.byMode(n)
		if err != nil {
			return wrap("read", name, err)
		}
		pages, named := listed[name]
		switch {
		case whole, b.o.XIP.glob(name), named && b.o.XIP.WholeProfile:
			n.chosen = []span{{0, b.pagesOf(int64(n.size))}}
		case named:
			n.chosen = spans(pages, b.pagesOf(int64(n.size)))
		}
		b.chooseTail(n)
	}
	return nil
}

// chooseTail takes a short last page out of what is chosen, if it is to be byte aligned.
func (b *builder) chooseTail(n *inode) {
	last := len(n.chosen) - 1
	if b.o.Tail != TailBytes || last < 0 || n.size%uint64(b.pageSize) == 0 || n.chosen[last].end() < b.pagesOf(int64(n.size)) {
		return
	}
	n.raw = true
	if n.chosen[last].n--; n.chosen[last].n == 0 {
		n.chosen = n.chosen[:last]
	}
}

// spans are sorted pages as runs, those before page end.
func spans(pages []uint64, end uint64) []span {
	var all []span
	for _, p := range pages {
		if p >= end {
			break
		}
		if last := len(all) - 1; last >= 0 && all[last].end() == p {
			all[last].n++
		} else {
			all = append(all, span{p, 1})
		}
	}
	return all
}

// union are the pages in either.
func union(a, b []span) []span {
	var all []span
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].page < a[0].page {
			a, b = b, a
		}
		next := a[0]
		a = a[1:]
		if last := len(all) - 1; last >= 0 && all[last].end() >= next.page {
			all[last].n = max(all[last].end(), next.end()) - all[last].page
		} else {
			all = append(all, next)
		}
	}
	return all
}
