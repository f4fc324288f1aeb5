//go:build !linux

package vm

import (
	"errors"
	"fmt"
)

// ProcessView is a view in this process. It exists on Linux only.
type ProcessView struct{}

var (
	_ Collector       = (*ProcessView)(nil)
	_ Prefaulter      = (*ProcessView)(nil)
	_ FailureNotifier = (*ProcessView)(nil)
)

var errNoProcess = fmt.Errorf("vm: mappings of this process: %w", errors.ErrUnsupported)

// NewView fails: it needs Linux. The error wraps [errors.ErrUnsupported].
func NewView(page, n uint64, flags Flags, o ViewOptions) (*ProcessView, error) {
	return nil, errNoProcess
}

// WriteTracking says that there is none.
func WriteTracking() string { return "none: " + errNoProcess.Error() }

// Bounds implements [View].
func (v *ProcessView) Bounds() (page, n uint64) { return 0, 0 }

// Flags implements [View].
func (v *ProcessView) Flags() Flags { return 0 }

// Congruent implements [View].
func (v *ProcessView) Congruent(page uint64, order uint) bool { return false }

// Install implements [View].
func (v *ProcessView) Install(Translation) error { return errNoProcess }

// Unmap implements [View].
func (v *ProcessView) Unmap(page, n uint64, copies bool) {}

// Protect implements [View].
func (v *ProcessView) Protect(page, n uint64) {}

// Collect implements [Collector].
func (v *ProcessView) Collect(page, n uint64, found func(page, n uint64)) error { return errNoProcess }

// TakeStale implements [Prefaulter].
func (v *ProcessView) TakeStale() (page, n uint64, ok bool) { return 0, 0, false }

// Complete implements [Prefaulter].
func (v *ProcessView) Complete() error { return errNoProcess }

// Bytes is nil.
func (v *ProcessView) Bytes() []byte { return nil }

// MmapCalls is 0.
func (v *ProcessView) MmapCalls() uint64 { return 0 }

// Close does nothing.
func (v *ProcessView) Close() error { return nil }

// NotifyFailure implements [FailureNotifier].
func (v *ProcessView) NotifyFailure(page, n uint64) {}

// Failures is nil.
func (v *ProcessView) Failures() []Failure { return nil }

func (v *ProcessView) cause(_ uint64, fault error) error { return fault }

func (v *ProcessView) pageAt(uintptr) (uint64, bool) { return 0, false }
