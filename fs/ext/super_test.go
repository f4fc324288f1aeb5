package ext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"godax/dax"
	"godax/internal/daxtest"
	"godax/internal/extfmt"
	"godax/pmem"
	"godax/vfs"
)

// Images that mke2fs makes mount, take a file, and stay clean.
func TestMke2fsImages(t *testing.T) {
	tests := []struct {
		size int64
		args []string
	}{
		{1 << 20, []string{"-b", "1024", "-r", "0"}},
		{4 << 20, []string{"-b", "1024", "-I", "128"}},
		{40 << 20, []string{"-b", "1024", "-I", "256", "-g", "4096"}},
		{20 << 20, []string{"-b", "2048", "-O", "^resize_inode,^sparse_super"}},
		{200 << 20, []string{"-b", "4096"}},
		{64 << 20, []string{"-b", "4096", "-I", "512", "-m", "20", "-O", "^filetype,^dir_index,^large_file,^ext_attr"}},
		{16 << 20, []string{"-b", "4096", "-I", "1024", "-g", "2048"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			dev := daxtest.MemoryImage(t, daxtest.Mke2fs(t, tt.size, tt.args...))
			f := mountTest(t, dev, vfs.MountOptions{})
			want := fill(700<<10, 5)
			fl := f.create("file")
			if _, err := fl.WriteAt(context.Background(), want[:300<<10], 0); err != nil {
				t.Fatal(err)
			}
			if _, err := fl.WriteAt(context.Background(), want[300<<10:], 300<<10); err != nil {
				t.Fatal(err)
			}
			f.evict(fl)
			f.closeClean()
			f = mountTest(t, dev, vfs.MountOptions{})
			fl = f.open("file").(*file)
			compare(t, "again", contents(t, fl), want)
			f.evict(fl)
			f.closeClean()
		})
	}
}

func TestReadOnlyReasons(t *testing.T) {
	tests := []struct {
		args []string
		why  string
	}{
		{[]string{"-t", "ext3", "-b", "1024"}, "has_journal"},
		{[]string{"-t", "ext4", "-b", "4096", "-O", "^extent,^64bit,^flex_bg,^has_journal,metadata_csum"}, "huge_file, dir_nlink, extra_isize, metadata_csum"},
		{[]string{"-b", "1024", "-O", "uninit_bg"}, "uninit_bg"},
		{[]string{"-b", "1024", "-O", "quota"}, "quota"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			dev := daxtest.MemoryImage(t, daxtest.Mke2fs(t, 8<<20, tt.args...))
			before := bytes.Clone(daxtest.DeviceBytes(t, dev))
			f := mountTest(t, dev, vfs.MountOptions{})
			if d := f.Describe(); !d.ReadOnly || !strings.Contains(d.Why, tt.why) {
				t.Errorf("got %+v", d)
			}
			if _, err := f.root().Lookup("lost+found"); err != nil {
				t.Error(err)
			}
			if err := f.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, daxtest.DeviceBytes(t, dev)) {
				t.Error("the image has changed")
			}
		})
	}
}

func TestIncompatRefusedByName(t *testing.T) {
	for _, feature := range []string{"extent", "64bit,extent", "flex_bg", "meta_bg", "inline_data"} {
		opts := []string{"-t", "ext4", "-b", "4096", "-O", "^has_journal,^extent,^64bit,^flex_bg,^metadata_csum,^resize_inode," + feature}
		dev := daxtest.MemoryImage(t, daxtest.Mke2fs(t, 16<<20, opts...))
		_, err := mount(dev, vfs.MountOptions{})
		if ue, ok := errors.AsType[*vfs.UnsupportedError](err); !ok || !strings.Contains(ue.Feature, strings.Split(feature, ",")[0]) {
			t.Errorf("%s: got %v", feature, err)
		} else if strings.Contains(ue.Feature, ", ") != strings.HasSuffix(err.Error(), " are not supported") {
			t.Errorf("%s: got %q", feature, err)
		}
	}
	dev := daxtest.MemoryImage(t, daxtest.Mke2fs(t, 16<<20, "-b", "1024"))
	b := daxtest.DeviceBytes(t, dev)
	b[extfmt.SuperOffset+extfmt.SuperIncompat+3] = 0x80
	_, err := mount(dev, vfs.MountOptions{})
	if ue, ok := errors.AsType[*vfs.UnsupportedError](err); !ok || ue.Feature != "FEATURE_I31" {
		t.Errorf("unknown feature: got %v", err)
	}
}

// Large blocks are refused with a reason.
func TestLargeBlocksRefused(t *testing.T) {
	path := daxtest.Mke2fs(t, 64<<20, "-b", "16384")
	_, err := mount(daxtest.MemoryImage(t, path), vfs.MountOptions{})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("got %v", err)
	}
}

