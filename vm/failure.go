package vm

// FailureNotifier is a view that wants to know when frames it has mapped have gone bad.
type FailureNotifier interface {
	View

	// NotifyFailure takes the translations of the file pages [page, page+n) away, as Unmap
	// does, and tells whoever uses the view, with the address and the size of each
	// translation it had. Pages that are not mapped in the view are nobody's business. Called
	// with the lock of the pages' entry held.
	NotifyFailure(page, n uint64)
}
