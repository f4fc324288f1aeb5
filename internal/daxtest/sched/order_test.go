package sched

import (
	"testing"

	"godax/internal/hook"
)

func TestOrder(t *testing.T) {
	a, b := new(int), new(int)
	get := func(r hook.Rank, obj any, page uint64) { hook.Acquire(r, obj, page, false) }
	for name, tt := range map[string]struct {
		run  func()
		want []string // nothing means no violation
	}{
		"in order": {func() {
			get(hook.Inode, a, 0)
			get(hook.Inval, a, 0)
			get(hook.Entry, a, 3)
			get(hook.Index, a, 0)
			hook.Release(hook.Index, a, 0)
			hook.Release(hook.Inval, a, 0)
			hook.Release(hook.Entry, a, 3)
			hook.Release(hook.Inode, a, 0)
		}, nil},
		"against the order": {func() {
			get(hook.Entry, a, 3)
			get(hook.Inval, a, 0)
			hook.Release(hook.Inval, a, 0)
			hook.Release(hook.Entry, a, 3)
		}, []string{"waits for inval lock while it holds entry lock of page 3", "now:", "before:", "order_test.go"}},
		"same rank": {func() {
			get(hook.Inval, a, 0)
			get(hook.Inval, b, 0)
			hook.Release(hook.Inval, b, 0)
			hook.Release(hook.Inval, a, 0)
		}, []string{"waits for inval lock while it holds inval lock"}},
		"two entries, by trying": {func() {
			get(hook.Entry, a, 3)
			hook.Acquire(hook.Entry, a, 4, true)
			hook.Release(hook.Entry, a, 3)
			hook.Release(hook.Entry, a, 4)
		}, nil},
		"two entries, by waiting": {func() {
			get(hook.Entry, a, 3)
			get(hook.Entry, a, 4)
			hook.Release(hook.Entry, a, 3)
			hook.Release(hook.Entry, a, 4)
		}, []string{"waits for entry lock of page 4 while it holds entry lock of page 3"}},
		"not the owner": {func() {
			get(hook.Entry, a, 3)
			done := make(chan struct{})
			go func() { defer close(done); hook.Release(hook.Entry, a, 3) }()
			<-done
			hook.Release(hook.Entry, a, 3)
		}, []string{"a goroutine that holds none gives back entry lock of page 3, which it does not hold", "does; taken:"}},
		"never given back": {func() { get(hook.Writeback, a, 0) }, []string{"at the end goroutine", "holds writeback lock"}},
		"without a rank": {func() {
			get(hook.Index, a, 0)
			get(hook.NoRank, b, 0)
			hook.Release(hook.NoRank, b, 0)
			hook.Release(hook.Index, a, 0)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := failing(t, func(t testing.TB) { Record(t); tt.run() })
			if tt.want == nil && got != "" {
				t.Errorf("reported:\n%s", got)
			}
			contains(t, got, tt.want...)
		})
	}
	if left := goroutines.all(); len(left) != 0 {
		t.Errorf("%d goroutines are still known", len(left))
	}
}

// Of a place in the code each violation is reported once.
func TestOrderOnce(t *testing.T) {
	Enabled(t)
	r := &reporter{}
	reporting.Store(r)
	defer reporting.Store(nil)
	defer use()()
	for range 3 {
		hook.Acquire(hook.Entry, t, 0, false)
		hook.Acquire(hook.Inval, t, 0, false)
		hook.Release(hook.Inval, t, 0)
		hook.Release(hook.Entry, t, 0)
	}
	if got := r.take(); len(got) != 1 {
		t.Errorf("%d reports, want 1", len(got))
	}
}

func BenchmarkAcquire(b *testing.B) {
	Record(b)
	for b.Loop() {
		hook.Acquire(hook.Inval, b, 0, false)
		hook.Release(hook.Inval, b, 0)
	}
}
