package modeltest

import (
	"fmt"
	"hash/fnv"
	"runtime/debug"
	"time"

	"godax/dax"
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
