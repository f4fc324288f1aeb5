package famfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"godax"
	"godax/fs/famfs"
	"godax/pmem"
	"godax/vfs"
)

// imageFile makes an image file of memory in a folder of its own, formatted.
func imageFile(t testing.TB, size int64, o famfs.FormatOptions) string {
	t.Helper()
	dir := t.TempDir()
	if d, err := os.MkdirTemp("/dev/shm", "famfs-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(d) })
		dir = d
	}
	image := filepath.Join(dir, "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, size))
	formatFile(t, image, o)
	return image
}

func formatFile(t testing.TB, image string, o famfs.FormatOptions) {
	t.Helper()
	o.System = us
	dev, err := pmem.Open(image, pmem.Options{})
	must(t, err)
	must(t, famfs.Format(dev, o))
	must(t, dev.Close())
}

func open(t testing.TB, image string, readOnly bool, host string) *godax.FS {
	t.Helper()
	f, err := godax.Open(image, godax.Options{ReadOnly: readOnly, Drivers: driverOf(host)})
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// TestClientFollows: what the master publishes appears to clients that are open, without a
// remount: in lookups, in listings, and to those who follow.
func TestClientFollows(t *testing.T) {
	image := imageFile(t, 64*mib, famfs.FormatOptions{Unit: 4 * kib})
	client := open(t, image, true, us) // before there is a master: it keeps none away
	master := open(t, image, false, us)
	second := open(t, image, true, us)

	if _, err := client.Stat("file"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before: %v", err)
	}
	must(t, master.Mkdir("dir", 0o755))
	file, err := master.CreateSized("dir/file", 10_000, godax.CreateOptions{Perm: 0o644})
	must(t, err)
	defer file.Close()
	for _, f := range []*godax.FS{client, second} {
		fi, err := f.Stat("dir/file")
		if err != nil || fi.Size() != 10_000 {
			t.Fatalf("after: %v", err)
		}
	}
	// Bytes are shared: what is stored in place is seen through a mapping made before.
	reader, err := client.Open("dir/file")
	must(t, err)
	defer reader.Close()
	m, err := reader.Mmap(0, 10_000, godax.MapShared)
	must(t, err)
	defer m.Close()
	_, err = file.WriteAt([]byte("hello"), 8000)
	must(t, err)
	if got := string(m.Bytes()[8000:8005]); got != "hello" {
		t.Errorf("through the client's mapping: %q", got)
	}
	if _, err := client.OpenFile("dir/file", os.O_RDWR, 0); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a reader opens for writing: %v", err)
	}
	if _, err := client.CreateSized("x", 1, godax.CreateOptions{}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a reader creates: %v", err)
	}

	changes, pos, err := client.Follow(0)
	must(t, err)
	var names []string
	for _, c := range changes {
		names = append(names, c.Path)
	}
	if !slices.Equal(names, []string{"dir", "dir/file"}) || pos != 2 {
		t.Errorf("changes %q, position %d", names, pos)
	}
	var want []string
	for i := range 200 { // more than one batch
		p := fmt.Sprintf("dir/%d", i)
		f, err := master.CreateSized(p, 1, godax.CreateOptions{})
		must(t, err)
		must(t, f.Close())
		want = append(want, p)
	}
	entries, err := client.ReadDir("dir")
	if err != nil || len(entries) != 201 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	changes, pos, err = client.Follow(pos)
	must(t, err)
	names = nil
	for _, c := range changes {
		names = append(names, c.Path)
	}
	if !slices.Equal(names, want) || pos != 202 {
		t.Errorf("%d changes, position %d", len(names), pos)
	}
	if changes, _, err = client.Follow(pos); len(changes) != 0 || err != nil {
		t.Errorf("nothing new: %v, %v", changes, err)
	}
}

// TestOneMaster: a second writer is kept away, in another opening of the file and on the same
// device; another host becomes a client.
func TestOneMaster(t *testing.T) {
	image := imageFile(t, 16*mib, famfs.FormatOptions{})
	open(t, image, false, us)
	if _, err := godax.Open(image, godax.Options{Drivers: driverOf(us)}); !errors.Is(err, godax.ErrInUse) {
		t.Errorf("a second master: %v", err)
	}
	if _, err := pmem.Open(image, pmem.Options{}); !errors.Is(err, godax.ErrInUse) {
		t.Errorf("another writer of the device: %v", err)
	}

	dev := newDevice(t, 16*mib)
	f := newFS(t, dev, famfs.FormatOptions{})
	if _, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)}); !errors.Is(err, godax.ErrInUse) {
		t.Errorf("a second master on one device: %v", err)
	}
	if err := famfs.Format(dev, famfs.FormatOptions{System: us}); !errors.Is(err, godax.ErrInUse) {
		t.Errorf("a format under a master: %v", err)
	}
	must(t, f.Close())
	other := "99999999-1111-8222-8333-444444444444"
	g, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(other)})
	must(t, err)
	if _, err := g.CreateSized("x", 1, godax.CreateOptions{}); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), other) {
		t.Errorf("another host creates: %v", err)
	}
	// As a client it does not keep the master away.
	h, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
	must(t, err)
	must(t, h.Mkdir("d", 0o755))
	if fi, err := g.Stat("d"); err != nil || !fi.IsDir() {
		t.Errorf("the client does not see it: %v", err)
	}
	must(t, g.Close())
	must(t, h.Close())

	// Who closes twice does not end the role of the next.
	mount := driverOf(us)[0].Mount
	first, err := mount(dev, vfs.MountOptions{})
	must(t, err)
	must(t, first.Close(t.Context()))
	second, err := mount(dev, vfs.MountOptions{})
	must(t, err)
	must(t, first.Close(t.Context()))
	if _, err := mount(dev, vfs.MountOptions{}); !errors.Is(err, pmem.ErrInUse) {
		t.Errorf("a second master after the first has closed twice: %v", err)
	}
	must(t, second.Close(t.Context()))
}

