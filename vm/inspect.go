package vm

import "godax/pmem"

// Leaf is one translation of a view, as checkers see it.
type Leaf struct {
	Page  uint64 // first page of the file
	Order uint
	Kind  Kind
	PFN   pmem.PFN // for Frames, of the first page
	Write bool
	Dirty bool
}

// Inspector is a view whose translations can be listed, for checkers.
type Inspector interface {
	View

	// Translations returns all translations, ascending by page: one instant's truth.
	Translations() []Leaf
}
