package ext

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"godax/internal/extfmt"
	"godax/vfs"
)

// withKernel lets the kernel mount the image, runs use on the mount point, and takes
// the image over again.
func (m *medium) withKernel(use func(root string)) {
	m.t.Helper()
	if os.Getuid() != 0 {
		m.t.Skip("needs root to mount")
	}
	name, root := filepath.Join(m.dir, "loop"), filepath.Join(m.dir, "mnt")
	m.must(os.WriteFile(name, m.bytes(), 0o600))
	m.must(os.MkdirAll(root, 0o700))
	if out, err := exec.Command("mount", "-t", "ext2", "-o", "loop,user_xattr,acl", name, root).CombinedOutput(); err != nil {
		m.t.Skipf("cannot mount: %v\n%s", err, out)
	}
	func() {
		defer func() {
			if out, err := exec.Command("umount", root).CombinedOutput(); err != nil {
				m.t.Errorf("umount: %v\n%s", err, out)
			}
		}()
		use(root)
	}()
	b, err := os.ReadFile(name)
	m.must(err)
	copy(m.bytes(), b)
}

// kernelLines describes a tree that the kernel shows, ourLines what we show.
func kernelLines(m *medium, root string) (lines []string) {
	m.must(filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		target := ""
		if e.Type() == fs.ModeSymlink {
			if target, err = os.Readlink(p); err != nil {
				return err
			}
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%q %v %d links %d size %d target %q %d:%d", strings.TrimPrefix(p, root), info.Mode(), st.Ino, st.Nlink,
			st.Size, target, unix.Major(st.Rdev), unix.Minor(st.Rdev)))
		return nil
	}))
	slices.Sort(lines)
	return lines
}

func ourLines(m *medium) (lines []string) {
	tree, err := treeOf(m.f)
	m.must(err)
	for p := range tree {
		i := m.lookup(p)
		a := i.Attr()
		target := ""
		if s, ok := i.(vfs.Symlink); ok {
			target, err = s.Readlink()
			m.must(err)
		}
		lines = append(lines, fmt.Sprintf("%q %v %d links %d size %d target %q %d:%d", p, a.Mode, a.Ino, a.Nlink, a.Size, target, a.RdevMajor, a.RdevMinor))
	}
	slices.Sort(lines)
	return lines
}

func kernelXattrs(m *medium, root string) (lines []string) {
	m.must(filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b := make([]byte, 1<<16)
		n, err := unix.Llistxattr(p, b)
		if err != nil {
			return err
		}
		for name := range strings.SplitSeq(strings.TrimRight(string(b[:n]), "\x00"), "\x00") {
			if name == "" {
				continue
			}
			v := make([]byte, 1<<16)
			n, err := unix.Lgetxattr(p, name, v)
			if err != nil {
				return err
			}
			text := hex.EncodeToString(v[:n])
			if n == 0 {
				text = "-"
			}
			path := strings.TrimPrefix(p, root)
			if path == "" {
				path = "/"
			}
			lines = append(lines, path+"\t"+name+"\t"+text)
		}
		return nil
	}))
	slices.Sort(lines)
	return lines
}