// TestPeers: processes beside the master store to its files, and make none; on other file systems
// there is no such thing.
func TestPeers(t *testing.T) {
	image := imageFile(t, 16*mib, famfs.FormatOptions{Unit: 4 * kib})
	peer := func() *godax.FS {
		t.Helper()
		f, err := godax.Open(image, godax.Options{Shared: true, Drivers: driverOf(us)})
		must(t, err)
		t.Cleanup(func() { must(t, f.Close()) })
		return f
	}
	first := peer() // before there is a master
	master := open(t, image, false, us)
	second := peer()
	file, err := master.CreateSized("file", 10_000, godax.CreateOptions{Perm: 0o644})
	must(t, err)
	defer file.Close()
	for i, f := range []*godax.FS{first, second} {
		w, err := f.OpenFile("file", os.O_RDWR, 0)
		must(t, err)
		_, err = w.WriteAt([]byte{byte(i) + 1}, int64(i)*5000)
		must(t, err)
		must(t, w.Sync())
		if _, err := w.WriteAt([]byte{1}, 10_000); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("behind the end: %v", err)
		}
		must(t, w.Close())
		for _, err := range []error{f.Mkdir("dir", 0o755), second2(f.CreateSized("x", 1, godax.CreateOptions{}))} {
			if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "client") {
				t.Errorf("a peer appends: %v", err)
			}
		}
		if d := f.Info().FS; d.ReadOnly || d.Details[0].Value != "client that can store to files: opened as one" {
			t.Errorf("%+v", d)
		}
	}
	var b [5001]byte
	if _, err := file.ReadAt(b[:], 0); err != nil || b[0] != 1 || b[5000] != 2 {
		t.Errorf("the master reads %d %d, %v", b[0], b[5000], err)
	}

	// What may be damage is not stored to.
	basic := unpack(t, "basic")
	defer patch(t, basic, readHostile(t, "ext-overlap"))()
	f, err := godax.Open(basic, godax.Options{Shared: true})
	must(t, err)
	defer f.Close()
	if _, err := f.OpenFile("page", os.O_RDWR, 0); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "log entry 3") {
		t.Errorf("a file of a medium with an overlap: %v", err)
	}
	ext2 := filepath.Join(t.TempDir(), "ext2")
	must(t, os.WriteFile(ext2, make([]byte, 4*mib), 0o600))
	if _, err := godax.Open(ext2, godax.Options{Shared: true}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a peer of what is no famfs: %v", err)
	}
}

// second2 is the error of a call with two results.
func second2[T any](_ T, err error) error { return err }

