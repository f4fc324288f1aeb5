package axfsdec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// images are the sample images, beside the repository.
var images = filepath.Join("..", "..", "..", "shared", "testdata", "axfs")

// manifest is what the tests need of a sample's manifest.
type manifest struct {
	Image      any `json:"image"`
	Superblock struct {
		Version    string `json:"version"`
		PageSize   uint64 `json:"page_size"`
		CblockSize uint64 `json:"cblock_size"`
		Files      uint64 `json:"files"`
		Blocks     uint64 `json:"blocks"`
		Size       uint64 `json:"size"`
		MmapSize   uint64 `json:"mmap_size"`
		Timestamp  uint64 `json:"timestamp"`
	} `json:"superblock"`
	PageCounts struct {
		XIP         int `json:"xip"`
		Compressed  int `json:"compressed"`
		ByteAligned int `json:"byte_aligned"`
	} `json:"page_counts"`
	Entries []struct {
		Path      string  `json:"path"`
		PathHex   string  `json:"path_hex"`
		Type      string  `json:"type"`
		Mode      string  `json:"mode"`
		UID       uint64  `json:"uid"`
		GID       uint64  `json:"gid"`
		Size      *uint64 `json:"size"`
		SHA256    string  `json:"sha256"`
		Pages     string  `json:"pages"`
		Target    string  `json:"target"`
		TargetHex string  `json:"target_hex"`
		Rdev      *uint64 `json:"rdev_raw"`
		Ino       uint64  `json:"ino"`
	} `json:"entries"`
}

var typeNames = map[uint32]string{
	TypeFIFO: "fifo", TypeChar: "char", TypeDir: "dir", TypeBlock: "block", TypeFile: "file",
	TypeSymlink: "symlink", TypeSocket: "socket",
}

// decodeFiles decodes an image of files.
func decodeFiles(names ...string) (*Image, error) {
	var parts [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		parts = append(parts, b)
	}
	return Decode(parts...)
}

func TestManifests(t *testing.T) {
	var files []string
	for _, dir := range []string{images, filepath.Join(images, "synthetic")} {
		found, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skipf("no sample images in %s", images)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) { checkManifest(t, file) })
	}
}

func checkManifest(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var names []string
	switch image := m.Image.(type) {
	case string:
		names = append(names, image)
	case []any:
		for _, p := range image {
			names = append(names, p.(string))
		}
	}
	for i := range names {
		names[i] = filepath.Join(filepath.Dir(file), names[i])
	}
	im, err := decodeFiles(names...)
	if err != nil {
		t.Fatal(err)
	}
	s := m.Superblock
	s.Version = ""
	got := s
	got.PageSize, got.CblockSize, got.Files, got.Blocks = im.PageSize, im.CblockSize, im.Files, im.Blocks
	got.Size, got.MmapSize, got.Timestamp = im.Size, im.MmapSize, im.Timestamp
	if got != s {
		t.Errorf("superblock is %+v, want %+v", got, s)
	}
	if v := fmt.Sprintf("%d.%d.%d", im.Version[0], im.Version[1], im.Version[2]); v != m.Superblock.Version {
		t.Errorf("version is %s, want %s", v, m.Superblock.Version)
	}
	if len(im.Entries) != len(m.Entries) {
		t.Fatalf("%d entries, want %d", len(im.Entries), len(m.Entries))
	}
	byIno := make(map[uint64]*Entry)
	kinds := make(map[rune]int)
	for _, e := range im.Entries {
		byIno[e.Ino] = e
		for _, k := range e.Pages() {
			kinds[k]++
		}
	}
	if p := m.PageCounts; kinds['X'] != p.XIP || kinds['C'] != p.Compressed || kinds['B'] != p.ByteAligned {
		t.Errorf("pages are %v, want %+v", kinds, p)
	}
	for _, w := range m.Entries {
		e := byIno[w.Ino]
		if e == nil {
			t.Errorf("no inode %d", w.Ino)
			continue
		}
		path := w.Path + unhex(t, w.PathHex)
		mode, err := strconv.ParseUint(w.Mode, 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		if e.Path != path || typeNames[e.Type()] != w.Type || uint64(e.Mode&0o7777) != mode || e.UID != w.UID || e.GID != w.GID {
			t.Errorf("inode %d is %q, %#o, %d:%d, want %q, %s, %s, %d:%d", w.Ino, e.Path, e.Mode, e.UID, e.GID, path, w.Type, w.Mode, w.UID, w.GID)
		}
		switch {
		case w.Rdev != nil:
			if e.Size != *w.Rdev {
				t.Errorf("%q: device is %#x, want %#x", path, e.Size, *w.Rdev)
			}
		case w.Size != nil && e.Size != *w.Size:
			t.Errorf("%q: size is %d, want %d", path, e.Size, *w.Size)
		}
		if e.Type() != TypeFile && e.Type() != TypeSymlink {
			continue
		}
		data, err := im.Data(e)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != w.SHA256 {
			t.Errorf("%q: contents differ", path)
		}
		if e.Pages() != w.Pages {
			t.Errorf("%q: pages are %s, want %s", path, e.Pages(), w.Pages)
		}
		if e.Type() == TypeSymlink && string(data) != w.Target+unhex(t, w.TargetHex) {
			t.Errorf("%q: target is %q", path, data)
		}
	}
}

func unhex(t *testing.T, s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReject(t *testing.T) {
	reasons := map[string]string{
		"no-trailer":    "size ",
		"short-trailer": "size ",
		"empty-root":    "root is empty",
		"v2.9.1":        "compression_type 0xaa",
	}
	for name, want := range reasons {
		file := filepath.Join(images, "reject", name+".axfs")
		if _, err := os.Stat(file); err != nil {
			t.Skip(err)
		}
		if _, err := decodeFiles(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", name, err, want)
		}
	}
}

// TestDamage shows that a wrong byte in any table is not read over.
func TestDamage(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(images, "basic.axfs"))
	if err != nil {
		t.Skip(err)
	}
	im, err := Decode(good)
	if err != nil {
		t.Fatal(err)
	}
	for i := NodeIndex; i < regions; i++ {
		if i == UIDs || i == GIDs {
			continue // any value is one
		}
		bad := append([]byte{}, good...)
		for j := range im.Regions[i].Size {
			bad[im.Regions[i].Offset+j] = 0xee
		}
		if err := readAll(bad); err == nil {
			t.Errorf("%s: no error with a table of nonsense", RegionNames[i])
		}
	}
}

// readAll decodes an image and reads all its files.
func readAll(image []byte) error {
	im, err := Decode(image)
	if err != nil {
		return err
	}
	for _, e := range im.Entries {
		if _, err := im.Data(e); err != nil {
			return err
		}
	}
	return nil
}
