package modeltest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"godax"
	"godax/dax"
	"godax/fs/ext"
	"godax/pmem"
)

// config is everything that a run follows from.
type config struct {
	seed      uint64
	ops       int
	blockSize int
	inodeSize int
	carrier   string
	device    string // kind of memory: memoryDevice, tmpfsDevice or hugetlbDevice
	dir       string // of the image, on tmpfs
	size      int64  // bytes of the image
	mke2fs    bool   // made by mke2fs, not by Format
	full      bool   // no care is taken that there is room
	kernel    bool   // the kernel's driver runs beside
	far       int64  // bound of offsets in sparse files
	longest   int64  // bound of lengths
	longXattr int64  // bound of attributes
	check     int    // operations from one look at the whole image to the next
}

func (c config) String() string {
	s := fmt.Sprintf("-seed %d -ops %d -blocksize %d -inodesize %d -carrier %s -size %d", c.seed, c.ops, c.blockSize,
		c.inodeSize, c.carrier, c.size)
	if c.huge() {
		s += " -device " + c.device
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{c.mke2fs, " -mke2fs"}, {c.full, " -full"}, {c.kernel, " -kernel"}} {
		if f.on {
			s += f.name
		}
	}
	return s
}

// step is what an operation led to, for the comparison of two runs.
type step struct{ outcome, trace uint64 }

// result is what a run did.
type result struct {
	log     []op
	steps   []step
	kinds   [nkinds]int
	errors  map[string]int
	full    int // how often there was no space
	huge    hugeStats
	failure error
}

// startTime is the clock at the first operation; each takes a second.
const startTime = 1_700_000_000

// runner is a run on its way.
type runner struct {
	cfg   config
	m     *model
	dax   *daxSystem
	other system // the kernel's driver; nil without
	gen   *generator
	res   *result
	trace uint64
}

// run executes list, or if that is nil as many operations as cfg says.
func run(cfg config, list []op) *result {
	r := &runner{cfg: cfg, m: newModel(cfg.blockSize), res: &result{errors: map[string]int{}}}
	r.m.wholeUnits = cfg.device == hugetlbDevice
	r.gen = newGenerator(cfg, r.m)
	r.m.now = startTime
	if err := r.run(list); err != nil {
		r.res.failure = err
	}
	return r.res
}

