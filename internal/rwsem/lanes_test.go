package rwsem

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// rlockAt takes a spread lock shared, in a lane.
func rlockAt(t *testing.T, l *RW, key uint64) Hold {
	t.Helper()
	l.spread()
	h, err := l.RLockAt(nil, key)
	if err != nil || h.cell == nil {
		t.Fatalf("hold %v, %v", h, err)
	}
	return h
}

// A writer waits for the holders in all lanes, and overtakes those who come after it.
func TestLanesDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l RW
		a, b := rlockAt(t, &l, 0), rlockAt(t, &l, 1<<20)
		if l.TryLock() {
			t.Fatal("TryLock beside holders in lanes")
		}
		if err := l.Lock(NoWait(nil)); err != ErrWouldBlock {
			t.Fatalf("a writer that may not wait: %v", err)
		}
		if l.Locked() {
			t.Fatal("the writers that failed are still there")
		}
		writer := make(chan error, 1)
		go func() { writer <- l.Lock(nil) }()
		synctest.Wait()
		reader := make(chan Hold, 1)
		go func() {
			h, err := l.RLockAt(nil, 0)
			if err != nil {
				t.Error(err)
			}
			reader <- h
		}()
		synctest.Wait()
		l.RUnlockAt(a)
		synctest.Wait()
		if len(writer)+len(reader) != 0 {
			t.Fatal("not all lanes are idle, and somebody has the lock")
		}
		if _, ok := l.Version(); ok {
			t.Fatal("a section without the lock begins beside a writer")
		}
		l.RUnlockAt(b)
		synctest.Wait()
		if len(writer) != 1 || len(reader) != 0 {
			t.Fatal("not the writer alone has the lock")
		}
		l.Unlock()
		l.RUnlockAt(<-reader)
		if !l.TryLock() {
			t.Fatal("the lock is not free")
		}
		l.Unlock()
	})
}

// A writer whose wait for the lanes ends leaves the lock to those behind it.
func TestLanesCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l RW
		a := rlockAt(t, &l, 7)
		ctx, cancel := context.WithCancel(t.Context())
		writer := make(chan error, 1)
		go func() { writer <- l.Lock(ctx) }()
		synctest.Wait()
		behind := make(chan Hold, 1)
		go func() {
			h, err := l.RLockAt(nil, 7)
			if err != nil {
				t.Error(err)
			}
			behind <- h
		}()
		synctest.Wait()
		cancel()
		if err := <-writer; !errors.Is(err, context.Canceled) {
			t.Fatalf("the writer got %v", err)
		}
		l.RUnlockAt(<-behind)
		l.RUnlockAt(a)
		if !l.TryLock() {
			t.Fatal("the lock is not free")
		}
		l.Unlock()
	})
}

// Holders in lanes and in the state, and writers, exclude each other as they should.
func TestLanesExclude(t *testing.T) {
	var l RW
	var a, b int // equal, but for a writer
	var wg sync.WaitGroup
	const rounds = 3000
	for id := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(rounds) {
				h, err := l.RLockAt(nil, id<<30+i<<6)
				if err != nil || a != b {
					t.Errorf("%d and %d, %v", a, b, err)
				}
				l.RUnlockAt(h)
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			_ = l.RLock(nil)
			if a != b {
				t.Errorf("%d and %d", a, b)
			}
			l.RUnlock()
		}
	})
	for range 2 {
		wg.Go(func() {
			for range rounds {
				_ = l.Lock(nil)
				a++
				b++
				l.Unlock()
			}
		})
	}
	wg.Wait()
	if a != 2*rounds {
		t.Errorf("%d changes, want %d", a, 2*rounds)
	}
}

// Taking the lock shared does not allocate.
func TestLanesAllocs(t *testing.T) {
	var l RW
	for range 2 {
		if n := testing.AllocsPerRun(100, func() {
			h, _ := l.RLockAt(nil, 5)
			l.RUnlockAt(h)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
		l.spread()
	}
}
