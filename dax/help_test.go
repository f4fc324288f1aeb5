package dax_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

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

func fill(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32()) | 1
	}
	return b
}

func isErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
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

func load(t testing.TB, v *sim.View, off int64, n int) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xaa}, n)
	if err := v.Load(context.Background(), b, off); err != nil {
		t.Fatalf("load of %d bytes at %d: %v", n, off, err)
	}
	return b
}

func store(t testing.TB, v *sim.View, b []byte, off int64) {
	t.Helper()
	if err := v.Store(context.Background(), b, off); err != nil {
		t.Fatalf("store of %d bytes at %d: %v", len(b), off, err)
	}
}

func equal(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: byte %d of %d is %#x, want %#x", what, i, len(got), got[i], want[i])
		}
	}
	t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
}
