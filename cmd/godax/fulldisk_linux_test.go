package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"godax/internal/daxtest"
)

// On a full disk commands fail with the path they were at, and the image stays clean.
func TestFullDisk(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		t.Run(bs, func(t *testing.T) {
			dir := daxtest.SmallTmpfs(t, 8<<20)
			image := filepath.Join(dir, "img")
			src := filepath.Join(t.TempDir(), "large")
			if err := os.WriteFile(src, bytes.Repeat([]byte("godax\n"), 7<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			mustRun(t, "mkfs", "ext2", "--size", "64M", "--block-size", bs, image)
			var st unix.Stat_t
			if err := unix.Stat(image, &st); err != nil || st.Blocks*512 > 1<<20 {
				t.Errorf("a new image takes %d bytes, %v", st.Blocks*512, err)
			}
			for range 2 {
				r := godaxRun(t, "cp", src, image+":/large")
				if r.code != exitFailed || !strings.Contains(r.stderr, image+":/large: ") || !strings.Contains(r.stderr, "no space left on device") {
					t.Fatalf("cp: exit code %d\n%s", r.code, r.stderr)
				}
				fsck(t, image)
			}
			mustRun(t, "rm", image+":/large")
			mustRun(t, "mkdir", image+":/dir")
			fsck(t, image)
			free := daxtest.FillDisk(t, dir, 0)
			image2 := filepath.Join(dir, "img2")
			r := godaxRun(t, "mkfs", "ext2", "--size", "1M", image2)
			if r.code != exitFailed || !strings.Contains(r.stderr, "img2: ") || !strings.Contains(r.stderr, "no space left on device") {
				t.Errorf("mkfs: exit code %d\n%s", r.code, r.stderr)
			}
			if _, err := os.Stat(image2); err == nil {
				t.Error("mkfs has left an image behind")
			}
			free()
			for i := range 20 {
				mustRun(t, "cp", "/proc/self/status", fmt.Sprintf("%s:/dir/%d", image, i))
			}
			fsck(t, image)
		})
	}
}
