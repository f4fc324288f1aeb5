package fusefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fusefs"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/pmem/sim"
)

// TestFull fills an image in each way: ENOSPC, what was written stays, and room that is given
// back can be used again.
func TestFull(t *testing.T) {
	needFuse(t)
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			m := mountImage(t, newImage(t, 8<<20, bs), fusefs.Options{Cache: fusefs.CacheExclusive})
			var sizes []int
			var err error
			for i := 0; err == nil; i++ {
				b := content(300_000)
				var f *os.File
				if f, err = os.Create(m.path(fmt.Sprint("f", i))); err != nil {
					break
				}
				var n int
				n, err = f.Write(b)
				sizes = append(sizes, n)
				if cerr := f.Close(); err == nil {
					err = cerr
				}
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("a full image: %v", err)
			}
			for i, n := range sizes {
				got, err := os.ReadFile(m.path(fmt.Sprint("f", i)))
				if err != nil || len(got) < n || !bytes.Equal(got[:n], content(300_000)[:n]) {
					t.Errorf("file %d: %d bytes, want %d: %v", i, len(got), n, err)
				}
			}
			f := fd(t, m.path("f0"))
			if err := unix.Fallocate(f, 0, 0, 16<<20); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("fallocate: %v", err)
			}
			if err := unix.Close(f); err != nil {
				t.Error(err)
			}
			// Inodes run out too.
			for i := 0; err == nil || errors.Is(err, syscall.ENOSPC) && i < 10; i++ {
				err = os.WriteFile(m.path(fmt.Sprint("inode", i)), nil, 0o600)
			}
			for i := range sizes {
				if err := os.Remove(m.path(fmt.Sprint("f", i))); err != nil {
					t.Error(err)
				}
			}
			if err := os.WriteFile(m.path("again"), content(300_000), 0o600); err != nil {
				t.Errorf("after room was made: %v", err)
			}
			m.closeClean(t)
		})
	}
}

