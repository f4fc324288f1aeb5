package dax

import "godax/vm"

var _ vm.Replacer = (*Mapping)(nil)

// Replace implements [vm.Replacer] for views with demand faults: a view that is split,
// grown, moved or forked has others in its place. A vm.Prefaulter is detached and
// attached instead.
func (m *Mapping) Replace(old vm.View, move func(), with ...vm.View) bool {
	return m.views.Replace(old, move, with...)
}
