package dax

// Sleepers is how many goroutines are asleep on entries.
func Sleepers(m *Mapping) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.waiters {
		n += len(q)
	}
	return n
}

// PinWaits reports whether a layout change is asleep until a pin is released.
func PinWaits(m *Mapping) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pins.changed != nil
}

// Dirty reports whether the entry at page exists, its order, and its mark.
func Dirty(m *Mapping, page uint64) (order uint, ok, dirty bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, order, ok = m.index.Load(page)
	return order, ok, ok && m.index.Marked(page, markDirty)
}

// Answered reports whether the entry at page serves the intent with no question asked.
func Answered(m *Mapping, page uint64, i Intent) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	val, _, ok := m.index.Load(page)
	return ok && word(val).answers(i)
}
