package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godax/fusefs"

	"golang.org/x/sys/unix"
)

// builtBinary is the command, built once: it starts itself again to go to the background.
var builtBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "godax-cmd-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "godax")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return path, errors.Join(err, os.Symlink("godax", filepath.Join(dir, helperName)))
})

var binaryDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// mountTest is an image and a directory to mount it on.
type mountTest struct {
	t          *testing.T
	bin        string
	image, dir string
}

func newMountTest(t *testing.T) *mountTest {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	bin, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	m := &mountTest{t: t, bin: bin, image: filepath.Join(t.TempDir(), "disk.img"), dir: t.TempDir()}
	mustRun(t, "mkfs", "ext2", "--size", "32M", m.image)
	t.Cleanup(func() {
		if m.entry() != nil { // something went wrong: nobody shall wait for it
			_ = unix.Unmount(m.dir, unix.MNT_FORCE)
			_ = unix.Unmount(m.dir, unix.MNT_DETACH)
		}
	})
	return m
}

// run runs the command, bounded.
func (m *mountTest) run(args ...string) (out string, code int) { return m.runAs("godax", args...) }

func (m *mountTest) runAs(name string, args ...string) (out string, code int) {
	m.t.Helper()
	cmd := exec.Command("timeout", append([]string{"-k", "5", "60", filepath.Join(filepath.Dir(m.bin), name)}, args...)...)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func (m *mountTest) must(args ...string) {
	m.t.Helper()
	if out, code := m.run(args...); code != 0 {
		m.t.Fatalf("godax %q: exit code %d\n%s", args, code, out)
	}
}

// entry is the mount's line in the mount table, or nil.
func (m *mountTest) entry() *mountEntry {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range parseMountinfo(string(b)) {
		if e.dir == m.dir {
			return &e
		}
	}
	return nil
}

// foreground starts a server that stays the test's child.
func (m *mountTest) foreground(args ...string) *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command(m.bin, append(append([]string{"mount", "--foreground"}, args...), m.image, m.dir)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); m.entry() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatal("it does not mount")
		}
	}
	return cmd
}

func TestMountCommand(t *testing.T) {
	m := newMountTest(t)
	m.must("mount", m.image, m.dir)
	if e := m.entry(); e == nil || e.typ != "fuse.godax" || e.source != m.image {
		t.Errorf("mount table: %+v", e)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "f"), bytes.Repeat([]byte("x"), 100_000), 0o640); err != nil {
		t.Fatal(err)
	}
	if out, code := m.run("ls", m.image); code != exitFailed || !strings.Contains(out, "in use") {
		t.Errorf("the image is not in use: %d %s", code, out)
	}
	m.must("umount", m.dir)
	fsck(t, m.image) // it is closed already
	if got := mustRun(t, "ls", "-l", m.image); !strings.Contains(got, "100000") {
		t.Errorf("ls: %s", got)
	}
	m.must("mount", "--read-only", "-o", "cache=none,timeout=0,readahead=0,fsname=my image,allow_other", m.image, m.dir)
	if e := m.entry(); e == nil || e.source != "my image" {
		t.Errorf("mount table: %+v", e)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "g"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(m.dir, "f")); err != nil || len(b) != 100_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	m.must("umount", m.dir)
	if m.entry() != nil {
		t.Error("still mounted")
	}
}

