package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestMkfsFamfsNamesTheDevice: what cannot be opened is named, and no new image is left.
func TestMkfsFamfsNamesTheDevice(t *testing.T) {
	t.Chdir(t.TempDir())
	r := godaxRun(t, "mkfs", "famfs", "--size", "64M", "--devices", "absent", "img")
	if r.code != exitFailed || !strings.Contains(r.stderr, "mkfs absent: ") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if _, err := os.Stat("img"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the image is left: %v", err)
	}
}
