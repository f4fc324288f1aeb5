package posixtest

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Rules is the table.
var Rules = []Rule{
	{"permissions", permissions}, {"supplementary groups", groups}, {"directory permissions", dirPermissions},
	{"sticky", sticky}, {"setgid directory", setgidDir}, {"setuid on write", setuidWrite}, {"setuid on chown", setuidChown},
	{"setgid on chmod", setgidChmod}, {"chown", chown}, {"chmod", chmod}, {"utimes", utimes}, {"umask", umask},
	{"links", links}, {"directory links", dirLinks}, {"times", times}, {"names", names}, {"paths", paths},
	{"loops", loops}, {"not a directory", notDir}, {"rmdir", rmdir}, {"unlink", unlink}, {"open without a name", openUnlinked}, {"made without a name", tmpfiles},
	{"rename", rename}, {"rename flags", renameFlags}, {"rename permissions", renamePermissions},
	{"busy text", textBusy}, {"open flags", openFlags}, {"append", appends}, {"sizes", sizes}, {"holes", holes},
	{"nodes", nodes}, {"symlinks", symlinks}, {"readdir", readdir}, {"attributes", attributes}, {"ACL", acls}, {"default ACL", defaultACL},
	{"locks", locks}, {"access", access}, {"read-only descriptors", descriptors}, {"fallocate", fallocates},
}

// open opens and closes.
func (e *Env) open(what, name string, flags int) {
	fd, err := unix.Open(e.at(name), flags|unix.O_CLOEXEC, 0o666)
	e.try(what, err)
	if err == nil {
		e.must(unix.Close(fd))
	}
}

func permissions(e *Env) {
	for _, mode := range []uint32{0, 0o400, 0o200, 0o040, 0o020, 0o004, 0o002, 0o600, 0o660, 0o077} {
		name := fmt.Sprintf("%03o", mode)
		e.file(name, mode, "x")
		e.chown(name, 1000, 1000)
		for _, u := range []struct{ uid, gid int }{{1000, 1000}, {1001, 1000}, {1002, 1002}} {
			e.as(u.uid, u.gid, nil, func() {
				e.open(fmt.Sprintf("%s by %d:%d for reading", name, u.uid, u.gid), name, unix.O_RDONLY)
				e.open(fmt.Sprintf("%s by %d:%d for writing", name, u.uid, u.gid), name, unix.O_WRONLY)
				e.try(fmt.Sprintf("%s truncate by %d:%d", name, u.uid, u.gid), unix.Truncate(e.at(name), 1))
			})
		}
	}
}

func groups(e *Env) {
	e.file("f", 0o060, "x")
	e.chown("f", 1, 77)
	e.as(1000, 1000, []uint32{5, 77}, func() { e.open("member", "f", unix.O_RDWR) })
	e.as(1000, 1000, []uint32{5}, func() { e.open("stranger", "f", unix.O_RDWR) })
	e.file("mine", 0o640, "x")
	e.chown("mine", 1000, 1000)
	e.as(1000, 1000, []uint32{5, 77}, func() {
		e.try("to a group of mine", unix.Chown(e.at("mine"), -1, 77))
		e.try("to another group", unix.Chown(e.at("mine"), -1, 78))
		e.try("give it away", unix.Chown(e.at("mine"), 1001, -1))
		e.try("to me, whose it is", unix.Chown(e.at("mine"), 1000, -1))
	})
	e.stat("afterwards", "mine")
}

func dirPermissions(e *Env) {
	for _, mode := range []uint32{0o700, 0o755, 0o711, 0o744, 0o722, 0o733} {
		name := fmt.Sprintf("%03o", mode)
		e.mkdir(name, 0o777)
		e.file(name+"/f", 0o644, "x")
		e.mkdir(name+"/d", 0o777)
		e.chmod(name, mode)
		e.as(1000, 1000, nil, func() {
			_, err := os.ReadDir(e.at(name))
			e.try(name+" list", err)
			e.open(name+" file in it", name+"/f", unix.O_RDONLY)
			e.open(name+" create", name+"/new", unix.O_CREAT|unix.O_WRONLY)
			e.try(name+" mkdir", unix.Mkdir(e.at(name+"/newdir"), 0o777))
			e.try(name+" link", unix.Link(e.at(name+"/f"), e.at(name+"/link")))
			e.try(name+" symlink", unix.Symlink("x", e.at(name+"/sym")))
			e.try(name+" unlink", unix.Unlink(e.at(name+"/f")))
			e.try(name+" rmdir", unix.Rmdir(e.at(name+"/d")))
			e.try(name+" of what is not there", unix.Unlink(e.at(name+"/none")))
		})
	}
}

