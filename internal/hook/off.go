//go:build !daxdebug && !race

package hook

import "sync"

// Enabled reports whether the hooks are compiled in.
const Enabled = false

// Active reports that no hooks are set.
func Active() bool { return false }

// Set does nothing.
func Set(*Hooks) *Hooks { return nil }

// At does nothing.
func At(Point, any, uint64) {}

// Want does nothing.
func Want(Rank, any, uint64) {}

// Acquire does nothing.
func Acquire(Rank, any, uint64, bool) {}

// Release does nothing.
func Release(Rank, any, uint64) {}

// Block does nothing.
func Block(_, _ <-chan struct{}) {}

// Mutex is a [sync.Mutex].
type Mutex struct{ sync.Mutex }

// SetRank does nothing.
func (m *Mutex) SetRank(Rank) {}