// TestKernel: what we wrote the kernel shows, and what the kernel wrote we show; both go
// on where the other stopped.
func TestKernel(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			rev0 := f.name == "rev0"
			m := newMedium(t, "4M", append(f.mkfs, "-N", "1024")...)
			m.must(m.mkdir("/ours"))
			for i := range 200 {
				m.must(m.file("/ours/" + name5000(i)))
			}
			m.must(m.symlink("/ours/fast", "target"))
			m.must(m.symlink("/ours/slow", strings.Repeat("t/", 200)))
			m.must(m.create("/ours/blk", vfs.NewInode{Mode: fs.ModeDevice | 0o600, RdevMajor: 300, RdevMinor: 70000}))
			m.must(m.create("/ours/chr", vfs.NewInode{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, RdevMajor: 1, RdevMinor: 3}))
			m.must(m.create("/ours/fifo", vfs.NewInode{Mode: fs.ModeNamedPipe | 0o600}))
			m.must(m.mkdir("/ours/sub"))
			m.must(m.link("/ours/"+name5000(3), "/ours/sub/hard"))
			for i := range 100 {
				m.must(m.remove("/ours/" + name5000(2*i)))
			}
			if !rev0 {
				acl, _ := hex.DecodeString("0200000001000700ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff")
				for p, attrs := range map[string]map[string][]byte{
					"/ours/" + name5000(1): {"user.a": []byte("value"), "security.b": nil, "trusted.c": bytes.Repeat([]byte("c"), 300)},
					"/ours/sub":            {"user.dir": []byte("d"), "system.posix_acl_default": acl},
					"/ours/fast":           {"trusted.link": []byte("l")},
					"/ours/" + name5000(5): {"system.posix_acl_access": acl},
				} {
					for name, v := range attrs {
						m.must(m.lookup(p).(vfs.Xattrs).SetXattr(name, v, false, false))
					}
				}
			}
			m.close()
			m.reopen()
			want, wantX := ourLines(m), m.xattrManifest()
			m.close()
			m.withKernel(func(root string) {
				if diff := cmp.Diff(want, kernelLines(m, root)); diff != "" {
					t.Errorf("kernel reads (+) what we wrote (-):\n%s", diff)
				}
				if diff := cmp.Diff(wantX, kernelXattrs(m, root)); diff != "" {
					t.Errorf("kernel reads (+) attributes we wrote (-):\n%s", diff)
				}
				theirs := filepath.Join(root, "theirs")
				m.must(os.Mkdir(theirs, 0o755))
				for i := range 200 {
					p := filepath.Join(theirs, name5000(i))
					m.must(os.WriteFile(p, nil, 0o644))
					if i%2 == 0 {
						m.must(os.Rename(p, filepath.Join(root, "ours", "moved-"+name5000(i))))
					}
				}
				m.must(os.Symlink("x", filepath.Join(theirs, "fast")))
				m.must(os.Symlink(strings.Repeat("x/", 300), filepath.Join(theirs, "slow")))
				m.must(os.Remove(filepath.Join(root, "ours", "fifo")))
				m.must(unix.Mknod(filepath.Join(theirs, "chr"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 1))))
				if !rev0 {
					p := filepath.Join(theirs, name5000(1))
					m.must(unix.Setxattr(p, "user.k", []byte("kernel"), 0))
					m.must(unix.Setxattr(p, "user.big", bytes.Repeat([]byte("k"), 400), 0))
					p = filepath.Join(root, "ours", name5000(1))
					m.must(unix.Setxattr(p, "user.a", bytes.Repeat([]byte("changed"), 30), unix.XATTR_REPLACE))
					m.must(unix.Removexattr(p, "security.b"))
				}
				want, wantX = kernelLines(m, root), kernelXattrs(m, root)
			})
			m.reopen()
			if diff := cmp.Diff(want, ourLines(m)); diff != "" {
				t.Errorf("we read (+) what the kernel wrote (-):\n%s", diff)
			}
			if diff := cmp.Diff(wantX, m.xattrManifest()); diff != "" {
				t.Errorf("we read (+) attributes the kernel wrote (-):\n%s", diff)
			}
			for i := range 200 {
				if i%2 == 1 {
					m.must(m.rename("/theirs/"+name5000(i), "/ours/ours-"+name5000(i)))
				}
			}
			m.must(m.remove("/theirs/slow"))
			want = ourLines(m)
			m.close()
			m.withKernel(func(root string) {
				if diff := cmp.Diff(want, kernelLines(m, root)); diff != "" {
					t.Errorf("kernel reads (+) what we changed (-):\n%s", diff)
				}
			})
		})
	}
}

// TestKernelHtree: the kernel's index goes on working after we changed the directory.
func TestKernelHtree(t *testing.T) {
	m := newMedium(t, "8M", "-t", "ext2", "-b", "1024", "-O", "dir_index", "-N", "4096")
	m.close()
	m.withKernel(func(root string) {
		m.must(os.Mkdir(filepath.Join(root, "d"), 0o755))
		for i := range 2000 {
			m.must(os.WriteFile(filepath.Join(root, "d", name5000(i)), nil, 0o644))
		}
	})
	for _, more := range []int{50, 1500} { // with the index, and without
		m.reopen()
		if d := m.lookup("/d").(*dir); more == 50 && d.flags()&extfmt.InodeFlagIndex == 0 {
			t.Error("the kernel has not made an index")
		}
		for i := range more {
			m.must(m.file(fmt.Sprintf("/d/%d-new-%d", more, i)))
			if i%2 == 0 && i < 50 {
				m.must(m.remove("/d/" + name5000(more%100*2+i)))
			}
		}
		want := ourLines(m)
		m.close()
		m.withKernel(func(root string) {
			if diff := cmp.Diff(want, kernelLines(m, root)); diff != "" {
				t.Errorf("kernel reads (+) what we changed (-):\n%s", diff)
			}
			for i := range 50 { // found by hash
				if _, err := os.Lstat(filepath.Join(root, "d", fmt.Sprintf("%d-new-%d", more, i))); err != nil {
					t.Error(err)
				}
				m.must(os.WriteFile(filepath.Join(root, "d", fmt.Sprintf("kernel-%d-%d", more, i)), nil, 0o600))
			}
		})
	}
	m.reopen()
	m.close()
}
