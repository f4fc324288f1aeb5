package dax

import (
	"context"

	"godax/internal/hook"
	"godax/internal/rwsem"
)

// NoWait returns a context with which no call of this package sleeps: where it would
// have to, it fails with [ErrWouldBlock] (Linux: IOCB_NOWAIT). ctx may be nil.
//
// Some changes are refused although they might not have had to wait: with a view attached
// that has no demand faults, because it has to be filled again, which can take long;
// removal of dirty pages, which a writeback may be flushing; and writes that extend the file,
// because one that fails in its middle takes back what it did not get to.
func NoWait(ctx context.Context) context.Context { return rwsem.NoWait(ctx) }

// mayWait reports whether ctx, which may be nil, allows sleeping.
func mayWait(ctx context.Context) bool { return rwsem.MayWait(ctx) }

// lockErr is the error of a lock that was not taken.
func lockErr(err error) error {
	if err == rwsem.ErrWouldBlock {
		return ErrWouldBlock
	}
	return err
}

// waiter is one goroutine asleep on an entry. Its channel is closed by the wake.
type waiter struct {
	wake      chan struct{}
	exclusive bool // means to lock the entry: wakes go to one of these at a time
}

// waitLocked sleeps until the entry that starts at page key is unlocked, removed
// or changed. mu is held at the call and again at the return; everything looked up
// before is stale then (L8). An exclusive waiter that returns nil must lock the
// entry or hand the wake on with handOnLocked (L5). It does not sleep if the entry has been
// unlocked without mu.
func (m *Mapping) waitLocked(ctx context.Context, key uint64, exclusive bool) error {
	if !mayWait(ctx) {
		return ErrWouldBlock
	}
	if !m.askWakeLocked(key) {
		return nil
	}
	w := &waiter{wake: make(chan struct{}), exclusive: exclusive}
	m.waiters[key] = append(m.waiters[key], w)
	m.mu.Unlock()

	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	hook.At(hook.WaiterQueued, m, key)
	hook.Want(hook.Entry, m, key) // also who does not lock it then waits for its holder
	hook.Block(w.wake, done)
	var err error
	select {
	case <-w.wake:
	case <-done:
		err = ctx.Err()
	}

	m.mu.Lock()
	if err != nil && !m.dropWaiterLocked(key, w) && exclusive {
		m.wakeOneLocked(key) // the wake came too late to be used
	}
	return err
}

// dropWaiterLocked takes w off the queue; false if it was woken already.
func (m *Mapping) dropWaiterLocked(key uint64, w *waiter) bool {
	queue := m.waiters[key]
	for i := range queue {
		if queue[i] == w {
			m.setQueueLocked(key, append(queue[:i:i], queue[i+1:]...))
			return true
		}
	}
	return false
}

func (m *Mapping) setQueueLocked(key uint64, queue []*waiter) {
	if len(queue) == 0 {
		delete(m.waiters, key)
		return
	}
	m.waiters[key] = queue
}

// wakeOneLocked wakes the waiters of key up to and including the first exclusive
// one (L5, L7).
func (m *Mapping) wakeOneLocked(key uint64) {
	queue := m.waiters[key]
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		close(w.wake)
		if w.exclusive {
			break
		}
	}
	if queue != nil {
		m.setQueueLocked(key, queue)
	}
}

// wakeAllLocked wakes every waiter of key: the entry is gone, or is another one
// now (L6).
func (m *Mapping) wakeAllLocked(key uint64) {
	for _, w := range m.waiters[key] {
		close(w.wake)
	}
	delete(m.waiters, key)
}
