package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/internal/daxtest/memfs"
	"godax/pmem/sim"
	"godax/vfs"
)

// TestModes: every type and every bit, there and back.
func TestModes(t *testing.T) {
	for _, tt := range []struct {
		mode   fs.FileMode
		kernel uint32
	}{
		{0o644, syscall.S_IFREG | 0o644},
		{fs.ModeDir | fs.ModeSticky | 0o777, syscall.S_IFDIR | 0o1777},
		{fs.ModeSymlink | 0o777, syscall.S_IFLNK | 0o777},
		{fs.ModeNamedPipe | 0o600, syscall.S_IFIFO | 0o600},
		{fs.ModeSocket | 0o755, syscall.S_IFSOCK | 0o755},
		{fs.ModeDevice | 0o660, syscall.S_IFBLK | 0o660},
		{fs.ModeDevice | fs.ModeCharDevice | 0o666, syscall.S_IFCHR | 0o666},
		{fs.ModeSetuid | fs.ModeSetgid | 0o755, syscall.S_IFREG | 0o6755},
	} {
		if k := toKernel(tt.mode); k != tt.kernel {
			t.Errorf("%v became %o, want %o", tt.mode, k, tt.kernel)
		}
		if m, ok := fromKernel(tt.kernel); !ok || m != tt.mode {
			t.Errorf("%o became %v, want %v", tt.kernel, m, tt.mode)
		}
	}
	if m, ok := fromKernel(0o640); !ok || m != 0o640 {
		t.Errorf("without a type: %v", m)
	}
	if _, ok := fromKernel(0o170000); ok {
		t.Error("a type that does not exist")
	}
	if k := toKernel(fs.ModeIrregular); k&syscall.S_IFMT != 0 {
		t.Errorf("an unknown type became %o", k)
	}
}

func TestDeviceNumbers(t *testing.T) {
	for _, d := range [][2]uint32{{0, 0}, {1, 3}, {8, 17}, {300, 70_000}, {0xfff, 0xfffff}} {
		k := encodeDev(d[0], d[1])
		if uint64(k) != unix.Mkdev(d[0], d[1])&math.MaxUint32 {
			t.Errorf("%v is %#x, want %#x", d, k, unix.Mkdev(d[0], d[1]))
		}
		if major, minor := decodeDev(k); major != d[0] || minor != d[1] {
			t.Errorf("%v became %d, %d", d, major, minor)
		}
	}
}

func TestFillAttr(t *testing.T) {
	a := vfs.Attr{
		Ino: 12, Mode: 0o600, Nlink: 2, UID: 70_000, GID: 7, Size: 5, Blocks: 8, BlockSize: 1024,
		Atime: time.Unix(-1, 5), Mtime: time.Unix(1<<33, 999_999_999), Btime: time.Unix(3, 4),
	}
	var out fuse.Attr
	fillAttr(&out, &a)
	if int64(out.Atime) != -1 || out.Atimensec != 5 || out.Mtime != 1<<33 || out.Ctime != 0 || out.Blksize != 4096 || out.Uid != 70_000 {
		t.Errorf("%+v", out)
	}
	var sx fuse.Statx
	fillStatx(&sx, &a)
	if sx.Mask != unix.STATX_BASIC_STATS|unix.STATX_BTIME || sx.Btime.Sec != 3 || sx.Btime.Nsec != 4 || sx.Mode != syscall.S_IFREG|0o600 {
		t.Errorf("%+v", sx)
	}
	a.Btime = time.Time{}
	if fillStatx(&sx, &a); sx.Mask != unix.STATX_BASIC_STATS {
		t.Errorf("without a time of birth: mask %#x", sx.Mask)
	}
}

func TestFlags(t *testing.T) {
	const dflt = unix.MS_NOSUID | unix.MS_NODEV
	for _, tt := range []struct {
		o    Options
		want uintptr
		ok   bool
	}{
		{Options{}, dflt, true},
		{Options{ReadOnly: true}, dflt | unix.MS_RDONLY, true},
		{Options{Flags: []string{"suid", "dev", "noexec"}}, unix.MS_NOEXEC, true},
		{Options{Flags: []string{"noexec", "exec", "sync"}}, dflt | unix.MS_SYNCHRONOUS, true},
		{Options{Flags: []string{"rw"}, ReadOnly: true}, dflt | unix.MS_RDONLY, true},
		{Options{Flags: []string{"allow_other"}}, 0, false},
	} {
		if got, err := tt.o.flags(); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%+v: %#x, %v", tt.o, got, err)
		}
	}
	for o, want := range map[*Options]time.Duration{{}: timeoutDefault, {Timeout: -1}: 0, {Timeout: time.Second}: time.Second} {
		if got := o.timeout(); got != want {
			t.Errorf("timeout of %v: %v, want %v", o.Timeout, got, want)
		}
	}
}

// TestNodeID: the root is 1 whatever its inode number, no other inode is, and none 0.
func TestNodeID(t *testing.T) {
	for _, tt := range []struct{ root, ino, want uint64 }{
		{2, 2, 1}, {2, 1, 3}, {2, 0, 2}, {0, 0, 1}, {0, 1, 3}, {1, 1, 1}, {2, 12, 14},
		{2, math.MaxUint64, 0}, {2, math.MaxUint64 - 2, 0},
	} {
		if got := nodeID(tt.root, tt.ino); got != tt.want {
			t.Errorf("inode %d with root %d: %d, want %d", tt.ino, tt.root, got, tt.want)
		}
	}
}

