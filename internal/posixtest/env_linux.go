package posixtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Env is what a rule works with: a directory of its own, and a list of lines.
type Env struct {
	dir   string
	lines []string
	err   error // why the rule could not be carried out
}

// Rule is one entry of the table.
type Rule struct {
	Name string
	do   func(e *Env)
}

// Run carries all rules out below dir, a directory on the file system to test, as root. Each
// line begins with the rule's name.
func Run(dir string) ([]string, error) {
	defer unix.Umask(unix.Umask(0))
	var lines []string
	for i, r := range Rules {
		e := &Env{dir: filepath.Join(dir, fmt.Sprintf("rule%d", i))}
		e.must(os.Mkdir(e.dir, 0o777))
		if e.err == nil {
			r.do(e)
		}
		if e.err != nil {
			return lines, fmt.Errorf("%s: %w", r.Name, e.err)
		}
		for _, l := range e.lines {
			lines = append(lines, r.Name+": "+l)
		}
	}
	return lines, nil
}

// must notes an error that keeps the rule from being carried out.
func (e *Env) must(err error) {
	if e.err == nil && err != nil {
		e.err = err
	}
}

// at is a name in the rule's directory.
func (e *Env) at(name string) string { return filepath.Join(e.dir, name) }

// say writes a line.
func (e *Env) say(format string, args ...any) {
	e.lines = append(e.lines, fmt.Sprintf(format, args...))
}

// try writes what came of an operation: the name of its errno, or ok.
func (e *Env) try(what string, err error) {
	e.say("%s: %s", what, errName(err))
}

// errName is the name of an error's errno.
func errName(err error) string {
	for err != nil {
		switch x := err.(type) {
		case *fs.PathError:
			err = x.Err
		case *os.LinkError:
			err = x.Err
		case *os.SyscallError:
			err = x.Err
		case unix.Errno:
			return unix.ErrnoName(x)
		default:
			return err.Error()
		}
	}
	return "ok"
}

// file makes a file with content.
func (e *Env) file(name string, mode uint32, content string) {
	e.must(os.WriteFile(e.at(name), []byte(content), 0o600))
	e.chmod(name, mode)
}

// mkdir makes a directory.
func (e *Env) mkdir(name string, mode uint32) {
	e.must(os.Mkdir(e.at(name), 0o700))
	e.chmod(name, mode)
}

func (e *Env) chmod(name string, mode uint32) { e.must(unix.Chmod(e.at(name), mode)) }

func (e *Env) chown(name string, uid, gid int) { e.must(unix.Lchown(e.at(name), uid, gid)) }

// stat writes type, mode, owner, links and, of anything but a directory, the size.
func (e *Env) stat(what, name string) {
	var st unix.Stat_t
	if err := unix.Lstat(e.at(name), &st); err != nil {
		e.try(what, err)
		return
	}
	e.describe(what, &st)
}

func (e *Env) describe(what string, st *unix.Stat_t) {
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	e.say("%s: mode %o, owner %d:%d, %d links, %d bytes, device %#x", what, st.Mode, st.Uid, st.Gid, st.Nlink, size, st.Rdev)
}

// times writes which of the times of a file an operation changes. Before it they lie far back.
func (e *Env) times(what, name string, op func() error) {
	old := unix.NsecToTimespec(1_000_000_000_123_456_789)
	e.must(unix.UtimesNanoAt(unix.AT_FDCWD, e.at(name), []unix.Timespec{old, old}, unix.AT_SYMLINK_NOFOLLOW))
	var before, after unix.Stat_t
	e.must(unix.Lstat(e.at(name), &before))
	// The clock of files may stand still for some milliseconds.
	for c := before.Ctim; c == before.Ctim; {
		unix.Nanosleep(&unix.Timespec{Nsec: 5_000_000}, nil)
		var now unix.Timespec
		if unix.ClockGettime(unix.CLOCK_REALTIME, &now) != nil || now.Sec > c.Sec || now.Nsec > c.Nsec+20_000_000 {
			break
		}
	}
	err := op()
	e.must(unix.Lstat(e.at(name), &after))
	e.say("%s: %s, mtime changed %v, ctime changed %v", what, errName(err), after.Mtim != before.Mtim, after.Ctim != before.Ctim)
}

// as runs f as another user, on a thread of its own that ends with it.
func (e *Env) as(uid, gid int, groups []uint32, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread does not die
			defer runtime.UnlockOSThread()
			e.as(uid, gid, groups, f)
			return
		}
		// Never unlocked: the thread keeps the user, and dies with the goroutine.
		if err := become(uid, gid, groups); err != nil {
			e.must(err)
			return
		}
		f()
	}()
	<-done
}
