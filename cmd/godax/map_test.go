package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"godax"
)

// mapFile puts a file with data at 0 to 4 MiB and at 6 to 6 MiB + 1 byte into an image.
func mapFile(t *testing.T, blockSize string) {
	t.Helper()
	t.Chdir(t.TempDir())
	mustRun(t, "mkfs", "ext2", "--size", "64M", "--block-size", blockSize, "img")
	f, err := os.Create("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("data", 1<<20)), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 6<<20); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "file", "img:/")
}

func TestMap(t *testing.T) {
	tests := []struct {
		blockSize, kind string
		pmd             uint64
	}{{"4096", "direct", 1024}, {"1024", "cached", 0}}
	for _, tt := range tests {
		t.Run(tt.blockSize, func(t *testing.T) {
			mapFile(t, tt.blockSize)
			var got []fileMap
			if err := json.Unmarshal([]byte(mustRun(t, "map", "--json", "img:/file")), &got); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].Path != "/file" || got[0].Size != 6<<20+1 {
				t.Fatalf("got %+v", got)
			}
			u := got[0].Usage
			if u.Pages != 1537 || u.Hole != 512 || u.Direct+u.Cached != 1025 || u.PMD != tt.pmd {
				t.Errorf("pages are %+v", u)
			}
			next := uint64(0)
			for _, r := range got[0].Runs {
				if r.Page != next {
					t.Errorf("run %+v does not start at page %d", r, next)
				}
				next = r.Page + r.Pages
				if want := tt.kind; r.Kind != "hole" && (r.Kind != want || r.PFN == 0) {
					t.Errorf("run %+v, want kind %s", r, want)
				}
			}
			if next != 1537 {
				t.Errorf("runs end at page %d, want 1537", next)
			}
			text := mustRun(t, "map", "img:/file")
			line := regexp.MustCompile(`^pages \d+-\d+ +pfn (-|0x[0-9a-f]+) +order +(-|\d+)  (direct|cached|hole)$`)
			for l := range strings.Lines(text) {
				if !line.MatchString(strings.TrimSuffix(l, "\n")) {
					t.Errorf("odd line %q", l)
				}
			}
			if strings.Contains(text, "\x1b") {
				t.Error("a picture on what is no terminal")
			}
			if drawn := mustRun(t, "map", "--picture", "img:/file"); !strings.Contains(drawn, "·") || !strings.Contains(drawn, "hole") {
				t.Errorf("no picture:\n%s", drawn)
			}
		})
	}
}

func TestMapErrors(t *testing.T) {
	testImage(t, "16M")
	r := godaxRun(t, "map", "img:/lost+found")
	if want := "godax: map img:/lost+found: not a regular file, but of type d\n"; r.code != exitFailed || r.stderr != want {
		t.Errorf("exit code %d, stderr %q; want 1, %q", r.code, r.stderr, want)
	}
	mustRun(t, "truncate", "-s", "0", "img:/empty")
	if got := mustRun(t, "map", "img:/empty"); got != "" {
		t.Errorf("an empty file has runs: %q", got)
	}
}

func TestStat(t *testing.T) {
	mapFile(t, "4096")
	text := mustRun(t, "stat", "img:/file")
	for _, want := range []string{"path: /file\n", "size: 6291457 (", "pages: 1537: 1025 direct, 0 cached, 512 hole, 0 unwritten; 0 dirty", "2 MiB: 66.6 % of the pages"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	mustRun(t, "ln", "-s", "file", "img:/link")
	var got []statInfo
	if err := json.Unmarshal([]byte(mustRun(t, "stat", "--json", "img:/link", "img:/file", "img:/")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Target != "file" || got[0].Type != "l" || got[0].Usage != nil || got[1].Usage == nil || got[2].Type != "d" {
		t.Errorf("got %+v", got)
	}
	got = nil
	if err := json.Unmarshal([]byte(mustRun(t, "stat", "-L", "--json", "img:/link")), &got); err != nil || got[0].Type != "f" {
		t.Errorf("-L: got %+v, %v", got, err)
	}
}

// TestPictureColors: colors are set where they change, not for every cell.
func TestPictureColors(t *testing.T) {
	var out strings.Builder
	a := testApp(t, &out)
	a.printPicture(1024, []pageRun{
		{Page: 0, Pages: 1000, kind: godax.Direct}, {Page: 1000, Pages: 24, kind: godax.Hole},
	})
	if err := a.out.Flush(); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	if n := strings.Count(got, "▓"); n != 1000+1 { // and one in the legend
		t.Errorf("%d cells are direct, want 1000", n-1)
	}
	// Two at the start of each of 16 lines and where the kind changes, one at the end, four
	// in the legend.
	if n := strings.Count(got, "\x1b["); n != 16*2+2+1+4 {
		t.Errorf("%d color changes:\n%q", n, got)
	}
}
