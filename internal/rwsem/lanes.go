package rwsem

import (
	"context"

	"godax/internal/hook"
	"godax/internal/spread"
)

// Hold is a shared hold of [RW.RLockAt]: the count it is in, nil for the lock's state.
type Hold struct{ cell *spread.Cell }

// RLockAt is [RW.RLock] for work on a key, such as a page number; it is given back with [RW.RUnlockAt].
func (l *RW) RLockAt(ctx context.Context, key uint64) (Hold, error) {
	if hook.Enabled && MayWait(ctx) {
		hook.Want(l.rank, l, 0)
	}
	lanes := l.lanes.Load()
	if lanes == nil {
		s := l.state.Load()
		if s&(writer|waiters) == 0 && s&readers != readers && l.state.CompareAndSwap(s, s+reader) {
			hook.Acquire(l.rank, l, 0, true)
			if hook.Enabled {
				l.spread() // builds for tests do not wait for two to meet
			}
			return Hold{}, nil
		}
		if s&(writer|waiters) != 0 {
			return Hold{}, l.rlock(ctx)
		}
		lanes = l.spread()
	}
	// First the count, then the look at the state; a writer does it the other way round.
	cell := lanes.At(key)
	cell.N.Add(1)
	if l.state.Load()&(writer|waiters) != 0 {
		l.leave(cell)
		return Hold{}, l.rlock(ctx)
	}
	hook.Acquire(l.rank, l, 0, true)
	return Hold{cell}, nil
}

// spread gives the lock lanes.
func (l *RW) spread() *spread.Cells {
	l.lanes.CompareAndSwap(nil, new(spread.Cells))
	return l.lanes.Load()
}

// RUnlockAt gives a shared lock back.
func (l *RW) RUnlockAt(h Hold) {
	if h.cell == nil {
		l.RUnlock()
		return
	}
	hook.Release(l.rank, l, 0)
	l.leave(h.cell)
}

// leave takes one from a lane's count, and wakes the writer that waits for all of them.
func (l *RW) leave(cell *spread.Cell) {
	if cell.N.Add(-1) < 0 {
		panic("rwsem: RUnlockAt of a lock that is not held")
	}
	if l.state.Load()&writer == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drained != nil && l.lanesIdle() {
		close(l.drained)
		l.drained = nil
	}
}

// lanesIdle reports whether nobody holds the lock in a lane. With the state exclusive it stays so.
func (l *RW) lanesIdle() bool {
	lanes := l.lanes.Load()
	return lanes == nil || lanes.Idle()
}

// drain waits, with the state exclusive, until the lanes are idle. False if ctx said no.
func (l *RW) drain(ctx context.Context) bool {
	if !MayWait(ctx) {
		return false
	}
	ch := make(chan struct{})
	l.mu.Lock()
	idle := l.lanesIdle() // who leaves after this finds drained
	if !idle {
		l.drained = ch
	}
	l.mu.Unlock()
	if idle {
		return true
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	hook.Block(ch, done)
	select {
	case <-ch:
		return true
	case <-done:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drained == nil {
		return true // after all
	}
	l.drained = nil
	return false
}

// waitErr is why a wait with ctx failed.
func waitErr(ctx context.Context) error {
	if !MayWait(ctx) {
		return ErrWouldBlock
	}
	return ctx.Err()
}
