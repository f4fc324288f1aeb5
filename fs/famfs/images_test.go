package famfs_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"godax"
	"godax/fs/famfs"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
)

// sampleHost is the host that made most of the sample media.
const sampleHost = "6f3c1d52-0b7e-4a7e-9c55-5d1f7a0e2b11"

// sampleOptions open sample media as that host.
func sampleOptions(o godax.Options) godax.Options {
	o.Drivers = []vfs.Driver{famfs.NewDriver(famfs.Config{HostUUID: sampleHost})}
	return o
}

// unpack extracts an image of the test data and returns its path.
func unpack(t testing.TB, name string) string {
	t.Helper()
	return daxtest.Untar(t, filepath.Join(daxtest.TestData(t, "famfs"), name+".tar.gz"), name+".img")
}

// manifest is what the test data say of an image.
type manifest struct {
	DeviceSize int64 `json:"device_size"`
	Superblock struct {
		Version   uint64 `json:"version"`
		LogOffset uint64 `json:"log_offset"`
		LogLen    uint64 `json:"log_len"`
		AllocUnit uint64 `json:"alloc_unit"`
		OMF       string `json:"omf"`
		FS        string `json:"fs_uuid"`
		Device    string `json:"dev_uuid"`
		System    string `json:"system_uuid"`
		Flags     uint32 `json:"sb_flags"`
		Size      uint64 `json:"primary_size"`
		Name      string `json:"primary_name"`
	} `json:"superblock"`
	Log struct {
		LastIndex uint64 `json:"last_index"`
		NextSeq   uint64 `json:"next_seqnum"`
		NextIndex uint64 `json:"next_index"`
	} `json:"log"`
	Entries []manifestEntry `json:"entries"`
}

type manifestEntry struct {
	Seq     uint64           `json:"seq"`
	Type    string           `json:"type"`
	Path    string           `json:"path"`
	Mode    string           `json:"mode"`
	UID     uint32           `json:"uid"`
	GID     uint32           `json:"gid"`
	Size    uint64           `json:"size"`
	Flags   uint32           `json:"flags"`
	ExtType string           `json:"ext_type"`
	Chunk   uint64           `json:"chunk_size"`
	Extents []manifestExtent `json:"extents"`
	Strips  []manifestExtent `json:"strips"`
	SHA256  string           `json:"sha256"`
	DevSize uint64           `json:"dev_size"`
	DevUUID string           `json:"dev_uuid"`
	Index   uint32           `json:"index"`
}

type manifestExtent struct{ Dev, Off, Len uint64 }

func readManifest(t testing.TB, name string) (m manifest) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(daxtest.TestData(t, "famfs"), name+".json"))
	must(t, err)
	must(t, json.Unmarshal(b, &m))
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// samples are the healthy images.
var samples = []string{"empty", "basic", "tree", "sizes", "stripe8g", "mixed", "many", "multidev", "v47", "au4k", "foreign"}

// TestManifests reads every sample through the public API, and through the decoder of the tests,
// and compares all of it with the manifest: attributes, contents, and the frames that hold them.
func TestManifests(t *testing.T) {
	for _, name := range samples {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "sizes" {
				t.Skip("2 GiB to hash")
			}
			want := readManifest(t, name)
			image := unpack(t, name)
			f, err := godax.Open(image, sampleOptions(godax.Options{ReadOnly: true}))
			must(t, err)
			defer func() { must(t, f.Close()) }()
			info := f.Info()
			if got := info.FS.UUID; got != want.Superblock.FS {
				t.Errorf("uuid %s, want %s", got, want.Superblock.FS)
			}
			if got := info.Usage.BlockSize; got != int64(want.Superblock.AllocUnit) {
				t.Errorf("unit %d, want %d", got, want.Superblock.AllocUnit)
			}
			compareTree(t, f, want)
			compareOracle(t, image, want)
		})
	}
}

