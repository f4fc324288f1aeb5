package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestMkfs(t *testing.T) {
	tests := []struct {
		name string
		args []string
		size int64
	}{
		{"default block", []string{"--size", "32M"}, 32 << 20},
		{"1k", []string{"--size", "8M", "--block-size", "1024"}, 8 << 20},
		{"2k", []string{"--size", "8M", "--block-size", "2K"}, 8 << 20},
		{"label and uuid", []string{"--size", "8M", "--label", "sixteen-letters!", "--uuid", "01234567-89ab-cdef-0123-456789abcdef"}, 8 << 20},
		{"inode ratio", []string{"--size", "64M", "--inode-ratio", "64K"}, 64 << 20},
		{"odd size", []string{"--size", "10000001"}, 10000001},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			mustRun(t, append([]string{"mkfs", "ext2", "img"}, tt.args...)...)
			fi, err := os.Stat("img")
			if err != nil || fi.Size() != tt.size {
				t.Errorf("size %v, %v; want %d", fi, err, tt.size)
			}
			fsck(t, "img")
			if got := mustRun(t, "ls", "img"); got != "lost+found\n" {
				t.Errorf("a new file system holds %q", got)
			}
		})
	}
	t.Run("bad options", func(t *testing.T) {
		t.Chdir(t.TempDir())
		mustRun(t, "mkfs", "ext2", "--size", "8M", "old")
		before, err := os.ReadFile("old")
		if err != nil {
			t.Fatal(err)
		}
		tests := []struct {
			code int
			args []string
		}{
			{exitUsage, []string{"--block-size", "3000"}},
			{exitUsage, []string{"--block-size", "0"}},
			{exitUsage, []string{"--size", "0"}},
			{exitUsage, []string{"--label", "seventeen letters"}},
			{exitUsage, []string{"--uuid", "short"}},
			{exitUsage, []string{"--inode-ratio", "1"}},
			{exitFailed, []string{"--size", "4096"}},
		}
		for _, tt := range tests {
			for _, image := range []string{"img", "old"} {
				args := append([]string{"mkfs", "ext2", "--force", "--size", "4M", image}, tt.args...)
				r := godaxRun(t, args...)
				if r.code != tt.code || !strings.HasPrefix(r.stderr, "godax: ") || r.stdout != "" {
					t.Errorf("%v: exit code %d, stderr %q, stdout %q; want %d", args, r.code, r.stderr, r.stdout, tt.code)
				}
			}
			if _, err := os.Stat("img"); err == nil {
				t.Errorf("%v: the file was left behind", tt.args)
			}
			if after, err := os.ReadFile("old"); err != nil || !bytes.Equal(before, after) {
				t.Fatalf("%v: an existing image was changed, %v", tt.args, err)
			}
		}
	})
}

// TestMkfsRefuses: what holds data is kept unless --force is given.
func TestMkfsRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRun(t, "mkfs", "ext2", "--size", "8M", "img")
	before, err := os.ReadFile("img")
	if err != nil {
		t.Fatal(err)
	}
	r := godaxRun(t, "mkfs", "ext2", "img")
	if want := "godax: mkfs img: holds data already (--force overwrites it)\n"; r.code != exitFailed || r.stderr != want {
		t.Errorf("exit code %d, stderr %q; want 1, %q", r.code, r.stderr, want)
	}
	if after, err := os.ReadFile("img"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image changed, %v", err)
	}
	mustRun(t, "mkdir", "img:/gone")
	mustRun(t, "mkfs", "ext2", "--force", "img")
	if got := mustRun(t, "ls", "img"); got != "lost+found\n" {
		t.Errorf("after --force the image holds %q", got)
	}
	fsck(t, "img")

	if err := os.WriteFile("empty", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "ext2", "empty")
	if fi, err := os.Stat("empty"); err != nil || fi.Size() != defaultSize {
		t.Errorf("an empty file did not get the default size: %v, %v", fi, err)
	}
	if err := os.WriteFile("zeros", make([]byte, 8<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkfs", "ext2", "zeros")
	if fi, err := os.Stat("zeros"); err != nil || fi.Size() != 8<<20 {
		t.Errorf("an existing file changed its size: %v, %v", fi, err)
	}
	mustRun(t, "mkfs", "ext2", "--force", "--size", "16M", "zeros")
	if fi, err := os.Stat("zeros"); err != nil || fi.Size() != 16<<20 {
		t.Errorf("--size was not obeyed: %v, %v", fi, err)
	}
	fsck(t, "zeros")
	if r := godaxRun(t, "mkfs", "ext2", "."); r.code != exitFailed {
		t.Errorf("a directory was formatted: exit code %d", r.code)
	}
}
