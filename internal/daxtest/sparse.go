package daxtest

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// Untar extracts a compressed archive of the test data that holds one sparse image, holes and
// all, for the time of the test, and returns the path of the image.
func Untar(t testing.TB, archive, image string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command(Tool(t, "tar"), "-xzf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return filepath.Join(dir, image)
}