// compareTree compares what can be seen with the entries.
func compareTree(t *testing.T, f *godax.FS, want manifest) {
	t.Helper()
	var wantPaths, gotPaths []string
	for _, e := range want.Entries {
		if e.Type == "add_daxdev" {
			continue
		}
		wantPaths = append(wantPaths, e.Path)
		fi, err := f.Lstat(e.Path)
		if err != nil {
			t.Error(err)
			continue
		}
		st := fi.Sys().(*godax.Stat)
		got := fmt.Sprintf("%04o %d %d", fi.Mode().Perm(), st.UID, st.GID)
		if want := fmt.Sprintf("%s %d %d", e.Mode, e.UID, e.GID); got != want || fi.IsDir() != (e.Type == "mkdir") {
			t.Errorf("%s: mode, uid, gid %s, want %s", e.Path, got, want)
		}
		if !fi.IsDir() {
			compareFile(t, f, e)
		}
	}
	must(t, fs.WalkDir(f.IOFS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if p != "." {
			gotPaths = append(gotPaths, p)
		}
		return err
	}))
	slices.Sort(wantPaths)
	slices.Sort(gotPaths)
	if d := gocmp.Diff(wantPaths, gotPaths); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
}

// compareFile compares size, contents and frames of a file.
func compareFile(t *testing.T, f *godax.FS, e manifestEntry) {
	t.Helper()
	file, err := f.Open(e.Path)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, file)
	if err != nil || uint64(n) != e.Size {
		t.Errorf("%s: %d bytes, want %d: %v", e.Path, n, e.Size, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != e.SHA256 {
		t.Errorf("%s: sha256 %s, want %s", e.Path, got, e.SHA256)
	}
	for x, err := range file.Extents() {
		if err != nil {
			t.Errorf("%s: %v", e.Path, err)
			return
		}
		for off := x.Off; off < x.Off+x.Len; off += pmem.PageSize {
			want := manifestPlace(e, uint64(off))
			if got := (x.PFN.Page() + uint64(off-x.Off)/pmem.PageSize) * pmem.PageSize; got != want || x.Kind != godax.Direct {
				t.Errorf("%s: offset %d is %v at %d, want %d", e.Path, off, x.Kind, got, want)
				return
			}
		}
	}
}

// manifestPlace is where a byte of a file lies.
func manifestPlace(e manifestEntry, p uint64) uint64 {
	if e.ExtType == "interleaved" {
		k, n := p/e.Chunk, uint64(len(e.Strips))
		return e.Strips[k%n].Off + k/n*e.Chunk + p%e.Chunk
	}
	for _, x := range e.Extents {
		if p < x.Len {
			return x.Off + p
		}
		p -= x.Len
	}
	return ^uint64(0)
}

// compareOracle shows that the tests' own decoder reads what the reference has written, and
// finds nothing that a writer does not do.
func compareOracle(t *testing.T, image string, want manifest) {
	t.Helper()
	file, err := os.Open(image)
	must(t, err)
	defer file.Close()
	m, err := decodeImage(want.DeviceSize, file)
	must(t, err)
	if m.super.fs != want.Superblock.FS || m.super.system != want.Superblock.System || m.super.dev != want.Superblock.Device ||
		fmt.Sprintf("%d.%d", m.super.major, m.super.minor) != want.Superblock.OMF || m.super.version != want.Superblock.Version ||
		m.super.size != want.Superblock.Size || m.super.name != want.Superblock.Name || m.super.flags != want.Superblock.Flags {
		t.Errorf("superblock %+v, want %+v", m.super, want.Superblock)
	}
	if m.nextSeq != want.Log.NextSeq || m.nextIndex != want.Log.NextIndex || m.lastIndex != want.Log.LastIndex {
		t.Errorf("log %d %d %d, want %+v", m.nextSeq, m.nextIndex, m.lastIndex, want.Log)
	}
	for i, e := range m.entries {
		w := want.Entries[i]
		if e.path != w.Path || e.size != w.Size || e.devUUID != w.DevUUID || e.flags != w.Flags {
			t.Errorf("entry %d: %+v, want %+v", i, e, w)
		}
	}
	problems := m.judge()
	if strings.Contains(image, "mixed") { // has a clone
		problems = slices.DeleteFunc(problems, func(p string) bool { return strings.Contains(p, "is of entry") })
	}
	if len(problems) > 0 {
		t.Errorf("the decoder does not like what the reference wrote: %q", problems)
	}
}

// TestKilled: a medium whose magic number was cleared is no file system.
func TestKilled(t *testing.T) {
	image := unpack(t, "killed")
	if _, err := godax.Open(image, godax.Options{ReadOnly: true}); !errors.Is(err, godax.ErrUnknownFormat) {
		t.Errorf("open: %v", err)
	}
	if _, err := godax.Check(context.Background(), image, godax.Options{}); !errors.Is(err, godax.ErrUnknownFormat) {
		t.Errorf("check: %v", err)
	}
}

// hostileCase is one damaged medium.
type hostileCase struct {
	Name, Base, Expect, Description string
	Patches                         []struct {
		Offset int64
		Hex    string
	}
}

// TestHostile: every damaged medium of the test data gives what is expected of a careful reader.
func TestHostile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(daxtest.TestData(t, "famfs"), "hostile.json"))
	must(t, err)
	var cases []hostileCase
	must(t, json.Unmarshal(b, &cases))
	if len(cases) < 50 {
		t.Fatalf("%d cases", len(cases))
	}
	slices.SortStableFunc(cases, func(a, b hostileCase) int { return cmp.Compare(a.Base, b.Base) })
	image, base := "", ""
	for _, c := range cases {
		if c.Base != base {
			image, base = unpack(t, c.Base), c.Base
		}
		t.Run(c.Name, func(t *testing.T) {
			defer patch(t, image, c)()
			hostile(t, image, c)
		})
	}
}

