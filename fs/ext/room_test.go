package ext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"testing"

	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// tightDevice is a device whose pages of zeros are holes, with room for a few of them.
type tightDevice struct {
	pmem.Device
	mu   sync.Mutex
	has  map[int64]bool // pages with room
	room int            // pages there is room for yet
}

var (
	_ pmem.Reserver = (*tightDevice)(nil)
	_ pmem.Mappable = (*tightDevice)(nil)
)

// tight makes such a device of an image.
func tight(t testing.TB, image []byte, room int) *tightDevice {
	t.Helper()
	dev, err := pmem.NewMemory(int64(len(image)), pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	d := &tightDevice{Device: dev, has: map[int64]bool{}, room: room}
	b := daxtest.DeviceBytes(t, dev)
	for _, p := range usedPages(image) {
		copy(b[p*pmem.PageSize:][:pmem.PageSize], image[p*pmem.PageSize:])
		d.has[p] = true
	}
	return d
}

// Backing implements [pmem.Mappable].
func (d *tightDevice) Backing() (fd int, off int64, pageSize int64) {
	return d.Device.(pmem.Mappable).Backing()
}

// usedPages returns the pages of an image with anything but zeros.
func usedPages(image []byte) (pages []int64) {
	for p := int64(0); p*pmem.PageSize < int64(len(image)); p++ {
		if !isZero(image[p*pmem.PageSize:][:pmem.PageSize]) {
			pages = append(pages, p)
		}
	}
	return pages
}

// Reserve implements [pmem.Reserver].
func (d *tightDevice) Reserve(off, n, ahead int64) error {
	if err := pmem.CheckBytes(d.Size(), off, n); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if ahead = min(ahead, d.Size()-off-n); int64(d.room) > 2*(n+ahead)/pmem.PageSize {
		n += ahead
	}
	for p := off / pmem.PageSize; n > 0 && p*pmem.PageSize < off+n; p++ {
		if d.has[p] {
			continue
		}
		if d.room == 0 {
			return fmt.Errorf("page %d: %w", p, syscall.ENOSPC)
		}
		d.room--
		d.has[p] = true
	}
	return nil
}

// Room implements [pmem.Reserver].
func (d *tightDevice) Room(off, n int64) (start, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := off + n
	for start = off; start < end && !d.has[start/pmem.PageSize]; {
		start = min(end, (start/pmem.PageSize+1)*pmem.PageSize)
	}
	for at := start; at < end && d.has[at/pmem.PageSize]; {
		at = min(end, (at/pmem.PageSize+1)*pmem.PageSize)
		size = at - start
	}
	return start, size
}

// checkStores fails the test if there was a store without room.
func (d *tightDevice) checkStores(t testing.TB) {
	t.Helper()
	for _, p := range usedPages(daxtest.DeviceBytes(t, d)) {
		if !d.has[p] {
			t.Fatalf("page %d was stored to and has no room", p)
		}
	}
}

// useTight does a little of everything, and goes on after errors, each of which must
// be ENOSPC, or that something is not there because of one. It reports whether there were any.
func useTight(t testing.TB, f *testFS) (failed bool) {
	t.Helper()
	ctx := context.Background()
	ok := func(what string, err error) bool {
		t.Helper()
		if err != nil && !errors.Is(err, syscall.ENOSPC) && !(failed && errors.Is(err, fs.ErrNotExist)) {
			t.Fatalf("%s: %v", what, err)
		}
		failed = failed || err != nil
		return err == nil
	}
	create := func(d vfs.Dir, name string, n vfs.NewInode) vfs.Inode {
		t.Helper()
		in, err := d.Create(name, n)
		if !ok("create "+name, err) {
			return nil
		}
		return in
	}
	root := f.root()
	bs := f.blockSize()
	if in := create(root, "small", vfs.NewInode{Mode: 0o644}); in != nil {
		_, err := in.(*file).WriteAt(ctx, []byte("a few bytes"), 0)
		ok("write small", err)
		ok("attribute", in.(vfs.Xattrs).SetXattr("user.a", bytes.Repeat([]byte{'x'}, 600), false, false))
		ok("attribute", in.(vfs.Xattrs).SetXattr("user.b", bytes.Repeat([]byte{'y'}, 100), false, false))
		f.evict(in)
	}
	if in := create(root, "large", vfs.NewInode{Mode: 0o644}); in != nil {
		fl := in.(*file)
		b := fill(64<<10, 3)
		n, err := fl.WriteAt(ctx, b, 5)
		ok("write large", err)
		got := make([]byte, n)
		if _, err := fl.ReadAt(ctx, got, 5); n > 0 && err != nil {
			t.Fatal(err)
		}
		compare(t, "large", got, b[:n])
		// Behind a double and a triple indirect block.
		far := (12 + f.mapBlocksBelow(1) + 3) * uint64(bs)
		_, err = fl.WriteAt(ctx, []byte("far"), int64(far))
		ok("write far", err)
		ok("reserve", fl.Allocate(ctx, vfs.AllocReserve, 200<<10, 20<<10))
		ok("punch", fl.Allocate(ctx, vfs.AllocPunch, 8<<10, 16<<10))
		_, err = fl.WriteAt(ctx, b[:9000], 9<<10)
		ok("write over a hole", err)
		ok("truncate", fl.Truncate(ctx, 30<<10+5))
		ok("sync", fl.Sync(ctx, false))
		f.evict(in)
	}
	var d vfs.Dir
	if in := create(root, "dir", vfs.NewInode{Mode: fs.ModeDir | 0o755}); in != nil {
		d = in.(vfs.Dir)
		for i := range 40 {
			name := fmt.Sprintf("%0200d", i)
			if in := create(d, name, vfs.NewInode{Mode: 0o600}); in != nil {
				f.evict(in)
			}
		}
		for i := range 10 {
			name := fmt.Sprintf("%0200d", 3*i)
			ino, err := d.Lookup(name)
			if !ok("lookup", err) {
				continue
			}
			in, err := f.Inode(ino)
			if err != nil {
				t.Fatal(err)
			}
			ok("unlink", d.Unlink(name, in))
			f.evict(in)
		}
	}
	if in := create(root, "link", vfs.NewInode{Mode: fs.ModeSymlink | 0o777, Target: string(bytes.Repeat([]byte{'t'}, 300))}); in != nil {
		f.evict(in)
	}
	if d != nil {
		f.evict(d)
	}
	return failed
}

// mapBlocksBelow is the number of blocks behind the indirect block of a level.
func (f *FS) mapBlocksBelow(level uint) uint64 { return 1 << (level * f.ptrShift()) }

// With room for any number of pages nothing is stored where there is none, ENOSPC is all
// that happens, and the image stays clean; with more room it goes on.
func TestTightDevice(t *testing.T) {
	daxtest.Tool(t, "e2fsck")
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			dev := daxtest.MemoryDevice(t, make([]byte, 16<<20))
			if err := Format(dev, FormatOptions{BlockSize: bs}); err != nil {
				t.Fatal(err)
			}
			image := bytes.Clone(daxtest.DeviceBytes(t, dev))
			last := false
			for room := 0; !last; room += 1 + room/20 {
				if room > 200 {
					t.Fatal("ENOSPC with room for 200 pages")
				}
				if testing.Short() {
					room += 9
				}
				d := tight(t, image, room)
				f := mountTest(t, d, vfs.MountOptions{})
				last = !useTight(t, f)
				d.checkStores(t)
				if !last {
					f.closeClean()
					f = mountTest(t, d, vfs.MountOptions{})
					d.room = 1000
					in, err := f.root().Create("more", vfs.NewInode{Mode: 0o644})
					if err == nil {
						_, err = in.(*file).WriteAt(t.Context(), fill(100<<10, 4), 0)
						f.evict(in)
					}
					if err != nil {
						t.Fatalf("with more room: %v", err)
					}
				}
				f.closeClean()
				d.checkStores(t)
				if t.Failed() {
					t.Fatalf("with room for %d pages", room)
				}
			}
		})
	}
}

