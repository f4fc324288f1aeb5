package modeltest

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"godax"
)

// bothWrong reports whether a call that is wrong in more than one way has got one of the
// errors it deserves from the kernel; which one comes first does not matter.
func bothWrong(o op, want, got string) bool {
	switch {
	case want == "" || got == "":
		return false
	case o.Kind == opRename && want == "ENAMETOOLONG":
		return got == "ENOENT" // of what is not there
	case o.Kind == opTruncate && o.N < 0:
		return got == "EINVAL"
	case o.Kind == opOpen && flags(o.Arg)&os.O_CREATE != 0 && strings.HasSuffix(o.Path, "/"):
		return got == "EISDIR" // before a link at the end of the path is followed
	}
	badCall := []string{"EBADF", "EINVAL", "EISDIR"}
	return slices.Contains(badCall, want) && slices.Contains(badCall, got)
}

// compare compares what the model and a system said; system is the index of its inode
// numbers.
func compare(want, got outcome, system int) error {
	if want.err != got.err || want.n != got.n || want.data != got.data {
		return fmt.Errorf("got %v, want %v%s", got, want, firstDifference(got.data, want.data))
	}
	if want.st == nil {
		return nil
	}
	w, g := *want.st, *got.st
	if want.node.ino[system] == 0 {
		want.node.ino[system] = g.ino
	}
	w.ino = want.node.ino[system]
	sameTime := func(want, got *int64) {
		// The kernel's clock is its own: the time is recent if it was not set to something.
		if *want == anyTime || system == 1 && *want >= startTime && *got >= startTime {
			*want = *got
		}
	}
	sameTime(&w.atime, &g.atime)
	sameTime(&w.mtime, &g.mtime)
	sameTime(&w.ctime, &g.ctime)
	if w != g {
		return fmt.Errorf("got %+v, want %+v", g, w)
	}
	return nil
}

func firstDifference(got, want string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf(" (first difference at %d: %#x, %#x)", i, got[i], want[i])
		}
	}
	return ""
}

// compareAll compares everything that has a name.
func (r *runner) compareAll(s system, index int) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("all of it: %w", err)
		}
	}()
	check := func(o op) {
		if err != nil {
			return
		}
		got := s.do(o)
		if got.err == errSkipped {
			return
		}
		if cerr := compare(r.m.doNode(o), got, index); cerr != nil {
			err = fmt.Errorf("%v: %w", o, cerr)
		}
	}
	inos := map[uint64]*node{}
	r.m.each(func(path string, n *node) {
		check(op{Kind: opLstat, Path: path})
		if first := inos[n.ino[index]]; err == nil && first != nil && first != n {
			err = fmt.Errorf("%s and %s have inode %d", path, r.m.pathOf(first), n.ino[index])
		}
		inos[n.ino[index]] = n
		check(op{Kind: opListXattr, Path: path})
		for name := range n.xattrs {
			check(op{Kind: opXattr, Path: path, Name: name})
		}
		switch {
		case n.isDir():
			check(op{Kind: opReadDir, Path: path})
		case n.isLink():
			check(op{Kind: opReadlink, Path: path})
		case n.isRegular() && err == nil:
			err = compareBytes(s, path, n)
		}
	})
	check(op{Kind: opReadDir, Path: "/"})
	return err
}

// reader is what compareBytes needs of an open file.
type reader interface {
	io.ReaderAt
	io.Seeker
	io.Closer
}

// compareBytes compares what is not in holes.
func compareBytes(s system, path string, n *node) (err error) {
	var f reader
	if d, ok := s.(*daxSystem); ok {
		f, err = d.fs.Open(path)
	} else {
		f, err = s.(interface{ open(string) (reader, error) }).open(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	seen := map[int64]bool{}
	for off := int64(0); off < n.size; {
		data, err := f.Seek(off, godax.SeekData)
		if class(err) == "ENXIO" {
			break
		} else if err != nil {
			return err
		}
		end, err := f.Seek(data, godax.SeekHole)
		if err != nil {
			return err
		}
		for at := data; at < end; {
			k := min(end-at, pageSize-at%pageSize)
			got, want := make([]byte, k), make([]byte, k)
			if _, err := f.ReadAt(got, at); err != nil {
				return fmt.Errorf("%s: read %d bytes at %d: %w", path, k, at, err)
			}
			n.read(want, at)
			if string(got) != string(want) {
				return fmt.Errorf("%s: bytes at %d of %d differ%s", path, at, n.size, firstDifference(string(got), string(want)))
			}
			if at%pageSize+k == pageSize || at+k == n.size {
				seen[at/pageSize] = true
			}
			at += k
		}
		off = end
	}
	for page, p := range n.pages {
		if seen[page] || *p == [pageSize]byte{} {
			continue
		}
		// In a hole in part.
		k := min(pageSize, n.size-page*pageSize)
		got := make([]byte, k)
		if _, err := f.ReadAt(got, page*pageSize); err != nil {
			return err
		}
		if string(got) != string(p[:k]) {
			return fmt.Errorf("%s: bytes of page %d differ%s", path, page, firstDifference(string(got), string(p[:k])))
		}
	}
	return nil
}
