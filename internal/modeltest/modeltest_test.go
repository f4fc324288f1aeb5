package modeltest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"godax/internal/daxtest"
)

var (
	flagSeed      = flag.Uint64("seed", 0, "run this seed only; 0 runs a small choice")
	flagOps       = flag.Int("ops", 0, "operations of each run; 0 is a small number")
	flagDuration  = flag.Duration("duration", 0, "go on with further seeds so long")
	flagBlockSize = flag.Int("blocksize", 0, "block size, 0 is all")
	flagInodeSize = flag.Int("inodesize", 256, "inode size, with -blocksize")
	flagCarrier   = flag.String("carrier", "", "iomap or bh; empty is both, compared")
	flagSize      = flag.Int64("size", 0, "bytes of the image, with -blocksize")
	flagMke2fs    = flag.Bool("mke2fs", false, "image by mke2fs, with -blocksize")
	flagFull      = flag.Bool("full", false, "let the image get full, with -blocksize")
	flagKernel    = flag.Bool("kernel", false, "run the kernel's driver beside, with -blocksize")
	flagShrink    = flag.Duration("shrink", 30*time.Second, "how long to shorten a failing run")
	flagDevice    = flag.String("device", memoryDevice, "memory of the image, with -blocksize: memory, or tmpfs or hugetlb on huge pages")
	flagCheck     = flag.Int("check", 4000, "operations from one e2fsck to the next")
)

// errNoMount: the kernel's driver cannot be had here, without root for example.
var errNoMount = errors.New("the kernel's driver cannot be mounted")

// defaultOps is the length of a run in the ordinary tests.
const defaultOps = 3000

// ops is the length of a run: the flag, GODAX_OPS, 100,000 in a soak, or the default.
func ops() int {
	if *flagOps > 0 {
		return *flagOps
	}
	if n, err := strconv.Atoi(os.Getenv("GODAX_OPS")); err == nil && n > 0 {
		return n
	}
	if os.Getenv("GODAX_SOAK") != "" {
		return 100_000
	}
	if testing.Short() {
		return defaultOps / 10
	}
	return defaultOps
}

// firstSeed is the seed of the first run: the flag, GODAX_SEED, or in a soak one that
// depends on the round.
func firstSeed() uint64 {
	if *flagSeed > 0 {
		return *flagSeed
	}
	if n, err := strconv.ParseUint(os.Getenv("GODAX_SEED"), 10, 64); err == nil && n > 0 {
		return n
	}
	if round, err := strconv.ParseUint(os.Getenv("GODAX_SOAK"), 10, 64); err == nil {
		return 1000 * round
	}
	return 1
}

// complete fills in what follows from the rest.
func complete(cfg config) config {
	if cfg.carrier == "" {
		cfg.carrier = "iomap"
	}
	if cfg.inodeSize == 0 {
		cfg.inodeSize = 256
	}
	if cfg.check == 0 {
		cfg.check = *flagCheck
	}
	if cfg.device == "" {
		cfg.device = memoryDevice
	}
	if cfg.size == 0 {
		cfg.size = 64 << 20
		if cfg.huge() {
			cfg.size = 128 << 20
		}
		if cfg.full {
			cfg.size = int64(cfg.blockSize) * 3 << 10
		}
	}
	cfg.far, cfg.longest, cfg.longXattr = 8<<30, 1<<20, 4<<10
	if cfg.full {
		cfg.longest = cfg.size / 4
	}
	if cfg.kernel {
		cfg.longXattr = 80
	}
	return cfg
}

// configs are the runs of the ordinary test, or the one that the flags name.
func configs() []config {
	if *flagBlockSize > 0 {
		return []config{complete(config{
			blockSize: *flagBlockSize, inodeSize: *flagInodeSize, size: *flagSize, mke2fs: *flagMke2fs, full: *flagFull,
			kernel: *flagKernel, device: *flagDevice,
		})}
	}
	var list []config
	for _, bs := range []int{1024, 2048, 4096} {
		list = append(list,
			complete(config{blockSize: bs, full: true, inodeSize: 128, mke2fs: bs == 1024}),
			complete(config{blockSize: bs, full: true}),
			complete(config{blockSize: bs, mke2fs: bs == 4096}))
	}
	return list
}

