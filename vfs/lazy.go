package vfs

import "godax/dax"

// Lazy is the ability of a [File] that makes its index no sooner than Mapping asks for it, and can
// be read without. Who opens many small files and reads them once then makes none. The default
// is that opening the file makes it.
type Lazy interface {
	// Mapped is what Mapping returns, nil as long as that has not been asked.
	Mapped() *dax.Mapping
}

// openedIndex is the index of a regular file that was opened, nil if there is none.
func (n *Node) openedIndex() *dax.Mapping {
	if !n.opened.Load() {
		return nil
	}
	return n.index()
}

// index is the index of a regular file, nil if there is none yet.
func (n *Node) index() *dax.Mapping {
	if n.lazy != nil {
		return n.lazy.Mapped()
	}
	return n.file.Mapping()
}
