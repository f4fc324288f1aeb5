package famfs

import (
	"godax/vfs"
)

// followBatch is how many records are looked at under one lock.
const followBatch = 64

// Follow implements [vfs.Follower]: positions are numbers of entries.
func (f *FS) Follow(pos uint64, yield func(vfs.Change) bool) (uint64, error) {
	if err := f.refresh(); err != nil {
		return pos, err
	}
	for {
		f.mu.RLock()
		end := uint64(len(f.records))
		var batch []record
		if pos < end {
			batch = f.records[pos:min(pos+followBatch, end)] // records are only appended
		}
		f.mu.RUnlock()
		if len(batch) == 0 {
			return pos, nil
		}
		for _, r := range batch {
			pos++
			c := vfs.Change{Pos: pos, Note: r.note}
			if n := r.node; n != nil {
				var in inode
				in.init(f, n)
				c.Path, c.Attr = n.entry.Path, in.Attr()
				if n.broken != nil {
					c.Note = n.broken.Error()
				}
			}
			if !yield(c) {
				return pos, nil
			}
		}
	}
}
