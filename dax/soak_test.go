package dax_test

import (
	"flag"
	"os"
	"strconv"
	"testing"
	"time"
)

var (
	flagSeed     = flag.Uint64("seed", 0, "the seed of random tests; 0 is one of the clock, which is logged")
	flagDuration = flag.Duration("duration", 0, "how long each random test runs; 0 is short")
)

// firstSeed is the seed of a random test: the flag, GODAX_SEED, or in a soak one that depends
// on the round; otherwise the clock's. It is logged, so that a failure can be repeated.
func firstSeed(t testing.TB) uint64 {
	seed := *flagSeed
	if n, err := strconv.ParseUint(os.Getenv("GODAX_SEED"), 10, 64); err == nil && seed == 0 {
		seed = n
	}
	if round, err := strconv.ParseUint(os.Getenv("GODAX_SOAK"), 10, 64); err == nil && seed == 0 {
		seed = 1000 * round
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return seed
}

// soaked is n, or many times as much in a soak.
func soaked(n int) int {
	if os.Getenv("GODAX_SOAK") != "" || *flagDuration > 0 {
		return 30 * n
	}
	return n
}

// length is how long a stress runs.
func length(short time.Duration) time.Duration {
	if *flagDuration > 0 {
		return *flagDuration
	}
	if os.Getenv("GODAX_SOAK") != "" {
		return 20 * short
	}
	return short
}
