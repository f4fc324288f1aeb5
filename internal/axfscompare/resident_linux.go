package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"godax"
	"godax/fs/axfs/build"

	"golang.org/x/sys/unix"
)

// residentAxfs is the memory that the touched pages of an image take beside it. Another process
// measures itself.
func (b *bench) residentAxfs(image string) (int64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var text strings.Builder
	c := exec.Command(self, "resident", image, b.list)
	c.Stdout, c.Stderr = &text, os.Stderr
	if err := c.Run(); err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(text.String()), 10, 64)
}

// printResident maps the pages of a list, touches them, and prints how much of what is
// resident is not the image itself.
func printResident(image, list string) (err error) {
	text, err := os.Open(list)
	if err != nil {
		return err
	}
	defer text.Close()
	pages, err := build.ReadProfile(text)
	if err != nil {
		return err
	}
	fsys, err := godax.Open(image, godax.Options{ReadOnly: true, CacheBytes: 1 << 30})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	sum := byte(0)
	for p, numbers := range pages.Pages(4096) {
		f, err := fsys.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		for i := 0; i < len(numbers); {
			n := 1
			for i+n < len(numbers) && numbers[i+n] == numbers[i]+uint64(n) {
				n++
			}
			m, err := f.Mmap(int64(numbers[i])*4096, n*4096, godax.MapRead|godax.MapShared)
			if err != nil {
				return err
			}
			defer m.Close()
			for at := 0; at < n*4096; at += 4096 {
				sum ^= m.Bytes()[at]
			}
			i += n
		}
	}
	_ = sum
	resident, err := sharedMemory(image)
	fmt.Println(resident)
	return err
}

// sharedMemory is the resident memory of this process in mappings of memory files, of which
// each page counts once, however often it is mapped. The image itself is left out.
func sharedMemory(image string) (int64, error) {
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer maps.Close()
	total, ours := int64(0), false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) >= 5 && strings.Contains(words[0], "-") && !strings.HasSuffix(words[0], ":"):
			name := strings.Join(words[5:], " ")
			ours = strings.HasPrefix(words[1], "r") && strings.Contains(name, "memfd:")
		case ours && words[0] == "Pss:":
			n, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0, err
			}
			total += n << 10
		}
	}
	return total, nil
}

// residentKernel mounts an image, runs the program in it, and counts what is in the page
// cache. ahead says that the kernel may read more than is asked for.
func (b *bench) residentKernel(image, fstype string, ahead bool) (_ int64, err error) {
	out, err := exec.Command("losetup", "-f", "--show", "-r", image).Output()
	if err != nil {
		return 0, err
	}
	loop := strings.TrimSpace(string(out))
	defer func() { err = errors.Join(err, command(exec.Command("losetup", "-d", loop))) }()
	if !ahead {
		// Before the mount, which takes the setting over.
		if err := command(exec.Command("blockdev", "--setra", "0", loop)); err != nil {
			return 0, err
		}
	} else if err := command(exec.Command("blockdev", "--setra", "256", loop)); err != nil {
		return 0, err
	}
	dir := filepath.Join(b.dir, "mount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	if err := unix.Mount(loop, dir, fstype, unix.MS_RDONLY, ""); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, 0)) }()
	if err := command(exec.Command("chroot", append([]string{dir}, workload...)...)); err != nil {
		return 0, err
	}
	total, err := cachedPages(loop)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n, err := cachedPages(p)
		total += n
		return err
	})
	return total, err
}

// cachedPages is how many bytes of a file are in the page cache. It reads nothing.
func cachedPages(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil || size == 0 {
		return 0, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(b)
	in, err := mincore(b)
	total := int64(0)
	for _, page := range in {
		total += int64(page&1) << 12
	}
	return total, err
}
