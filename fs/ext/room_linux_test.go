package ext

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// The blocks that were set aside for an image file stay with it when it is formatted; a
// sparse one stays sparse.
func TestFormatKeepsAllocation(t *testing.T) {
	const size = 32 << 20
	for _, dir := range []string{t.TempDir(), "/dev/shm"} {
		dir, err := os.MkdirTemp(dir, "godax")
		if err != nil {
			t.Skip(err)
		}
		defer os.RemoveAll(dir)
		for _, full := range []bool{true, false} {
			path := filepath.Join(dir, "image")
			file, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Truncate(size); err != nil {
				t.Fatal(err)
			}
			if full {
				err := unix.Fallocate(int(file.Fd()), 0, 0, size)
				if errors.Is(err, unix.EOPNOTSUPP) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				litter := fill(8<<20, 1)
				if _, err := file.WriteAt(litter, 0); err != nil {
					t.Fatal(err)
				}
			}
			dev, err := pmem.Open(path, pmem.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := Format(dev, FormatOptions{}); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Fstat(int(file.Fd()), &st); err != nil {
				t.Fatal(err)
			}
			if n := st.Blocks * 512; full && n < size || !full && n > size/2 {
				t.Errorf("%s: set aside %t: %d bytes after Format", dir, full, n)
			}
			file.Close()
			if err := dev.Close(); err != nil {
				t.Fatal(err)
			}
			daxtest.FsckFile(t, path)
		}
	}
}

// An image whose tables lie in holes cannot be opened for writing on a full disk.
func TestTablesInHoles(t *testing.T) {
	path := filepath.Join(daxtest.SmallTmpfs(t, 64<<20), "image")
	// As many inodes as a bitmap has bits leave none to be set in the second group.
	out, err := exec.Command(daxtest.Tool(t, "mke2fs"), "-q", "-t", "ext2", "-b", "4096", "-I", "128", "-i", "4096", path, "256M").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	dev, err := pmem.Open(path, pmem.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	f := mountTest(t, dev, vfs.MountOptions{})
	off := f.blockOff(f.groups[1].InodeBitmap)
	if !isZero(daxtest.DeviceBytes(t, dev)[off:][:f.blockSize()]) {
		t.Fatal("the inode bitmap is not all zeros")
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, f.blockSize()); err != nil {
		t.Fatal(err)
	}
	free := daxtest.FillDisk(t, filepath.Dir(path), 0)
	dev = daxtest.OpenImage(t, path)
	if _, err := mount(dev, vfs.MountOptions{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	free()
	f = mountTest(t, dev, vfs.MountOptions{})
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	daxtest.FsckFile(t, path)
}
