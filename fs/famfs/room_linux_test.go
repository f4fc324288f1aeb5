package famfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"godax"
	"godax/fs/famfs"
	"godax/internal/daxtest"
)

// TestRoom: a file of an image that has no room underneath is refused, and nothing of it is
// published.
func TestRoom(t *testing.T) {
	dir := daxtest.SmallTmpfs(t, 24*mib)
	image := filepath.Join(dir, "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64*mib))
	formatFile(t, image, famfs.FormatOptions{})
	f := open(t, image, false, us)
	if _, err := f.CreateSized("large", 32*mib, godax.CreateOptions{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("more than the disk has: %v", err)
	}
	file, err := f.CreateSized("small", 2*mib, godax.CreateOptions{})
	must(t, err)
	must(t, file.Close())
	if entries, err := f.ReadDir("/"); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
