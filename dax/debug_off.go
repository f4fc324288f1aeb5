//go:build !daxdebug && !race

package dax

// debugCheckLocked does nothing.
func (m *Mapping) debugCheckLocked() {}

// debugCheckAnswers does nothing.
func (m *Mapping) debugCheckAnswers(*Request) error { return nil }
