package ext

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// imageFile makes a sparse file and opens it as a device.
func imageFile(t *testing.T, size int64) (string, pmem.Device) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path, daxtest.OpenImage(t, path)
}

func TestFormatIsCleanForE2fsck(t *testing.T) {
	e2fsck := daxtest.Tool(t, "e2fsck")
	sizes := []int64{
		256 << 10, 300<<10 + 512, 1 << 20, 1<<20 + 4096 + 1, 8 << 20, 8<<20 + 1024, 8193 << 10, 8400 << 10,
		33<<20 + 12345, 128 << 20, 128<<20 + 3<<20, 129<<20 + 4096, 1 << 30,
	}
	for _, bs := range []int{1024, 2048, 4096} {
		for _, size := range sizes {
			for _, isize := range []int{128, 256} {
				if isize == 128 && size > 33<<20 {
					continue
				}
				t.Run(fmt.Sprintf("%d/%d/%d", bs, size, isize), func(t *testing.T) {
					path, dev := imageFile(t, size)
					if err := Format(dev, FormatOptions{BlockSize: bs, InodeSize: isize, Label: "label"}); err != nil {
						t.Fatal(err)
					}
					if out, err := exec.Command(e2fsck, "-fn", path).CombinedOutput(); err != nil {
						t.Errorf("e2fsck: %v\n%s", err, out)
					}
				})
			}
		}
	}
}

func TestFormatLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	e2fsck := daxtest.Tool(t, "e2fsck")
	for _, tt := range []struct {
		bs   int
		size int64
	}{{4096, 64 << 30}} {
		path, dev := imageFile(t, tt.size)
		if err := Format(dev, FormatOptions{BlockSize: tt.bs, InodeRatio: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(e2fsck, "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("block size %d: e2fsck: %v\n%s", tt.bs, err, out)
		}
	}
}

func TestFormatOptionsRefused(t *testing.T) {
	tests := []struct {
		name string
		size int64
		o    FormatOptions
		want error
	}{
		{"block size", 1 << 20, FormatOptions{BlockSize: 8192}, syscall.EINVAL},
		{"inode size", 1 << 20, FormatOptions{InodeSize: 512}, syscall.EINVAL},
		{"ratio", 1 << 20, FormatOptions{InodeRatio: 1}, syscall.EINVAL},
		{"label", 1 << 20, FormatOptions{Label: "12345678901234567"}, syscall.EINVAL},
		{"uuid", 1 << 20, FormatOptions{UUID: "xyz"}, syscall.EINVAL},
		{"reserve", 1 << 20, FormatOptions{ReservedPercent: 51}, syscall.EINVAL},
		{"size", 1 << 20, FormatOptions{Size: 2 << 20}, syscall.EINVAL},
		{"too small", 64 << 10, FormatOptions{}, syscall.ENOSPC},
		{"much too small", 512, FormatOptions{}, syscall.ENOSPC},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, dev := imageFile(t, tt.size)
			if err := Format(dev, tt.o); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestFormatDescribes(t *testing.T) {
	_, dev := imageFile(t, 64<<20)
	const uuid = "00112233-4455-6677-8899-aabbccddeeff"
	if err := Format(dev, FormatOptions{Label: "exactly 16 bytes", UUID: uuid, ReservedPercent: -1}); err != nil {
		t.Fatal(err)
	}
	f, err := mount(dev, vfs.MountOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	d := f.Describe()
	if d.Label != "exactly 16 bytes" || d.UUID != uuid || d.Type != "ext2" || !d.ReadOnly || d.Why != "" {
		t.Errorf("got %+v", d)
	}
	if s := f.Statfs(); s.Avail != s.Free || s.Blocks <= s.Free || s.Free < 15000 {
		t.Errorf("got %+v", s)
	}
}

// The data of every group of full size starts at a boundary of 2 MiB at the latest.
func TestFormatAligns(t *testing.T) {
	for _, size := range []int64{512 << 20, 1 << 30, 4 << 30} {
		l, err := plan(size, FormatOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, end := l.meta(0)
		if end > 512 {
			t.Errorf("size %d: metadata of group 0 ends at block %d, want at most 512", size, end)
		}
	}
}
