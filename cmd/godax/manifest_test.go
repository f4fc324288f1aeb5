package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godax/internal/daxtest"
)

// columns cuts a TSV file down to its first n columns.
func columns(t testing.TB, file string, n int) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		b.WriteString(strings.Join(fields[:min(n, len(fields))], "\t") + "\n")
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// firstDifference is the first line that differs.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		line := func(s []string) string {
			if i < len(s) {
				return s[i]
			}
			return "(end)"
		}
		if line(g) != line(w) {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, line(g), line(w))
		}
	}
	return ""
}

// TestManifest compares every reference image with what Linux sees in it.
func TestManifest(t *testing.T) {
	dir := daxtest.TestData(t, "ext")
	images, err := filepath.Glob(filepath.Join(dir, "*.img.gz"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no images in %s: %v", dir, err)
	}
	for _, packed := range images {
		base := strings.TrimSuffix(packed, ".img.gz")
		t.Run(filepath.Base(base), func(t *testing.T) {
			t.Parallel() // most of the time goes into hashing holes
			image := filepath.Join(t.TempDir(), "img")
			if err := os.WriteFile(image, daxtest.Gunzip(t, packed), 0o644); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(filepath.Base(base), "ext2") {
				// Later members of the family: read as they should be, or refused by name.
				r := godaxRun(t, "manifest", image)
				if r.code == exitOK {
					if diff := firstDifference(r.stdout, columns(t, base+".tsv", 8)); diff != "" {
						t.Errorf("manifest differs in %s", diff)
					}
				} else if !strings.Contains(r.stderr, "feature") {
					t.Errorf("refused without naming a feature: %s", r.stderr)
				}
				return
			}
			for _, carrier := range []string{"iomap", "bh"} {
				got := mustRun(t, "manifest", "--carrier", carrier, image)
				if diff := firstDifference(got, columns(t, base+".tsv", 8)); diff != "" {
					t.Errorf("%s: manifest differs in %s", carrier, diff)
				}
			}
			want := "path\tname\tvalue_hex\n"
			if _, err := os.Stat(base + ".xattr.tsv"); err == nil {
				want = columns(t, base+".xattr.tsv", 3)
			}
			if diff := firstDifference(mustRun(t, "manifest", "--xattr", image), want); diff != "" {
				t.Errorf("extended attributes differ in %s", diff)
			}
		})
	}
}

// TestManifestBig checks the hash of a file over 64 GiB, and the JSON form.
func TestManifestBig(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRun(t, "mkfs", "ext2", "--size", "16M", "img")
	piece := []byte(strings.Repeat("0123456789abcdef", 256)) // one block of 4096
	if err := os.WriteFile("piece", piece, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create("sparse")
	if err != nil {
		t.Fatal(err)
	}
	const at, size = 40 << 30, 65 << 30
	if _, err := f.WriteAt(piece, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Skipf("this host's file system has no files of 65 GiB: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", "sparse", "piece", "img:/")
	var rows []manifestRow
	if err := json.Unmarshal([]byte(mustRun(t, "manifest", "--json", "img")), &rows); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d:%d:", int64(at), len(piece))
	sum.Write(piece)
	want := map[string]string{
		"/sparse": fmt.Sprintf("data:%x", sum.Sum(nil)),
		"/piece":  fmt.Sprintf("%x", sha256.Sum256(piece)),
	}
	for p, w := range want {
		i := slices.IndexFunc(rows, func(r manifestRow) bool { return r.Path == p })
		if i < 0 || rows[i].SHA256 != w {
			t.Errorf("%s: got %+v, want hash %s", p, rows, w)
		}
	}
	fsck(t, "img")
}
