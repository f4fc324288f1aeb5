package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// maxRequest is how many bytes one request of the kernel reads or writes at most.
const maxRequest = 1 << 20

// mountFlags are the options of mount(8) that are flags of mount(2); without a flag they
// take it away.
var mountFlags = map[string]struct {
	flag  uintptr
	clear bool
}{
	"ro": {unix.MS_RDONLY, false}, "rw": {unix.MS_RDONLY, true},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "diratime": {unix.MS_NODIRATIME, true},
	"relatime": {unix.MS_RELATIME, false}, "norelatime": {unix.MS_RELATIME, true},
	"strictatime": {unix.MS_STRICTATIME, false},
	"lazytime":    {unix.MS_LAZYTIME, false}, "nolazytime": {unix.MS_LAZYTIME, true},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true},
	"dirsync": {unix.MS_DIRSYNC, false},
	"silent":  {unix.MS_SILENT, false}, "loud": {unix.MS_SILENT, true},
}

// IsFlag reports whether an option of mount(8) may stand in Options.Flags.
func IsFlag(option string) bool {
	_, ok := mountFlags[option]
	return ok
}

// flags is what Options say in the flags of mount(2).
func (o *Options) flags() (uintptr, error) {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	for _, name := range o.Flags {
		f, ok := mountFlags[name]
		switch {
		case !ok:
			return 0, fmt.Errorf("mount option %q: %w", name, unix.EINVAL)
		case f.clear:
			flags &^= f.flag
		default:
			flags |= f.flag
		}
	}
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return flags, nil
}

// mountPoint checks the directory and makes its path absolute.
func mountPoint(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// go-fuse would take such a name for a descriptor of /dev/fuse.
	if dir == "/dev/fd" || strings.HasPrefix(dir, "/dev/fd/") {
		return "", &os.PathError{Op: "mount", Path: dir, Err: unix.EINVAL}
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !fi.IsDir() {
		return "", &os.PathError{Op: "mount", Path: dir, Err: unix.ENOTDIR}
	}
	return dir, nil
}

// mountSelf mounts with mount(2), which needs CAP_SYS_ADMIN, and returns the descriptor that
// the kernel's requests are read from. EPERM otherwise.
func mountSelf(dir string, o *Options) (fd int, err error) {
	flags, err := o.flags()
	if err != nil {
		return -1, err
	}
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxRequest)
	if o.AllowOther {
		data += ",allow_other"
	}
	typ := "fuse"
	if o.Subtype != "-" {
		typ += "." + o.Subtype
	}
	if err := unix.Mount(o.Source, dir, typ, flags, data); err != nil {
		_ = unix.Close(fd) // it was only opened
		return -1, &os.PathError{Op: "mount", Path: dir, Err: err}
	}
	return fd, nil
}

// helperOptions are the options for fusermount3, which mounts for who may not.
func (o *Options) helperOptions() []string {
	list := append([]string{"default_permissions"}, o.Flags...)
	if o.ReadOnly && !slices.Contains(list, "ro") {
		list = append(list, "ro")
	}
	return list
}

// unmountDir takes the mount away; lazy also while it is in use.
func unmountDir(dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	if err == unix.EPERM {
		return unmountHelper(dir, lazy)
	}
	if err != nil {
		return &os.PathError{Op: "umount", Path: dir, Err: err}
	}
	return nil
}

// unmountHelper is unmountDir by way of fusermount3.
func unmountHelper(dir string, lazy bool) error {
	args := []string{"-u", "-q"}
	if lazy {
		args = append(args, "-z")
	}
	cmd := exec.Command(fusermount(), append(args, "--", dir)...)
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := cmd.Run(); err != nil {
		if strings.Contains(text.String(), "busy") {
			err = unix.EBUSY
		} else if s := strings.TrimSpace(text.String()); s != "" {
			err = errors.New(s)
		}
		return &os.PathError{Op: "umount", Path: dir, Err: err}
	}
	return nil
}

// fusermount is the helper's name.
func fusermount() string {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return "fusermount3"
}

// quiet passes on what go-fuse has to say, but for what is in the nature of things: an answer
// to a request that the kernel has given up, requests that there is no answer to, and the end of the
// connection while one of the last requests, which nobody waits for, is on its way (ECONNABORTED).
type quiet struct{}

// usual are parts of the messages that quiet keeps to itself.
var usual = [][]byte{[]byte("failed, err: 2="), []byte("Unimplemented opcode"), []byte("Failed to read from fuse conn: 103=")}

func (quiet) Write(b []byte) (int, error) {
	for _, part := range usual {
		if bytes.Contains(b, part) {
			return len(b), nil
		}
	}
	return os.Stderr.Write(b)
}

// crash ends the process. A request that panicked may have left locks behind, on which all
// others would wait for ever; when the process is gone the kernel ends their calls.
func crash(v any) fuse.Status { panic(v) }

// fuseOptions are the options for go-fuse.
func (o *Options) fuseOptions() *fuse.MountOptions {
	f := &fuse.MountOptions{
		AllowOther:    o.AllowOther,
		Options:       o.helperOptions(),
		FsName:        o.Source,
		Name:          o.Subtype,
		MaxBackground: 64,
		MaxWrite:      maxRequest,
		DisableSplice: true, // replies of 1 MiB do not fit into a pipe
		EnableAcl:     true,
		PanicHandler:  crash,
		Debug:         o.Debug,
		ExtraCapabilities: fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_READDIRPLUS_AUTO |
			fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_SETXATTR_EXT,
		ExplicitDataCacheControl: o.Cache == CacheExclusive,
	}
	if !o.Debug {
		f.Logger = log.New(quiet{}, "fusefs: ", 0)
	}
	if o.Subtype == "-" {
		f.Name = "" // go-fuse leaves it away only if the file system has no name either
	}
	if o.ReadAhead < 0 {
		f.MaxReadAhead = 1 // less than a page: none
	} else if o.ReadAhead > 0 {
		f.MaxReadAhead = o.ReadAhead
	}
	return f
}
