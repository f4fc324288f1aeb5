//go:build daxdebug || race

package hook

import (
	"sync"
	"sync/atomic"
)

// Enabled reports whether the hooks are compiled in.
const Enabled = true

var current atomic.Pointer[Hooks]

// Set makes h the hooks of the process, nil none, and returns what was set before.
func Set(h *Hooks) *Hooks { return current.Swap(h) }

// Active reports whether hooks are set.
func Active() bool { return current.Load() != nil }

// At says that the goroutine is at a point.
func At(p Point, obj any, page uint64) {
	if h := current.Load(); h != nil && h.At != nil {
		h.At(p, obj, page)
	}
}

// Want says that the goroutine is about to take a lock.
func Want(r Rank, obj any, page uint64) {
	if h := current.Load(); h != nil && h.Want != nil {
		h.Want(r, obj, page)
	}
}

// Acquire says that the goroutine has taken a lock.
func Acquire(r Rank, obj any, page uint64, try bool) {
	if h := current.Load(); h != nil && h.Acquire != nil {
		h.Acquire(r, obj, page, try)
	}
}

// Release says that the goroutine gives a lock back.
func Release(r Rank, obj any, page uint64) {
	if h := current.Load(); h != nil && h.Release != nil {
		h.Release(r, obj, page)
	}
}

// Block says that the goroutine is about to sleep on the channels.
func Block(ready, done <-chan struct{}) {
	if h := current.Load(); h != nil && h.Block != nil {
		h.Block(ready, done)
	}
}

// Mutex is a mutex that reports its holders: to Want and Acquire with page 0 and itself
// as obj. That it sleeps it does not report.
// The zero value is free and has no rank. It must not be copied.
type Mutex struct {
	mu   sync.Mutex
	rank Rank
}

// SetRank says where the lock stands in the lock order. Before the first use.
func (m *Mutex) SetRank(r Rank) { m.rank = r }

// Lock takes the lock.
func (m *Mutex) Lock() {
	Want(m.rank, m, 0)
	m.mu.Lock()
	Acquire(m.rank, m, 0, false)
}

// TryLock takes the lock if it is free.
func (m *Mutex) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	Acquire(m.rank, m, 0, true)
	return true
}

// Unlock gives the lock back.
func (m *Mutex) Unlock() {
	Release(m.rank, m, 0)
	m.mu.Unlock()
}
