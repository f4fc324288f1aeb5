package fusefs_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"godax/fusefs"
)

// TestPosixSuite runs the suite that comes with go-fuse.
func TestPosixSuite(t *testing.T) {
	needFuse(t)
	for _, bs := range []int{1024, 2048, 4096} {
		for mode, name := range map[fusefs.CacheMode]string{fusefs.CacheShared: "shared", fusefs.CacheExclusive: "exclusive"} {
			t.Run(fmt.Sprintf("%d/%s", bs, name), func(t *testing.T) {
				m := mountImage(t, newImage(t, 64<<20, bs), fusefs.Options{Cache: mode})
				for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
					t.Run(name, func(t *testing.T) {
						if name == "FcntlFlockLocksFile" {
							t.Skip("the suite's own author skips it: it takes a lock of its own process for a conflict")
						}
						posixtest.All[name](t, mkdir(t, m, name))
					})
				}
				m.closeClean(t)
			})
		}
	}
}
