package build

import (
	"io/fs"
	"math"
	"path"
	"strings"
	"testing"
)

func TestRefused(t *testing.T) {
	tests := []struct {
		name string
		make func(memTree)
		o    Options
		want string
	}{
		{"empty", func(memTree) {}, Options{}, "is empty"},
		{"page size", nil, Options{PageSize: 8192}, "page size 8192"},
		{"block size", nil, Options{BlockSize: 128 << 10}, "block size 131072"},
		{"block below a page", nil, Options{PageSize: 16384, BlockSize: 4096}, "block size 4096"},
		{"odd block", nil, Options{BlockSize: 5000}, "block size 5000"},
		{"block pages", nil, Options{BlockPages: -1}, "-1 pages"},
		{"level", nil, Options{Level: 10}, "level 10"},
		{"time", nil, Options{Timestamp: maxTime + 1}, "after the year 9999"},
		{"glob", nil, Options{XIP: XIP{Globs: []string{"["}}}, `pattern "["`},
		{"mode", nil, Options{XIP: XIP{Mode: 9}}, "no way 9"},
		{"long name", func(t memTree) { t.file(strings.Repeat("x", 256), nil) }, Options{}, "name of 256 bytes"},
		{"long link", func(t memTree) {
			t.add("l", &memFile{attr: Attr{Mode: fs.ModeSymlink}, target: strings.Repeat("x", 4097)})
		}, Options{}, "symbolic link of 4097 bytes"},
		{"empty link", func(t memTree) { t.add("l", &memFile{attr: Attr{Mode: fs.ModeSymlink}}) }, Options{}, "symbolic link of 0"},
		{"device", func(t memTree) { t.add("d", &memFile{attr: Attr{Mode: fs.ModeDevice, Major: 1 << 12}}) }, Options{}, "4096:0 does not fit"},
		{"type", func(t memTree) { t.add("d", &memFile{attr: Attr{Mode: fs.ModeIrregular}}) }, Options{}, "file of type"},
		{"size", func(t memTree) { t.file("d", nil); t["d"].attr.Size = -1 }, Options{}, "size -1"},
		{"huge", func(t memTree) { t.file("d", nil); t["d"].attr.Size = math.MaxInt64 }, Options{}, "lstat d: size 9223372036854775807: 2251799813685248 pages"},
		{"huge in place", func(t memTree) { t.file("d", nil); t["d"].attr.Size = 1 << 60 }, Options{XIP: XIP{Mode: ModeAll}}, "lstat d: size"},
		{"huge together", func(t memTree) {
			for _, name := range []string{"a", "b", "c"} {
				t.file(name, nil)
				t[name].attr.Size = 400 << 30
			}
		}, Options{NoDedup: true}, "lstat c: size 429496729600: 104857600 pages, and 209715200"},
		{"became shorter", func(t memTree) { t.file("d", noise(1, 9000)); t["d"].data = noise(1, 8192) }, Options{}, "became shorter"},
		{"became shorter, in place", func(t memTree) { t.file("d", noise(1, 9000)); t["d"].data = noise(1, 4) }, Options{XIP: XIP{Mode: ModeAll}, NoDedup: true}, "became shorter"},
		{"not a directory", func(t memTree) { t["."].attr.Mode = 0 }, Options{}, "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := newTree()
			if tt.make != nil {
				tt.make(src)
			}
			tt.o.TempDir = t.TempDir()
			_, err := Build(t.Context(), src, new(memTarget), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if left, _ := fs.Glob(osDir(tt.o.TempDir), "*"); len(left) > 0 {
				t.Errorf("temporary files left: %v", left)
			}
		})
	}
}

// strange is a tree whose directories hold what they must not.
type strange struct {
	memTree
	names []string
}

func (s strange) ReadDir(p string) ([]string, error) {
	if p == "." {
		return s.names, nil
	}
	return nil, nil
}

func (s strange) Lstat(p string) (Attr, error) {
	return Attr{Mode: fs.ModeDir, ID: ID{1, 1 + uint64(len(path.Dir(p)))}}, nil
}

func TestStrangeNames(t *testing.T) {
	for _, names := range [][]string{{""}, {"."}, {".."}, {"a/b"}, {"a\x00"}, {"twice", "twice"}, {"a", "b"}} {
		_, err := Build(t.Context(), strange{newTree(), names}, new(memTarget), Options{TempDir: t.TempDir()})
		if err == nil {
			t.Errorf("%q: no error", names)
		}
	}
}

func TestExclude(t *testing.T) {
	src := newTree()
	src.file("a", []byte("a"))
	src.file("d/b", []byte("b"))
	id := src["d/b"].attr.ID
	b, _ := image(t, src, Options{Exclude: map[ID]bool{id: true}})
	delete(src, "d/b")
	src.check(t, Options{}, b)
}

func TestWarn(t *testing.T) {
	src := newTree()
	src.add("narrow", &memFile{attr: Attr{Mode: fs.ModeDevice, Major: 255, Minor: 255}})
	src.add("wide", &memFile{attr: Attr{Mode: fs.ModeDevice, Major: 259, Minor: 1}})
	var said []string
	b, _ := image(t, src, Options{Warn: func(err error) { said = append(said, err.Error()) }})
	src.check(t, Options{}, b)
	if len(said) != 1 || !strings.Contains(said[0], "wide") {
		t.Errorf("warnings are %q", said)
	}
}

// TestTold: each page is told of once, with sizes that add up; so does the progress,
// whatever shares what.
func TestTold(t *testing.T) {
	src := everything()
	for name, o := range variants() {
		pages, sum := uint64(0), int64(0)
		kinds := make(map[byte]uint64)
		pieces := make(map[uint64]bool)
		o.OnPage = func(p PageInfo) {
			pages++
			if p.Shared != pieces[p.Piece] {
				t.Errorf("%s: %+v, but it was seen: %v", name, p, pieces[p.Piece])
			}
			pieces[p.Piece] = true
			kinds[p.Kind]++
			if !p.Shared && p.Kind != 'X' {
				sum += p.Stored
			}
		}
		total, last := int64(0), int64(-1)
		o.Progress = func(done, all int64) {
			if done < last || last < 0 && done != 0 {
				t.Errorf("%s: %d after %d", name, done, last)
			}
			total, last = all, done
		}
		_, st := image(t, src, o)
		if last != total || uint64(total) != st.InputBytes {
			t.Errorf("%s: %d of %d, input of %d", name, last, total, st.InputBytes)
		}
		var want uint64
		for _, f := range src {
			want += uint64(len(f.data)+max(o.PageSize, 4096)-1) / uint64(max(o.PageSize, 4096))
		}
		if pages != want || kinds['X'] < st.XIPNodes {
			t.Errorf("%s: %d pages, want %d; %v of %+v", name, pages, want, kinds, st)
		}
		if all := int64(st.CompBytes + st.ByteAlignedBytes); sum > all || sum < all*9/10-9000 {
			t.Errorf("%s: pages of %d bytes, regions of %d", name, sum, all)
		}
	}
}
