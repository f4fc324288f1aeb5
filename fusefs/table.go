package fusefs

import "sync"

// shards is how many locks a table has.
const shards = 64

// table maps numbers to pointers. Its locks are held for a moment only.
type table[T any] struct {
	shard [shards]struct {
		mu sync.RWMutex // guards m
		m  map[uint64]*T
	}
}

// get returns what key leads to, or nil.
func (t *table[T]) get(key uint64) *T {
	s := &t.shard[key%shards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[key]
}

// update sets what key leads to to f of what it leads to now. f runs with the lock held; nil is
// nothing.
func (t *table[T]) update(key uint64, f func(*T) *T) {
	s := &t.shard[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.m[key]
	v := f(old)
	switch {
	case v == nil && old != nil:
		delete(s.m, key)
	case v != nil && v != old:
		if s.m == nil {
			s.m = make(map[uint64]*T)
		}
		s.m[key] = v
	}
}

// take removes what key leads to and returns it.
func (t *table[T]) take(key uint64) (v *T) {
	t.update(key, func(old *T) *T {
		v = old
		return nil
	})
	return v
}

// takeAll empties the table.
func (t *table[T]) takeAll() (all []*T) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		for _, v := range s.m {
			all = append(all, v)
		}
		s.m = nil
		s.mu.Unlock()
	}
	return all
}

// len is the number of entries.
func (t *table[T]) len() (n int) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}
