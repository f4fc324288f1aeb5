package modeltest

import (
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"godax"
)

func (s *kernelSystem) doName(o op) error {
	path := at(o.Path)
	switch o.Kind {
	case opTruncate:
		return unix.Truncate(path, o.N)
	case opMkdir:
		err := unix.Mkdir(path, uint32(o.Mode.Perm()))
		if err == nil && o.Mode != o.Mode.Perm() { // mkdir(2) leaves setuid and setgid out
			var st unix.Stat_t
			if err = unix.Stat(path, &st); err == nil {
				err = unix.Chmod(path, goPerm(o.Mode)|st.Mode&unix.S_ISGID)
			}
		}
		return err
	case opMknod:
		mode, dev := goPerm(o.Mode), 0
		switch o.Mode.Type() {
		case fs.ModeNamedPipe:
			mode |= unix.S_IFIFO
		case fs.ModeSocket:
			mode |= unix.S_IFSOCK
		case 0:
			mode |= unix.S_IFREG
		default:
			dev = int(unix.Mkdev(uint32(o.Arg>>8), uint32(o.Arg&0xff)))
			mode |= unix.S_IFBLK
			if o.Mode&fs.ModeCharDevice != 0 {
				mode ^= unix.S_IFBLK ^ unix.S_IFCHR
			}
		}
		return unix.Mknod(path, mode, dev)
	case opRemove:
		err := unix.Unlink(path)
		if err == unix.EISDIR {
			err = unix.Rmdir(path)
		}
		return err
	case opRemoveAll:
		var st unix.Stat_t
		trimmed := strings.TrimRight(path, "/")
		if err := unix.Lstat(trimmed, &st); trimmed != path && err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		} else if err != nil && err != unix.ENOENT {
			return err
		}
		return os.RemoveAll(trimmed)
	case opRename:
		return unix.Rename(path, at(o.Path2))
	case opLink:
		return unix.Link(path, at(o.Path2))
	}
	return unix.Symlink(o.Path, at(o.Path2))
}

func (s *kernelSystem) doNode(o op) outcome {
	path := at(o.Path)
	switch o.Kind {
	case opReadlink:
		b := make([]byte, pageSize)
		n, err := unix.Readlink(path, b)
		return outcome{err: class(err), data: string(b[:max(n, 0)])}
	case opChmod:
		return only(unix.Chmod(path, goPerm(o.Mode)))
	case opChown, opLchown:
		return only(chown(path, o))
	case opChtimes:
		ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
		for i, sec := range []int64{o.Arg, o.N} {
			if sec != 0 {
				ts[i] = unix.Timespec{Sec: sec}
			}
		}
		if o.Arg == 0 && o.N == 0 { // the kernel then does not even look at the path
			var st unix.Stat_t
			return only(unix.Stat(path, &st))
		}
		return only(unix.UtimesNanoAt(unix.AT_FDCWD, path, ts[:], 0))
	case opSetXattr, opXattr, opRemoveXattr, opListXattr:
		return s.xattr(path, o)
	case opReadDir:
		entries, err := os.ReadDir(path + "/")
		return outcome{err: class(err), data: listing(entries)}
	case opStat, opLstat:
		var st unix.Stat_t
		stat := unix.Stat
		if o.Kind == opLstat {
			stat = unix.Lstat
		}
		err := stat(path, &st)
		return outcome{err: class(err), st: kernelAttrs(&st)}
	}
	return outcome{}
}

// chown also gives the bits back that the kernel takes from programs.
func chown(path string, o op) error {
	var st unix.Stat_t
	stat, call := unix.Stat, unix.Chown
	if o.Kind == opLchown {
		stat, call = unix.Lstat, unix.Lchown
	}
	if err := stat(path, &st); err != nil {
		return err
	}
	err := call(path, int(o.Arg), int(o.N))
	if err == nil && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Chmod(path, st.Mode&0o7777)
	}
	return err
}

func (s *kernelSystem) xattr(path string, o op) outcome {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == nil && (o.Kind == opListXattr || strings.HasPrefix(o.Name, "user.")) {
		if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
			return fails(errSkipped) // Linux has none of user.* there
		}
	}
	b := make([]byte, 1<<16)
	switch o.Kind {
	case opSetXattr:
		flag := map[godax.XattrFlag]int{godax.XattrCreate: unix.XATTR_CREATE, godax.XattrReplace: unix.XATTR_REPLACE}
		return only(unix.Lsetxattr(path, o.Name, filled(o.N, o.Arg), flag[godax.XattrFlag(o.Mode)]))
	case opXattr:
		n, err := unix.Lgetxattr(path, o.Name, b)
		return outcome{err: class(err), data: string(b[:max(n, 0)])}
	case opRemoveXattr:
		return only(unix.Lremovexattr(path, o.Name))
	}
	n, err := unix.Llistxattr(path, b)
	names := strings.Split(strings.TrimRight(string(b[:max(n, 0)]), "\x00"), "\x00")
	slices.Sort(names)
	return outcome{err: class(err), data: strings.Join(names, "\n")}
}

// kernelAttrs takes what can be compared.
func kernelAttrs(st *unix.Stat_t) *attrs {
	a := &attrs{
		mode: fs.FileMode(st.Mode & 0o777), nlink: uint32(st.Nlink), uid: st.Uid, gid: st.Gid, size: st.Size,
		atime: st.Atim.Sec, mtime: st.Mtim.Sec, ctime: st.Ctim.Sec, ino: st.Ino,
	}
	types := map[uint32]fs.FileMode{
		unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe,
		unix.S_IFSOCK: fs.ModeSocket, unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
	}
	a.mode |= types[st.Mode&unix.S_IFMT]
	for bit, m := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if st.Mode&bit != 0 {
			a.mode |= m
		}
	}
	if a.mode&fs.ModeDevice != 0 {
		a.major, a.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if a.mode.IsDir() {
		a.size = 0
	}
	return a
}
