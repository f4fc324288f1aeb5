package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"godax/internal/daxtest"

	"golang.org/x/sys/unix"
)

// TestKernelSeesTheSame copies a tree of everything into images made by godax, and
// compares what the kernel sees in them, mounted, with the manifest: written by us,
// read by the kernel.
func TestKernelSeesTheSame(t *testing.T) {
	needMount(t)
	for _, bs := range []string{"1024", "2048", "4096"} {
		t.Run(bs, func(t *testing.T) {
			dir := t.TempDir()
			tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "image")
			makeTree(t, tree)
			mustRun(t, "mkfs", "ext2", "--size", "48M", "--block-size", bs, image)
			mustRun(t, "cp", "-a", tree, image+":/")
			fsck(t, image)
			got, gotXattr := mustRun(t, "manifest", image), mustRun(t, "manifest", "--xattr", image)
			mnt := mount(t, image, "ro")
			want, wantXattr := hostManifest(t, mnt)
			if diff := firstDifference(got, want); diff != "" {
				t.Errorf("godax and the kernel differ in %s", diff)
			}
			if diff := firstDifference(gotXattr, wantXattr); diff != "" {
				t.Errorf("attributes: godax and the kernel differ in %s", diff)
			}
			original, originalXattr := hostManifest(t, tree)
			copied, copiedXattr := hostManifest(t, filepath.Join(mnt, "tree"))
			if diff := firstDifference(noDirSizes(copied), noDirSizes(original)); diff != "" {
				t.Errorf("copy and original differ in %s", diff)
			}
			if diff := firstDifference(copiedXattr, originalXattr); diff != "" {
				t.Errorf("attributes: copy and original differ in %s", diff)
			}
		})
	}
}

// TestKernelWrote lets the kernel fill an image and change it after godax did, and
// compares: written by the kernel, read by us.
func TestKernelWrote(t *testing.T) {
	needMount(t)
	for _, bs := range []string{"1024", "2048", "4096"} {
		t.Run(bs, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, 48<<20); err != nil {
				t.Fatal(err)
			}
			host(t, daxtest.Tool(t, "mke2fs"), "-q", "-F", "-t", "ext2", "-b", bs, image)
			mnt := mount(t, image, "rw")
			makeTree(t, filepath.Join(mnt, "kernel"))
			compareAndUnmount(t, image, mnt)

			// Both take turns on the same directories.
			mustRun(t, "mkdir", "-p", image+":/kernel/ours/deep")
			mustRun(t, "cp", "-a", "-r", image+":/kernel/files", image+":/kernel/ours/deep")
			mustRun(t, "rm", "-r", image+":/kernel/many")
			mustRun(t, "mv", image+":/kernel/links", image+":/moved")
			fsck(t, image)
			mnt = mount(t, image, "rw")
			if err := os.Rename(filepath.Join(mnt, "kernel/ours/deep"), filepath.Join(mnt, "deep")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(mnt, "moved")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mnt, "kernel/ours/late"), []byte("late"), 0o640); err != nil {
				t.Fatal(err)
			}
			compareAndUnmount(t, image, mnt)
			fsck(t, image)
		})
	}
}

// compareAndUnmount compares the mounted image with the manifest that godax reads
// from it afterwards.
func compareAndUnmount(t *testing.T, image, mnt string) {
	t.Helper()
	want, wantXattr := hostManifest(t, mnt)
	host(t, "umount", mnt)
	if diff := firstDifference(mustRun(t, "manifest", image), want); diff != "" {
		t.Errorf("godax and the kernel differ in %s", diff)
	}
	if diff := firstDifference(mustRun(t, "manifest", "--xattr", image), wantXattr); diff != "" {
		t.Errorf("attributes: godax and the kernel differ in %s", diff)
	}
}

// needMount skips where images cannot be mounted.
func needMount(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting an image needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("no loop devices: %v", err)
	}
}

// host runs a program of the host.
func host(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// mount mounts an image until the test ends, or until it is unmounted.
func mount(t *testing.T, image, mode string) string {
	t.Helper()
	dir := t.TempDir()
	host(t, "mount", "-t", "ext2", "-o", "loop,"+mode, image, dir)
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() }) // fails if it was done before
	return dir
}