func sticky(e *Env) {
	e.mkdir("tmp", 0o1777)
	for _, name := range []string{"a", "b", "c", "d"} {
		e.file("tmp/"+name, 0o666, name)
		e.chown("tmp/"+name, 1000, 1000)
	}
	e.mkdir("tmp/dir", 0o777)
	e.chown("tmp/dir", 1000, 1000)
	e.file("tmp/others", 0o666, "x")
	e.chown("tmp/others", 1001, 1001)
	e.as(1001, 1001, nil, func() {
		e.try("unlink another's", unix.Unlink(e.at("tmp/a")))
		e.try("rename another's", unix.Rename(e.at("tmp/a"), e.at("tmp/x")))
		e.try("rename over another's", unix.Rename(e.at("tmp/others"), e.at("tmp/b")))
		e.try("rmdir another's", unix.Rmdir(e.at("tmp/dir")))
		e.open("write to another's", "tmp/c", unix.O_WRONLY)
	})
	e.as(1000, 1000, nil, func() { e.try("unlink mine", unix.Unlink(e.at("tmp/c"))) })
	e.chown("tmp", 1002, 1002)
	e.as(1002, 1002, nil, func() { e.try("unlink in my directory", unix.Unlink(e.at("tmp/d"))) })
	e.file("plain", 0o644, "")
	e.chown("plain", 1000, 1000)
	e.as(1000, 1000, nil, func() { e.try("sticky on a file", unix.Chmod(e.at("plain"), 0o1644)) })
	e.stat("sticky file", "plain")
}

func setgidDir(e *Env) {
	e.mkdir("d", 0o777)
	e.chown("d", 0, 55)
	e.chmod("d", 0o2777)
	e.as(1000, 1000, nil, func() {
		e.open("create", "d/f", unix.O_CREAT|unix.O_WRONLY)
		e.try("mkdir", unix.Mkdir(e.at("d/sub"), 0o755))
		e.try("mkfifo", unix.Mkfifo(e.at("d/pipe"), 0o644))
		e.try("symlink", unix.Symlink("x", e.at("d/s")))
		fd, err := unix.Open(e.at("d/setgid"), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o2775)
		e.try("create setgid", err)
		if err == nil {
			e.must(unix.Close(fd))
		}
	})
	for _, n := range []string{"f", "sub", "pipe", "s", "setgid"} {
		e.stat(n, "d/"+n)
	}
	e.as(1000, 1000, nil, func() { e.open("below", "d/sub/f", unix.O_CREAT|unix.O_WRONLY) })
	e.stat("below", "d/sub/f")
}

func setuidWrite(e *Env) {
	for _, mode := range []uint32{0o6777, 0o6767, 0o2766, 0o4777} {
		for _, uid := range []int{0, 1000} {
			for name, op := range map[string]func(f string) error{
				"write":    func(f string) error { return writeTo(f, "new") },
				"truncate": func(f string) error { return unix.Truncate(f, 1) },
			} {
				f := fmt.Sprintf("%o-%d-%s", mode, uid, name)
				e.file(f, 0o666, "old")
				e.chmod(f, mode)
				e.as(uid, uid, nil, func() { e.must(op(e.at(f))) })
			}
		}
	}
	for _, mode := range []uint32{0o6777, 0o6767, 0o2766, 0o4777} {
		for _, uid := range []int{0, 1000} {
			for _, op := range []string{"write", "truncate"} {
				f := fmt.Sprintf("%o-%d-%s", mode, uid, op)
				e.stat(f, f)
			}
		}
	}
	e.file("caps", 0o777, "x")
	e.must(unix.Setxattr(e.at("caps"), "security.capability", capNetRaw, 0))
	e.must(writeTo(e.at("caps"), "y"))
	_, err := unix.Getxattr(e.at("caps"), "security.capability", make([]byte, 64))
	e.try("capabilities after a write by root", err)
}

