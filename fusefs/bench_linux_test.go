package fusefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fs/ext"
	"godax/pmem"
)

// The benchmarks compare one image on tmpfs in several ways, in the same run: mounted by us, in a
// process of its own as the command does it; by fuse2fs, the FUSE server of e2fsprogs; and by
// the kernel's ext2 on a loop device. Each iteration is a whole job, named in the benchmark.

const (
	benchFiles = 2000
	benchSmall = 4 << 10   // bytes of a small file
	benchBig   = 256 << 20 // of the big one
	benchOps   = 4000      // of random access
)

// benchImage makes an image with the files on tmpfs.
func benchImage(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "godax-bench-")
	if err != nil {
		b.Skipf("no tmpfs: %v", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		b.Fatal(err)
	}
	dev, err := pmem.Open(path, pmem.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(ext.Format(dev, ext.FormatOptions{BlockSize: 4096}), dev.Close()); err != nil {
		b.Fatal(err)
	}
	f, err := godax.Open(path, godax.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchFiles {
		name := fmt.Sprintf("/tree/d%d/f%d", i/50, i)
		if err := errors.Join(f.MkdirAll(filepath.Dir(name), 0o755), f.WriteFile(name, content(benchSmall), 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(f.WriteFile("/big", content(benchBig), 0o644), f.Close()); err != nil {
		b.Fatal(err)
	}
	return path
}

// benchMounts are the ways: each mounts an image and returns the way back.
var benchMounts = []struct {
	name  string
	mount func(b *testing.B, image, dir string) (unmount func()) // nil if there is none
}{
	{"godax", func(b *testing.B, image, dir string) func() {
		b.Setenv("GOMAXPROCS", "16") // as the command has it
		cmd := startServer(b, image, dir)
		return func() {
			if err := errors.Join(unix.Unmount(dir, 0), cmd.Wait()); err != nil {
				b.Error(err)
			}
		}
	}},
	{"fuse2fs", mountFuse2fs("rw")},
	// As we do, it lets the kernel check permissions, for which that asks for more attributes.
	{"fuse2fs-checked", mountFuse2fs("rw,default_permissions")},
	{"ext2", func(b *testing.B, image, dir string) func() {
		if out, err := exec.Command("mount", "-t", "ext2", "-o", "loop,noatime", image, dir).CombinedOutput(); err != nil {
			b.Logf("no loop mount: %v\n%s", err, out)
			return nil
		}
		return func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				b.Errorf("umount: %v\n%s", err, out)
			}
		}
	}},
}

// mountFuse2fs mounts with options of the mount.
func mountFuse2fs(options string) func(b *testing.B, image, dir string) func() {
	return func(b *testing.B, image, dir string) func() {
		if _, err := exec.LookPath("fuse2fs"); err != nil {
			b.Log("fuse2fs is not installed")
			return nil
		}
		if out, err := exec.Command("fuse2fs", "-o", options, image, dir).CombinedOutput(); err != nil {
			b.Fatalf("fuse2fs: %v\n%s", err, out)
		}
		for end := time.Now().Add(10 * time.Second); !isMount(dir); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				b.Fatal("fuse2fs does not mount")
			}
		}
		return func() {
			if err := unix.Unmount(dir, 0); err != nil {
				b.Error(err)
			}
			// It writes the image after the unmount. fuse2fs has no way to wait for it.
			time.Sleep(time.Second)
		}
	}
}

// dropCaches makes the kernel forget files, names and attributes.
func dropCaches(b *testing.B) {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		b.Skipf("drop_caches: %v", err)
	}
}