// makeTree fills a folder with files of every kind, sizes around the edges of the
// block map, holes, links, attributes, owners and odd names.
func makeTree(t *testing.T, root string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	at := func(name string) string { return filepath.Join(root, name) }
	for _, d := range []string{"files", "links", "many", "special", "empty", "attributes", "deep/er/and/deeper"} {
		must(os.MkdirAll(at(d), 0o755))
	}
	for _, size := range []int{0, 1, 511, 1023, 1024, 1025, 4095, 4096, 4097, 12 << 10, 12<<10 + 1, 48<<10 + 7, 268<<10 + 1, 1 << 20, 4<<20 + 5000, 9 << 20} {
		must(os.WriteFile(at(fmt.Sprintf("files/%d", size)), bytesOf(size), 0o644))
	}
	sparse, err := os.Create(at("files/sparse"))
	must(err)
	for _, off := range []int64{5000, 300 << 10, 70 << 20} {
		_, err = sparse.WriteAt(bytesOf(5000), off)
		must(err)
	}
	must(sparse.Truncate(80<<20 + 123))
	must(sparse.Close())
	for i := range 700 {
		must(os.WriteFile(at(fmt.Sprintf("many/a rather long name to fill the directory %d", i)), nil, 0o600))
	}
	must(os.WriteFile(at("files/odd \xff\t\\ name"), []byte("odd"), 0o4755))
	must(os.WriteFile(at("files/"+strings.Repeat("x", 255)), []byte("long"), 0o644))
	must(os.Link(at("files/4097"), at("links/hard")))
	must(os.Symlink("hard", at("links/short")))
	must(os.Symlink(strings.Repeat("long/", 30), at("links/long")))
	must(syscall.Mkfifo(at("special/fifo"), 0o640))
	must(unix.Mknod(at("special/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(at("special/disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(300, 70000))))
	must(unix.Mknod(at("special/socket"), unix.S_IFSOCK|0o755, 0))
	must(os.WriteFile(at("attributes/file"), []byte("x"), 0o644))
	must(unix.Setxattr(at("attributes/file"), "user.small", []byte("value"), 0))
	must(unix.Setxattr(at("attributes/file"), "user.large", bytesOf(700), 0))
	must(unix.Setxattr(at("attributes/file"), "trusted.binary", []byte{0, 1, 2}, 0))
	must(unix.Setxattr(at("attributes"), "user.dir", []byte("of a directory"), 0))
	acl, err := hex.DecodeString("0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff")
	must(err)
	must(unix.Setxattr(at("attributes/file"), "system.posix_acl_access", acl, 0))
	must(os.Lchown(at("files/1"), 1000, 100))
	must(os.Lchown(at("links/short"), 70000, 2000000000))
	must(os.Chmod(at("empty"), 0o777|fs.ModeSticky))
	old := time.Unix(1_000_000_000, 0)
	must(os.Chtimes(at("files/1023"), old, old))
}

// hostManifest is what `godax manifest` and `godax manifest --xattr` should print of
// a mounted tree, made by way of the host's system calls.
func hostManifest(t *testing.T, root string) (files, attrs string) {
	t.Helper()
	var rows, xattrs []string
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		kind, size, target, sum := "?", int64(0), "-", "-"
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			kind, size = "f", st.Size
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			h := sha256.Sum256(b)
			sum = hex.EncodeToString(h[:])
		case unix.S_IFDIR:
			kind, size = "d", st.Size
		case unix.S_IFLNK:
			kind, size = "l", st.Size
			if target, err = os.Readlink(p); err != nil {
				return err
			}
		case unix.S_IFIFO:
			kind = "p"
		case unix.S_IFSOCK:
			kind = "s"
		case unix.S_IFCHR:
			kind = "c"
		case unix.S_IFBLK:
			kind = "b"
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%04o\t%d\t%d\t%d\t%s\t%s", hostEscape(name), kind, st.Mode&0o7777, st.Uid, st.Gid, size, hostEscape(target), sum))
		xattrs = append(xattrs, hostXattrs(t, p, hostEscape(name))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rows)
	slices.Sort(xattrs)
	return "path\ttype\tmode\tuid\tgid\tsize\ttarget\tsha256\n" + strings.Join(rows, "\n") + "\n",
		strings.TrimSuffix("path\tname\tvalue_hex\n"+strings.Join(xattrs, "\n"), "\n") + "\n"
}

func hostXattrs(t *testing.T, p, name string) (rows []string) {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil {
		t.Fatal(err)
	}
	for attr := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if attr == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, attr, value)
		if err != nil {
			t.Fatal(err)
		}
		v := hex.EncodeToString(value[:n])
		if v == "" {
			v = "-"
		}
		rows = append(rows, name+"\t"+attr+"\t"+v)
	}
	return rows
}

// hostEscape writes bytes outside printable ASCII, and the backslash, as \xHH.
func hostEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, "\\x%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// noDirSizes takes the sizes of directories out of a manifest: they are the file
// system's own affair.
func noDirSizes(manifest string) string {
	lines := strings.Split(manifest, "\n")
	for i, l := range lines {
		if f := strings.Split(l, "\t"); len(f) == 8 && f[1] == "d" {
			f[5] = "-"
			lines[i] = strings.Join(f, "\t")
		}
	}
	return strings.Join(lines, "\n")
}
