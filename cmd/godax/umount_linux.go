package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// umountPatience is how long umount waits for the image to be closed.
const umountPatience = 5 * time.Minute

// mountEntry is a line of /proc/self/mountinfo.
type mountEntry struct{ dir, typ, source string }

// parseMountinfo reads lines of mountinfo; see proc_pid_mountinfo(5).
func parseMountinfo(text string) (list []mountEntry) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.SplitSeq(text, "\n") {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 2 {
			continue
		}
		list = append(list, mountEntry{dir: unescape.Replace(l[4]), typ: r[0], source: unescape.Replace(r[1])})
	}
	return list
}

// umount unmounts a directory and waits until the image is closed.
func (a *app) umount(dir string, force bool) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	// The directory itself is not touched: whoever serves it may be dead.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var found *mountEntry
	for _, e := range parseMountinfo(string(table)) {
		if e.dir == abs {
			found = &e // the last one is on top
		}
	}
	switch {
	case found == nil:
		return fmt.Errorf("not mounted: %w", unix.EINVAL)
	case found.typ != "fuse" && !strings.HasPrefix(found.typ, "fuse."):
		return fmt.Errorf("a mount of type %s: %w", found.typ, unix.EINVAL)
	}
	// Taken before, so that its end cannot be missed.
	image, ierr := os.Open(found.source)
	if ierr == nil {
		defer image.Close()
	}
	if err := umountDir(abs, force); err != nil {
		return err
	}
	if ierr != nil {
		return nil // the source is shown under a name that is no file
	}
	return a.awaitClose(image)
}

// umountDir unmounts with the system call, or with fusermount3.
func umountDir(dir string, force bool) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if force && err == unix.EBUSY {
		// The first ends the connection, the second takes what is left of it away.
		err = unix.Unmount(dir, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW)
		if err == unix.EBUSY {
			err = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	if err != unix.EPERM {
		return err
	}
	args := []string{"-u", "--", dir}
	if force {
		args = append([]string{"-z"}, args...)
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// awaitClose waits until nobody has the image open for writing: the server has a lock on it.
func (a *app) awaitClose(image *os.File) error {
	for end := time.Now().Add(umountPatience); ; time.Sleep(2 * time.Millisecond) {
		err := unix.Flock(int(image.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			return os.NewSyscallError("flock", err)
		case a.stopped():
			return a.ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("unmounted, but the image is still open after %v", umountPatience)
		}
	}
}
