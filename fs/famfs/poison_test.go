package famfs

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/vfs"
)

// TestBadPage: a page of a file that goes bad is EIO, and no other is; a write of all of it makes
// it good. Bad memory that nobody uses is made good when a file gets it; in the log it is
// an error.
func TestBadPage(t *testing.T) {
	ctx := context.Background()
	devs := crashDevices(t, 1)
	dev := devs[0]
	must(t, Format(dev, FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost}))
	f, err := mountAs(t, devs, false)
	must(t, err)
	defer f.Close(ctx)
	n, err := f.create(f.root, "file", vfs.NewInode{Size: 16 * pmem.PageSize})
	must(t, err)
	in, err := f.Inode(n.ino)
	must(t, err)
	fl := in.(*file)
	want := bytes.Repeat([]byte("0123456789abcdef"), pmem.PageSize)
	_, err = fl.WriteAt(ctx, want, 0)
	must(t, err)

	bad := uint64(n.entry.Extents[0].Off)/pmem.PageSize + 5
	must(t, dev.Poison(bad, 1))
	got := make([]byte, pmem.PageSize)
	for page := range int64(16) {
		_, err := fl.ReadAt(ctx, got, page*pmem.PageSize)
		if page == 5 && !errors.Is(err, pmem.ErrPoisoned) || page != 5 && (err != nil || !bytes.Equal(got, want[:pmem.PageSize])) {
			t.Errorf("page %d: %v", page, err)
		}
	}
	_, err = fl.WriteAt(ctx, want[:pmem.PageSize], 5*pmem.PageSize)
	must(t, err)
	if _, err := fl.ReadAt(ctx, got, 5*pmem.PageSize); err != nil || !bytes.Equal(got, want[:pmem.PageSize]) {
		t.Errorf("overwritten: %v", err)
	}
	must(t, in.Evict(ctx))

	next := uint64(n.entry.Extents[0].Off+n.entry.Extents[0].Len) / pmem.PageSize
	must(t, dev.Poison(next+1, 2))
	n, err = f.create(f.root, "other", vfs.NewInode{Size: 4 * pmem.PageSize})
	must(t, err)
	if dev.Poisoned(next+1) || uint64(n.entry.Extents[0].Off)/pmem.PageSize != next {
		t.Error("the file is elsewhere, or its memory still bad")
	}
	if _, clean := seen(t, f); !clean {
		t.Error("what the memory held before is seen")
	}

	must(t, dev.Poison(uint64(famfsfmt.EntryOffset(2))/pmem.PageSize, 1))
	if _, err := f.create(f.root, "third", vfs.NewInode{Size: 1}); !errors.Is(err, pmem.ErrPoisoned) {
		t.Errorf("a bad page in the log: %v", err)
	}
	dev.Remove()
	if _, err := f.Follow(0, func(vfs.Change) bool { return true }); !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("the device is gone: %v", err)
	}
}
