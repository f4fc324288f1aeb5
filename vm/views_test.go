package vm_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"godax/vm"
)

// fakeView has nothing but its bounds.
type fakeView struct {
	vm.View
	page, n uint64
}

func (v *fakeView) Bounds() (page, n uint64) { return v.page, v.n }

// TestReplace: nobody goes through the list while translations move.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var vs vm.Views
		a, b, c, d := &fakeView{n: 8}, &fakeView{n: 8}, &fakeView{n: 4}, &fakeView{page: 4, n: 4}
		vs.Add(a)
		vs.Add(b)
		walk := func() (all []vm.View) {
			vs.Each(0, 8, func(v vm.View) bool { all = append(all, v); return true })
			return all
		}
		walked := make(chan []vm.View, 1)
		moved := vs.Replace(a, func() {
			go func() { walked <- walk() }()
			synctest.Wait()
			if len(walked) != 0 {
				t.Error("the list was walked during the move")
			}
		}, c, d)
		if got := <-walked; !moved || !slices.Equal(got, []vm.View{c, d, b}) {
			t.Errorf("replaced: %t; views %v", moved, got)
		}
		if vs.Replace(a, func() { t.Error("moved for nothing") }, a) || vs.Len() != 3 {
			t.Error("a view that is not on the list was replaced")
		}
		if !vs.Replace(c, nil) || vs.Len() != 2 {
			t.Error("not taken off")
		}
	})
}
