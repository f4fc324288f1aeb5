package fusefs_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"godax/fusefs"
)

// TestNoLeak: a mount that has ended leaves nothing in the process, however it was used: no
// goroutine, no descriptor, no mapping of the image.
func TestNoLeak(t *testing.T) {
	needFuse(t)
	image := newImage(t, 16<<20, 4096)
	round := func(i int) {
		m := mountImage(t, image, fusefs.Options{})
		dir := m.path(fmt.Sprint("d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for k := range 5 {
			name := fmt.Sprintf("%s/f%d", dir, k)
			want := bytes.Repeat([]byte{byte(i + k)}, 10_000)
			if err := os.WriteFile(name, want, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		if _, err := os.ReadDir(m.dir); err != nil {
			t.Fatal(err)
		}
		m.close(t)
	}
	count := func() (n [3]int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return [3]int{runtime.NumGoroutine(), len(fds), bytes.Count(maps, []byte(image))}
	}
	round(0) // makes what stays
	before := count()
	for i := range 30 {
		round(i + 1)
	}
	// Who has answered the kernel's last word may still be on the way out.
	after := count()
	for end := time.Now().Add(10 * time.Second); after != before && time.Now().Before(end); after = count() {
		time.Sleep(time.Millisecond)
	}
	if after[0] > before[0] || after[1] > before[1] || after[2] != 0 {
		t.Errorf("goroutines, descriptors, mappings of the image: %v before, %v after", before, after)
		buf := make([]byte, 1<<20)
		t.Logf("%s", buf[:runtime.Stack(buf, true)])
	}
}