func (r *runner) run(list []op) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	dev, err := newDevice(r.cfg)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := dev.Close(); err == nil {
			err = cerr
		}
	}()
	r.dax = &daxSystem{
		dev: dev, carrier: r.cfg.carrier, trace: r.traced,
		now: func() time.Time { return time.Unix(r.m.now, 0) },
	}
	if r.cfg.huge() {
		r.dax.huge = &r.res.huge
		r.dax.tracked = r.cfg.device == tmpfsDevice
		r.gen.free = func() int64 { return int64(r.dax.fs.Statfs().Free) * int64(r.cfg.blockSize) }
	}
	if r.cfg.kernel {
		if r.other, err = newKernelSystem(dev, r.cfg.blockSize); err != nil {
			return err
		}
		defer func() {
			if cerr := r.other.close(); err == nil {
				err = cerr
			}
		}()
	}
	if err := r.dax.open(); err != nil {
		return err
	}
	for _, o := range list {
		if err := r.step(o); err != nil {
			_ = r.dax.close()
			return err
		}
	}
	// Those that are not possible when their turn comes do not count.
	for i := 0; list == nil && len(r.res.log) < r.cfg.ops; i++ {
		o := r.gen.next()
		if i > 0 && i%r.cfg.check == 0 {
			o = op{Kind: opReopen}
		}
		if err := r.step(o); err != nil {
			_ = r.dax.close()
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	if err := r.step(op{Kind: opReopen}); err != nil {
		_ = r.dax.close()
		return fmt.Errorf("at the end: %w", err)
	}
	return r.dax.close()
}

// traced adds a PopulatePFNs call to the trace. Device numbers differ from run to run.
func (r *runner) traced(t dax.Trace) {
	h := fnv.New64a()
	fmt.Fprint(h, r.trace, t.Page, t.N, t.Order, t.Intent, class(t.Err))
	for _, e := range t.Answers {
		fmt.Fprint(h, " ", e.Page, e.N, e.Kind, e.Order)
		if e.Kind == dax.Direct {
			fmt.Fprint(h, e.PFN.Page())
		}
	}
	r.trace = h.Sum64()
}

// step executes one operation everywhere.
func (r *runner) step(o op) error {
	r.m.now++
	if r.m.skip(o) {
		return nil
	}
	o = r.m.prepare(o)
	r.res.log = append(r.res.log, o)
	r.res.kinds[o.Kind]++
	if o.Kind == opReopen {
		return r.reopen()
	}
	got := r.dax.do(o)
	r.res.errors[got.err]++
	if got.err == "ENOSPC" {
		r.res.full++
		r.gen.sawFull()
		if err := r.believable(o); err != nil {
			return err
		}
	}
	if err := r.unmappable(o, got); err != nil {
		return err
	}
	h := fnv.New64a()
	fmt.Fprint(h, got)
	r.res.steps = append(r.res.steps, step{h.Sum64(), r.trace})
	want := r.m.do(o, got)
	if err := compare(want, got, 0); err != nil {
		return fmt.Errorf("%v: %w", o, err)
	}
	if r.other == nil {
		return nil
	}
	switch {
	case want.err == "":
	case o.Kind == opClose, o.Kind == opPin:
		return nil // an open file with views can be closed there, and there are no pins
	case want.err == "EINVAL" && (o.Kind == opSeekData || o.Kind == opSeekHole):
		return nil // ENXIO there, and directories can be sought in
	}
	got = r.other.do(o)
	if got.err == errSkipped {
		return nil
	}
	if bothWrong(o, want.err, got.err) {
		got.err = want.err
	}
	if o.Kind == opSeekData || o.Kind == opSeekHole {
		want = r.m.do(o, got) // its own answer has to be plausible
	}
	if err := compare(want, got, 1); err != nil {
		return fmt.Errorf("%v: the kernel's driver: %w", o, err)
	}
	return nil
}

// bothWrong reports whether a call that is wrong in more than one way has got one of the
// errors it deserves from the kernel; which one comes first does not matter.
func bothWrong(o op, want, got string) bool {
	switch {
	case want == "" || got == "":
		return false
	case o.Kind == opRename && want == "ENAMETOOLONG":
		return got == "ENOENT" // of what is not there
	case o.Kind == opTruncate && o.N < 0:
		return got == "EINVAL"
	case o.Kind == opOpen && flags(o.Arg)&os.O_CREATE != 0 && strings.HasSuffix(o.Path, "/"):
		return got == "EISDIR" // before a link at the end of the path is followed
	}
	badCall := []string{"EBADF", "EINVAL", "EISDIR"}
	return slices.Contains(badCall, want) && slices.Contains(badCall, got)
}

// compare compares what the model and a system said; system is the index of its inode
// numbers.
func compare(want, got outcome, system int) error {
	if want.err != got.err || want.n != got.n || want.data != got.data {
		return fmt.Errorf("got %v, want %v%s", got, want, firstDifference(got.data, want.data))
	}
	if want.st == nil {
		return nil
	}
	w, g := *want.st, *got.st
	if want.node.ino[system] == 0 {
		want.node.ino[system] = g.ino
	}
	w.ino = want.node.ino[system]
	sameTime := func(want, got *int64) {
		// The kernel's clock is its own: the time is recent if it was not set to something.
		if *want == anyTime || system == 1 && *want >= startTime && *got >= startTime {
			*want = *got
		}
	}
	sameTime(&w.atime, &g.atime)
	sameTime(&w.mtime, &g.mtime)
	sameTime(&w.ctime, &g.ctime)
	if w != g {
		return fmt.Errorf("got %+v, want %+v", g, w)
	}
	return nil
}

func firstDifference(got, want string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf(" (first difference at %d: %#x, %#x)", i, got[i], want[i])
		}
	}
	return ""
}

// believable returns an error if there is room for an operation that said ENOSPC.
func (r *runner) believable(o op) error {
	st := r.dax.fs.Statfs()
	need := uint64(8 + 2*pageSize/r.cfg.blockSize)
	switch o.Kind {
	case opPwrite, opAppend, opAllocate, opMmap, opPin:
		need += uint64(o.N/int64(r.cfg.blockSize)) * 5 / 4
	case opSetXattr:
		n, e := r.m.resolve(o.Path, followSlash)
		if e == "" {
			total := o.N
			for name, v := range n.xattrs {
				total += int64(len(name) + 24 + len(v))
			}
			if total+200 > int64(r.cfg.blockSize) {
				return nil
			}
		}
	}
	if st.Free > need && st.FilesFree > 0 {
		return fmt.Errorf("%v: no space, with %d blocks and %d inodes free", o, st.Free, st.FilesFree)
	}
	return nil
}

