package pmem

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDAXGeometry reads made-up sysfs directories.
func TestDAXGeometry(t *testing.T) {
	for _, c := range []struct {
		name        string
		bus         string
		size, align string // no file if empty
		wantSize    int64
		wantAlign   int64
		want        error
	}{
		{"usual", "/sys/bus/dax", "1073741824\n", "2097152\n", 1 << 30, 2 << 20, nil},
		{"large pages", "/sys/bus/dax", "4294967296\n", "1073741824\n", 4 << 30, 1 << 30, nil},
		{"small pages", "/sys/bus/dax", "12288\n", "4096\n", 12288, 4096, nil},
		{"old class", "/sys/class/dax", "4194304", "2097152", 4 << 20, 2 << 20, nil},
		{"hexadecimal", "/sys/bus/dax", "4194304", "0x200000", 4 << 20, 2 << 20, nil},
		{"no alignment", "/sys/bus/dax", "4194304\n", "", 4 << 20, 2 << 20, nil},
		{"other bus", "/sys/class/mem", "4194304\n", "2097152\n", 0, 0, errors.ErrUnsupported},
		{"no bus", "", "4194304\n", "2097152\n", 0, 0, errors.ErrUnsupported},
		{"no size", "/sys/bus/dax", "", "2097152\n", 0, 0, os.ErrNotExist},
		{"size 0", "/sys/bus/dax", "0\n", "2097152\n", 0, 0, syscall.EINVAL},
		{"negative size", "/sys/bus/dax", "-2097152\n", "2097152\n", 0, 0, syscall.EINVAL},
		{"partial page", "/sys/bus/dax", "2097153\n", "2097152\n", 0, 0, syscall.EINVAL},
		{"alignment 0", "/sys/bus/dax", "4194304\n", "0\n", 0, 0, syscall.EINVAL},
		{"odd alignment", "/sys/bus/dax", "4194304\n", "6144\n", 0, 0, syscall.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range map[string]string{"size": c.size, "align": c.align} {
				if content == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.bus != "" {
				if err := os.Symlink(c.bus, filepath.Join(dir, "subsystem")); err != nil {
					t.Fatal(err)
				}
			}
			size, align, err := daxGeometry(dir)
			if !errors.Is(err, c.want) || size != c.wantSize || align != c.wantAlign {
				t.Errorf("got %d, %d, %v, want %d, %d, %v", size, align, err, c.wantSize, c.wantAlign, c.want)
			}
		})
	}
}
