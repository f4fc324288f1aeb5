package vm

import "godax/pmem"

// Pinner keeps count of the pins that transfers take on a file's frames through a
// view's translations (Linux: the references of get_user_pages). A busy page must not
// be freed.
//
// A view registers the pin first, and then looks once more whether the translation is
// still there and allows the access; if not it drops the pin and starts over. For that
// to exclude everything, whoever takes frames away (or protects pages, to know what is
// written later) takes the translations away first and looks for pins afterwards.
type Pinner interface {
	// PinFrame registers a pin of the frame at the file's page; write: it will be stored
	// to, unseen by any page table. An error refuses the pin. It must not wait for
	// anything that a layout change holds.
	//
	// Locks: called with none of DAX; never with the page-table lock.
	PinFrame(page uint64, pfn pmem.PFN, write bool) error

	// UnpinFrame drops one that PinFrame registered with the same arguments.
	UnpinFrame(page uint64, pfn pmem.PFN, write bool)
}