// TestMountFails: whoever calls learns of it, by message and exit code.
func TestMountFails(t *testing.T) {
	m := newMountTest(t)
	other := t.TempDir()
	m.must("mount", m.image, m.dir)
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"mount", m.image + "x", other}, exitFailed, "no such file"},
		{[]string{"mount", m.image, other}, exitFailed, "in use"},
		{[]string{"mount", m.image, other + "x"}, exitFailed, "in use"},
		{[]string{"mount", "-o", "weird", m.image, other}, exitUsage, "weird"},
		{[]string{"mount", "-o", "cache=some", m.image, other}, exitUsage, "neither"},
		{[]string{"mount", "--metrics", "0.0.0.0:1", m.image, other}, exitUsage, "loopback"},
		{[]string{"mount", m.image}, exitUsage, "arg"},
		{[]string{"umount", other}, exitFailed, "not mounted"},
		{[]string{"umount", "/proc"}, exitFailed, "type proc"},
	} {
		if out, code := m.run(tt.args...); code != tt.code || !strings.Contains(out, tt.text) {
			t.Errorf("%q: %d %q, want %d with %q", tt.args, code, out, tt.code, tt.text)
		}
	}
	m.must("umount", m.dir)
	if out, code := m.run("mount", m.image, other+"x"); code != exitFailed || !strings.Contains(out, "no such file") {
		t.Errorf("no directory: %d %q", code, out)
	}
	fsck(t, m.image)
}

// TestMountSignals: SIGHUP does nothing; SIGTERM and SIGINT unmount and close the image, with
// files open too.
func TestMountSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/%v", sig, busy), func(t *testing.T) {
				m := newMountTest(t)
				server := m.foreground()
				if err := server.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				f, err := os.Create(filepath.Join(m.dir, "f"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString("written"); err != nil {
					t.Fatal(err)
				}
				if !busy {
					f.Close()
				}
				if err := server.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if err := server.Wait(); err != nil {
					t.Errorf("the server: %v", err)
				}
				if _, err := f.WriteString("more"); err == nil {
					t.Error("a write after the end works")
				}
				f.Close()
				if m.entry() != nil {
					t.Error("still mounted")
				}
				fsck(t, m.image)
				if got := mustRun(t, "cat", m.image+":/f"); got != "written" {
					t.Errorf("the file holds %q", got)
				}
			})
		}
	}
}

