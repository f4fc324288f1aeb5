package dax_test

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"godax/internal/daxtest"
	"godax/internal/daxtest/sched"
	"godax/vm"
	"godax/vm/sim"
)

func newSpace() *sim.Space { return sim.New(sim.Config{PMDOrder: pmdOrder}) }

const (
	sharedRW = vm.Read | vm.Write | vm.Shared
	sharedRO = vm.Read | vm.Shared
	private  = vm.Read | vm.Write
)

// What tests of several packages have in common.
var (
	equal = daxtest.Equal
	isErr = daxtest.IsErr
	load  = daxtest.Load
	store = daxtest.Store
)

func fill(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32()) | 1
	}
	return b
}

// start runs f and gives its error.
func start(f func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(sched.Patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// within gives the error of an operation that has to end now.
func within(t testing.TB, what string, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(sched.Patience):
		t.Fatalf("%s hangs", what)
		return nil
	}
}

// hooked is a view that calls back before Install and Protect.
type hooked struct {
	*sim.View
	before  func() // before Install, with the entry lock held (HP5)
	protect func() // before Protect (HP11)
}

func (h *hooked) Install(t vm.Translation) error {
	if h.before != nil {
		h.before()
	}
	return h.View.Install(t)
}

func (h *hooked) Protect(page, n uint64) {
	if h.protect != nil {
		h.protect()
	}
	h.View.Protect(page, n)
}
