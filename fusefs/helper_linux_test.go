package fusefs_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fs/ext"
	"godax/fusefs"
	"godax/internal/daxtest"
	"godax/pmem"
)

// mountLimit is how long a mount of a test may live. Then its connection is aborted, so that
// nobody waits for an answer any more.
const mountLimit = 4 * time.Minute

// needFuse skips a test where nothing can be mounted.
func needFuse(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/fuse: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// TestMain mounts what Server.Abort needs, if the machine has not.
func TestMain(m *testing.M) {
	for env, run := range map[string]func(string) error{childEnv: fsxChild, serverEnv: serveChild} {
		if what := os.Getenv(env); what != "" {
			if err := run(what); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	flag.Parse()
	const control = "/sys/fs/fuse/connections"
	ours := !isMount(control) && unix.Mount("fusectl", control, "fusectl", 0, "") == nil
	code := m.Run()
	if ours {
		_ = unix.Unmount(control, unix.MNT_DETACH) // nothing more can be done about it
	}
	os.Exit(code)
}

func isMount(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// newImage makes an empty ext2 image of the given block size.
func newImage(t testing.TB, size int64, blockSize int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	dev, err := pmem.Open(path, pmem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ext.Format(dev, ext.FormatOptions{BlockSize: blockSize}), dev.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// mounted is a mounted image of a test.
type mounted struct {
	*fusefs.Server
	fsys  *godax.FS
	image string
	dir   string
	watch *time.Timer
}

// path is a name in the mount.
func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

// mountImage mounts an image until the test ends.
func mountImage(t testing.TB, image string, o fusefs.Options) *mounted {
	t.Helper()
	fsys, err := godax.Open(image, godax.Options{ReadOnly: o.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	m := mountFS(t, fsys, o)
	m.image = image
	return m
}

// mountFS mounts an open file system until the test ends, and closes it then.
func mountFS(t testing.TB, fsys *godax.FS, o fusefs.Options) *mounted {
	t.Helper()
	m := &mounted{fsys: fsys, dir: t.TempDir()}
	var err error
	if m.Server, err = fusefs.Mount(m.dir, fsys.VFS(), o); err != nil {
		t.Fatal(errors.Join(err, fsys.Close()))
	}
	m.watch = time.AfterFunc(mountLimit, func() {
		t.Errorf("the mount is %v old: aborted", mountLimit)
		if err := m.Abort(); err != nil {
			t.Errorf("abort: %v", err)
		}
	})
	t.Cleanup(func() { m.close(t) })
	return m
}

// close unmounts and closes; twice is as good as once.
func (m *mounted) close(t testing.TB) {
	t.Helper()
	if m.fsys == nil {
		return
	}
	if err := m.Unmount(); err != nil {
		t.Errorf("unmount: %v", err)
		if err := errors.Join(unix.Unmount(m.dir, unix.MNT_DETACH), m.Abort()); err != nil {
			t.Errorf("abort: %v", err)
		}
		m.Wait()
	}
	m.watch.Stop()
	if err := m.fsys.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	m.fsys = nil
}

// closeClean is close, and e2fsck finds nothing wrong.
func (m *mounted) closeClean(t testing.TB) {
	t.Helper()
	m.close(t)
	daxtest.FsckFile(t, m.image)
}

// mkdir makes a directory in the mount.
func mkdir(t testing.TB, m *mounted, name string) string {
	t.Helper()
	if err := os.Mkdir(m.path(name), 0o777); err != nil {
		t.Fatal(err)
	}
	return m.path(name)
}
