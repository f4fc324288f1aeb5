package posixtest

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// tmpfiles are files made without a name (O_TMPFILE).
func tmpfiles(e *Env) {
	e.mkdir("d", 0o777)
	e.chown("d", 0, 55)
	e.chmod("d", 0o2777)
	e.mkdir("closed", 0o755)
	e.file("f", 0o666, "x")
	for _, uid := range []int{0, 1000} {
		e.as(uid, uid, nil, func() {
			prev := unix.Umask(0o022)
			defer unix.Umask(prev)
			tmpfile(e, "d", fmt.Sprint(uid), 0)
			tmpfile(e, "d", fmt.Sprint(uid, "excl"), unix.O_EXCL)
			tmpfile(e, "closed", fmt.Sprint(uid), 0)
			tmpfile(e, "f", fmt.Sprint(uid), 0)
		})
		e.stat("named", fmt.Sprintf("d/%dnamed", uid))
		e.stat("second", fmt.Sprintf("d/%dsecond", uid))
	}
	fd, err := unix.Open(e.at("d"), unix.O_TMPFILE|unix.O_RDONLY|unix.O_CLOEXEC, 0o600)
	e.try("only to read", err)
	if err == nil {
		e.must(unix.Close(fd))
	}
	entries, err := os.ReadDir(e.at("d"))
	e.must(err)
	for _, entry := range entries {
		e.say("the directory has %s", entry.Name())
	}
}

// linkFD gives an open file another name. The thread's descriptors are named, as the process's
// belong to root.
func linkFD(fd int, name string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/thread-self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

// tmpfile makes one in a directory, and tries to give it names.
func tmpfile(e *Env, dir, as string, flags int) {
	say := func(format string, args ...any) string { return dir + ", " + as + ": " + fmt.Sprintf(format, args...) }
	fd, err := unix.Open(e.at(dir), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|flags, 0o6666)
	e.try(say("make"), err)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "tmpfile")
	defer f.Close()
	stat := func(what string) {
		var st unix.Stat_t
		e.must(unix.Fstat(fd, &st))
		e.describe(say("%s", what), &st)
	}
	stat("new")
	_, err = f.WriteAt([]byte("content"), 5000)
	e.try(say("write"), err)
	stat("written")
	link := func(name string) {
		e.try(say("link %s", name), linkFD(fd, e.at(dir+"/"+as+name)))
		stat("then")
	}
	link("named")
	link("named")
	link("second")
	link("third")
	e.try(say("unlink"), unix.Unlink(e.at(dir+"/"+as+"third")))
	stat("unlinked")
	link("gone")
	e.try(say("unlink"), unix.Unlink(e.at(dir+"/"+as+"gone")))
	b, err := io.ReadAll(io.NewSectionReader(f, 4998, 100))
	e.say("%s", say("read: %q, %s", b, errName(err)))
	if flags&unix.O_EXCL != 0 {
		return
	}
	fd2, err := unix.Open(e.at(dir), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	e.must(err)
	defer unix.Close(fd2)
	name := e.at(dir + "/" + as + "once")
	e.try(say("link another"), linkFD(fd2, name))
	e.try(say("unlink it"), unix.Unlink(name))
	e.try(say("link it again"), linkFD(fd2, name))
}
