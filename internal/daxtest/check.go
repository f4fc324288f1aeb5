package daxtest

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// Equal fails the test at the first byte that is not as wanted.
func Equal(t testing.TB, what string, got, want []byte) {
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

// IsErr fails the test if the error is not the one wanted, which may be nil.
func IsErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// Memory is a view whose accesses return errors, as those of vm/sim do.
type Memory interface {
	Load(ctx context.Context, b []byte, off int64) error
	Store(ctx context.Context, b []byte, off int64) error
}

// Load returns the n bytes at off that the view shows.
func Load(t testing.TB, v Memory, off int64, n int) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xaa}, n)
	if err := v.Load(context.Background(), b, off); err != nil {
		t.Fatalf("load of %d bytes at %d: %v", n, off, err)
	}
	return b
}

// Store stores through the view.
func Store(t testing.TB, v Memory, b []byte, off int64) {
	t.Helper()
	if err := v.Store(context.Background(), b, off); err != nil {
		t.Fatalf("store of %d bytes at %d: %v", len(b), off, err)
	}
}
