package daxtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hugePage is the size of the pages that this file is about.
const hugePage = 2 << 20

// HugeTmpfs mounts a tmpfs of at most size bytes that takes its memory in pages of 2 MiB,
// for the time of the test, and returns its directory. It skips the test without root.
func HugeTmpfs(t testing.TB, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a tmpfs with huge pages needs root to be mounted")
	}
	dir := t.TempDir()
	if err := unix.Mount("godax-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("huge=always,size=%d", size)); err != nil {
		t.Skipf("no tmpfs with huge pages: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// hugeControl says how many huge pages the kernel has reserved, and changes it.
const hugeControl = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

// ReserveHugePages has the kernel reserve huge pages for size bytes, on top of those it
// has, and gives back what it got when the test ends. It skips the test where that is not
// possible.
func ReserveHugePages(t testing.TB, size int64) {
	t.Helper()
	pages := (size + hugePage - 1) / hugePage
	got, err := AddHugePages(hugeControl, pages)
	t.Cleanup(func() {
		if got == 0 {
			return
		}
		if _, err := AddHugePages(hugeControl, -got); err != nil {
			t.Errorf("huge pages given back: %v", err)
		}
	})
	if err != nil {
		t.Skipf("huge pages cannot be reserved (that needs root): %v", err)
	}
	if got < pages {
		t.Skipf("%d huge pages wanted, %d reserved: memory is too fragmented", pages, got)
	}
}

// AddHugePages changes the number in the file control by pages, and returns by how much it
// has changed: the kernel may have fewer than were wanted. The tests of several packages run
// at once and change the same number, so a lock on a file keeps the others away meanwhile.
func AddHugePages(control string, pages int64) (changed int64, err error) {
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "godax-test-huge-pages"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer lock.Close() // which ends the lock
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return 0, err
	}
	before, err := readNumber(control)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(control, fmt.Append(nil, max(0, before+pages)), 0o600); err != nil {
		return 0, err
	}
	after, err := readNumber(control)
	return after - before, err
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// HugeMapped returns how many bytes of b's memory this process has mapped in pages of 2 MiB,
// as the kernel says in smaps. Pages that were never touched are not mapped. A mapping that
// lies in b in part only counts whole.
func HugeMapped(b []byte) (int64, error) {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	return hugeIn(smaps, uint64(reflect.ValueOf(b).Pointer()), uint64(len(b)))
}

// hugeFields are the lines of smaps that count memory in huge pages.
var hugeFields = []string{"ShmemPmdMapped:", "FilePmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:"}

// hugeIn sums the lines of hugeFields of the mappings with bytes in [from, from+n).
func hugeIn(smaps []byte, from, n uint64) (total int64, err error) {
	inside := false
	lines := bufio.NewScanner(bytes.NewReader(smaps))
	for lines.Scan() {
		line := lines.Text()
		word, rest, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(word, ":") {
			var start, end uint64
			if _, err := fmt.Sscanf(word, "%x-%x", &start, &end); err != nil {
				return 0, fmt.Errorf("smaps: %q: %w", line, err)
			}
			inside = start < from+n && from < end
			continue
		}
		for _, name := range hugeFields {
			if inside && word == name {
				kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
				if err != nil {
					return 0, fmt.Errorf("smaps: %q: %w", line, err)
				}
				total += kb << 10
			}
		}
	}
	return total, lines.Err()
}