// capNetRaw is the value of security.capability for CAP_NET_RAW (struct vfs_cap_data,
// revision 2).
var capNetRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func writeTo(name, s string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(s))
	return err
}

func setuidChown(e *Env) {
	for _, mode := range []uint32{0o6777, 0o6767, 0o2766} {
		f := fmt.Sprintf("%o", mode)
		e.file(f, 0o666, "x")
		e.chown(f, 1000, 1000)
		e.chmod(f, mode)
		e.must(unix.Chown(e.at(f), 1001, -1))
		e.stat("by root "+f, f)
		e.chown(f, 1000, 1000)
		e.chmod(f, mode)
		e.as(1000, 1000, []uint32{1000, 7}, func() { e.try("by the owner", unix.Chown(e.at(f), -1, 7)) })
		e.stat("by the owner "+f, f)
	}
	e.mkdir("d", 0o777)
	e.chmod("d", 0o6777)
	e.must(unix.Chown(e.at("d"), 1001, 5))
	e.stat("directory", "d")
}

func setgidChmod(e *Env) {
	e.file("f", 0o755, "x")
	e.chown("f", 1000, 55)
	e.as(1000, 1000, nil, func() { e.try("not of the group", unix.Chmod(e.at("f"), 0o2755)) })
	e.stat("not of the group", "f")
	e.as(1000, 1000, []uint32{55}, func() { e.try("of the group", unix.Chmod(e.at("f"), 0o2755)) })
	e.stat("of the group", "f")
}

func chown(e *Env) {
	e.file("f", 0o644, "x")
	e.must(unix.Symlink("f", e.at("s")))
	e.try("follows links", unix.Chown(e.at("s"), 70000, 1<<31))
	e.try("lchown", unix.Lchown(e.at("s"), 5, 6))
	e.stat("file", "f")
	e.stat("link", "s")
	e.as(1000, 1000, nil, func() { e.try("another's", unix.Chown(e.at("f"), 1000, 1000)) })
	e.try("nothing", unix.Chown(e.at("none"), 1, 1))
}

func chmod(e *Env) {
	e.file("f", 0o644, "x")
	for _, mode := range []uint32{0, 0o7777, 0o1234} {
		e.try("chmod", unix.Chmod(e.at("f"), mode))
		e.stat("after", "f")
	}
	e.as(1000, 1000, nil, func() { e.try("another's", unix.Chmod(e.at("f"), 0o777)) })
}

func utimes(e *Env) {
	e.file("f", 0o666, "x")
	for _, ns := range []int64{1, 1_000_000_001, -1_500_000_000, 4_294_967_296_000_000_005, 1<<31*1_000_000_000 + 7} {
		ts := unix.NsecToTimespec(ns)
		e.must(unix.UtimesNanoAt(unix.AT_FDCWD, e.at("f"), []unix.Timespec{ts, ts}, 0))
		var st unix.Stat_t
		e.must(unix.Stat(e.at("f"), &st))
		e.say("%d: %d.%09d %d.%09d", ns, st.Atim.Sec, st.Atim.Nsec, st.Mtim.Sec, st.Mtim.Nsec)
	}
	now, omit := unix.Timespec{Nsec: unix.UTIME_NOW}, unix.Timespec{Nsec: unix.UTIME_OMIT}
	any := unix.NsecToTimespec(5)
	e.as(1000, 1000, nil, func() {
		e.try("now, who may write", unix.UtimesNanoAt(unix.AT_FDCWD, e.at("f"), []unix.Timespec{now, now}, 0))
		e.try("any time, who may write", unix.UtimesNanoAt(unix.AT_FDCWD, e.at("f"), []unix.Timespec{any, any}, 0))
		e.try("one now, one left", unix.UtimesNanoAt(unix.AT_FDCWD, e.at("f"), []unix.Timespec{now, omit}, 0))
	})
	e.chmod("f", 0o644)
	e.as(1000, 1000, nil, func() {
		e.try("now, who may not write", unix.UtimesNanoAt(unix.AT_FDCWD, e.at("f"), []unix.Timespec{now, now}, 0))
	})
}