// readHostile is one of the damaged media.
func readHostile(t *testing.T, name string) hostileCase {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(daxtest.TestData(t, "famfs"), "hostile.json"))
	must(t, err)
	var cases []hostileCase
	must(t, json.Unmarshal(b, &cases))
	i := slices.IndexFunc(cases, func(c hostileCase) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no case %s", name)
	}
	return cases[i]
}

// patch changes an image, and returns what takes the change back.
func patch(t *testing.T, image string, c hostileCase) (undo func()) {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	old := make([][]byte, len(c.Patches))
	for i, p := range c.Patches {
		b, err := hex.DecodeString(p.Hex)
		must(t, err)
		old[i] = make([]byte, len(b))
		_, err = file.ReadAt(old[i], p.Offset)
		must(t, err)
		_, err = file.WriteAt(b, p.Offset)
		must(t, err)
	}
	return func() {
		for i := len(old) - 1; i >= 0; i-- {
			_, err := file.WriteAt(old[i], c.Patches[i].Offset)
			must(t, err)
		}
		must(t, file.Close())
	}
}

// hostile opens a damaged medium in every way and compares.
func hostile(t *testing.T, image string, c hostileCase) {
	want := readManifest(t, c.Base)
	kind, arg, _ := strings.Cut(c.Expect, ":")
	report, cerr := godax.Check(context.Background(), image, sampleOptions(godax.Options{}))
	f, err := godax.Open(image, sampleOptions(godax.Options{ReadOnly: true}))
	if err == nil {
		defer func() { must(t, f.Close()) }()
	}
	refusedWith := func(target error) {
		t.Helper()
		if !errors.Is(err, target) {
			t.Errorf("open: %v, want %v", err, target)
		}
	}
	found := func(severity vfs.Severity, structure string) {
		t.Helper()
		if cerr != nil {
			t.Errorf("check: %v", cerr)
		}
		for _, x := range report.Findings {
			if x.Severity == severity && x.Structure == structure {
				return
			}
		}
		t.Errorf("no %v about %q: %+v", severity, structure, report.Findings)
	}
	seq := map[string]bool{} // entries that must have no effect
	switch kind {
	case "no-filesystem":
		refusedWith(godax.ErrUnknownFormat)
		return
	case "refuse-version":
		refusedWith(godax.ErrUnsupported)
		return
	case "reject-superblock":
		refusedWith(godax.ErrCorrupt)
		found(vfs.Damage, "superblock")
		return
	case "reject-log":
		refusedWith(godax.ErrCorrupt)
		found(vfs.Damage, "log header")
		return
	}
	must(t, err)
	writable := false
	switch kind {
	case "reject-entry":
		found(vfs.Damage, "log entry "+arg)
		for i := atoi(t, arg); i < len(want.Entries); i++ {
			seq[want.Entries[i].Path] = true
		}
	case "skip-entry", "unknown-type":
		found(vfs.Damage, "log entry "+arg)
		seq[want.Entries[atoi(t, arg)].Path] = true
	case "accept", "accept-perm-bits", "accept-truncated":
		writable = c.Base != "mixed"
		if w, _ := report.Worst(); w > vfs.Note || cerr != nil {
			t.Errorf("findings %+v, %v", report.Findings, cerr)
		}
	case "overlap":
		a, b, _ := strings.Cut(arg, ",")
		found(vfs.Warning, "log entry "+b)
		if !strings.Contains(fmt.Sprint(report.Findings), "in common with entry "+a) {
			t.Errorf("no word about entry %s: %+v", a, report.Findings)
		}
	case "reject-extents":
		size := uint64(0)
		for _, p := range c.Patches { // the recorded size is at 112
			b, _ := hex.DecodeString(p.Hex)
			size |= uint64(b[0]) << (8 * (p.Offset - 112))
		}
		for _, e := range want.Entries {
			for _, x := range e.Extents {
				if x.Off+x.Len > size {
					seq[e.Path] = true
				}
			}
		}
		if len(seq) == 0 {
			t.Error("the case cuts nothing off")
		}
	case "clamp-or-reject":
		found(vfs.Warning, "superblock")
	case "reject-for-write":
		found(vfs.Warning, "log header")
	case "reject-device":
		found(vfs.Damage, "log entry "+arg)
	case "needs-device":
		e := want.Entries[4]
		if _, err := f.Open(e.Path); err == nil || !strings.Contains(err.Error(), "device "+arg) {
			t.Errorf("open of a file on a missing device: %v", err)
		}
		if _, err := f.Stat(e.Path); err != nil {
			t.Error(err)
		}
		writable = true
		want.Entries = want.Entries[:4]
	default:
		t.Fatalf("expectation %q is not known", c.Expect)
	}
	visible(t, f, c, want, seq)
	canWrite(t, image, writable)
}