// TestModel compares with the model, and the two carriers with each other.
func TestModel(t *testing.T) {
	daxtest.Tool(t, "e2fsck")
	seed, start := firstSeed(), time.Now()
	for again := true; again; again = time.Since(start) < *flagDuration {
		for _, cfg := range configs() {
			cfg.seed, cfg.ops = seed, ops()
			if *flagBlockSize == 0 {
				seed++
			}
			t.Run(fmt.Sprintf("%d/%d/full=%t", cfg.seed, cfg.blockSize, cfg.full), func(t *testing.T) { testConfig(t, cfg) })
		}
		if *flagBlockSize > 0 {
			seed++
		}
	}
}

// TestHuge is TestModel on memory of huge pages: large files, offsets and lengths around
// the edges of 2 MiB, and a look at what the kernel has mapped.
func TestHuge(t *testing.T) {
	daxtest.Tool(t, "e2fsck")
	for i, device := range []string{tmpfsDevice, hugetlbDevice} {
		t.Run(device, func(t *testing.T) {
			testConfig(t, complete(config{blockSize: pageSize, device: device, seed: firstSeed() + uint64(i), ops: ops()}))
		})
	}
}

// testConfig makes a run for each carrier.
func testConfig(t *testing.T, cfg config) {
	carriers := []string{"iomap", "bh"}
	if *flagCarrier != "" {
		carriers = []string{*flagCarrier}
	}
	reserve(t, &cfg)
	var first *result
	for _, carrier := range carriers {
		cfg.carrier = carrier
		start := time.Now()
		res := run(cfg, nil)
		if res.failure != nil {
			report(t, cfg, res)
			return
		}
		t.Logf("%v: %d operations, %d times no space, errors %v, %v%v", cfg, len(res.log), res.full, res.errors, time.Since(start).Round(time.Millisecond), res.huge)
		if cfg.huge() && len(res.log) >= defaultOps && res.huge.bytes == 0 {
			t.Errorf("%v: nothing was ever mapped in pages of 2 MiB", cfg)
		}
		if first == nil {
			first = res
			continue
		}
		compareSteps(t, cfg, first, res)
	}
}

// compareSteps compares the runs of two carriers.
func compareSteps(t *testing.T, cfg config, a, b *result) {
	t.Helper()
	for i := range min(len(a.steps), len(b.steps)) {
		x, y := a.steps[i], b.steps[i]
		switch {
		case x.outcome != y.outcome:
			t.Fatalf("%v: step %d differs between the carriers: %v", cfg, i, a.log[i])
		case cfg.blockSize == pageSize && x.trace != y.trace:
			t.Fatalf("%v: step %d populates differently with the carriers: %v", cfg, i, a.log[i])
		}
	}
	if len(a.steps) != len(b.steps) {
		t.Errorf("%v: %d steps with one carrier, %d with the other", cfg, len(a.steps), len(b.steps))
	}
}

// lastShown is how many operations a report shows that was not shortened.
const lastShown = 40

// report fails the test, with operations that replay the failure.
func report(t *testing.T, cfg config, res *result) {
	t.Helper()
	log := res.log[max(0, len(res.log)-lastShown):]
	t.Errorf("%v\nreplay: go test ./internal/modeltest -run Model %v\nlast of %d operations:\n%s", res.failure, cfg, len(res.log), script(log))
	if *flagShrink <= 0 {
		return
	}
	short, err := shrink(cfg, res.log, *flagShrink)
	if len(short) > 10*lastShown {
		t.Logf("shortened to %d operations only: %v", len(short), err)
		return
	}
	t.Logf("shortened to %d operations: %v\n%s", len(short), err, script(short))
}

// TestKernel runs the kernel's driver beside, as far as it can be mounted here.
func TestKernel(t *testing.T) {
	daxtest.Tool(t, "e2fsck")
	for i, bs := range []int{1024, 2048, 4096} {
		cfg := complete(config{blockSize: bs, kernel: true, seed: firstSeed() + uint64(i), ops: ops(), carrier: []string{"iomap", "bh"}[i%2]})
		t.Run(fmt.Sprintf("%d/%d", cfg.seed, bs), func(t *testing.T) {
			switch res := run(cfg, nil); {
			case errors.Is(res.failure, errNoMount):
				t.Skip(res.failure)
			case res.failure != nil:
				report(t, cfg, res)
			}
		})
	}
}
