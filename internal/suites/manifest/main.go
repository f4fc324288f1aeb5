//go:build linux

// Command manifest lists every file below a directory as the kernel shows it: type, mode,
// owner, links, size, time of modification, device, target, SHA-256 and extended attributes.
// Two mounts of one image give the same list.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manifest DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "manifest:", err)
		os.Exit(1)
	}
}

// run writes the list, sorted by path.
func run(root string, w io.Writer) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := describe(path)
		if err == nil {
			_, err = fmt.Fprintf(w, "%q %s\n", strings.TrimPrefix(path, root), line)
		}
		return err
	})
}

// describe is what there is to say of one file.
func describe(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	var content string
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return "", err
		}
		content = hex.EncodeToString(h.Sum(nil))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		content = fmt.Sprintf("%q", target)
	case unix.S_IFCHR, unix.S_IFBLK:
		content = fmt.Sprintf("%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	attrs, err := xattrs(path)
	return fmt.Sprintf("%o %d:%d %d links %d bytes %d blocks %d.%09d %s %s", st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Blocks,
		st.Mtim.Sec, st.Mtim.Nsec, content, attrs), err
}

// xattrs are the extended attributes of a file, sorted.
func xattrs(path string) (string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return "", &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var list []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		k, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		list = append(list, name+"="+hex.EncodeToString(value[:k]))
	}
	slices.Sort(list)
	return strings.Join(list, " "), nil
}
