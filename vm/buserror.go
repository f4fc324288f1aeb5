package vm

import "fmt"

// BusError is an access that raised SIGBUS: the page has no bytes to offer.
type BusError struct {
	Page uint64 // page of the file
	Err  error  // why, if known: a handler's error, or the fault as the runtime saw it
}

func (e *BusError) Error() string {
	return fmt.Sprintf("vm: bus error at page %d: %v", e.Page, e.Err)
}

// Unwrap returns the cause.
func (e *BusError) Unwrap() error { return e.Err }
