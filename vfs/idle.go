package vfs

// idleList holds the inodes in memory that nobody refers to, oldest first. It is
// guarded by Mount.mu.
type idleList struct {
	head Node // the ring's anchor: head.next is the oldest
	n    int
}

func (l *idleList) init() { l.head.next, l.head.prev = &l.head, &l.head }

// push adds n as the newest.
func (l *idleList) push(n *Node) {
	n.prev, n.next = l.head.prev, &l.head
	n.prev.next, n.next.prev = n, n
	l.n++
}

// remove takes n off the list, if it is on it.
func (l *idleList) remove(n *Node) {
	if n.next == nil {
		return
	}
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
	l.n--
}

// takeOldest removes and returns the oldest; the list is not empty.
func (l *idleList) takeOldest() *Node {
	n := l.head.next
	l.remove(n)
	return n
}

// takeAll empties the list.
func (l *idleList) takeAll() []*Node {
	all := make([]*Node, 0, l.n)
	for l.n > 0 {
		all = append(all, l.takeOldest())
	}
	return all
}
