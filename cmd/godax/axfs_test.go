package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godax/internal/daxtest"
)

// axfsEntry is what the manifests of the sample images say of a file.
type axfsEntry struct {
	Path      string `json:"path"`
	PathHex   string `json:"path_hex"`
	Type      string `json:"type"`
	Mode      string `json:"mode"`
	UID       uint32 `json:"uid"`
	GID       uint32 `json:"gid"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Target    string `json:"target"`
	TargetHex string `json:"target_hex"`
}

// line is the line of `godax manifest` for the file.
func (e axfsEntry) line(t *testing.T) (path, line string) {
	t.Helper()
	raw := func(s, inHex string) string {
		b, err := hex.DecodeString(inHex)
		if err != nil {
			t.Fatal(err)
		}
		return s + string(b)
	}
	path = raw(e.Path, e.PathHex)
	letter := map[string]string{"file": "f", "dir": "d", "symlink": "l", "fifo": "p", "socket": "s", "char": "c", "block": "b"}[e.Type]
	sum := e.SHA256
	if letter != "f" {
		sum = ""
	}
	return path, fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", escape(path), letter, e.Mode, e.UID, e.GID, e.Size,
		dash(escape(raw(e.Target, e.TargetHex))), dash(sum))
}

// TestManifestAXFS compares every sample image, of one part or two, with its manifest.
func TestManifestAXFS(t *testing.T) {
	dir := daxtest.TestData(t, "axfs")
	images := 0
	for _, pattern := range []string{"*.json", "synthetic/*.json"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			images++
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				Image   any
				Entries []axfsEntry
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			lines := map[string]string{}
			var paths []string
			for _, e := range m.Entries {
				p, line := e.line(t)
				paths, lines[p] = append(paths, p), line
			}
			slices.Sort(paths)
			var want strings.Builder
			want.WriteString("path\ttype\tmode\tuid\tgid\tsize\ttarget\tsha256\n")
			for _, p := range paths {
				want.WriteString(lines[p])
			}
			args := []string{"manifest"}
			switch image := m.Image.(type) {
			case string:
				args = append(args, filepath.Join(filepath.Dir(name), image))
			case []any:
				for i, part := range image {
					if i > 0 {
						args = append(args, "--device")
					}
					args = append(args, filepath.Join(filepath.Dir(name), part.(string)))
				}
			}
			if d := firstDifference(mustRun(t, args...), want.String()); d != "" {
				t.Errorf("%s: %s", filepath.Base(name), d)
			}
		}
	}
	if images < 20 {
		t.Errorf("only %d sample images", images)
	}
}

// TestMapAXFS: map tells direct pages of a file from cached ones, info what can be mapped, and
// an image that is refused ends with the reason.
func TestMapAXFS(t *testing.T) {
	dir := daxtest.TestData(t, "axfs")
	image := filepath.Join(dir, "pages-profile.axfs")
	var files []struct {
		Runs []struct {
			Kind  string
			Pages int
		}
	}
	if err := json.Unmarshal([]byte(mustRun(t, "map", "--json", image+":/mixed/alt")), &files); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, r := range files[0].Runs {
		got.WriteString(strings.Repeat(r.Kind[:1], r.Pages))
	}
	const nodes = "BCBXBCBXXCBXXXXCBXXCB" // by the manifest
	if want := strings.NewReplacer("C", "c", "B", "c", "X", "d").Replace(nodes); got.String() != want {
		t.Errorf("pages are %s, want %s", got.String(), want)
	}
	info := mustRun(t, "info", image)
	for _, want := range []string{"file system: axfs", "XIP pages of 4096 bytes", "cblock size: 4096", "features: xip zlib byte_aligned"} {
		if !strings.Contains(info, want) {
			t.Errorf("info does not say %q:\n%s", want, info)
		}
	}
	r := godaxRun(t, "info", filepath.Join(dir, "reject", "empty-root.axfs"))
	if r.code != exitFailed || !strings.Contains(r.stderr, "empty file system") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}