// TestMetricsText: the text has what was counted, in the form that Prometheus reads.
func TestMetricsText(t *testing.T) {
	var s opStats
	s.done(opRead, time.Now(), 0)
	s.done(opRead, time.Now().Add(-time.Hour), int(syscall.EIO))
	s.done(opRead, time.Now(), int(syscall.EIO))
	s.read.Add(77)
	var b strings.Builder
	e := &exposition{w: &b}
	s.write(e)
	stats := vfs.Stats{Populates: 5, Dirty: 3, Pins: 2, CachedBytes: 4096}
	stats.Faults[9], stats.Fallbacks[4], stats.Accesses[1] = 7, 8, 9
	writeDAX(e, &stats, vfs.Statfs{Free: 99})
	if e.err != nil {
		t.Fatal(e.err)
	}
	for _, want := range []string{
		`godax_fuse_request_seconds_bucket{op="read",le="4"} 2`,
		`godax_fuse_request_seconds_bucket{op="read",le="+Inf"} 3`,
		`godax_fuse_request_seconds_count{op="read"} 3`,
		`godax_fuse_errors_total{op="read",errno="5",text="input/output error"} 2`,
		"godax_fuse_read_bytes_total 77", "godax_populate_calls_total 5", `godax_faults_total{order="9"} 7`,
		`godax_fallbacks_total{reason="F4"} 8`, `godax_fault_accesses_total{kind="store"} 9`,
		"godax_dirty_pages 3", "godax_pins 2", "godax_cached_bytes 4096", "godax_fs_free_blocks 99",
		"# TYPE godax_dirty_pages gauge", "# TYPE godax_fuse_request_seconds histogram",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("the text has no line %q", want)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if !strings.HasPrefix(line, "# ") && len(strings.Fields(line[strings.LastIndexByte(line, '}')+1:])) == 0 {
			t.Errorf("line without a value: %q", line)
		}
	}
	for o := range opKinds {
		if opNames[o] == "" {
			t.Errorf("request kind %d has no name", o)
		}
	}
}

// TestWriteInterrupted: what was written before the interrupt is not written again, which
// would show in appends; and one that makes no progress ends.
func TestWriteInterrupted(t *testing.T) {
	f := &fileSystem{}
	cancel := make(chan struct{})
	close(cancel)
	var got []string
	calls := 0
	n, st := f.writeAll(cancel, [][]byte{[]byte("abcdef"), []byte("gh")}, func(ctx context.Context, b []byte, done int64) (int, error) {
		calls++
		if calls == 1 {
			if ctx.Err() == nil {
				t.Error("the first try does not know of the interrupt")
			}
			got = append(got, fmt.Sprint(done, string(b[:2])))
			return 2, ctx.Err()
		}
		got = append(got, fmt.Sprint(done, string(b)))
		return len(b), nil
	})
	if want := []string{"0ab", "2cdef", "6gh"}; n != 8 || st != fuse.OK || !slices.Equal(got, want) {
		t.Errorf("%d, %v, writes %q, want %q", n, st, got, want)
	}
	n, st = f.writeAll(cancel, [][]byte{[]byte("x")}, func(ctx context.Context, _ []byte, _ int64) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if n != 0 || st != fuse.EINTR {
		t.Errorf("without progress: %d, %v", n, st)
	}
}

// TestForget: an inode stays known until it is forgotten as often as it was looked up, and is let
// go then.
func TestForget(t *testing.T) {
	dev, err := sim.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	m, err := vfs.NewMount(memfs.New(dev), vfs.Config{Idle: -1})
	if err != nil {
		t.Fatal(err)
	}
	f := newFileSystem(m, Options{})
	s := &Server{fs: f}
	if err := s.hold(); err != nil {
		t.Fatal(err)
	}
	root := &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}
	var out fuse.EntryOut
	if st := f.Mkdir(nil, &fuse.MkdirIn{InHeader: *root, Mode: 0o755}, "d", &out); st != fuse.OK {
		t.Fatal(st)
	}
	for range 2 {
		if st := f.Lookup(nil, root, "d", &out); st != fuse.OK {
			t.Fatal(st)
		}
	}
	known := func(want bool) {
		t.Helper()
		if got := f.nodes.get(out.NodeId) != nil; got != want {
			t.Errorf("known: %v", got)
		}
		want2 := 1 // the root
		if want {
			want2++
		}
		if n := m.Stats().Inodes; n != want2 || f.nodes.len() != want2 {
			t.Errorf("%d inodes in memory, %d known, want %d", n, f.nodes.len(), want2)
		}
	}
	f.Forget(out.NodeId, 2)
	known(true)
	f.Forget(out.NodeId, 1)
	known(false)
	f.Forget(out.NodeId, 1) // of what is not known
	f.Forget(fuse.FUSE_ROOT_ID+12345, 1)
	if err := errors.Join(s.letGo(), m.Close(context.Background())); err != nil {
		t.Error(err)
	}
}
