package dax

import "godax/vm"

// Fingerprint adds what operations on a mapping can see of each other, and what is not
// told by the locks they hold, to a hash: entries and marks, size, pins, and the
// translations of views.
func Fingerprint(m *Mapping, add func(...uint64)) {
	add(uint64(m.size.Load()), m.stats.Evicted.Load())
	m.views.Each(0, ToEnd, func(v vm.View) bool {
		page, n := v.Bounds()
		add(page, n)
		if in, ok := v.(vm.Inspector); ok {
			for _, t := range in.Translations() {
				add(t.Page, uint64(t.Order), uint64(t.Kind), t.PFN.Page(), bit(t.Write), bit(t.Dirty))
			}
		}
		return true
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	add(bit(m.dead), uint64(len(m.pins.list)), bit(m.pins.changed != nil))
	for _, p := range m.pins.list {
		add(p.page, p.n, bit(p.write))
	}
	for _, d := range m.devices {
		add(d.flushes, d.durable)
	}
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			return
		}
		w := word(val)
		add(first, uint64(order), uint64(w&^wPFN), w.pfn().Page(), bit(m.index.Marked(first, markDirty)), bit(m.index.Marked(first, markToWrite)))
		if next = first + pages(order); next == 0 {
			return
		}
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