func TestProbe(t *testing.T) {
	for _, size := range []int64{1, 1000, 2047, 4096, 1 << 20} {
		if probe(daxtest.MemoryDevice(t, make([]byte, size))) {
			t.Errorf("an empty device of %d bytes is recognised", size)
		}
	}
	f := newFS(t, 1<<20, 1024, "")
	if !probe(f.dev) {
		t.Error("not recognised")
	}
}

// Clock and counters of the superblock follow mounts.
func TestSuperblockTimes(t *testing.T) {
	dev := daxtest.MemoryImage(t, daxtest.Mke2fs(t, 1<<20, "-b", "1024"))
	now := time.Now().Add(-time.Hour)
	f := mountTest(t, dev, vfs.MountOptions{Now: func() time.Time { return now }})
	f.closeClean()
	sb, err := extfmt.DecodeSuperblock(daxtest.DeviceBytes(t, dev)[extfmt.SuperOffset:], dev.Size())
	if err != nil {
		t.Fatal(err)
	}
	if sb.MntCount != 1 || sb.Mtime != uint32(now.Unix()) || sb.Wtime != uint32(now.Unix()) {
		t.Errorf("mount count %d, mtime %d, wtime %d, want 1 and %d", sb.MntCount, sb.Mtime, sb.Wtime, now.Unix())
	}
}

// Inodes keep every attribute over a mount, as wide as the inode allows.
func TestAttributes(t *testing.T) {
	for _, isize := range []int{128, 256} {
		t.Run(fmt.Sprint(isize), func(t *testing.T) {
			dev := daxtest.MemoryDevice(t, make([]byte, 2<<20))
			if err := Format(dev, FormatOptions{BlockSize: 1024, InodeSize: isize}); err != nil {
				t.Fatal(err)
			}
			f := mountTest(t, dev, vfs.MountOptions{})
			born := time.Now()
			in, err := f.root().Create("node", vfs.NewInode{Mode: os.ModeDevice | os.ModeCharDevice | 0o640, UID: 70000, GID: 80000, RdevMajor: 300, RdevMinor: 70000})
			if err != nil {
				t.Fatal(err)
			}
			mode, uid := os.FileMode(0o6711)&0o777|os.ModeSetuid|os.ModeSticky, uint32(1<<31+5)
			atime, mtime := time.Unix(1<<33, 123456789), time.Unix(-5, 999999999)
			if isize == 128 {
				atime, mtime = time.Unix(1<<31-1, 0), time.Unix(-5, 0)
			}
			if err := in.SetAttr(vfs.SetAttr{Mode: &mode, UID: &uid, Atime: &atime, Mtime: &mtime}); err != nil {
				t.Fatal(err)
			}
			f.evict(in)
			f.closeClean()
			f = mountTest(t, dev, vfs.MountOptions{ReadOnly: true})
			a := f.open("node").Attr()
			if a.Mode != mode|os.ModeDevice|os.ModeCharDevice || a.UID != uid || a.GID != 80000 || a.RdevMajor != 300 || a.RdevMinor != 70000 || a.Nlink != 1 {
				t.Errorf("got %+v", a)
			}
			if !a.Atime.Equal(atime) || !a.Mtime.Equal(mtime) || a.Ctime.Before(born.Truncate(time.Second)) {
				t.Errorf("times: got %v, %v, %v", a.Atime, a.Mtime, a.Ctime)
			}
			if isize == 256 && a.Btime.Before(born) || isize == 128 && !a.Btime.IsZero() {
				t.Errorf("btime: got %v", a.Btime)
			}
		})
	}
}

// Many goroutines with a file each, and several that fill holes of one file through
// pins, which need no inode lock, leave a clean file system.
func TestConcurrentAllocation(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			ctx := context.Background()
			f := newFS(t, 32<<20, bs, "iomap")
			var files []*file
			for i := range 6 {
				files = append(files, f.create(fmt.Sprint(i)))
			}
			shared := f.create("shared")
			if err := shared.Truncate(ctx, 4<<20); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i, fl := range files {
				wg.Go(func() {
					for k := range 40 {
						if _, err := fl.WriteAt(ctx, fill(20000, uint64(i*100+k)), int64(k)*20000); err != nil {
							t.Error(err)
						}
						if k%13 == 12 {
							if err := fl.Truncate(ctx, int64(k)*10000); err != nil {
								t.Error(err)
							}
						}
						fl.Attr()
					}
				})
				wg.Go(func() {
					for k := range 40 {
						off := int64((i*7+k*13)%1000) * pmem.PageSize
						p, err := shared.Mapping().Pin(ctx, off, pmem.PageSize, dax.PinWrite, shared)
						if err != nil {
							t.Error(err)
							continue
						}
						p.Slices()[0][i] = 1
						p.Release()
						shared.Attr()
						if k%10 == 0 {
							if err := f.Sync(ctx); err != nil {
								t.Error(err)
							}
							f.Statfs()
						}
					}
				})
			}
			wg.Wait()
			for _, fl := range append(files, shared) {
				f.evict(fl)
			}
			f.closeClean()
		})
	}
}
