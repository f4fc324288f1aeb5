package vm

import (
	"errors"
	"slices"
	"testing"

	"godax/pmem"
)

// TestProcessFailure: a page that went bad raises SIGBUS and says why, until something
// else is installed; the process was told of it if it had it mapped.
func TestProcessFailure(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			u := k.unit
			d := k.open(t, int64(8*u)*ps)
			v := newView(t, 10*u, 4*u, rws, ViewOptions{})
			install(t, v, 10*u, 2*u, d, 0)
			complete(t, v)
			v.Bytes()[u*ps] = 1
			v.NotifyFailure(0, 10*u)     // before it
			v.NotifyFailure(12*u, 1<<63) // not mapped
			v.NotifyFailure(11*u+u/2, 1) // mapped
			v.NotifyFailure(11*u+u/2, 1) // mapped no more
			want := Failure{Addr: uint64(v.area.addr(uintptr(u+u/2) * ps)), Page: 11*u + u/2, N: 1}
			for 1<<want.Order < u {
				want.Order++
			}
			if got := v.Failures(); !slices.Equal(got, []Failure{want}) {
				t.Errorf("told %+v, want %+v", got, want)
			}
			for what, access := range map[string]func(){
				"load":  func() { touch(&v.Bytes()[(u+u/2)*ps]) },
				"store": func() { v.Bytes()[(u+u/2)*ps] = 1 },
			} {
				err := v.Do(func() error { access(); return nil })
				var bus *BusError
				if !errors.As(err, &bus) || bus.Page != 11*u+u/2 || !errors.Is(err, pmem.ErrPoisoned) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := v.Install(Translation{Page: 12 * u, N: u, Kind: Gone}); err != nil {
				t.Fatal(err)
			}
			complete(t, v)
			if err := v.Do(func() error { touch(&v.Bytes()[2*u*ps]); return nil }); err == nil || errors.Is(err, pmem.ErrPoisoned) {
				t.Errorf("the page behind: %v", err)
			}
			if got := v.Translations()[0]; got.Page != 10*u || got.Kind != Frames || got.PFN != frame(d, 0) {
				t.Errorf("the page before is %+v", got)
			}
			install(t, v, 11*u, u, d, 4*u)
			complete(t, v)
			if err := v.Do(func() error { v.Bytes()[(u+u/2)*ps] = 2; return nil }); err != nil {
				t.Errorf("after the repair: %v", err)
			}
			if err := v.Install(Translation{Page: 11 * u, N: u, Kind: Gone}); err != nil {
				t.Fatal(err)
			}
			complete(t, v)
			err := v.Do(func() error { touch(&v.Bytes()[u*ps]); return nil })
			if err == nil || errors.Is(err, pmem.ErrPoisoned) {
				t.Errorf("gone for another reason: %v", err)
			}
		})
	}
}

// TestProcessFailureCopy: a private copy lies elsewhere and is kept.
func TestProcessFailureCopy(t *testing.T) {
	d := kinds[0].open(t, 8*ps)
	v := newView(t, 0, 4, Read|Write, ViewOptions{})
	install(t, v, 0, 4, d, 0)
	complete(t, v)
	v.Bytes()[ps] = 7
	v.NotifyFailure(0, 4)
	if got := v.Failures(); len(got) != 3 {
		t.Errorf("told %+v, want pages 0, 2 and 3", got)
	}
	if err := v.Do(func() error {
		if got := v.Bytes()[ps]; got != 7 {
			t.Errorf("the copy reads %d, want 7", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := v.Do(func() error { v.Bytes()[0] = 1; return nil }); !errors.Is(err, pmem.ErrPoisoned) {
		t.Errorf("store to a bad page: %v", err)
	}
}

// TestProcessNoHuge: the kernel is asked for single pages, and may refuse.
func TestProcessNoHuge(t *testing.T) {
	for _, k := range kinds {
		d := k.open(t, int64(8*k.unit)*ps)
		v := newView(t, 0, 4*k.unit, rws|NoHuge, ViewOptions{})
		install(t, v, 0, 4*k.unit, d, 0)
		complete(t, v)
		if err := v.Do(func() error { v.Bytes()[k.unit*ps] = 3; return nil }); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
	}
}
