package axfs_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fs/axfs"
)

// processEnv makes the test program one of the processes of TestProcessesShareMemory: it names the image.
const processEnv = "GODAX_AXFS_PROCESS"

// TestProcessesShareMemory: processes that map the same file of an image have its pages once together. Each
// has all of them, and no page of its own.
func TestProcessesShareMemory(t *testing.T) {
	const size, processes = 32 * mib, 5
	if path := os.Getenv(processEnv); path != "" {
		mapAndWait(t, path, size)
		return
	}
	dir, err := os.MkdirTemp("/dev/shm", "godax-axfs-")
	if err != nil {
		t.Skipf("no memory file system: %v", err)
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "image")
	img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "f", Data: bytes.Repeat(fill(mib, 1), size/mib), Kinds: "X"})
	must(t, os.WriteFile(path, img, 0o600))
	self, err := os.Executable()
	must(t, err)
	var sum int64
	var tables []int64
	views := map[int]uint64{} // by process
	for range processes {
		cmd := exec.Command(self, "-test.run", "^TestProcessesShareMemory$")
		cmd.Env = append(os.Environ(), processEnv+"="+path, "GORACE=atexit_sleep_ms=0") // a second for each otherwise
		stdin, err := cmd.StdinPipe()
		must(t, err)
		stdout, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		t.Cleanup(func() {
			must(t, stdin.Close())
			_, err := io.Copy(io.Discard, stdout)
			must(t, err)
			if err := cmd.Wait(); err != nil {
				t.Errorf("process: %v", err)
			}
		})
		var from, n uint64
		if _, err := fmt.Fscanf(bufio.NewReader(stdout), "view at %x, %d bytes\n", &from, &n); err != nil || n != size {
			t.Fatalf("%d bytes, %v", n, err)
		}
		views[cmd.Process.Pid] = from
	}
	for pid, at := range views {
		got := fieldsOf(t, pid, at, at+size, "Rss", "Pss", "Anonymous", "Private_Dirty", "Private_Clean")
		if got["Rss"] != size || got["Anonymous"] != 0 || got["Private_Dirty"]+got["Private_Clean"] != 0 {
			t.Errorf("process %d: %v; want %d bytes, none of them its own", pid, got, size)
		}
		sum += got["Pss"]
		tables = append(tables, statusOf(t, fmt.Sprint(pid), "VmPTE"))
	}
	// The device is mapped in each process too, so that its part of a page may be half of it.
	if sum > size+size/16 {
		t.Errorf("%d views of %d bytes have %d bytes together", processes, size, sum)
	}
	t.Logf("%d processes, %d MiB each: %d MiB of memory together; page tables %v bytes", processes, size/mib, sum/mib, tables)
}

// mapAndWait maps the file, touches it all, says so, and waits for the end of standard input.
func mapAndWait(t *testing.T, path string, size int) {
	fsys, err := godax.Open(path, godax.Options{ReadOnly: true})
	must(t, err)
	f, err := fsys.Open("f")
	must(t, err)
	m, err := f.Mmap(0, size, godax.MapShared)
	must(t, err)
	sum := 0
	for off := 0; off < size; off += page {
		sum += int(m.Bytes()[off])
	}
	if sum == 0 {
		t.Error("nothing but zeros")
	}
	fmt.Printf("view at %x, %d bytes\n", address(m.Bytes()), size)
	_, err = unix.Read(0, make([]byte, 1))
	must(t, err)
	must(t, m.Close())
	must(t, f.Close())
	must(t, fsys.Close())
}