func umask(e *Env) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	e.open("create", "f", unix.O_CREAT|unix.O_WRONLY)
	e.must(unix.Mkdir(e.at("d"), 0o777))
	e.must(unix.Mkfifo(e.at("p"), 0o666))
	e.must(unix.Symlink("x", e.at("s")))
	for _, n := range []string{"f", "d", "p", "s"} {
		e.stat(n, n)
	}
}

func links(e *Env) {
	e.file("a", 0o644, "x")
	e.try("link", unix.Link(e.at("a"), e.at("b")))
	e.stat("two names", "a")
	e.try("over a name", unix.Link(e.at("a"), e.at("b")))
	e.mkdir("d", 0o755)
	e.try("a directory", unix.Link(e.at("d"), e.at("e")))
	e.must(unix.Symlink("a", e.at("s")))
	e.try("a symlink", unix.Link(e.at("s"), e.at("t")))
	e.stat("symlink", "t")
	e.try("what is not there", unix.Link(e.at("none"), e.at("x")))
	e.must(unix.Unlink(e.at("a")))
	e.stat("one name", "b")
}

func dirLinks(e *Env) {
	e.mkdir("d", 0o755)
	e.stat("empty", "d")
	e.mkdir("d/a", 0o755)
	e.mkdir("d/b", 0o755)
	e.file("d/f", 0o644, "")
	e.stat("two directories", "d")
	e.mkdir("x", 0o755)
	e.must(unix.Rename(e.at("d/a"), e.at("x/a")))
	e.stat("one moved away", "d")
	e.stat("where it moved", "x")
	e.must(unix.Rename(e.at("d/b"), e.at("x/a")))
	e.stat("one moved over the other", "x")
	e.must(unix.Rmdir(e.at("x/a")))
	e.stat("removed", "x")
}

func times(e *Env) {
	e.file("f", 0o666, "content")
	e.mkdir("d", 0o777)
	e.times("write", "f", func() error { return writeTo(e.at("f"), "new") })
	e.times("read", "f", func() error { _, err := os.ReadFile(e.at("f")); return err })
	e.times("truncate", "f", func() error { return unix.Truncate(e.at("f"), 3) })
	e.times("truncate to what it is", "f", func() error { return unix.Truncate(e.at("f"), 3) })
	e.times("chmod", "f", func() error { return unix.Chmod(e.at("f"), 0o640) })
	e.times("chown", "f", func() error { return unix.Chown(e.at("f"), 3, 3) })
	e.times("setxattr", "f", func() error { return unix.Setxattr(e.at("f"), "user.x", []byte("y"), 0) })
	e.times("link, the file", "f", func() error { return unix.Link(e.at("f"), e.at("g")) })
	e.times("unlink of another name", "f", func() error { return unix.Unlink(e.at("g")) })
	e.times("rename there and back, the file", "f", func() error {
		e.must(unix.Rename(e.at("f"), e.at("g")))
		return unix.Rename(e.at("g"), e.at("f"))
	})
	e.times("create, the directory", "d", func() error { return os.WriteFile(e.at("d/x"), nil, 0o600) })
	e.times("write to a file in it", "d", func() error { return writeTo(e.at("d/x"), "z") })
	e.times("mkdir, the directory", "d", func() error { return unix.Mkdir(e.at("d/y"), 0o700) })
	e.times("rename, the directory", "d", func() error { return unix.Rename(e.at("d/x"), e.at("d/z")) })
	e.times("unlink, the directory", "d", func() error { return unix.Unlink(e.at("d/z")) })
	e.times("rmdir, the directory", "d", func() error { return unix.Rmdir(e.at("d/y")) })
	e.times("list", "d", func() error { _, err := os.ReadDir(e.at("d")); return err })
}