// TestTorn: an entry that is counted and not whole yet is not there, and nothing behind it; once
// it is whole, it is. Nobody appends behind it meanwhile.
func TestTorn(t *testing.T) {
	dev := newDevice(t, 16*mib)
	f := newFS(t, dev, famfs.FormatOptions{Unit: 4 * kib})
	must(t, f.Mkdir("a", 0o755))
	must(t, f.Mkdir("b", 0o755))
	must(t, f.Close())
	count := func(n uint64) {
		b, err := dev.Bytes(2*mib+32, 16)
		must(t, err)
		binary.LittleEndian.PutUint64(b, n)
		binary.LittleEndian.PutUint64(b[8:], n)
	}
	entry := func(i int64) []byte {
		b, err := dev.Bytes(2*mib+48+i*544, 544)
		must(t, err)
		return b
	}
	last := bytes.Clone(entry(1))
	clear(entry(1)[100:300])
	entry(1)[536]++
	count(1)
	client, err := godax.OpenDevice(dev, godax.Options{ReadOnly: true})
	must(t, err)
	defer func() { must(t, client.Close()) }()
	count(2) // the header is there before the entry
	if _, err := client.Stat("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("torn: %v", err)
	}
	if changes, pos, err := client.Follow(0); len(changes) != 1 || pos != 1 || err != nil {
		t.Errorf("torn: %v %d %v", changes, pos, err)
	}
	r, err := famfs.Driver.Check(t.Context(), dev, vfs.MountOptions{ReadOnly: true})
	must(t, err)
	if i := slices.IndexFunc(r.Facts, func(kv vfs.KV) bool { return kv.Key == "free bytes" }); i < 0 || !strings.HasPrefix(r.Facts[i].Value, "at most ") {
		t.Errorf("the checker knows what an entry holds that it cannot read: %v", r.Facts)
	}
	m, err := godax.OpenDevice(dev, godax.Options{Drivers: driverOf(us)})
	must(t, err)
	if d := m.Info().FS; !d.ReadOnly || !strings.Contains(d.Why, "log entry 1") {
		t.Errorf("a master behind a torn entry: %+v", d)
	}
	must(t, m.Close())
	peer, err := godax.OpenDevice(dev, godax.Options{Shared: true, Drivers: driverOf(us)})
	must(t, err)
	if peer.Info().FS.ReadOnly {
		t.Error("a peer that opens while an entry is written may not store to files")
	}
	must(t, peer.Close())
	copy(entry(1), last)
	if _, err := client.Stat("b"); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// TestReformat: who has the old file system open hears of a new one by its UUID, at every way
// in, for good; the checks of the header are not fooled by a count that fits.
func TestReformat(t *testing.T) {
	for _, how := range []string{"anew", "killed", "shorter log"} {
		t.Run(how, func(t *testing.T) {
			image := imageFile(t, 16*mib, famfs.FormatOptions{})
			master := open(t, image, false, us)
			must(t, master.Mkdir("a", 0o755))
			must(t, master.Close())
			client := open(t, image, true, us)
			dir, err := client.Open("/")
			must(t, err)
			defer dir.Close()
			if _, err := client.Stat("a"); err != nil {
				t.Fatal(err)
			}
			switch how {
			case "anew":
				formatFile(t, image, famfs.FormatOptions{})
				master = open(t, image, false, us)
				must(t, master.Mkdir("b", 0o755)) // the count is what it was
			default:
				file, err := os.OpenFile(image, os.O_RDWR, 0)
				must(t, err)
				at := int64(0)
				if how == "shorter log" {
					at = 2*mib + 40
				}
				_, err = file.WriteAt(make([]byte, 8), at)
				must(t, err)
				must(t, file.Close())
			}
			_, statErr := client.Stat("b")
			_, listErr := client.ReadDir("/")
			_, openErr := client.Open("/")
			_, _, followErr := client.Follow(0)
			_, readErr := dir.ReadDir(-1)
			for i, err := range []error{statErr, listErr, openErr, followErr, readErr} {
				if !errors.Is(err, syscall.ESTALE) {
					t.Errorf("%d: %v", i, err)
				}
			}
			if how == "anew" {
				again := open(t, image, true, us)
				if _, err := again.Stat("b"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// watched is a device that counts what is dropped from the caches, and what is looked at
// without that.
type watched struct {
	pmem.Device
	dropped atomic.Int64
	last    [2]int64
	blind   []string
}

func (w *watched) Invalidate(off, n int64) error {
	w.dropped.Add(1)
	w.last = [2]int64{off, n}
	return nil
}

func (w *watched) Bytes(off, n int64) ([]byte, error) {
	if off < 10*mib && w.last != [2]int64{off, n} {
		w.blind = append(w.blind, fmt.Sprintf("%d bytes at %d", n, off))
	}
	w.last = [2]int64{}
	return w.Device.Bytes(off, n)
}

// TestInvalidates: on memory that hosts share without coherent caches, a client drops the lines
// of superblock, header and entries each time before it looks at them.
func TestInvalidates(t *testing.T) {
	dev := newDevice(t, 16*mib)
	f := newFS(t, dev, famfs.FormatOptions{})
	must(t, f.Mkdir("a", 0o755))
	w := &watched{Device: dev}
	client, err := famfs.Driver.Mount(w, vfs.MountOptions{ReadOnly: true})
	must(t, err)
	defer client.Close(context.Background())
	look := func(want string, entries int64) {
		t.Helper()
		before := w.dropped.Load()
		_, err := client.(vfs.Follower).Follow(0, func(vfs.Change) bool { return true })
		must(t, err)
		drops := 2 + entries
		if entries > 0 {
			drops++ // the superblock once more: the entries may be those of a new file system
		}
		if n := w.dropped.Load() - before; n != drops {
			t.Errorf("%s: %d drops, want %d", want, n, drops)
		}
	}
	look("nothing new", 0)
	must(t, f.Mkdir("b", 0o755))
	must(t, f.Mkdir("c", 0o755))
	look("two entries", 2)
	look("nothing new", 0)
	if len(w.blind) > 0 {
		t.Errorf("looked at without dropping lines: %q", w.blind)
	}
}

// TestHostUUID: the identity of a host is what it was told, and else stays the same.
func TestHostUUID(t *testing.T) {
	t.Setenv(famfs.HostEnv, us)
	if got, err := famfs.HostUUID(); got != us || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	t.Setenv(famfs.HostEnv, "nonsense")
	if got, err := famfs.HostUUID(); err == nil {
		t.Errorf("nonsense is %s", got)
	}
	t.Setenv(famfs.HostEnv, "")
	a, errA := famfs.HostUUID()
	b, errB := famfs.HostUUID()
	if a != b || (errA == nil) != (errB == nil) {
		t.Errorf("%s %v, then %s %v", a, errA, b, errB)
	}
}