// fd opens a file, which the caller closes.
func fd(t *testing.T, name string) int {
	t.Helper()
	f, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDiskFull: the disk underneath a sparse image is full. ENOSPC, no SIGBUS, no hang.
func TestDiskFull(t *testing.T) {
	needFuse(t)
	dir := daxtest.SmallTmpfs(t, 32<<20)
	image := filepath.Join(dir, "image")
	b, err := os.ReadFile(newImage(t, 24<<20, 4096))
	if err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(b); off += 4096 { // as sparse as it was
		if page := b[off:][:4096]; !bytes.Equal(page, make([]byte, 4096)) {
			if _, err := sparse.WriteAt(page, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(sparse.Truncate(int64(len(b))), sparse.Close()); err != nil {
		t.Fatal(err)
	}
	m := mountImage(t, image, fusefs.Options{Cache: fusefs.CacheExclusive})
	free := daxtest.FillDisk(t, dir, 1<<20)
	err = os.WriteFile(m.path("f"), content(4<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	free()
	if err := os.WriteFile(m.path("g"), content(4<<20), 0o600); err != nil {
		t.Error(err)
	}
	m.closeClean(t)
}

// TestReadOnlyImage: an image that may not be written, or a mount that was asked to be so.
func TestReadOnlyImage(t *testing.T) {
	needFuse(t)
	image := newImage(t, 16<<20, 4096)
	fill(t, image)
	m := mountImage(t, image, fusefs.Options{ReadOnly: true})
	for what, err := range map[string]error{
		"create":   os.WriteFile(m.path("new"), nil, 0o600),
		"write":    writeAll(m.path("big")),
		"mkdir":    os.Mkdir(m.path("d"), 0o700),
		"remove":   os.Remove(m.path("big")),
		"rename":   os.Rename(m.path("big"), m.path("x")),
		"chmod":    os.Chmod(m.path("big"), 0o600),
		"truncate": os.Truncate(m.path("big"), 0),
		"xattr":    unix.Setxattr(m.path("big"), "user.x", []byte("y"), 0),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	m.closeClean(t)
}

func writeAll(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("x")
	return err
}

// TestBadPage: a page of the device goes bad. Reads of it are EIO, of the others not, and
// an overwrite of the whole page makes it good again.
//
// An answer that ends before the bad page would be the end of the file to a kernel that
// caches, and zeros behind it.
func TestBadPage(t *testing.T) {
	needFuse(t)
	t.Run("cached", func(t *testing.T) { testBadPage(t, fusefs.CacheExclusive) })
	t.Run("direct", func(t *testing.T) { testBadPage(t, fusefs.CacheNone) })
}

func testBadPage(t *testing.T, mode fusefs.CacheMode) {
	b, err := os.ReadFile(newImage(t, 8<<20, 4096))
	if err != nil {
		t.Fatal(err)
	}
	dev, err := sim.New(int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	run, err := dev.DirectAccess(0, uint64(len(b)/pmem.PageSize), pmem.Normal)
	if err != nil {
		t.Fatal(err)
	}
	copy(run.Bytes, b)
	fsys, err := godax.OpenDevice(dev, godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := mountFS(t, fsys, fusefs.Options{Cache: mode})
	want := content(5 * pmem.PageSize)
	if err := os.WriteFile(m.path("f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := fsys.Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	var frames []pmem.PFN
	for e, err := range file.Extents() {
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(e.Len / pmem.PageSize) {
			frames = append(frames, e.PFN+pmem.PFN(i))
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := dev.Poison(frames[2].Page(), 1); err != nil {
		t.Fatal(err)
	}
	f := fd(t, m.path("f"))
	if err := unix.Fadvise(f, 0, 0, unix.FADV_DONTNEED); err != nil { // what was written is in the cache
		t.Fatal(err)
	}
	got := make([]byte, pmem.PageSize)
	for page := range int64(5) {
		n, err := unix.Pread(f, got, page*pmem.PageSize)
		if page == 2 {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("the bad page: %d, %v", n, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, want[page*pmem.PageSize:][:pmem.PageSize]) {
			t.Errorf("page %d: %d, %v", page, n, err)
		}
	}
	all := make([]byte, 5*pmem.PageSize)
	if n, err := unix.Pread(f, all, 0); err == nil && (n > 2*pmem.PageSize || !bytes.Equal(all[:n], want[:n])) {
		t.Errorf("across the bad page: %d, %v", n, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(f, &st); err != nil || st.Size != 5*pmem.PageSize {
		t.Errorf("%d bytes, %v", st.Size, err)
	}
	if _, err := unix.Pwrite(f, want[:pmem.PageSize], 2*pmem.PageSize); err != nil {
		t.Errorf("overwriting it: %v", err)
	}
	if n, err := unix.Pread(f, got, 2*pmem.PageSize); err != nil || !bytes.Equal(got, want[:pmem.PageSize]) {
		t.Errorf("overwritten: %d, %v", n, err)
	}
	if err := unix.Close(f); err != nil {
		t.Error(err)
	}
	m.close(t)
}

// TestDamaged: images with damaged metadata give errors, never a mount that hangs.
func TestDamaged(t *testing.T) {
	needFuse(t)
	image := newImage(t, 8<<20, 1024)
	fill8 := func() []byte {
		f, err := godax.Open(image, godax.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			name := fmt.Sprintf("/d%d", i%4)
			if err := errors.Join(f.MkdirAll(name, 0o755), f.WriteFile(fmt.Sprintf("%s/f%d", name, i), content(i*5000), 0o644), f.Symlink(strings.Repeat("x", 70), fmt.Sprintf("%s/s%d", name, i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	healthy := fill8()
	r := rand.New(rand.NewPCG(1, 1))
	mounts, failures := 0, 0
	for range 12 {
		b := bytes.Clone(healthy)
		for range 300 { // anywhere in the metadata of the first group, but the superblock
			b[2048+r.IntN(600<<10)] = byte(r.Uint32())
		}
		if err := os.WriteFile(image, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fsys, err := godax.Open(image, godax.Options{ReadOnly: r.IntN(2) == 0})
		if err != nil {
			failures++
			continue
		}
		m := mountFS(t, fsys, fusefs.Options{})
		mounts++
		_ = filepath.WalkDir(m.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				failures++
				return nil
			}
			if d.Type().IsRegular() {
				if _, err := os.ReadFile(path); err != nil {
					failures++
				}
			}
			_, _ = os.Readlink(path)
			return nil
		})
		_ = os.WriteFile(m.path("new"), content(100_000), 0o600) // an error, or not
		_ = os.RemoveAll(m.path("d1"))
		if err := m.Unmount(); err != nil {
			t.Fatal(err)
		}
		m.watch.Stop()
		m.fsys = nil
		_ = fsys.Close() // what it says depends on the damage
	}
	if mounts == 0 || failures == 0 {
		t.Errorf("%d mounts, %d failures: the damage shows nothing", mounts, failures)
	}
}

// TestShutdown: a mount whose files are open ends all the same, what was stored through a
// mapping is in the image, and who has it open gets an error.
func TestShutdown(t *testing.T) {
	needFuse(t)
	image := newImage(t, 16<<20, 4096)
	m := mountImage(t, image, fusefs.Options{Cache: fusefs.CacheExclusive})
	if err := os.WriteFile(m.path("f"), content(10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	child := startChild(t, m.path("f"))
	child.must(fsxOp{Kind: "mapwrite", Off: 5000, Len: 5, Data: []byte("hello")})
	if err := m.Unmount(); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("unmount of a mount in use: %v", err)
	}
	if err := m.fsys.Close(); !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "mounted at "+m.dir) {
		t.Errorf("close of a mounted file system: %v", err)
	}
	if err := m.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if r := child.do(fsxOp{Kind: "write", Data: []byte("x")}); r.Err != unix.ENOTCONN {
		t.Errorf("a write afterwards: %v %s", r.Err, r.Text)
	}
	_ = child.in.Close()
	_ = child.cmd.Wait()
	m.closeClean(t)
	f, err := godax.Open(image, godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.ReadFile("/f")
	if err != nil || string(b[5000:5005]) != "hello" {
		t.Errorf("%q, %v", b[5000:5005], err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestAbort: after the end of the connection the server ends, and Unmount takes the dead mount
// away.
func TestAbort(t *testing.T) {
	needFuse(t)
	m := mountImage(t, newImage(t, 8<<20, 4096), fusefs.Options{})
	f, err := unix.Open(m.dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Abort(); err != nil {
		t.Skipf("no fusectl: %v", err)
	}
	m.Wait()
	if err := os.Mkdir(m.path("x"), 0o700); !errors.Is(err, syscall.ENOTCONN) {
		t.Errorf("a call afterwards: %v", err)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if isMount(m.dir) {
		t.Error("still mounted")
	}
	if err := unix.Close(f); err != nil {
		t.Error(err)
	}
	m.closeClean(t)
}

// TestMountErrors: what cannot be mounted, and on what.
func TestMountErrors(t *testing.T) {
	needFuse(t)
	f, err := godax.Open(newImage(t, 8<<20, 4096), godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		dir  string
		o    fusefs.Options
		want error
	}{
		"no directory":     {plain, fusefs.Options{}, syscall.ENOTDIR},
		"nothing":          {plain + "x", fusefs.Options{}, syscall.ENOENT},
		"a descriptor":     {"/dev/fd/5", fusefs.Options{}, syscall.EINVAL},
		"an unknown flag":  {t.TempDir(), fusefs.Options{Flags: []string{"weird"}}, syscall.EINVAL},
		"a strange source": {t.TempDir(), fusefs.Options{Source: "a,b\\c d", Subtype: "x"}, nil},
	} {
		s, err := fusefs.Mount(tt.dir, f.VFS(), tt.o)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if err == nil {
			if err := s.Unmount(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Errorf("after mounts that failed: %v", err)
	}
	if _, err := fusefs.Mount(t.TempDir(), f.VFS(), fusefs.Options{}); err == nil {
		t.Error("a closed file system is mounted")
	}
}
