package famfs

import (
	"context"
	"testing"

	"godax/internal/daxtest"
	"godax/internal/famfsfmt"
	"godax/vfs"
)

// TestNoAllocations: a look at a medium where nothing is new, a lookup, and a read in place
// allocate nothing.
func TestNoAllocations(t *testing.T) {
	dev := daxtest.MemoryDevice(t, make([]byte, crashSize))
	must(t, Format(dev, FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost}))
	f, err := mount(dev, vfs.MountOptions{}, Config{HostUUID: crashHost})
	must(t, err)
	defer f.Close(context.Background())
	n, err := f.create(f.root, "file", vfs.NewInode{Size: 100_000, Stripe: vfs.Stripe{Strips: 2, Chunk: 8192}})
	must(t, err)
	in, err := f.Inode(n.ino)
	must(t, err)
	root, err := f.Inode(rootIno)
	must(t, err)
	buf := make([]byte, 5000)
	for name, do := range map[string]func() error{
		"refresh": f.refresh,
		"lookup":  func() error { _, err := root.(vfs.Dir).Lookup("file"); return err },
		"read":    func() error { _, err := in.(vfs.File).ReadAt(context.Background(), buf, 30_000); return err },
		"write":   func() error { _, err := in.(vfs.File).WriteAt(context.Background(), buf, 30_000); return err },
	} {
		must(t, do())
		if got := testing.AllocsPerRun(100, func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
	must(t, in.Evict(context.Background()))
}
