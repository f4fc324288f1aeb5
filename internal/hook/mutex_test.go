package hook_test

import (
	"slices"
	"testing"

	"godax/internal/hook"
)

func TestMutex(t *testing.T) {
	var m hook.Mutex
	m.SetRank(hook.PageTable)
	var got []string
	note := func(what string, r hook.Rank, obj any) {
		if obj == any(&m) {
			got = append(got, what+" "+r.String())
		}
	}
	defer hook.Set(hook.Set(&hook.Hooks{
		Want: func(r hook.Rank, obj any, _ uint64) { note("want", r, obj) },
		Acquire: func(r hook.Rank, obj any, _ uint64, try bool) {
			if try {
				note("try", r, obj)
			} else {
				note("lock", r, obj)
			}
		},
		Release: func(r hook.Rank, obj any, _ uint64) { note("unlock", r, obj) },
	}))
	m.Lock()
	if m.TryLock() {
		t.Error("TryLock of a lock that is held")
	}
	m.Unlock()
	if !m.TryLock() {
		t.Error("TryLock of a free lock fails")
	}
	m.Unlock()
	want := []string{"want page table", "lock page table", "unlock page table", "try page table", "unlock page table"}
	if !hook.Enabled {
		want = nil
	}
	if !slices.Equal(got, want) || hook.Active() != hook.Enabled {
		t.Errorf("got %q, want %q; active %t", got, want, hook.Active())
	}
}
