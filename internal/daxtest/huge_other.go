//go:build !linux

package daxtest

import (
	"errors"
	"testing"
)

// HugeTmpfs skips the test.
func HugeTmpfs(t testing.TB, size int64) string {
	t.Skip("a tmpfs with huge pages: Linux only")
	return ""
}

// ReserveHugePages skips the test.
func ReserveHugePages(t testing.TB, size int64) { t.Skip("huge pages: Linux only") }

// HugeMapped is not possible.
func HugeMapped(b []byte) (int64, error) { return 0, errors.ErrUnsupported }
