package dax

import (
	"fmt"
	"testing"
)

// tag puts count entries of an order side by side from page on, and tags them.
func (m *Mapping) tag(page uint64, order uint, count int) {
	for range count {
		m.put(page, order, word(1<<36|1<<10|page)|wMapped|wWrite)
		m.mu.Lock()
		m.index.SetMark(page, markToWrite)
		m.mu.Unlock()
		page += pages(order)
	}
}

// take is the entries that takeTagged takes, as "page/order", unlocked again.
func (m *Mapping) take(t *testing.T, next, last uint64) (got []string) {
	t.Helper()
	var b batch
	if err := m.takeTagged(nil, next, last, &b); err != nil {
		t.Error(err)
	}
	for _, e := range b.taken() {
		if _, w, ok := m.has(e.page); !ok || !w.is(wLocked) {
			t.Errorf("page %d is not locked", e.page)
		}
		if m.index.Marked(e.page, markToWrite) {
			t.Errorf("page %d still has its tag", e.page)
		}
		m.ungrab(e.slot)
		got = append(got, fmt.Sprintf("%d/%d", e.page, e.order))
	}
	return got
}

// TestBatch: what a writeback locks at once is a bounded number of small entries or one large, and
// ends before the first entry that somebody has locked: that is waited for when nothing is held.
//
// Guards L8, L9, T28.
func TestBatch(t *testing.T) {
	watched(t)
	m := newSlots()
	m.tag(0, 0, 2*batchEntries)
	wide := uint64(2 * batchEntries)
	m.tag(wide, smallPMD, 2)
	last := wide + 2*pages(smallPMD) - 1
	if got := m.take(t, 1, last); len(got) != batchEntries || got[0] != "1/0" {
		t.Errorf("took %v", got)
	}
	if got := m.take(t, batchEntries+1, last); len(got) != batchEntries-1 {
		t.Errorf("took %v, want what is left of the small ones", got)
	}
	for i := range uint64(2) {
		first := wide + i*pages(smallPMD)
		if got := m.take(t, first, last); fmt.Sprint(got) != fmt.Sprintf("[%d/%d]", first, smallPMD) {
			t.Errorf("took %v, want a large one by itself", got)
		}
	}
	if got := m.take(t, 1, last); len(got) != 0 {
		t.Errorf("took %v, and nothing was left", got)
	}
	quiet(t, m)

	m = newSlots()
	m.tag(4, 0, 4)
	six := mustGrab(t, m, 6, 0)
	done := make(chan []string)
	go func() { done <- m.take(t, 0, 10) }()
	if got := <-done; fmt.Sprint(got) != "[4/0 5/0]" {
		t.Errorf("took %v with page 6 locked", got)
	}
	go func() { done <- m.take(t, 6, 10) }()
	m.asleep(t, 1)
	if _, w, ok := m.has(7); !ok || w.is(wLocked) {
		t.Error("page 7 is locked by one who sleeps")
	}
	m.ungrab(six)
	if got := <-done; fmt.Sprint(got) != "[6/0 7/0]" {
		t.Errorf("took %v after the wait", got)
	}
	quiet(t, m)
}
