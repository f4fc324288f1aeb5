// Package daxtest has the test helpers that several packages share.
package daxtest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"godax/pmem"
)

// Tool returns the path of a program, and skips the test if it is not installed.
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// Mke2fs makes an image of size bytes in a directory of the test's, with mke2fs and
// the given options, and returns its path.
func Mke2fs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	args = append(append([]string{"-q", "-F"}, args...), path)
	if out, err := exec.Command(Tool(t, "mke2fs"), args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs %q: %v\n%s", args, err, out)
	}
	return path
}

// OpenImage opens an image file as a device, closed when the test ends.
func OpenImage(t testing.TB, path string) pmem.Device {
	t.Helper()
	dev, err := pmem.Open(path, pmem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("close %s: %v", path, err)
		}
	})
	return dev
}

// MemoryImage copies an image file into a memory device, closed when the test ends.
func MemoryImage(t testing.TB, path string) pmem.Device {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return MemoryDevice(t, b)
}

// MemoryDevice makes a memory device with the given bytes, closed when the test ends.
func MemoryDevice(t testing.TB, b []byte) pmem.Device {
	t.Helper()
	dev, err := pmem.NewMemory(int64(len(b)), pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("close memory device: %v", err)
		}
	})
	dst, err := dev.Bytes(0, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	copy(dst, b)
	return dev
}

// DeviceBytes returns all bytes of a device.
func DeviceBytes(t testing.TB, dev pmem.Device) []byte {
	t.Helper()
	b, err := dev.Bytes(0, dev.Size())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FsckClean fails the test unless e2fsck -fn finds nothing to say about the image.
func FsckClean(t testing.TB, image []byte) {
	t.Helper()
	path := snapshot(t, image)
	defer os.Remove(path)
	out, err := exec.Command(Tool(t, "e2fsck"), "-fn", path).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
}

// FsckFile is FsckClean for an image file, which stays where it is: on a full disk there is
// no room for a copy, and on a full tmpfs not even for loads from its holes.
func FsckFile(t testing.TB, path string) {
	t.Helper()
	if out, err := exec.Command(Tool(t, "e2fsck"), "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck %s: %v\n%s", path, err, out)
	}
}

// FsckPreen runs e2fsck -p on a copy of the image, as at boot after a crash. It returns the
// repaired copy, or an error with what e2fsck said if that needs a person.
func FsckPreen(t testing.TB, image []byte) ([]byte, error) {
	t.Helper()
	path := snapshot(t, image)
	defer os.Remove(path)
	out, err := exec.Command(Tool(t, "e2fsck"), "-fp", path).CombinedOutput()
	// 1: errors were corrected.
	if ee, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || ee.ExitCode() > 1) {
		return nil, errors.New("e2fsck -fp: " + err.Error() + "\n" + string(out))
	}
	return os.ReadFile(path)
}

// snapshot writes the image to a file, sparse, in memory if there is such a place.
func snapshot(t testing.TB, image []byte) string {
	t.Helper()
	dir := "/dev/shm"
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		dir = t.TempDir()
	}
	f, err := os.CreateTemp(dir, "godax-fsck-*")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const piece = 64 << 10
	var zero [piece]byte
	for off := 0; off < len(image); off += piece {
		p := image[off:min(off+piece, len(image))]
		if bytes.Equal(p, zero[:len(p)]) {
			continue
		}
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(int64(len(image))); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestDataEnv names the environment variable with the directory of the shared test data.
const TestDataEnv = "GODAX_TESTDATA"

// TestData returns the path of a file or directory of the shared test data, and skips
// the test where there is none.
func TestData(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(TestDataEnv)
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "shared", "testdata")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no test data: set %s (%s)", TestDataEnv, strconv.Quote(path))
	}
	return path
}

// Gunzip returns the bytes of a compressed image of the test data.
func Gunzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}
