package vfs

import "slices"

// Watcher is a front end that keeps copies of what it has read, and wants to know when another
// front end of the same Mount changes it. Its methods are called with no lock held, after the
// change and before the call that made it returns. They may wait for calls of the Mount.
type Watcher interface {
	// NodeChanged: attributes of n have changed, and of a regular file the length bytes at
	// off; a negative length means up to the end, 0 none.
	NodeChanged(n *Node, off, length int64)

	// EntryChanged: name in dir leads elsewhere than before, or nowhere.
	EntryChanged(dir *Node, name string)
}

// Watch lets w know of changes until stop is called; calls that are running then may end later.
func (m *Mount) Watch(w Watcher) (stop func()) {
	m.watchMu.Lock()
	defer m.watchMu.Unlock()
	list := append(slices.Clone(m.watching()), w)
	m.watchers.Store(&list)
	return func() {
		m.watchMu.Lock()
		defer m.watchMu.Unlock()
		list := slices.Clone(m.watching())
		if i := slices.Index(list, w); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		m.watchers.Store(&list)
	}
}

func (m *Mount) watching() []Watcher {
	if list := m.watchers.Load(); list != nil {
		return *list
	}
	return nil
}

// TellNode tells watchers of a change that the caller made by other ways than theirs; see
// [Watcher]. The caller holds no lock.
func (m *Mount) TellNode(n *Node, off, length int64) {
	for _, w := range m.watching() {
		w.NodeChanged(n, off, length)
	}
}

// TellEntry is TellNode for a name in the directory dir, whose attributes have changed too.
func (m *Mount) TellEntry(dir *Node, name string) {
	for _, w := range m.watching() {
		w.EntryChanged(dir, name)
		w.NodeChanged(dir, 0, 0)
	}
}
