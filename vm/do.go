package vm

import (
	"runtime"
	"runtime/debug"
)

// Do runs f, which accesses the view's bytes in the calling goroutine (not in
// others that it starts), and turns a memory fault at an address in the view
// (SIGBUS past the end or on a bad page, SIGSEGV for a store that is not allowed)
// into a [*BusError], which is [pmem.ErrPoisoned] if NotifyFailure told of the page. What f did before the fault stays done. Every other panic
// goes on.
func (v *ProcessView) Do(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface {
			runtime.Error
			Addr() uintptr
		})
		if ok {
			if page, inside := v.pageAt(fault.Addr()); inside {
				err = &BusError{Page: page, Err: v.cause(page, fault)}
				return
			}
		}
		panic(r)
	}()
	return f()
}
