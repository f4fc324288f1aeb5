package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hostAttrs are the attributes of a file of the host.
func hostAttrs(fi fs.FileInfo, err error) (attrs, error) {
	if err != nil {
		return attrs{}, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return attrs{}, errors.ErrUnsupported
	}
	return attrs{
		mode: fi.Mode(), uid: st.Uid, gid: st.Gid, nlink: uint64(st.Nlink), id: fileID{uint64(st.Dev), st.Ino},
		size: fi.Size(), major: unix.Major(uint64(st.Rdev)), minor: unix.Minor(uint64(st.Rdev)),
		atime: time.Unix(st.Atim.Unix()), mtime: fi.ModTime(),
	}, nil
}

// Xattrs returns the extended attributes of the file itself.
func (hostSource) Xattrs(p string) (map[string][]byte, error) {
	list, err := growing(func(b []byte) (int, error) { return unix.Llistxattr(p, b) })
	if err != nil {
		return nil, noXattrs(err)
	}
	all := make(map[string][]byte)
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if attr == "" {
			continue
		}
		value, err := growing(func(b []byte) (int, error) { return unix.Lgetxattr(p, attr, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", attr, err)
		}
		all[attr] = value
	}
	return all, nil
}

// growing calls get with a larger buffer until the answer fits. Linux has no list and
// no value above 64 KiB.
func growing(get func([]byte) (int, error)) ([]byte, error) {
	for size := 1 << 10; ; size *= 8 {
		b := make([]byte, size)
		n, err := get(b)
		if errors.Is(err, unix.ERANGE) && size < 1<<16 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
}

// at runs call with a descriptor of p's directory and the last element of p; the
// directory was found inside the root.
func (s hostSink) at(p string, call func(dir int, base string) error) error {
	dir, err := s.root.Open(path.Dir(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	return call(int(dir.Fd()), path.Base(p))
}

// Mknod makes a special file.
func (s hostSink) Mknod(p string, mode fs.FileMode, major, minor uint32) error {
	kind := map[fs.FileMode]uint32{
		fs.ModeNamedPipe: unix.S_IFIFO, fs.ModeSocket: unix.S_IFSOCK, fs.ModeDevice: unix.S_IFBLK,
		fs.ModeDevice | fs.ModeCharDevice: unix.S_IFCHR,
	}[mode.Type()]
	if kind == 0 {
		return syscall.EINVAL
	}
	return s.at(p, func(dir int, base string) error {
		return os.NewSyscallError("mknodat", unix.Mknodat(dir, base, kind|uint32(mode.Perm()), int(unix.Mkdev(major, minor))))
	})
}

// Chtimes sets the times of the file itself.
func (s hostSink) Chtimes(p string, atime, mtime time.Time) error {
	var ts [2]unix.Timespec
	for i, t := range []time.Time{atime, mtime} {
		var err error
		if ts[i], err = unix.TimeToTimespec(t); err != nil {
			return err
		}
	}
	return s.at(p, func(dir int, base string) error {
		return os.NewSyscallError("utimensat", unix.UtimesNanoAt(dir, base, ts[:], unix.AT_SYMLINK_NOFOLLOW))
	})
}

// SetXattr sets an extended attribute of the file itself.
func (s hostSink) SetXattr(p, attr string, value []byte) error {
	return s.at(p, func(dir int, base string) error {
		err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, base), attr, value, 0)
		return os.NewSyscallError("lsetxattr", err)
	})
}
