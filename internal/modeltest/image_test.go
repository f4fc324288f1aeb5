package modeltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"godax/fs/ext"
	"godax/pmem"
)

// preen checks the image as it would be after a kill now.
func (r *runner) preen() error {
	b, err := r.dax.dev.Bytes(0, r.dax.dev.Size())
	if err != nil {
		return err
	}
	return fsck(b, 1, "-fp")
}

// fsck runs e2fsck on a copy of the image; the largest exit code that is no error is given.
func fsck(image []byte, most int, flags string) error {
	e2fsck, err := findTool("e2fsck")
	if err != nil {
		return nil // TestModel has said so
	}
	path, err := writeSparse(image)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	out, err := exec.Command(e2fsck, flags, path).CombinedOutput()
	if ee, ok := errors.AsType[*exec.ExitError](err); err == nil || ok && ee.ExitCode() <= most && ee.Exited() {
		return nil
	}
	return fmt.Errorf("e2fsck %s: %w\n%.4000s", flags, err, out)
}

// findTool looks for a program where administrators' programs are, too.
func findTool(name string) (path string, err error) {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err = exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", err
}

// tempDir is a directory in memory, if there is one.
func tempDir() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// writeSparse writes bytes to a new file.
func writeSparse(b []byte) (string, error) {
	f, err := os.CreateTemp(tempDir(), "godax-model-*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	var zero [pageSize]byte
	for off := 0; off < len(b); {
		end := off
		for end < len(b) && string(b[end:min(end+pageSize, len(b))]) != string(zero[:min(pageSize, len(b)-end)]) {
			end = min(end+pageSize, len(b))
		}
		if end > off {
			if _, err := f.WriteAt(b[off:end], int64(off)); err != nil {
				return "", err
			}
		}
		off = end + pageSize
	}
	return f.Name(), f.Truncate(int64(len(b)))
}

// newDevice makes a device of the run's kind of memory with an empty file system.
func newDevice(cfg config) (pmem.Device, error) {
	dev, err := openMemory(cfg)
	if err != nil {
		return nil, err
	}
	if !cfg.mke2fs {
		err := ext.Format(dev, ext.FormatOptions{BlockSize: cfg.blockSize, InodeSize: cfg.inodeSize, UUID: "5ca1ab1e-0000-4000-8000-000000000001"})
		return dev, err
	}
	tool, err := findTool("mke2fs")
	if err != nil {
		return nil, err
	}
	path, err := writeSparse(make([]byte, cfg.size))
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	cmd := exec.CommandContext(context.Background(), tool, "-q", "-F", "-b", fmt.Sprint(cfg.blockSize), "-I", fmt.Sprint(cfg.inodeSize), path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	image, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	b, err := dev.Bytes(0, dev.Size())
	copy(b, image)
	return dev, err
}
