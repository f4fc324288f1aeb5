package posixtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

func openUnlinked(e *Env) {
	e.file("f", 0o644, "content")
	f, err := os.OpenFile(e.at("f"), os.O_RDWR, 0)
	e.must(err)
	if err != nil {
		return
	}
	defer f.Close()
	e.must(unix.Unlink(e.at("f")))
	stat := func(what string) {
		var st unix.Stat_t
		e.must(unix.Fstat(int(f.Fd()), &st))
		e.describe(what, &st)
	}
	stat("unlinked")
	_, err = f.WriteAt([]byte("more"), 7)
	e.try("write", err)
	e.try("chmod", f.Chmod(0o600))
	e.try("truncate", f.Truncate(9))
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	e.say("read: %q, %s", b, errName(err))
	stat("changed")
	e.try("link by descriptor", linkFD(int(f.Fd()), e.at("again")))
	e.file("f", 0o644, "another")
	stat("after a new one of the name")
}

func rename(e *Env) {
	mv := func(what, a, b string) { e.try(what, unix.Rename(e.at(a), e.at(b))) }
	e.file("f", 0o644, "f")
	e.file("g", 0o644, "g")
	e.mkdir("d", 0o755)
	e.mkdir("full", 0o755)
	e.file("full/x", 0o644, "x")
	e.mkdir("empty", 0o755)
	mv("nothing", "none", "x")
	mv("onto itself", "f", "f")
	mv("file over a directory", "f", "d")
	mv("directory over a file", "d", "f")
	mv("over a full directory", "d", "full")
	mv("directory into itself", "d", "d/x")
	mv("directory over its parent", "full/x", "full")
	mv("parent into the child", "full", "full/x/y")
	mv("directory over an empty one", "full", "empty")
	e.stat("what moved", "empty/x")
	mv("file over a file", "f", "g")
	b, err := os.ReadFile(e.at("g"))
	e.say("content: %q, %s", b, errName(err))
	e.must(unix.Link(e.at("g"), e.at("h")))
	mv("two names of one file", "g", "h")
	e.stat("first name", "g")
	e.stat("second name", "h")
	mv("with a slash, a file", "g", "new/")
	mv("with a slash, a directory", "d", "new/")
	e.must(unix.Symlink("h", e.at("s")))
	mv("a symlink", "s", "t")
	e.stat("the symlink", "t")
	mv("dot", ".", "x")
	mv("dot dot", "..", "x")
	// The replaced file lives on where it is open.
	fd, err := unix.Open(e.at("h"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	e.must(err)
	e.file("k", 0o644, "k")
	mv("over an open file", "k", "h")
	var st unix.Stat_t
	e.must(unix.Fstat(fd, &st))
	e.describe("the open one", &st)
	e.must(unix.Close(fd))
}

func renameFlags(e *Env) {
	mv := func(what, a, b string, flags uint) {
		e.try(what, unix.Renameat2(unix.AT_FDCWD, e.at(a), unix.AT_FDCWD, e.at(b), flags))
	}
	e.file("f", 0o644, "f")
	e.file("g", 0o600, "gg")
	e.mkdir("d", 0o755)
	e.mkdir("d/sub", 0o755)
	e.mkdir("x", 0o755)
	mv("NOREPLACE over a file", "f", "g", unix.RENAME_NOREPLACE)
	mv("NOREPLACE over itself", "f", "f", unix.RENAME_NOREPLACE)
	mv("NOREPLACE", "f", "h", unix.RENAME_NOREPLACE)
	mv("EXCHANGE with nothing", "h", "none", unix.RENAME_EXCHANGE)
	mv("EXCHANGE two files", "h", "g", unix.RENAME_EXCHANGE)
	e.stat("h", "h")
	e.stat("g", "g")
	mv("EXCHANGE a file and a directory", "h", "d", unix.RENAME_EXCHANGE)
	e.stat("h", "h")
	e.stat("d", "d")
	mv("EXCHANGE a directory with one below", "h", "h/sub", unix.RENAME_EXCHANGE)
	mv("EXCHANGE with one elsewhere", "h/sub", "x", unix.RENAME_EXCHANGE)
	mv("EXCHANGE a file and a directory elsewhere", "g", "h/sub", unix.RENAME_EXCHANGE)
	e.stat("h", "h")
	e.stat("g", "g")
	e.stat("h/sub", "h/sub")
	mv("both flags", "h", "g", unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE)
	mv("unknown flags", "h", "g", 1<<8)
}

func renamePermissions(e *Env) {
	e.mkdir("mine", 0o777)
	e.mkdir("theirs", 0o755)
	e.mkdir("mine/d", 0o755)
	e.file("mine/f", 0o644, "")
	e.mkdir("other", 0o777)
	e.as(1000, 1000, nil, func() {
		e.try("a file that is not mine", unix.Rename(e.at("mine/f"), e.at("other/f")))
		// A directory changes "..", which takes the right to write to it.
		e.try("a directory that is not mine, elsewhere", unix.Rename(e.at("mine/d"), e.at("other/d")))
		e.try("a directory that is not mine, here", unix.Rename(e.at("mine/d"), e.at("mine/e")))
		e.try("to where I may not write", unix.Rename(e.at("other/f"), e.at("theirs/f")))
		e.try("from where I may not write", unix.Rename(e.at("theirs"), e.at("mine/x")))
	})
}

func textBusy(e *Env) {
	sleep, err := exec.LookPath("sleep")
	e.must(err)
	b, err := os.ReadFile(sleep)
	e.must(err)
	e.must(os.WriteFile(e.at("prog"), b, 0o755))
	cmd := exec.Command(e.at("prog"), "100")
	err = cmd.Start()
	e.try("run", err)
	if err != nil {
		return
	}
	e.open("write to a running program", "prog", unix.O_WRONLY)
	e.try("truncate it", unix.Truncate(e.at("prog"), 0))
	e.must(cmd.Process.Kill())
	_ = cmd.Wait() // killed
	fd, err := unix.Open(e.at("prog"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	e.try("write afterwards", err)
	e.must(unix.Close(fd))
	e.chmod("prog", 0o644)
	e.try("run without the bit", exec.Command(e.at("prog"), "0").Run())
}

func openFlags(e *Env) {
	e.file("f", 0o644, "content")
	e.open("O_EXCL on a file", "f", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	e.must(unix.Symlink("nowhere", e.at("dangling")))
	e.open("O_EXCL on a symlink", "dangling", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	e.open("O_CREAT through a symlink", "dangling", unix.O_CREAT|unix.O_WRONLY)
	e.stat("what it made", "nowhere")
	e.must(unix.Symlink("f", e.at("s")))
	e.open("O_NOFOLLOW", "s", unix.O_RDONLY|unix.O_NOFOLLOW)
	e.open("O_TRUNC for reading", "f", unix.O_RDONLY|unix.O_TRUNC)
	e.stat("cut", "f")
	e.open("nothing", "none", unix.O_RDONLY)
	e.mkdir("d", 0o755)
	e.open("O_TRUNC on a directory", "d", unix.O_RDONLY|unix.O_TRUNC)
	e.open("O_CREAT of a directory", "new", unix.O_CREAT|unix.O_DIRECTORY|unix.O_RDONLY)
	fd, err := unix.Open(e.at("zero"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0)
	e.try("create with mode 0 for writing", err)
	if err == nil {
		_, err = unix.Write(fd, []byte("x"))
		e.try("write to it", err)
		e.must(unix.Close(fd))
	}
}

func appends(e *Env) {
	e.file("f", 0o644, "one")
	a, err := os.OpenFile(e.at("f"), os.O_WRONLY|os.O_APPEND, 0)
	e.must(err)
	b, err := os.OpenFile(e.at("f"), os.O_WRONLY|os.O_APPEND, 0)
	e.must(err)
	if e.err != nil {
		return
	}
	defer a.Close()
	defer b.Close()
	for _, w := range []struct {
		f *os.File
		s string
	}{{a, "two"}, {b, "three"}, {a, "four"}} {
		_, err := w.f.WriteString(w.s)
		e.try("append", err)
	}
	n, err := unix.Pwrite(int(a.Fd()), []byte("X"), 0) // Linux appends all the same
	e.say("pwrite: %d, %s", n, errName(err))
	got, err := os.ReadFile(e.at("f"))
	e.say("%q, %s", got, errName(err))
}

func sizes(e *Env) {
	e.file("f", 0o644, "content")
	e.try("negative", unix.Truncate(e.at("f"), -1))
	e.try("larger", unix.Truncate(e.at("f"), 10_000))
	b, err := os.ReadFile(e.at("f"))
	e.say("%d bytes, %d zeros, %s", len(b), strings.Count(string(b), "\x00"), errName(err))
	e.try("smaller", unix.Truncate(e.at("f"), 3))
	e.try("larger again", unix.Truncate(e.at("f"), 7))
	b, err = os.ReadFile(e.at("f"))
	e.say("%q, %s", b, errName(err))
	e.try("huge", unix.Truncate(e.at("f"), 1<<50))
	e.try("of nothing", unix.Truncate(e.at("none"), 1))
}

func holes(e *Env) {
	f, err := os.Create(e.at("f"))
	e.must(err)
	if err != nil {
		return
	}
	defer f.Close()
	_, err = f.WriteAt([]byte("x"), 100_000)
	e.must(err)
	_, err = f.WriteAt([]byte("y"), 300_000)
	e.must(err)
	seek := func(what string, off int64, whence int) {
		n, err := unix.Seek(int(f.Fd()), off, whence)
		if err == nil && (whence == unix.SEEK_DATA || whence == unix.SEEK_HOLE) {
			n = n / 4096 // blocks differ
		}
		e.say("%s from %d: %d, %s", what, off, n, errName(err))
	}
	for _, off := range []int64{0, 100_000, 150_000, 300_000, 300_001, 1 << 40, -1} {
		seek("data", off, unix.SEEK_DATA)
	}
	for _, off := range []int64{0, 300_001, 1 << 40} {
		seek("hole", off, unix.SEEK_HOLE)
	}
	seek("end", 5, io.SeekEnd)
	seek("negative", -5, io.SeekStart)
}

func nodes(e *Env) {
	for _, n := range []struct {
		name string
		mode uint32
		dev  uint64
	}{
		{"pipe", unix.S_IFIFO | 0o640, 0}, {"socket", unix.S_IFSOCK | 0o755, 0}, {"null", unix.S_IFCHR | 0o666, unix.Mkdev(1, 3)},
		{"disk", unix.S_IFBLK | 0o600, unix.Mkdev(300, 70_000)}, {"plain", unix.S_IFREG | 0o600, 0}, {"none", 0o644, 0},
		{"dir", unix.S_IFDIR | 0o700, 0},
	} {
		e.try("mknod "+n.name, unix.Mknod(e.at(n.name), n.mode, int(n.dev)))
		e.stat(n.name, n.name)
	}
	e.as(1000, 1000, nil, func() {
		e.try("a device, not by root", unix.Mknod(e.at("d"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		e.try("a pipe, not by root", unix.Mknod(e.at("p"), unix.S_IFIFO|0o666, 0))
	})
	e.open("a socket", "socket", unix.O_RDONLY)
	e.open("a pipe, not waiting", "pipe", unix.O_WRONLY|unix.O_NONBLOCK)
}

func symlinks(e *Env) {
	for _, n := range []int{1, 59, 60, 61, 255, 1000} {
		target := strings.Repeat("t", n)
		name := fmt.Sprint("s", n)
		e.try("symlink", unix.Symlink(target, e.at(name)))
		e.stat(name, name)
		got, err := os.Readlink(e.at(name))
		e.say("the same: %v, %s", got == target, errName(err))
	}
	e.try("empty", unix.Symlink("", e.at("empty")))
	e.try("exists", unix.Symlink("x", e.at("s1")))
	b := make([]byte, 3)
	n, err := unix.Readlink(e.at("s59"), b)
	e.say("into 3 bytes: %d, %s", n, errName(err))
	_, err = os.Readlink(e.dir)
	e.try("of a directory", err)
	e.try("chmod of the target", unix.Chmod(e.at("s1"), 0o600))
}

func readdir(e *Env) {
	for i := range 300 {
		e.file(fmt.Sprintf("%03d-%s", i, strings.Repeat("x", i%60)), 0o600, "")
	}
	f, err := os.Open(e.dir)
	e.must(err)
	if err != nil {
		return
	}
	defer f.Close()
	first, err := f.Readdirnames(10)
	e.must(err)
	gone := 0
	for i := 0; i < 300; i += 2 { // remove while listing
		name := fmt.Sprintf("%03d-%s", i, strings.Repeat("x", i%60))
		if !slices.Contains(first, name) {
			e.must(unix.Unlink(e.at(name)))
			gone++
		}
	}
	rest, err := f.Readdirnames(-1)
	all := append(first, rest...)
	sort.Strings(all)
	odd := 0
	for i := 1; i < 300; i += 2 {
		if slices.Contains(all, fmt.Sprintf("%03d-%s", i, strings.Repeat("x", i%60))) {
			odd++
		}
	}
	e.say("all that stayed are listed: %v, none twice: %v, %s", odd == 150, len(slices.Compact(all)) == len(all), errName(err))
	_, err = f.Seek(0, io.SeekStart)
	e.must(err)
	again, err := f.Readdirnames(-1)
	e.say("after a rewind: %v, %s", len(again) == 300-gone, errName(err))
	buf := make([]byte, 8192)
	fd, err := unix.Open(e.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	e.must(err)
	defer unix.Close(fd)
	n, err := unix.Getdents(fd, buf)
	e.say("has . and ..: %v %v, %s", strings.Contains(string(buf[:max(n, 0)]), "\x04.\x00"), strings.Contains(string(buf[:max(n, 0)]), "\x04..\x00"), errName(err))
}

func locks(e *Env) {
	e.file("f", 0o644, "0123456789")
	a, err := os.OpenFile(e.at("f"), os.O_RDWR, 0)
	e.must(err)
	b, err := os.OpenFile(e.at("f"), os.O_RDWR, 0)
	e.must(err)
	if e.err != nil {
		return
	}
	defer a.Close()
	defer b.Close()
	e.try("flock", unix.Flock(int(a.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	e.try("flock again", unix.Flock(int(b.Fd()), unix.LOCK_SH|unix.LOCK_NB))
	e.try("unlock", unix.Flock(int(a.Fd()), unix.LOCK_UN))
	e.try("flock now", unix.Flock(int(b.Fd()), unix.LOCK_SH|unix.LOCK_NB))
	ofd := func(what string, f *os.File, typ int16, off, n int64) {
		e.try(what, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ, Start: off, Len: n}))
	}
	ofd("lock a range", a, unix.F_WRLCK, 0, 5)
	ofd("the same by another", b, unix.F_WRLCK, 3, 5)
	ofd("another range", b, unix.F_WRLCK, 5, 5)
	ofd("unlock", a, unix.F_UNLCK, 0, 0)
	ofd("now", b, unix.F_RDLCK, 0, 0)
}

func access(e *Env) {
	for _, mode := range []uint32{0o700, 0o640, 0o004} {
		name := fmt.Sprintf("%03o", mode)
		e.file(name, mode, "x")
		e.chown(name, 1000, 1000)
		for _, uid := range []int{1000, 1001} {
			e.as(uid, uid, nil, func() {
				for m, what := range []string{"F", "X", "W", "WX", "R", "RX", "RW", "RWX"} {
					e.try(fmt.Sprintf("%s by %d: %s", name, uid, what), unix.Faccessat(unix.AT_FDCWD, e.at(name), uint32(m), 0))
				}
			})
		}
	}
}

func descriptors(e *Env) {
	e.file("f", 0o644, "content")
	r, err := os.Open(e.at("f"))
	e.must(err)
	w, err := os.OpenFile(e.at("f"), os.O_WRONLY, 0)
	e.must(err)
	if e.err != nil {
		return
	}
	defer r.Close()
	defer w.Close()
	_, err = r.WriteString("x")
	e.try("write to a reader", err)
	_, err = w.Read(make([]byte, 1))
	e.try("read from a writer", err)
	e.try("truncate a reader", r.Truncate(1))
	e.try("sync a reader", r.Sync())
	_, err = unix.Mmap(int(w.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	e.try("map a writer", err)
	_, err = unix.Mmap(int(r.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	e.try("map a reader for writing", err)
	b, err := unix.Mmap(int(r.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	e.try("map a reader privately", err)
	e.must(errors.Join(err, unix.Munmap(b)))
}

func fallocates(e *Env) {
	f, err := os.Create(e.at("f"))
	e.must(err)
	if err != nil {
		return
	}
	defer f.Close()
	e.try("unknown mode", unix.Fallocate(int(f.Fd()), 1<<20, 0, 10))
	e.try("negative", unix.Fallocate(int(f.Fd()), 0, -1, 10))
	e.try("empty", unix.Fallocate(int(f.Fd()), 0, 0, 0))
	e.try("punch without KEEP_SIZE", unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE, 0, 10))
	_, err = f.WriteString(strings.Repeat("x", 20_000))
	e.must(err)
	e.try("punch", unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 5000, 10_000))
	b, err := os.ReadFile(e.at("f"))
	e.say("%d bytes, %d zeros, %s", len(b), strings.Count(string(b), "\x00"), errName(err))
}
