package rwsem_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"godax/internal/rwsem"
)

// held starts f and reports through the channel that it returned.
func held(f func() error) chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	return c
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l rwsem.RW
		if err := l.RLock(nil); err != nil {
			t.Fatal(err)
		}
		writer := held(func() error { return l.Lock(t.Context()) })
		synctest.Wait()
		reader := held(func() error { return l.RLock(t.Context()) })
		synctest.Wait()
		if len(writer)+len(reader) != 0 {
			t.Fatal("the writer, or the reader behind it, got the lock")
		}
		if l.TryRLock() || l.TryLock() {
			t.Fatal("somebody overtook the queue")
		}
		l.RUnlock()
		synctest.Wait()
		if len(writer) != 1 || len(reader) != 0 {
			t.Fatal("not the writer alone got the lock")
		}
		l.Unlock()
		synctest.Wait()
		if len(reader) != 1 {
			t.Fatal("the reader did not get the lock")
		}
		l.RUnlock()
		if l.Locked() || !l.TryLock() {
			t.Fatal("the lock is not free")
		}
		l.Unlock()
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l rwsem.RW
		if err := l.RLock(nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		writer := held(func() error { return l.Lock(ctx) })
		synctest.Wait()
		reader := held(func() error { return l.RLock(nil) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err := <-writer; !errors.Is(err, context.Canceled) {
			t.Fatalf("the writer: %v", err)
		}
		if len(reader) != 1 {
			t.Fatal("the reader still waits behind a writer that left")
		}
		l.RUnlock()
		l.RUnlock()
		if !l.TryLock() {
			t.Fatal("the lock is not free")
		}
		if err := l.RLock(rwsem.NoWait(nil)); !errors.Is(err, rwsem.ErrWouldBlock) {
			t.Errorf("no wait: %v", err)
		}
		l.Unlock()
		if err := l.RLock(rwsem.NoWait(nil)); err != nil {
			t.Errorf("no wait, free: %v", err)
		}
	})
}

func TestVersion(t *testing.T) {
	var l rwsem.RW
	v, ok := l.Version()
	if !ok || !l.Unchanged(v) {
		t.Fatal("a free lock has changed")
	}
	l.Lock(nil)
	if _, ok := l.Version(); ok || l.Unchanged(v) {
		t.Error("a writer is not noticed")
	}
	l.Unlock()
	if l.Unchanged(v) {
		t.Error("a writer that has left is not noticed")
	}
	v, _ = l.Version()
	l.RLock(nil)
	if !l.Unchanged(v) {
		t.Error("a reader counts as a change")
	}
	l.RUnlock()
}

func TestBadUnlock(t *testing.T) {
	for name, f := range map[string]func(l *rwsem.RW){
		"RUnlock": (*rwsem.RW).RUnlock, "Unlock": (*rwsem.RW).Unlock,
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a free lock does nothing", name)
				}
			}()
			f(new(rwsem.RW))
		}()
	}
}

// TestExclusion has writers count in a plain variable and readers look at it, with
// random cancellation, and runs with the race detector.
func TestExclusion(t *testing.T) {
	var l rwsem.RW
	var a, b int
	var wg sync.WaitGroup
	const workers, rounds = 8, 2000
	took := make([]int, workers)
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(w)))
			for range rounds {
				ctx, cancel := context.WithCancel(context.Background())
				if r.IntN(4) == 0 {
					go cancel()
				}
				if r.IntN(3) == 0 {
					if l.Lock(ctx) == nil {
						a++
						b++
						took[w]++
						l.Unlock()
					}
				} else if v, ok := l.Version(); l.RLock(ctx) == nil {
					if a != b {
						t.Errorf("%d and %d", a, b)
					}
					now, _ := l.Version()
					if same := l.Unchanged(v); same != (ok && now == v) {
						t.Errorf("version %d, now %d, unchanged %t", v, now, same)
					}
					l.RUnlock()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range took {
		sum += n
	}
	if a != sum || l.Locked() {
		t.Errorf("counted %d of %d, locked %t", a, sum, l.Locked())
	}
}

func BenchmarkUncontended(b *testing.B) {
	var l rwsem.RW
	var rw sync.RWMutex
	var n int
	for name, f := range map[string]func(){
		"RLock":   func() { l.RLock(nil); l.RUnlock() },
		"Lock":    func() { l.Lock(nil); l.Unlock() },
		"version": func() { v, _ := l.Version(); l.Unchanged(v) },
		"sync":    func() { rw.RLock(); n++; rw.RUnlock() },
		"syncW":   func() { rw.Lock(); n++; rw.Unlock() },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}