func names(e *Env) {
	for _, n := range []int{254, 255, 256, 1024, 4000, 5000} {
		name := strings.Repeat("n", n)
		e.open(fmt.Sprint("create a name of ", n), name, unix.O_CREAT|unix.O_WRONLY)
		e.try(fmt.Sprint("mkdir of ", n), unix.Mkdir(e.at("d"+name[1:]), 0o700))
		e.try(fmt.Sprint("stat of ", n), unix.Lstat(e.at("x"+name[1:]), new(unix.Stat_t)))
		e.try(fmt.Sprint("rename to ", n), unix.Rename(e.at("none"), e.at("r"+name[1:])))
		e.try(fmt.Sprint("symlink with a target of ", n), unix.Symlink(name, e.at(fmt.Sprint("s", n))))
	}
	for _, name := range []string{"with space", "new\nline", "\xff\xfe", "…", "-", "..."} {
		e.open(fmt.Sprintf("create %q", name), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	}
	e.open("empty name", "", unix.O_CREAT|unix.O_WRONLY)
}

func paths(e *Env) {
	e.mkdir("d", 0o755)
	e.file("f", 0o644, "")
	for _, p := range []string{"d/", "d/.", "d/..", "d//", "f/", "f/.", "none/", "d/../f"} {
		e.try("stat "+p, unix.Lstat(e.dir+"/"+p, new(unix.Stat_t)))
		e.try("unlink "+p, unix.Unlink(e.dir+"/"+p))
		e.file("f", 0o644, "")
		e.try("mkdir "+p, unix.Mkdir(e.dir+"/"+p, 0o700))
		e.try("rmdir "+p, unix.Rmdir(e.dir+"/"+p))
		_ = os.Mkdir(e.at("d"), 0o755) // where the line above has removed it
	}
}

func loops(e *Env) {
	e.must(unix.Symlink("a", e.at("b")))
	e.must(unix.Symlink("b", e.at("a")))
	e.open("circle", "a", unix.O_RDONLY)
	e.open("create through a circle", "a", unix.O_CREAT|unix.O_WRONLY)
	e.open("not followed", "a", unix.O_RDONLY|unix.O_NOFOLLOW)
	e.file("f", 0o644, "x")
	last := "f"
	for i := range 45 {
		name := fmt.Sprint("l", i)
		e.must(unix.Symlink(last, e.at(name)))
		if last = name; i == 38 || i == 39 || i == 40 || i == 44 {
			e.open(fmt.Sprint("chain of ", i+1), name, unix.O_RDONLY)
		}
	}
}

func notDir(e *Env) {
	e.file("f", 0o644, "x")
	e.open("open", "f/x", unix.O_RDONLY)
	e.open("create", "f/x", unix.O_CREAT|unix.O_WRONLY)
	e.try("mkdir", unix.Mkdir(e.at("f/x"), 0o700))
	e.try("unlink", unix.Unlink(e.at("f/x")))
	e.try("rmdir of a file", unix.Rmdir(e.at("f")))
	e.open("O_DIRECTORY", "f", unix.O_RDONLY|unix.O_DIRECTORY)
	e.mkdir("d", 0o755)
	e.open("write to a directory", "d", unix.O_WRONLY)
	e.open("create over a directory", "d", unix.O_CREAT|unix.O_RDWR)
	e.try("truncate a directory", unix.Truncate(e.at("d"), 0))
}

func rmdir(e *Env) {
	e.mkdir("d", 0o755)
	e.file("d/f", 0o644, "")
	e.try("full", unix.Rmdir(e.at("d")))
	e.must(unix.Unlink(e.at("d/f")))
	fd, err := unix.Open(e.at("d"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	e.must(err)
	defer unix.Close(fd)
	e.try("empty, open", unix.Rmdir(e.at("d")))
	e.try("again", unix.Rmdir(e.at("d")))
	var st unix.Stat_t
	e.must(unix.Fstat(fd, &st))
	e.describe("the open one", &st)
	_, err = unix.Openat(fd, "x", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	e.try("create in it", err)
	e.try("mkdir in it", unix.Mkdirat(fd, "x", 0o700))
	n, err := unix.Getdents(fd, make([]byte, 4096))
	e.say("list it: %d bytes, %s", n, errName(err))
}

func unlink(e *Env) {
	e.try("nothing", unix.Unlink(e.at("none")))
	e.mkdir("d", 0o755)
	e.try("a directory", unix.Unlink(e.at("d")))
	e.must(unix.Symlink("d", e.at("s")))
	e.try("a symlink to a directory", unix.Unlink(e.at("s")))
	e.stat("its target", "d")
}
