package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"godax"
)

func TestInfo(t *testing.T) {
	t.Chdir(t.TempDir())
	const uuid = "01234567-89ab-cdef-0123-456789abcdef"
	mustRun(t, "mkfs", "ext2", "--size", "16M", "--label", "data", "--uuid", uuid, "img")
	text := mustRun(t, "info", "img")
	for _, want := range []string{"device: ", "durability: ", "write tracking: ", `file system: ext2 "data"`, uuid, "filetype", "mappable: ", "free space: 15 MiB of 15 MiB, "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var got struct {
		Device     deviceInfo
		Filesystem fsInfo
	}
	if err := json.Unmarshal([]byte(mustRun(t, "info", "--json", "img")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Device.Size != 16<<20 || got.Filesystem.Label != "data" || got.Filesystem.UUID != uuid || got.Filesystem.Usage.Free == 0 {
		t.Errorf("got %+v", got)
	}
	if got.Device.Flush == "" || got.Device.Tracking == "" {
		t.Errorf("durability or write tracking is not told: %+v", got.Device)
	}
}

// TestInUse: a second opener is refused, a reader only unless it asks.
func TestInUse(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRun(t, "mkfs", "ext2", "--size", "16M", "img")
	fsys, err := godax.Open("img", godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	for _, args := range [][]string{{"info", "img"}, {"mkdir", "img:/x"}, {"mkfs", "ext2", "--force", "img"}} {
		r := godaxRun(t, args...)
		if r.code != exitFailed || !strings.Contains(r.stderr, "in use") {
			t.Errorf("%v beside a writer: exit code %d, stderr %q", args, r.code, r.stderr)
		}
	}
	mustRun(t, "info", "--shared", "img")
}

func TestNotAnImage(t *testing.T) {
	t.Chdir(t.TempDir())
	for file, data := range map[string]string{"text": strings.Repeat("not an image\n", 10000), "empty": "", "tiny": "x"} {
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"info", file}, {"manifest", file}, {"cat", file + ":/x"}} {
			r := godaxRun(t, args...)
			if r.code != exitFailed || !strings.HasPrefix(r.stderr, "godax: open "+file+": ") || strings.Count(r.stderr, "open ") != 1 {
				t.Errorf("%v: exit code %d, stderr %q", args, r.code, r.stderr)
			}
		}
	}
}
