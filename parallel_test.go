package godax_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	"godax"
)

// TestParallel makes, moves, links, removes, opens and reads the same few names from many
// goroutines, and then counts what is left.
func TestParallel(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		before, free := inodes(f), f.Statfs().Free
		const dirs, names, workers, rounds = 3, 4, 8, 400
		for d := range dirs {
			must(t, f.MkdirAll(fmt.Sprintf("d%d/sub", d), 0o755))
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				r := uint32(w + 1)
				pick := func(n uint32) uint32 { r ^= r << 13; r ^= r >> 17; r ^= r << 5; return r % n }
				name := func() string { return fmt.Sprintf("d%d/n%d", pick(dirs), pick(names)) }
				for range rounds {
					var err error
					switch pick(8) {
					case 0, 1:
						err = f.WriteFile(name(), []byte("0123456789"), 0o644)
					case 2:
						err = f.Rename(name(), name())
					case 3:
						err = f.Remove(name())
					case 4:
						err = f.Link(name(), name())
					case 5: // moves directories about, into each other now and then
						err = f.Rename(fmt.Sprintf("d%d/sub", pick(dirs)), fmt.Sprintf("d%d/sub", pick(dirs)))
					case 6:
						var b []byte
						b, err = f.ReadFile(name())
						if err == nil && !strings.HasPrefix("0123456789", string(b)) { // cut between two reads
							t.Errorf("read %q", b)
						}
					case 7:
						_, err = f.ReadDir(fmt.Sprintf("d%d", pick(dirs)))
					}
					if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for d := range dirs {
			must(t, f.RemoveAll(fmt.Sprintf("d%d", d)))
		}
		if got := inodes(f); got != before {
			t.Errorf("%d inodes left, want %d", got, before)
		}
		if got := f.Statfs().Free; got != free {
			t.Errorf("%d pages free, want %d", got, free)
		}
	})
}

// TestParallelMoves moves directories below each other from many goroutines, with all
// parents different; no circle may come of it, and no deadlock.
func TestParallelMoves(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		const n, workers, rounds = 4, 6, 300
		home := func(i uint32) string { return fmt.Sprintf("p%d/d%d", i, i) }
		for i := range uint32(n) {
			must(t, f.MkdirAll(home(i), 0o755))
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				r := uint32(w + 77)
				pick := func(n uint32) uint32 { r ^= r << 13; r ^= r >> 17; r ^= r << 5; return r % n }
				for range rounds {
					i, j := pick(n), pick(n)
					below := fmt.Sprintf("%s/d%d", home(j), i)
					var err error
					if pick(2) == 0 {
						err = f.Rename(home(i), below)
					} else {
						err = f.Rename(below, home(i))
					}
					switch {
					case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL),
						errors.Is(err, syscall.ENOTEMPTY):
					default:
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		seen := 0
		must(t, fs.WalkDir(f.IOFS(), ".", func(name string, _ fs.DirEntry, err error) error {
			if strings.HasPrefix(path.Base(name), "d") {
				seen++
			}
			return err
		}))
		if seen != n {
			t.Errorf("%d directories reached of %d", seen, n)
		}
	})
}
