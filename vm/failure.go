package vm

// FailureNotifier is a view whose process can be told that memory it has mapped went
// bad (Linux: memory_failure, SIGBUS with BUS_MCEERR_AO).
type FailureNotifier interface {
	View

	// NotifyFailure says that the frames of the file pages [page, page+n) are bad. The
	// view takes away every translation to one of them, whole (a huge one that is only
	// partly bad as well), and tells its process of each: a [Failure]. Pages that the
	// view has no translation of are not told of, and neither are private copies nor
	// zero pages, which lie elsewhere. The range may lie partly or wholly outside the
	// view.
	//
	// Locks: called with the entry lock held; takes the page-table lock. Calls nobody
	// back.
	NotifyFailure(page, n uint64)
}

// Failure is what a process is told about bad memory.
type Failure struct {
	Addr  uint64 // byte address of the first bad page
	Page  uint64 // its page of the file
	N     uint64 // bad pages, from Page on, in this translation
	Order uint   // of the translation that the view had: log2 of the pages lost to it
}

// NotifyFailure tells every view that maps bad pages of [page, page+n); see
// [FailureNotifier]. Views that are none lose their translations.
func (vs *Views) NotifyFailure(page, n uint64) {
	vs.Each(page, n, func(v View) bool {
		if f, ok := v.(FailureNotifier); ok {
			f.NotifyFailure(page, n)
		} else {
			v.Unmap(page, n, false)
		}
		return true
	})
}
