package fusefs_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"godax/internal/daxtest"
	"godax/internal/posixtest"
)

// ruleDifferences are the lines in which a mount differs from the kernel's ext2 on purpose, as
// the kernel has them, and why.
var ruleDifferences = map[string]string{}

// TestRules carries the table of POSIX rules out on a mount and on the kernel's own ext2, on
// a loop device, and compares line by line.
func TestRules(t *testing.T) {
	needFuse(t)
	for _, bs := range []int{1024, 2048, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			want := kernelLines(t, bs)
			// A rule runs a program. The server is a process of its own: while this one starts a
			// program the runtime may have no thread that could answer the kernel.
			image, dir := newImage(t, 64<<20, bs), t.TempDir()
			server := startServer(t, image, dir)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Error(err)
			}
			openParents(t, dir)
			got, err := posixtest.Run(dir)
			if err != nil {
				t.Error(err)
			}
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("unmount: %v", err)
				if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}
			if err := server.Wait(); err != nil {
				t.Errorf("the server: %v", err)
			}
			daxtest.FsckFile(t, image)
			if len(want) < 400 {
				t.Errorf("only %d lines", len(want))
			}
			for i := range max(len(got), len(want)) {
				var g, w string
				if i < len(got) {
					g = got[i]
				}
				if i < len(want) {
					w = want[i]
				}
				if g != w && ruleDifferences[w] == "" {
					t.Errorf("\n ours   %s\n kernel %s", g, w)
				}
			}
		})
	}
}

// openParents lets other users through the temporary directories above dir.
func openParents(t *testing.T, dir string) {
	t.Helper()
	for _, up := range []string{dir, dir + "/..", dir + "/../.."} {
		var st unix.Stat_t
		if err := unix.Stat(up, &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode&0o1000 == 0 {
			if err := unix.Chmod(up, st.Mode&0o7777|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// kernelLines are the lines of the kernel's ext2.
func kernelLines(t *testing.T, bs int) []string {
	t.Helper()
	image, dir := newImage(t, 64<<20, bs), t.TempDir()
	out, err := exec.Command("mount", "-t", "ext2", "-o", "loop,noatime,user_xattr,acl", image, dir).CombinedOutput()
	if err != nil {
		t.Skipf("no kernel to compare with: %v\n%s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	}()
	openParents(t, dir)
	lines, err := posixtest.Run(dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(lines)
}
