package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"godax/internal/axfsdec"
)

// osDir is a directory of the host as fs.FS.
func osDir(p string) fs.FS { return os.DirFS(p) }

// sparseTree is a tree with one huge file that has little data.
type sparseTree struct {
	memTree
	size int64
	data map[int64][]byte // by offset
}

func (s *sparseTree) Open(string) (Reader, error) { return s, nil }
func (s *sparseTree) Close() error                { return nil }

func (s *sparseTree) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at, b := range s.data {
		for i, c := range b {
			if x := at + int64(i) - off; x >= 0 && x < int64(len(p)) {
				p[x] = c
			}
		}
	}
	if off+int64(len(p)) > s.size {
		return max(0, int(s.size-off)), io.EOF
	}
	return len(p), nil
}

func (s *sparseTree) Seek(off int64, whence int) (int64, error) {
	best := int64(-1)
	for at, b := range s.data {
		end := at + int64(len(b))
		switch {
		case whence == SeekHole && off >= at && off < end:
			return end, nil
		case whence == SeekData && off >= at && off < end:
			return off, nil
		case whence == SeekData && at >= off && (best < 0 || at < best):
			best = at
		}
	}
	if whence == SeekHole {
		return off, nil
	}
	if best < 0 {
		return 0, syscall.ENXIO
	}
	return best, nil
}

// TestHugeSparse builds an image of a file of more than 4 GiB, in little memory.
func TestHugeSparse(t *testing.T) {
	const size = 5<<30 + 123
	src := &sparseTree{newTree(), size, map[int64][]byte{
		4096*7 + 5: []byte("near the start"), 1<<32 - 3: []byte("across 4 GiB"), size - 4: []byte("end!"),
	}}
	src.file("big", nil)
	src.memTree["big"].attr.Size = size
	src.file("twin", nil) // the same size, so it is hashed, and found to be the same
	src.memTree["twin"].attr.Size = size
	b, st := image(t, src, Options{})
	if st.DupFiles != 1 || st.InputBytes != 2*size {
		t.Errorf("statistics %+v", st)
	}
	im, err := axfsdec.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	e := entry(t, im, "/big")
	if e.Size != size || len(e.Nodes) != size/4096+1 {
		t.Fatalf("size %d, %d nodes", e.Size, len(e.Nodes))
	}
	zero := e.Nodes[0]
	for i, n := range e.Nodes {
		switch i {
		case 7, 1<<20 - 1, 1 << 20, len(e.Nodes) - 1:
			got, err := im.Page(e, i)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, len(got))
			src.ReadAt(want, int64(i)*4096)
			if !bytes.Equal(got, want) || isZero(got) {
				t.Errorf("page %d differs", i)
			}
		default:
			if n != zero {
				t.Fatalf("page %d is not the page of zeros", i)
			}
		}
	}
	if p, err := im.Page(e, 0); err != nil || !isZero(p) {
		t.Errorf("the page of zeros is none: %v", err)
	}
	if len(b) > 9<<20 { // five or six bytes for each of 1.3 million nodes
		t.Errorf("image of %d bytes", len(b))
	}
}

// endless is a tree with one file of random bytes, made as they are read.
type endless struct {
	memTree
	size int64
}

func (s *endless) Open(string) (Reader, error)    { return s, nil }
func (s *endless) Close() error                   { return nil }
func (s *endless) Seek(int64, int) (int64, error) { return 0, errors.ErrUnsupported }
func (s *endless) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), s.size-off)
	rnd := rand.NewChaCha8([32]byte{byte(off >> 12), byte(off >> 20), byte(off >> 28)})
	rnd.Read(p[:n])
	return int(n), nil
}

// TestBoundedMemory builds an image of 256 MiB of random bytes, and allocates less than
// a quarter of that in all.
func TestBoundedMemory(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("takes long")
	}
	const size = 256 << 20
	src := &endless{newTree(), size}
	src.file("big", nil)
	src.memTree["big"].attr.Size = size
	for _, mode := range []Mode{ModeNone, ModeAll} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		st, err := Build(t.Context(), src, Discard, Options{TempDir: t.TempDir(), Level: 1, XIP: XIP{Mode: mode}, BlockSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if peak := after.Sys - before.Sys; peak > size/4 {
			t.Errorf("mode %d: %d bytes more from the system", mode, peak)
		}
		if st.ImageBytes < size {
			t.Errorf("mode %d: image of %d bytes", mode, st.ImageBytes)
		}
	}
}

// TestManyNames builds a directory of 100,000 names.
func TestManyNames(t *testing.T) {
	src := many{newTree(), 100000}
	src.file("d/file-000000", []byte("x"))
	b, st := image(t, src, Options{})
	im, err := axfsdec.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(im.Entries) != 100002 || st.Files != 100000 || st.DupFiles != 99999 {
		t.Errorf("%d inodes, statistics %+v", len(im.Entries), st)
	}
	if e := im.Entries[len(im.Entries)-1]; e.Path != "/d/file-099999" {
		t.Errorf("the last is %q", e.Path)
	}
}

// many is a tree with n files of one byte in the directory d.
type many struct {
	memTree
	n int
}

func (m many) ReadDir(p string) ([]string, error) {
	if p != "d" {
		return m.memTree.ReadDir(p)
	}
	var names []string
	for i := range m.n {
		names = append(names, fmt.Sprintf("file-%06d", (i*7919)%m.n))
	}
	return names, nil
}

func (m many) Lstat(p string) (Attr, error) {
	if strings.HasPrefix(p, "d/") {
		return Attr{Mode: 0o644, Size: 1}, nil
	}
	return m.memTree.Lstat(p)
}

func (m many) Open(string) (Reader, error) { return m.memTree.Open("d/file-000000") }
