package fusefs

import (
	"time"

	"godax/vfs"
)

var _ vfs.Watcher = (*fileSystem)(nil)

// NodeChanged implements [vfs.Watcher]: the kernel drops what it has of the inode.
func (f *fileSystem) NodeChanged(n *vfs.Node, off, length int64) {
	k := f.nodes.get(f.nodeID(n.Ino()))
	if k == nil || f.server == nil {
		return
	}
	switch {
	case length == 0 && n.IsDir():
		off = 0 // its listing is bytes to the kernel
	case length == 0:
		off = -1 // attributes only
	case length < 0:
		length = 0 // to the end
	}
	f.server.InodeNotify(k.id, off, length) // ENOENT: the kernel knows it no more
}

// EntryChanged implements [vfs.Watcher]: the kernel drops the name, whether it knows that
// something is there or that nothing is.
func (f *fileSystem) EntryChanged(dir *vfs.Node, name string) {
	if k := f.nodes.get(f.nodeID(dir.Ino())); k != nil && f.server != nil {
		f.server.EntryNotify(k.id, name)
	}
}

// held prepares an answer about a file that this process may store to unseen, through a view or
// a pin, and reports whether it is one. Then the kernel may not keep the attributes, so it
// asks again at every read(2), and as the time of modification is another one with each
// answer, it drops the bytes that it has.
func (f *fileSystem) held(n *vfs.Node, a *vfs.Attr) bool {
	if f.o.Cache != CacheShared || n.File() == nil || !n.Held() {
		return false
	}
	now := time.Now().UnixNano()
	for {
		last := f.lastTime.Load()
		now = max(now, last+1)
		if f.lastTime.CompareAndSwap(last, now) {
			a.Mtime = time.Unix(0, now)
			return true
		}
	}
}