// Blocks that exist and have no room underneath, as in an image that was copied with holes
// for its zeros, are not stored to either.
func TestTightOverwrite(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			f := newFS(t, 4<<20, bs, "")
			fl := f.create("zeros")
			if _, err := fl.WriteAt(t.Context(), make([]byte, 64<<10), 0); err != nil {
				t.Fatal(err)
			}
			f.evict(fl)
			f.closeClean()
			d := tight(t, daxtest.DeviceBytes(t, f.dev), 3)
			f = mountTest(t, d, vfs.MountOptions{})
			fl = f.open("zeros").(*file)
			n, err := fl.WriteAt(t.Context(), fill(64<<10, 5), 0)
			if err == nil {
				err = fl.Sync(t.Context(), false)
			}
			if !errors.Is(err, syscall.ENOSPC) || n > 4*pmem.PageSize {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
			d.checkStores(t)
			f.evict(fl)
			f.closeClean()
		})
	}
}

// Format stores nothing where there is no room, and changes nothing without it.
func TestTightFormat(t *testing.T) {
	for room := range 30 {
		d := tight(t, make([]byte, 16<<20), room)
		err := Format(d, FormatOptions{})
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if n := len(usedPages(daxtest.DeviceBytes(t, d))); n > 0 {
			t.Fatalf("%d pages were stored to", n)
		}
	}
	t.Error("no room for 30 pages is enough")
}
