package fusefs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fusefs"
)

// TestSyncedWrites: when a write with O_SYNC or O_DSYNC returns the bytes are durable, also where the
// kernel keeps none: without a cache, and for a file that has a view. A plain one leaves them dirty.
func TestSyncedWrites(t *testing.T) {
	needFuse(t)
	for _, tt := range []struct {
		name  string
		cache fusefs.CacheMode
		view  bool
	}{{"shared", fusefs.CacheShared, false}, {"view", fusefs.CacheShared, true}, {"exclusive", fusefs.CacheExclusive, false}, {"none", fusefs.CacheNone, false}} {
		t.Run(tt.name, func(t *testing.T) {
			m := mountImage(t, newImage(t, 16<<20, 4096), fusefs.Options{Cache: tt.cache})
			file, err := m.fsys.CreateSized("f", 1<<20, godax.CreateOptions{Perm: 0o644})
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if tt.view {
				view, err := file.Mmap(0, 4096, godax.MapShared)
				if err != nil {
					t.Fatal(err)
				}
				defer view.Close()
			}
			for _, flags := range []int{0, unix.O_SYNC, unix.O_DSYNC, unix.O_DSYNC | unix.O_APPEND} {
				if err := file.Sync(); err != nil {
					t.Fatal(err)
				}
				fd, err := unix.Open(m.path("f"), unix.O_WRONLY|flags, 0)
				if err != nil {
					t.Fatal(err)
				}
				n, err := unix.Pwrite(fd, make([]byte, 3*4096), 8192)
				if cerr := unix.Close(fd); n != 3*4096 || err != nil || cerr != nil {
					t.Fatalf("flags %#x: %d bytes, %v, %v", flags, n, err, cerr)
				}
				if dirty := m.fsys.VFS().Stats().Dirty; dirty == 0 != (flags != 0) {
					t.Errorf("flags %#x: %d pages are dirty", flags, dirty)
				}
			}
		})
	}
}