// reopen closes the image, has it checked, opens it again and compares everything.
func (r *runner) reopen() error {
	if err := r.preen(); err != nil {
		return err
	}
	if err := r.compareAll(r.dax, 0); err != nil {
		return err
	}
	if err := r.dax.close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	for i, v := range r.m.views {
		if v != nil {
			r.m.unuse(v)
			r.m.views[i] = nil
		}
	}
	for i, v := range r.m.pins {
		if v != nil {
			r.m.unuse(v)
			v.h.n.pins--
			r.m.pins[i] = nil
		}
	}
	r.m.handles = [nhandles]*handle{}
	b, err := r.dax.dev.Bytes(0, r.dax.dev.Size())
	if err != nil {
		return err
	}
	if err := fsck(b, 0, "-fn"); err != nil {
		return err
	}
	if err := r.dax.open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	if r.other != nil {
		if got := r.other.do(op{Kind: opReopen}); got.err != "" {
			return fmt.Errorf("the kernel's driver: reopen: %v", got)
		}
		if err := r.compareAll(r.other, 1); err != nil {
			return fmt.Errorf("the kernel's driver: %w", err)
		}
	}
	return r.compareAll(r.dax, 0)
}

// preen checks the image as it would be after a kill now.
func (r *runner) preen() error {
	b, err := r.dax.dev.Bytes(0, r.dax.dev.Size())
	if err != nil {
		return err
	}
	return fsck(b, 1, "-fp")
}

// fsck runs e2fsck on a copy of the image; the largest exit code that is no error is given.
func fsck(image []byte, most int, flags string) error {
	e2fsck, err := findTool("e2fsck")
	if err != nil {
		return nil // TestModel has said so
	}
	path, err := writeSparse(image)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	out, err := exec.Command(e2fsck, flags, path).CombinedOutput()
	if ee, ok := errors.AsType[*exec.ExitError](err); err == nil || ok && ee.ExitCode() <= most && ee.Exited() {
		return nil
	}
	return fmt.Errorf("e2fsck %s: %w\n%.4000s", flags, err, out)
}

// findTool looks for a program where administrators' programs are, too.
func findTool(name string) (path string, err error) {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err = exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", err
}

// tempDir is a directory in memory, if there is one.
func tempDir() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// writeSparse writes bytes to a new file.
func writeSparse(b []byte) (string, error) {
	f, err := os.CreateTemp(tempDir(), "godax-model-*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	var zero [pageSize]byte
	for off := 0; off < len(b); {
		end := off
		for end < len(b) && string(b[end:min(end+pageSize, len(b))]) != string(zero[:min(pageSize, len(b)-end)]) {
			end = min(end+pageSize, len(b))
		}
		if end > off {
			if _, err := f.WriteAt(b[off:end], int64(off)); err != nil {
				return "", err
			}
		}
		off = end + pageSize
	}
	return f.Name(), f.Truncate(int64(len(b)))
}

// newDevice makes a device of the run's kind of memory with an empty file system.
func newDevice(cfg config) (pmem.Device, error) {
	dev, err := openMemory(cfg)
	if err != nil {
		return nil, err
	}
	if !cfg.mke2fs {
		err := ext.Format(dev, ext.FormatOptions{BlockSize: cfg.blockSize, InodeSize: cfg.inodeSize, UUID: "5ca1ab1e-0000-4000-8000-000000000001"})
		return dev, err
	}
	tool, err := findTool("mke2fs")
	if err != nil {
		return nil, err
	}
	path, err := writeSparse(make([]byte, cfg.size))
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	cmd := exec.CommandContext(context.Background(), tool, "-q", "-F", "-b", fmt.Sprint(cfg.blockSize), "-I", fmt.Sprint(cfg.inodeSize), path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	image, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	b, err := dev.Bytes(0, dev.Size())
	copy(b, image)
	return dev, err
}

// compareAll compares everything that has a name.
func (r *runner) compareAll(s system, index int) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("all of it: %w", err)
		}
	}()
	check := func(o op) {
		if err != nil {
			return
		}
		got := s.do(o)
		if got.err == errSkipped {
			return
		}
		if cerr := compare(r.m.doNode(o), got, index); cerr != nil {
			err = fmt.Errorf("%v: %w", o, cerr)
		}
	}
	inos := map[uint64]*node{}
	r.m.each(func(path string, n *node) {
		check(op{Kind: opLstat, Path: path})
		if first := inos[n.ino[index]]; err == nil && first != nil && first != n {
			err = fmt.Errorf("%s and %s have inode %d", path, r.m.pathOf(first), n.ino[index])
		}
		inos[n.ino[index]] = n
		check(op{Kind: opListXattr, Path: path})
		for name := range n.xattrs {
			check(op{Kind: opXattr, Path: path, Name: name})
		}
		switch {
		case n.isDir():
			check(op{Kind: opReadDir, Path: path})
		case n.isLink():
			check(op{Kind: opReadlink, Path: path})
		case n.isRegular() && err == nil:
			err = compareBytes(s, path, n)
		}
	})
	check(op{Kind: opReadDir, Path: "/"})
	return err
}