// visible checks that everything but what the skipped entries lead to is there and right.
func visible(t *testing.T, f *godax.FS, c hostileCase, want manifest, skipped map[string]bool) {
	t.Helper()
	moved := strings.HasPrefix(c.Name, "ext-") || strings.HasPrefix(c.Name, "int-") // contents are others
	for _, e := range want.Entries {
		if e.Type == "add_daxdev" {
			continue
		}
		hidden := skipped[e.Path]
		for p := range skipped {
			hidden = hidden || strings.HasPrefix(e.Path, p+"/")
		}
		fi, err := f.Lstat(e.Path)
		if hidden {
			if err == nil && fi.IsDir() == (e.Type == "mkdir") {
				t.Errorf("%s is visible", e.Path)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if e.Type == "mkdir" {
			continue
		}
		got, err := f.ReadFile(e.Path)
		if err != nil || uint64(len(got)) != e.Size {
			t.Errorf("%s: %d bytes of %d: %v", e.Path, len(got), e.Size, err)
		}
		sum := sha256.Sum256(got)
		if hex.EncodeToString(sum[:]) != e.SHA256 && !moved {
			t.Errorf("%s: other contents", e.Path)
		}
	}
	if c.Name == "mode-setuid" {
		if fi, err := f.Stat("readme.txt"); err != nil || fi.Mode() != 0o755 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
	}
}

// canWrite opens the medium for writing, and creates a file if that should work.
func canWrite(t *testing.T, image string, want bool) {
	t.Helper()
	f, err := godax.Open(image, sampleOptions(godax.Options{}))
	if err != nil {
		t.Errorf("open for writing: %v", err)
		return
	}
	defer func() { must(t, f.Close()) }()
	if got := !f.Info().FS.ReadOnly; got != want {
		t.Errorf("writable %v (%s), want %v", got, f.Info().FS.Why, want)
	}
	if !want {
		if _, err := f.CreateSized("new", 1, godax.CreateOptions{}); !errors.Is(err, fs.ErrPermission) && !strings.Contains(fmt.Sprint(err), "read-only") {
			t.Errorf("create: %v", err)
		}
	}
}

func atoi(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
