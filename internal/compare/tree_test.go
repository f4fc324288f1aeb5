package compare

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const (
	page      = 4096
	mib       = 1 << 20
	smallDirs = 50
	small     = 2000
	bigBytes  = 64 * mib
	packBytes = 8 * mib
)

// images are the paths of the images of one tree.
type images struct {
	dir             string
	direct, packed  string // AXFS, all pages in place, and all compressed
	erofs, tails    string // all pages in place; tails of files beside the inodes, where they cannot be mapped
	squash, squash4 string // in blocks of 128 KiB, of 4 KiB
	names           []string
}

// made are the images that all benchmarks share; they live until the process ends.
var made = sync.OnceValues(func() (*images, error) {
	dir, err := os.MkdirTemp("", "godax-compare-")
	if err != nil {
		return nil, err
	}
	im := &images{dir: dir}
	return im, im.make()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if im, err := made(); im != nil {
		_ = err
		os.RemoveAll(im.dir)
	}
	os.Exit(code)
}

// get returns the images, or skips the benchmark without the tools.
func get(b *testing.B) *images {
	b.Helper()
	for _, tool := range []string{"mkfs.erofs", "mksquashfs", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skip(err)
		}
	}
	im, err := made()
	if err != nil {
		b.Fatal(err)
	}
	return im
}

// text is n bytes of a few letters.
func text(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	for i := range b {
		b[i] = "abcdefgh"[b[i]&7]
	}
	return b
}

// make writes the tree, and has the images made.
func (im *images) make() error {
	tree := filepath.Join(im.dir, "tree")
	files := map[string][]byte{"big": text(bigBytes, 1), "packed": text(packBytes, 2)}
	for i := range small {
		name := fmt.Sprintf("dir%02d/file%04d", i%smallDirs, i)
		files[name] = text(200+i*7%9000, uint64(i))
		im.names = append(im.names, name)
	}
	for name, b := range files {
		p := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			return err
		}
	}
	im.direct, im.packed = filepath.Join(im.dir, "direct.axfs"), filepath.Join(im.dir, "packed.axfs")
	im.erofs, im.tails = filepath.Join(im.dir, "erofs"), filepath.Join(im.dir, "erofs-tails")
	im.squash, im.squash4 = filepath.Join(im.dir, "squashfs"), filepath.Join(im.dir, "squashfs4")
	for _, args := range [][]string{
		{"go", "run", "./cmd/godax", "mkfs", "axfs", "--xip", "all", tree, im.direct},
		{"go", "run", "./cmd/godax", "mkfs", "axfs", "--block-size", "64K", tree, im.packed},
		{"mkfs.erofs", "-E", "noinline_data", im.erofs, tree},
		{"mkfs.erofs", im.tails, tree},
		{"mksquashfs", tree, im.squash, "-quiet", "-no-progress", "-all-root"},
		{"mksquashfs", tree, im.squash4, "-quiet", "-no-progress", "-all-root", "-b", "4096"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = filepath.Join("..", "..") // the command has modules that this one has not
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
}
