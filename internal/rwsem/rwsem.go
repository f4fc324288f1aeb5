// Package rwsem is a reader-writer lock whose waits a context can end, and which a
// reader can do without when nobody writes (Linux: struct rw_semaphore, with a
// sequence count).
//
// Waiters are served in their order, so that neither side starves; the lock is
// handed to them, so none wakes for nothing. They sleep on a channel.
//
// Holders who name what they hold it for ([RW.RLockAt]) are counted apart from each other once they have met, so
// that shared holds on many cores do not take a cache line from each other. Whoever takes such a lock exclusively looks at
// all counts.
package rwsem

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"godax/internal/hook"
	"godax/internal/spread"
)

// ErrWouldBlock: the lock is taken, and the context said not to wait ([NoWait]).
var ErrWouldBlock = errors.New("rwsem: would block")

// The state is one word: who holds the lock, and in the bits from version on how many
// times it was held exclusively.
const (
	writer  = 1 << 0 // held exclusively
	waiters = 1 << 1 // the queue is not empty: nobody overtakes it
	reader  = 1 << 2 // one shared holder
	readers = version - reader
	version = 1 << 24
)

// RW is the lock. The zero value is free. It must not be copied.
//
// Locks: mu guards the queue and drained, and the state's bit waiters changes under it only.
type RW struct {
	state atomic.Uint64
	lanes atomic.Pointer[spread.Cells] // shared holders that are not in state; nil before any met
	rank  hook.Rank

	mu      sync.Mutex
	queue   []*waiter
	drained chan struct{} // closed when the lanes are idle, for the one writer; nil if it does not sleep
}

// waiter is a goroutine asleep. Its channel is closed when it has been given the lock.
type waiter struct {
	write bool
	ch    chan struct{}
}

// SetRank says where the lock stands in the lock order, for the checks of debug builds.
// Before the first use.
func (l *RW) SetRank(r hook.Rank) { l.rank = r }

type noWait struct{ context.Context }

// noWaitKey is the key under which a context says that nobody may wait with it.
type noWaitKey struct{}

func (c noWait) Value(key any) any {
	if key == (noWaitKey{}) {
		return true
	}
	return c.Context.Value(key)
}

// NoWait returns a context whose waits fail at once with [ErrWouldBlock].
func NoWait(ctx context.Context) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	return noWait{ctx}
}

// MayWait reports whether waits with the context are allowed. ctx may be nil.
func MayWait(ctx context.Context) bool {
	return ctx == nil || ctx.Value(noWaitKey{}) == nil
}

// RLock takes the lock shared. It fails only if it would have to wait and ctx says no:
// the context's error, or ErrWouldBlock. ctx may be nil: then it never fails.
func (l *RW) RLock(ctx context.Context) error {
	if hook.Enabled && MayWait(ctx) {
		hook.Want(l.rank, l, 0)
	}
	return l.rlock(ctx)
}

func (l *RW) rlock(ctx context.Context) error {
	if !l.TryRLock() {
		if err := l.wait(ctx, false); err != nil {
			return err
		}
		hook.Acquire(l.rank, l, 0, false)
	}
	return nil
}

// Lock takes the lock exclusively; see [RW.RLock].
func (l *RW) Lock(ctx context.Context) error {
	if hook.Enabled && MayWait(ctx) {
		hook.Want(l.rank, l, 0)
	}
	try := l.tryState()
	if !try {
		if err := l.wait(ctx, true); err != nil {
			return err
		}
	}
	if !l.lanesIdle() {
		if try = false; !l.drain(ctx) {
			l.release()
			return waitErr(ctx)
		}
	}
	hook.Acquire(l.rank, l, 0, try)
	return nil
}

// TryRLock takes the lock shared if nobody holds it exclusively or waits for it.
func (l *RW) TryRLock() bool {
	for {
		s := l.state.Load()
		if s&(writer|waiters) != 0 || s&readers == readers {
			return false
		}
		if l.state.CompareAndSwap(s, s+reader) {
			hook.Acquire(l.rank, l, 0, true)
			return true
		}
	}
}

// TryLock takes the lock exclusively if it is free.
func (l *RW) TryLock() bool {
	if !l.tryState() {
		return false
	}
	if !l.lanesIdle() {
		l.release()
		return false
	}
	hook.Acquire(l.rank, l, 0, true)
	return true
}

// tryState makes the state exclusive if it is free: then there are no new shared holders.
func (l *RW) tryState() bool {
	s := l.state.Load()
	return s&(version-1) == 0 && l.state.CompareAndSwap(s, s|writer)
}

// RUnlock gives a shared lock back.
func (l *RW) RUnlock() {
	hook.Release(l.rank, l, 0)
	s := l.state.Add(^uint64(reader - 1))
	if s&readers == readers {
		panic("rwsem: RUnlock of a lock that is not held")
	}
	if s&waiters != 0 && s&readers == 0 {
		l.handOn()
	}
}

// Unlock gives an exclusive lock back.
func (l *RW) Unlock() {
	if l.state.Load()&writer == 0 {
		panic("rwsem: Unlock of a lock that is not held")
	}
	hook.Release(l.rank, l, 0)
	l.release()
}

func (l *RW) release() {
	if l.state.Add(version-writer)&waiters != 0 {
		l.handOn()
	}
}

// Locked reports whether the lock is held exclusively, or somebody waits for it.
func (l *RW) Locked() bool { return l.state.Load()&(writer|waiters) != 0 }

// Version begins a section that reads without the lock. ok is false while the lock is
// held exclusively.
func (l *RW) Version() (v uint64, ok bool) {
	s := l.state.Load()
	return s / version, s&writer == 0
}

// Unchanged ends the section: it reports whether the lock was not held exclusively at any
// time since Version returned v. If it was, what was read may be anything.
func (l *RW) Unchanged(v uint64) bool {
	s := l.state.Load()
	return s/version == v && s&writer == 0
}

// wait queues and sleeps until the lock is handed over.
func (l *RW) wait(ctx context.Context, write bool) error {
	if !MayWait(ctx) {
		return ErrWouldBlock
	}
	w := &waiter{write: write, ch: make(chan struct{})}
	l.mu.Lock()
	l.queue = append(l.queue, w)
	l.state.Or(waiters)
	l.grantLocked() // it may have been given back before the bit was set
	l.mu.Unlock()

	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	hook.Block(w.ch, done)
	select {
	case <-w.ch:
	case <-done:
		if l.giveUp(w) {
			return ctx.Err()
		}
	}
	return nil
}

// giveUp takes w off the queue; false if it has the lock already.
func (l *RW) giveUp(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, w)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	l.grantLocked() // those behind a writer that left may be able to go on
	return true
}

func (l *RW) handOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grantLocked()
}

// grantLocked gives the lock to as many as can have it, from the head of the queue on.
// While the bit waiters is set nobody else takes it, but holders may give it back.
func (l *RW) grantLocked() {
	for len(l.queue) > 0 {
		w := l.queue[0]
		s := l.state.Load()
		switch {
		case s&writer != 0, w.write && s&readers != 0:
			return
		case w.write && !l.state.CompareAndSwap(s, s|writer), !w.write && !l.state.CompareAndSwap(s, s+reader):
			continue
		}
		l.queue = l.queue[1:]
		close(w.ch)
	}
	l.queue = nil
	l.state.And(^uint64(waiters))
}