func TestMountMetrics(t *testing.T) {
	m := newMountTest(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m.must("mount", "--metrics", addr, m.image, m.dir)
	if err := os.WriteFile(filepath.Join(m.dir, "f"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%v, %v", resp.Header, err)
	}
	for _, want := range []string{"godax_fuse_request_seconds_count{op=\"write\"} 1\n", "godax_dirty_pages 1\n", "godax_fs_block_bytes 4096\n"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no line %q", want)
		}
	}
	m.must("umount", m.dir)
}

// TestMountForce: umount --force ends a mount that is in use.
func TestMountForce(t *testing.T) {
	m := newMountTest(t)
	m.must("mount", m.image, m.dir)
	f, err := os.Create(filepath.Join(m.dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if out, code := m.run("umount", m.dir); code != exitFailed || !strings.Contains(out, "busy") {
		t.Errorf("in use: %d %s", code, out)
	}
	m.must("umount", "--force", m.dir)
	fsck(t, m.image)
}

// TestMountHelper: as mount(8) and other suites call it.
func TestMountHelper(t *testing.T) {
	m := newMountTest(t)
	if out, code := m.runAs(helperName, m.image, m.dir, "-s", "-o", "rw,weird,context=x,noatime", "-t", "fuse"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if e := m.entry(); e == nil || e.typ != "fuse" || e.source != m.image {
		t.Errorf("mount table: %+v", e)
	}
	m.must("umount", m.dir)
	if out, code := m.runAs(helperName, m.image, m.dir, "-o"); code != exitUsage {
		t.Errorf("-o without a value: %d %s", code, out)
	}
	if out, code := m.runAs(helperName, m.image); code != exitUsage {
		t.Errorf("one name: %d %s", code, out)
	}
	if out, code := m.runAs(helperName, "-f", m.image, m.dir); code != 0 || m.entry() != nil {
		t.Errorf("a fake mount: %d %s", code, out)
	}
	fsck(t, m.image)
}

func TestMountOptions(t *testing.T) {
	j := &mountJob{image: "i", dir: "d", options: []string{"ro,allow_other,defaults", "timeout=2.5,readahead=0,cache=none,noexec,carrier=bh,device=/x,type=ext,x-systemd.y=1,comment=z"}}
	if err := j.parse(); err != nil {
		t.Fatal(err)
	}
	f := j.fuse
	if !j.readOnly || !f.ReadOnly || !f.AllowOther || f.Timeout != 2500*time.Millisecond || f.ReadAhead != -1 || f.Cache != fusefs.CacheNone ||
		!slices.Equal(f.Flags, []string{"noexec"}) || j.open.carrier != "bh" || !slices.Equal(j.open.devices, []string{"/x"}) || j.typ != "ext" || !filepath.IsAbs(f.Source) {
		t.Errorf("%+v", j)
	}
	for _, bad := range []string{"weird", "cache=shared", "timeout=-1", "timeout=x", "readahead=x"} {
		if err := (&mountJob{options: []string{bad}}).parse(); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if err := (&mountJob{options: []string{"weird,other=1"}, sloppy: true}).parse(); err != nil {
		t.Errorf("as a helper: %v", err)
	}
	for addr, want := range map[string]string{":9500": "127.0.0.1:9500", "localhost:1": "127.0.0.1:1", "[::1]:5": "[::1]:5", "127.0.0.2:5": "127.0.0.2:5", "10.0.0.1:5": "", "9500": ""} {
		if got, err := loopback(addr); got != want || (err == nil) != (want != "") {
			t.Errorf("loopback(%q) = %q, %v", addr, got, err)
		}
	}
}

func TestMountinfo(t *testing.T) {
	got := parseMountinfo("36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 - ext3 /dev/root rw\nnonsense\n40 35 0:44 / /m rw - fuse.godax /x\\134y\\040z rw,user_id=0\n")
	want := []mountEntry{{"/a b", "ext3", "/dev/root"}, {"/m", "fuse.godax", `/x\y z`}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestMountTypes mounts what the other drivers have: axfs, whose every file is as the host made
// it, and famfs, whose files are written in place.
func TestMountTypes(t *testing.T) {
	m := newMountTest(t)
	t.Run("axfs", func(t *testing.T) {
		tree := filepath.Join(t.TempDir(), "tree")
		if err := os.MkdirAll(filepath.Join(tree, "dir"), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			b := bytes.Repeat([]byte(fmt.Sprintln("line", i)), i*1000)
			if err := os.WriteFile(filepath.Join(tree, "dir", fmt.Sprint("f", i)), b, 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("dir/f3", filepath.Join(tree, "link")); err != nil {
			t.Fatal(err)
		}
		image := filepath.Join(t.TempDir(), "image.axfs")
		mustRun(t, "mkfs", "axfs", tree, image)
		m.must("mount", image, m.dir) // read-only without being told
		want, _ := hostManifest(t, tree)
		for range 2 {
			got, _ := hostManifest(t, m.dir)
			if diff := firstDifference(noDirSizes(got), noDirSizes(want)); diff != "" {
				t.Errorf("the mount and the tree differ in %s", diff)
			}
		}
		if err := os.WriteFile(filepath.Join(m.dir, "new"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Errorf("write: %v", err)
		}
		m.must("umount", m.dir)
	})
	t.Run("famfs", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "image")
		mustRun(t, "mkfs", "famfs", "--size", "64M", image)
		mustRun(t, "create", "--size", "3M", image+":/table")
		m.must("mount", image, m.dir)
		f, err := os.OpenFile(filepath.Join(m.dir, "table"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("in place"), 2<<20); err != nil {
			t.Error(err)
		}
		b := make([]byte, 8)
		if _, err := f.ReadAt(b, 2<<20); err != nil || string(b) != "in place" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := f.WriteAt([]byte("x"), 3<<20); err == nil {
			t.Error("a file of a fixed size grew")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		m.must("umount", m.dir)
		if got := mustRun(t, "cat", image+":/table"); len(got) != 3<<20 || got[2<<20:][:8] != "in place" {
			t.Errorf("%d bytes", len(got))
		}
	})
}
