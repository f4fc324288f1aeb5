package fusefs

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"godax/vfs"
	"godax/vm"
)

// op is a kind of request.
type op uint8

const (
	opLookup op = iota
	opForget
	opGetAttr
	opStatx
	opSetAttr
	opReadlink
	opMknod
	opMkdir
	opUnlink
	opRmdir
	opRename
	opLink
	opSymlink
	opGetXAttr
	opListXAttr
	opSetXAttr
	opRemoveXAttr
	opCreate
	opTmpfile
	opOpen
	opRead
	opWrite
	opCopyFileRange
	opLseek
	opFsync
	opFsyncDir
	opFallocate
	opRelease
	opOpenDir
	opReadDir
	opReadDirPlus
	opStatFs
	opKinds
)

// opNames are the kinds as metrics name them.
var opNames = [opKinds]string{
	"lookup", "forget", "getattr", "statx", "setattr", "readlink", "mknod", "mkdir", "unlink", "rmdir", "rename",
	"link", "symlink", "getxattr", "listxattr", "setxattr", "removexattr", "create", "tmpfile", "open", "read", "write",
	"copy_file_range", "lseek", "fsync", "fsyncdir", "fallocate", "release", "opendir", "readdir", "readdirplus", "statfs",
}

// latencies are the upper bounds of the classes of durations.
var latencies = [...]time.Duration{
	4 * time.Microsecond, 16 * time.Microsecond, 64 * time.Microsecond, 256 * time.Microsecond,
	time.Millisecond, 4 * time.Millisecond, 16 * time.Millisecond, 64 * time.Millisecond,
	256 * time.Millisecond, time.Second, 4 * time.Second,
}

// opStats counts requests.
type opStats struct {
	kinds [opKinds]struct {
		class [len(latencies) + 1]atomic.Uint64 // the last is slower than all bounds
		nanos atomic.Uint64
	}
	read, written atomic.Uint64 // bytes
	errors        sync.Map      // of opError to *atomic.Uint64
}

// opError is an error number of a kind of request.
type opError struct {
	op    op
	errno syscall.Errno
}

// done counts a request that began at start and was answered with an error number, 0 for
// none.
func (s *opStats) done(o op, start time.Time, errno int) {
	d := time.Since(start)
	class := 0
	for class < len(latencies) && d > latencies[class] {
		class++
	}
	k := &s.kinds[o]
	k.class[class].Add(1)
	k.nanos.Add(uint64(d))
	if errno > 0 {
		n, ok := s.errors.Load(opError{o, syscall.Errno(errno)})
		if !ok {
			n, _ = s.errors.LoadOrStore(opError{o, syscall.Errno(errno)}, new(atomic.Uint64))
		}
		n.(*atomic.Uint64).Add(1)
	}
}

// exposition writes metrics in the text format of Prometheus (version 0.0.4).
type exposition struct {
	w   io.Writer
	err error
}

func (e *exposition) printf(format string, args ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, args...)
	}
}

// family begins a metric.
func (e *exposition) family(name, typ, help string) {
	e.printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, typ)
}

// one writes a metric without labels.
func (e *exposition) one(name, typ, help string, v uint64) {
	e.family(name, typ, help)
	e.printf("%s %d\n", name, v)
}

// write writes what was counted of requests.
func (s *opStats) write(e *exposition) {
	const name = "godax_fuse_request_seconds"
	e.family(name, "histogram", "Requests of the kernel by kind, and how long they took.")
	for o := range opKinds {
		k := &s.kinds[o]
		var n uint64
		for i, bound := range latencies {
			n += k.class[i].Load()
			e.printf("%s_bucket{op=%q,le=\"%g\"} %d\n", name, opNames[o], bound.Seconds(), n)
		}
		n += k.class[len(latencies)].Load()
		e.printf("%s_bucket{op=%q,le=\"+Inf\"} %d\n", name, opNames[o], n)
		e.printf("%s_sum{op=%q} %g\n%s_count{op=%q} %d\n", name, opNames[o], time.Duration(k.nanos.Load()).Seconds(), name, opNames[o], n)
	}
	e.family("godax_fuse_errors_total", "counter", "Requests that failed, by kind and error number.")
	var keys []opError
	s.errors.Range(func(k, _ any) bool {
		keys = append(keys, k.(opError))
		return true
	})
	slices.SortFunc(keys, func(a, b opError) int { return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.errno, b.errno)) })
	for _, k := range keys {
		n, _ := s.errors.Load(k)
		e.printf("godax_fuse_errors_total{op=%q,errno=\"%d\",text=%q} %d\n", opNames[k.op], int(k.errno), k.errno.Error(), n.(*atomic.Uint64).Load())
	}
	e.one("godax_fuse_read_bytes_total", "counter", "Bytes that read requests were answered with.", s.read.Load())
	e.one("godax_fuse_written_bytes_total", "counter", "Bytes of write requests that were written.", s.written.Load())
}

// accessNames are the kinds of accesses, by vm.Access.
var accessNames = [...]string{vm.Load: "load", vm.Store: "store", vm.MkWrite: "mkwrite"}

// writeDAX writes what DAX did for the mount.
func writeDAX(e *exposition, s *vfs.Stats, fs vfs.Statfs) {
	e.one("godax_populate_calls_total", "counter", "Questions to the file system for page frames.", s.Populates)
	e.family("godax_faults_total", "counter", "Faults of views that were served, by order of the page.")
	for order, n := range s.Faults {
		e.printf("godax_faults_total{order=\"%d\"} %d\n", order, n)
	}
	e.family("godax_fault_accesses_total", "counter", "Faults of views that were served, by kind of access.")
	for i, n := range s.Accesses {
		e.printf("godax_fault_accesses_total{kind=%q} %d\n", accessNames[i], n)
	}
	e.family("godax_fallbacks_total", "counter", "Huge faults that were served with small pages, by reason.")
	for i, n := range s.Fallbacks {
		if i > 0 {
			e.printf("godax_fallbacks_total{reason=\"F%d\"} %d\n", i, n)
		}
	}
	e.one("godax_collected_pages_total", "counter", "Pages found stored to through views.", s.Collected)
	e.one("godax_cleaned_pages_total", "counter", "Pages flushed by writeback.", s.Cleaned)
	e.one("godax_evicted_pages_total", "counter", "Cached pages given up.", s.Evicted)
	for _, g := range []struct {
		name, help string
		v          uint64
	}{
		{"godax_dirty_pages", "Pages that wait to be flushed.", s.Dirty},
		{"godax_pins", "Pins that are held.", uint64(s.Pins)},
		{"godax_views", "Views of files.", uint64(s.Views)},
		{"godax_cached_bytes", "Memory that holds copies of what cannot be mapped.", s.CachedBytes},
		{"godax_index_pages", "Pages that indexes know the frames of.", s.Pages},
		{"godax_index_entries", "Entries of indexes.", s.Entries},
		{"godax_inodes", "Inodes in memory.", uint64(s.Inodes)},
		{"godax_open_files", "Open files.", uint64(s.Handles)},
		{"godax_fs_blocks", "Blocks of the file system.", fs.Blocks},
		{"godax_fs_free_blocks", "Blocks that are free.", fs.Free},
		{"godax_fs_block_bytes", "Size of a block.", uint64(fs.BlockSize)},
		{"godax_fs_inodes", "Inodes of the file system.", fs.Files},
		{"godax_fs_free_inodes", "Inodes that are free.", fs.FilesFree},
	} {
		e.one(g.name, "gauge", g.help, g.v)
	}
}
