package godax_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"godax"
	"godax/fs/ext"
	"godax/internal/daxtest"
	"godax/pmem"
)

// fills are ways to use the room underneath an image up. Each does the i-th step; path is what
// the error should name.
var fills = []struct {
	name string
	do   func(f *godax.FS, i int) (path string, err error)
}{
	{"files", func(f *godax.FS, i int) (string, error) {
		p := fmt.Sprintf("file%d", i)
		return p, f.WriteFile(p, randomBytes(i, 50<<10), 0o644)
	}},
	{"one file", func(f *godax.FS, i int) (string, error) {
		file, err := f.OpenFile("one", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return "one", err
		}
		_, err = file.WriteAt(randomBytes(i, 300<<10), int64(i)*300<<10)
		return "one", errors.Join(err, file.Close())
	}},
	{"small writes far apart", func(f *godax.FS, i int) (string, error) {
		file, err := f.OpenFile("far", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return "far", err
		}
		_, err = file.WriteAt([]byte{byte(i) | 1}, int64(i)*5<<20/16)
		return "far", errors.Join(err, file.Close())
	}},
	{"inodes", func(f *godax.FS, i int) (string, error) {
		p := fmt.Sprintf("empty%d", i)
		return p, f.WriteFile(p, nil, 0o644)
	}},
	{"directories", func(f *godax.FS, i int) (string, error) {
		p := fmt.Sprintf("dir%d", i)
		return p, f.Mkdir(p, 0o755)
	}},
	{"directory entries", func(f *godax.FS, i int) (string, error) {
		p := fmt.Sprintf("%0250d", i)
		return p, f.Link("target", p)
	}},
	{"attributes", func(f *godax.FS, i int) (string, error) {
		p := fmt.Sprintf("attr%d", i)
		if err := f.WriteFile(p, nil, 0o644); err != nil {
			return p, err
		}
		return p, f.SetXattr(p, "user.a", randomBytes(i, 900), 0)
	}},
	{"symbolic links", func(f *godax.FS, i int) (string, error) {
		p := fmt.Sprintf("link%d", i)
		return p, f.Symlink(strings.Repeat("t", 500), p)
	}},
	{"allocate", func(f *godax.FS, i int) (string, error) {
		file, err := f.OpenFile("allocated", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return "allocated", err
		}
		err = file.Allocate(int64(i)*100<<10, 100<<10)
		return "allocated", errors.Join(err, file.Close())
	}},
	{"mapped holes", func(f *godax.FS, i int) (_ string, err error) {
		p := fmt.Sprintf("map%d", i)
		file, err := f.Create(p)
		if err != nil {
			return p, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		const n = 200 << 10
		if err := file.Truncate(n); err != nil {
			return p, err
		}
		m, err := file.Mmap(0, n, godax.MapRead|godax.MapWrite|godax.MapShared)
		if err != nil {
			return p, err
		}
		b := randomBytes(i, n)
		copy(m.Bytes(), b)
		err = errors.Join(m.Sync(), m.Close())
		got, rerr := f.ReadFile(p)
		if rerr == nil && !bytes.Equal(got, b) {
			rerr = errors.New("stores were lost")
		}
		return p, errors.Join(err, rerr)
	}},
}

func randomBytes(seed, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(b)
	return b
}

// Whatever uses up the disk that an image file is on gets ENOSPC with its path. What was
// written before stays, the image is clean, and with room on the disk again it goes on.
func TestFullDisk(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		for _, fill := range fills {
			t.Run(fmt.Sprint(fill.name, "/", bs), func(t *testing.T) {
				image := filepath.Join(daxtest.SmallTmpfs(t, 16<<20), "image")
				must(t, os.WriteFile(image, nil, 0o600))
				must(t, os.Truncate(image, 64<<20))
				dev, err := pmem.Open(image, pmem.Options{})
				must(t, err)
				must(t, ext.Format(dev, ext.FormatOptions{BlockSize: bs}))
				must(t, dev.Close())

				f, err := godax.Open(image, godax.Options{})
				must(t, err)
				must(t, f.WriteFile("target", []byte("kept"), 0o644))
				free := daxtest.FillDisk(t, filepath.Dir(image), 1<<20)
				done := 0
				for ; err == nil; done++ {
					var p string
					if p, err = fill.do(f, done); err == nil {
						continue
					}
					pe, ok := errors.AsType[*fs.PathError](err)
					if le, isLink := errors.AsType[*os.LinkError](err); isLink {
						pe, ok = &fs.PathError{Path: le.New}, true
					}
					if !errors.Is(err, syscall.ENOSPC) || !ok || pe.Path != p {
						t.Errorf("step %d: got %v, want ENOSPC for %s", done, err, p)
					}
				}
				if done < 3 {
					t.Errorf("full after %d steps", done)
				}
				for i := range 3 {
					if _, err := fill.do(f, done+i); err != nil && !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("once full: %v", err)
					}
				}
				must(t, f.Close())
				daxtest.FsckFile(t, image)

				// The disk still is full.
				f, err = godax.Open(image, godax.Options{})
				must(t, err)
				if b, err := f.ReadFile("target"); err != nil || string(b) != "kept" {
					t.Errorf("read %q, %v", b, err)
				}
				for i := 0; fill.name == "files" && i < done-1; i++ {
					b, err := f.ReadFile(fmt.Sprintf("file%d", i))
					if err != nil || !bytes.Equal(b, randomBytes(i, 50<<10)) {
						t.Errorf("file %d: %d bytes, %v", i, len(b), err)
					}
				}
				free()
				for i := range 3 {
					if _, err := fill.do(f, done+10+i); err != nil {
						t.Errorf("with room again: %v", err)
					}
				}
				must(t, f.Close())
				daxtest.FsckFile(t, image)
			})
		}
	}
}

// A shared writable mapping of more holes than there is room for is refused when it is made.
func TestFullDiskMmap(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			image := filepath.Join(daxtest.SmallTmpfs(t, 8<<20), "image")
			must(t, os.WriteFile(image, nil, 0o600))
			must(t, os.Truncate(image, 64<<20))
			dev, err := pmem.Open(image, pmem.Options{})
			must(t, err)
			must(t, ext.Format(dev, ext.FormatOptions{BlockSize: bs}))
			must(t, dev.Close())
			f, err := godax.Open(image, godax.Options{})
			must(t, err)
			file, err := f.Create("hole")
			must(t, err)
			must(t, file.Truncate(32<<20))
			_, err = file.Mmap(0, 32<<20, godax.MapRead|godax.MapWrite|godax.MapShared)
			if pe, ok := errors.AsType[*fs.PathError](err); !ok || pe.Path != "hole" || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("got %v, want ENOSPC for hole", err)
			}
			// Reading it costs nothing.
			m, err := file.Mmap(0, 32<<20, godax.MapRead|godax.MapShared)
			must(t, err)
			for i := 0; i < 32<<20; i += page {
				if m.Bytes()[i] != 0 {
					t.Fatal("a hole with something in it")
				}
			}
			must(t, m.Close())
			must(t, file.Close())
			must(t, f.Remove("hole"))
			must(t, f.Close())
			daxtest.FsckFile(t, image)
		})
	}
}