// benchJobs are what is done.
var benchJobs = []struct {
	name string
	drop bool // the caches before each time
	do   func(b *testing.B, dir string) error
}{
	{"open+stat 2000 warm", false, func(_ *testing.B, dir string) error {
		for i := range benchFiles {
			f, err := os.Open(filepath.Join(dir, fmt.Sprintf("tree/d%d/f%d", i/50, i)))
			if err != nil {
				return err
			}
			if _, err := f.Stat(); err != nil {
				return err
			}
			f.Close()
		}
		return nil
	}},
	{"walk 2000 cold", true, walkTree},
	{"walk 2000 warm", false, walkTree},
	{"read 2000 small cold", true, readSmall},
	{"read 2000 small warm", false, readSmall},
	{"read seq cold", true, func(_ *testing.B, dir string) error {
		f, err := os.Open(filepath.Join(dir, "big"))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		return err
	}},
	{"read random 4K cold", true, func(_ *testing.B, dir string) error {
		return randomAccess(dir, os.O_RDONLY, (*os.File).ReadAt)
	}},
	{"read random 4K warm", false, func(_ *testing.B, dir string) error {
		return randomAccess(dir, os.O_RDONLY, (*os.File).ReadAt)
	}},
	{"write random 4K", true, func(_ *testing.B, dir string) error {
		return randomAccess(dir, os.O_RDWR, (*os.File).WriteAt)
	}},
	{"write seq 4K", true, func(_ *testing.B, dir string) error {
		f, err := os.Create(filepath.Join(dir, "new"))
		if err != nil {
			return err
		}
		defer f.Close()
		for range 64 << 20 / 4096 {
			if _, err := f.Write(page[:]); err != nil {
				return err
			}
		}
		return nil
	}},
	{"write seq 1M", true, func(_ *testing.B, dir string) error {
		f, err := os.Create(filepath.Join(dir, "new"))
		if err != nil {
			return err
		}
		defer f.Close()
		return errors.Join(copyOut(f, 64), f.Sync())
	}},
	{"create+unlink 1000", false, func(_ *testing.B, dir string) error {
		for i := range 1000 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("c", i)), []byte("x"), 0o600); err != nil {
				return err
			}
		}
		for i := range 1000 {
			if err := os.Remove(filepath.Join(dir, fmt.Sprint("c", i))); err != nil {
				return err
			}
		}
		return nil
	}},
	{"write+fsync 200", false, func(_ *testing.B, dir string) error {
		f, err := os.Create(filepath.Join(dir, "synced"))
		if err != nil {
			return err
		}
		defer f.Close()
		for range 200 {
			if _, err := f.Write(page[:]); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
		return nil
	}},
}

var page [4096]byte

func copyOut(f *os.File, megs int) error {
	b := bytes.Repeat([]byte("x"), 1<<20)
	for range megs {
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func walkTree(_ *testing.B, dir string) error {
	n := 0
	err := filepath.WalkDir(filepath.Join(dir, "tree"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n++
		_, err = d.Info()
		return err
	})
	if err == nil && n < benchFiles {
		err = fmt.Errorf("%d files", n)
	}
	return err
}

func readSmall(_ *testing.B, dir string) error {
	for i := range benchFiles {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("tree/d%d/f%d", i/50, i)))
		if err != nil || len(b) != benchSmall {
			return fmt.Errorf("%d bytes: %w", len(b), err)
		}
	}
	return nil
}

func randomAccess(dir string, flag int, op func(*os.File, []byte, int64) (int, error)) error {
	f, err := os.OpenFile(filepath.Join(dir, "big"), flag, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 4096)
	for range benchOps {
		if _, err := op(f, b, r.Int64N(benchBig/4096)*4096); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkMount does each job on each mount, in turns, so that what else the machine does is
// the same for all. It reports the median of each.
func BenchmarkMount(b *testing.B) {
	needFuse(b)
	image := benchImage(b)
	type mount struct{ name, dir string }
	var mounts []mount
	for _, m := range benchMounts {
		own, dir := image+"-"+m.name, b.TempDir()
		if out, err := exec.Command("cp", "--sparse=always", image, own).CombinedOutput(); err != nil {
			b.Fatalf("cp: %v\n%s", err, out)
		}
		if unmount := m.mount(b, own, dir); unmount != nil {
			defer unmount()
			mounts = append(mounts, mount{m.name, dir})
		}
	}
	for _, job := range benchJobs {
		b.Run(strings.ReplaceAll(job.name, " ", "_"), func(b *testing.B) {
			times := make([][]time.Duration, len(mounts))
			for turn := 0; b.Loop(); turn++ {
				for i := range mounts {
					i = (turn + i) % len(mounts)
					if job.drop {
						dropCaches(b)
					}
					start := time.Now()
					if err := job.do(b, mounts[i].dir); err != nil {
						b.Fatal(err)
					}
					times[i] = append(times[i], time.Since(start))
				}
			}
			b.ReportMetric(0, "ns/op") // of all together
			for i, m := range mounts {
				slices.Sort(times[i])
				b.ReportMetric(float64(times[i][len(times[i])/2].Microseconds())/1000, m.name+"-ms")
			}
		})
	}
}