// reader is what compareBytes needs of an open file.
type reader interface {
	io.ReaderAt
	io.Seeker
	io.Closer
}

// compareBytes compares what is not in holes.
func compareBytes(s system, path string, n *node) (err error) {
	var f reader
	if d, ok := s.(*daxSystem); ok {
		f, err = d.fs.Open(path)
	} else {
		f, err = s.(interface{ open(string) (reader, error) }).open(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	seen := map[int64]bool{}
	for off := int64(0); off < n.size; {
		data, err := f.Seek(off, godax.SeekData)
		if class(err) == "ENXIO" {
			break
		} else if err != nil {
			return err
		}
		end, err := f.Seek(data, godax.SeekHole)
		if err != nil {
			return err
		}
		for at := data; at < end; {
			k := min(end-at, pageSize-at%pageSize)
			got, want := make([]byte, k), make([]byte, k)
			if _, err := f.ReadAt(got, at); err != nil {
				return fmt.Errorf("%s: read %d bytes at %d: %w", path, k, at, err)
			}
			n.read(want, at)
			if string(got) != string(want) {
				return fmt.Errorf("%s: bytes at %d of %d differ%s", path, at, n.size, firstDifference(string(got), string(want)))
			}
			if at%pageSize+k == pageSize || at+k == n.size {
				seen[at/pageSize] = true
			}
			at += k
		}
		off = end
	}
	for page, p := range n.pages {
		if seen[page] || *p == [pageSize]byte{} {
			continue
		}
		// In a hole in part.
		k := min(pageSize, n.size-page*pageSize)
		got := make([]byte, k)
		if _, err := f.ReadAt(got, page*pageSize); err != nil {
			return err
		}
		if string(got) != string(p[:k]) {
			return fmt.Errorf("%s: bytes of page %d differ%s", path, page, firstDifference(string(got), string(p[:k])))
		}
	}
	return nil
}

// shrink leaves out operations as long as the run still fails, until the time is up.
func shrink(cfg config, log []op, limit time.Duration) ([]op, error) {
	end := time.Now().Add(limit)
	again := run(cfg, log)
	if again.failure == nil {
		return log, errors.New("does not fail when replayed")
	}
	log, failure := again.log, again.failure
	what := log[len(log)-1].Kind
	for size := len(log) / 2; size > 0 && time.Now().Before(end); {
		smaller := false
		for at := 0; at < len(log) && time.Now().Before(end); {
			try := slices.Concat(log[:at], log[min(at+size, len(log)):])
			if len(try) == 0 {
				break
			}
			if res := run(cfg, try); res.failure != nil && len(res.log) > 0 && res.log[len(res.log)-1].Kind == what {
				log, failure, smaller = res.log, res.failure, true
			} else {
				at += size
			}
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return log, failure
}

// script is a list of operations as Go source.
func script(log []op) string {
	var b strings.Builder
	for _, o := range log {
		fmt.Fprintf(&b, "\t%v,\n", o)
	}
	return b.String()
}
