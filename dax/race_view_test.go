package dax_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
	"godax/vm/sim"
)

// Views that change, or whose translations are used for pins, against what goes through
// the list of views.

// steppedPinner stops pins through views before and after they are registered.
type steppedPinner struct {
	vm.Pinner
	before, after chan struct{}
	pin           *sched.Op // the operation that takes the pin
}

func newPinner(s *stage) *steppedPinner {
	return &steppedPinner{Pinner: s.m, before: make(chan struct{}), after: make(chan struct{})}
}

func (p *steppedPinner) PinFrame(page uint64, pfn pmem.PFN, write bool) error {
	sched.Sleep(p.before)
	err := p.Pinner.PinFrame(page, pfn, write)
	sched.Sleep(p.after)
	return err
}

// A pin goes through a translation, which a punch takes away at the same time: it has
// been seen and the pin is not registered, or the pin is registered and the translation
// not looked at again. Either the punch sees the pin, or the pin is refused and starts
// over.
//
// Guards I40, I16, I17, T34.
func TestSC23_PinThroughViewAgainstPunch(t *testing.T) {
	for _, write := range []bool{false, true} {
		for name, play := range map[string]func(s *stage, p *steppedPinner, punch func() *sched.Op) (op *sched.Op, old bool){
			"punched before it is registered": func(s *stage, p *steppedPinner, punch func() *sched.Op) (*sched.Op, bool) {
				op := punch()
				s.done(op)
				close(p.before)
				close(p.after)
				return op, false
			},
			"registered before the punch": func(s *stage, p *steppedPinner, punch func() *sched.Op) (*sched.Op, bool) {
				close(p.before)
				s.waits(p.pin) // registered
				op := punch()
				s.waits(op)
				close(p.after)
				return op, true
			},
			"registered when unmapped": func(s *stage, p *steppedPinner, punch func() *sched.Op) (*sched.Op, bool) {
				g := s.hold(hook.LayoutUnmapped, "punch")
				op := punch()
				g.Wait()
				close(p.before)
				if !op.Held() {
					s.t.Fatal(op)
				}
				g.Open() // it finds the pin, and waits
				s.waits(op)
				close(p.after)
				return op, false
			},
			"refused when unmapped": func(s *stage, p *steppedPinner, punch func() *sched.Op) (*sched.Op, bool) {
				g := s.hold(hook.LayoutUnmapped, "punch")
				op := punch()
				g.Wait()
				close(p.before)
				close(p.after)
				if !op.Held() {
					s.t.Fatal(op)
				}
				g.Open()
				return op, false
			},
		} {
			t.Run(fmt.Sprintf("%s/write %t", name, write), func(t *testing.T) {
				eachStage(t, func(s *stage) {
					s.written()
					v, pinner := s.whole(sharedRW), newPinner(s)
					store(s.t, v, []byte{1}, pageSize)
					block, _ := s.device(1)
					var pin sim.Pinned
					pinning := s.op("pin", func() (err error) {
						pin, err = v.PinFrame(ctx, pinner, 1, write)
						return err
					})
					s.waits(pinning)
					pinner.pin = pinning
					punch, old := play(s, pinner, func() *sched.Op { return s.punches("punch", pageSize, pageSize) })
					s.done(pinning)
					if held := pin.Leaf.Kind == vm.Frames && pin.Bytes[0] == 1; held != old && held {
						s.waits(punch) // it came again, before the punch did
					}
					if pin.Leaf.Kind == vm.Frames {
						if d, ok := s.device(1); !ok || s.isFree(d) || pmem.MakePFN(s.dev.ID(), d) != pin.Leaf.PFN+pmem.PFN(1-pin.Leaf.Page) {
							s.t.Errorf("pinned %+v; page 1 has block %d, %t", pin.Leaf, d, ok)
						}
					}
					if old {
						s.waits(punch)
						if s.isFree(block) {
							s.t.Error("the block is free under a pin")
						}
					}
					pin.Release()
					s.done(punch)
				})
			})
		}
	}
}

// A pin for writing goes through a translation that a writeback protects at the same
// time: its page stays dirty, or the pin is refused, and stores come through a fault.
//
// Guards I31, I30, T34.
func TestSC23_PinThroughViewAgainstWriteback(t *testing.T) {
	for _, when := range []string{"taken before", "registered before", "registered after"} {
		t.Run(when+" the protection", func(t *testing.T) {
			eachStage(t, func(s *stage) {
				s.written()
				v, pinner := s.whole(sharedRW), newPinner(s)
				store(s.t, v, []byte{1}, pageSize)
				g := s.hold(hook.TowriteCleared, "sync")
				sync := s.syncs("sync")
				g.Wait()
				var pin sim.Pinned
				pinning := s.op("pin", func() (err error) {
					pin, err = v.PinFrame(ctx, pinner, 1, true)
					return err
				})
				s.waits(pinning)
				switch when {
				case "taken before":
					close(pinner.before)
					close(pinner.after)
					s.done(pinning)
				case "registered before":
					close(pinner.before)
					s.waits(pinning)
				}
				g.Open()
				s.done(sync)
				switch when {
				case "registered before":
					close(pinner.after)
				case "registered after":
					close(pinner.before)
					close(pinner.after)
				}
				s.done(pinning)
				s.isDirty("pinned", 1, true)
				pin.Bytes[0] = 0x77
				s.sync()
				s.isDirty("pinned, flushed", 1, true)
				pin.Bytes[1] = 0x78
				pin.Release()
				s.sync()
				s.onMedium("the transfer", 1, 0, []byte{0x77, 0x78})
				s.isDirty("released, flushed", 1, false)
			})
		})
	}
}

// became puts views in the place of one that was changed.
func (s *stage) became(old *sim.View, with ...*sim.View) {
	var views []*sim.View
	for _, v := range s.views {
		if v != old {
			views = append(views, v)
		}
	}
	s.views = append(views, with...)
}

// viewChanges are the ways in which a view changes. They return what is there afterwards.
var viewChanges = map[string]func(s *stage, v *sim.View) ([]*sim.View, error){
	"split": func(s *stage, v *sim.View) ([]*sim.View, error) {
		low, high, err := v.Split(s.m, 1)
		return []*sim.View{low, high}, err
	},
	"unmap": func(s *stage, v *sim.View) ([]*sim.View, error) { return v.Cut(s.m, 0, 2*s.n) },
	"cut":   func(s *stage, v *sim.View) ([]*sim.View, error) { return v.Cut(s.m, 1, 1) },
	"grow":  func(s *stage, v *sim.View) ([]*sim.View, error) { return one(v.Grow(s.m, s.n)) },
	"move":  func(s *stage, v *sim.View) ([]*sim.View, error) { return one(v.Move(s.m, v.Addr()+64*s.n)) },
	"move to another colour": func(s *stage, v *sim.View) ([]*sim.View, error) {
		return one(v.Move(s.m, v.Addr()+64*s.n+1))
	},
	"fork": func(s *stage, v *sim.View) ([]*sim.View, error) {
		space := sim.New(sim.Config{PMDOrder: s.order})
		s.space = append(s.space, space)
		child, err := v.Fork(s.m, space)
		return []*sim.View{v, child}, err
	},
}

func one(v *sim.View, err error) ([]*sim.View, error) { return []*sim.View{v}, err }

// A view is unmapped, moved, cut or forked while a fault in it is under way: the change
// waits for the fault, and afterwards there are translations only where the view is now.
//
// Guards I11, I19, I9.
func TestSC37_FaultAndViewChange(t *testing.T) {
	for name, change := range viewChanges {
		t.Run(name, func(t *testing.T) {
			eachPoint(t, []hook.Point{hook.SlotLocked, hook.DirtySet, hook.Installed}, func(s *stage, p hook.Point) {
				v := s.whole(sharedRW)
				g := s.hold(p, "store")
				fault := s.stores("store", v, []byte{1}, pageSize)
				g.Wait()
				var after []*sim.View
				changing := s.op("change", func() (err error) {
					after, err = change(s, v)
					return err
				})
				s.waits(changing)
				g.Open()
				s.done(changing)
				if err := fault.Err(); err != nil && !errors.Is(err, sim.ErrClosed) {
					s.t.Fatal(err)
				} else if err == nil {
					equal(s.t, "the store", s.mustRead(pageSize, 1), []byte{1})
				}
				s.became(v, after...)
				if name != "fork" {
					if n := len(v.Translations()); n != 0 {
						s.t.Errorf("%d translations where the view was", n)
					}
				}
				if views, _ := s.m.Busy(); views != len(after) {
					s.t.Errorf("%d views on the list, want %d", views, len(after))
				}
				s.done(s.punches("punch", 0, 2*s.run)) // finds them all
				for _, v := range after {
					if n := len(v.Translations()); n != 0 {
						s.t.Errorf("%d translations of a hole", n)
					}
				}
			})
		})
	}
}

// A writeback is about to protect an entry, or has done so, and a view of it is split,
// grown, shrunk, moved or forked: whatever is mapped afterwards is protected, and the
// next store through it is flushed by the next writeback.
//
// Guards I31, I30, T25, T26.
func TestSC38_WritebackAndViewChange(t *testing.T) {
	for name, change := range viewChanges {
		t.Run(name, func(t *testing.T) {
			eachPoint(t, []hook.Point{hook.WritebackTagged, hook.TowriteCleared, hook.Protected, hook.Flushed}, func(s *stage, p hook.Point) {
				s.written()
				v := s.whole(sharedRW)
				store(s.t, v, []byte{1}, 0)
				store(s.t, v, []byte{2}, s.run)
				g := s.hold(p, "sync")
				sync := s.syncs("sync")
				g.Wait()
				var after []*sim.View
				changing := s.op("change", func() (err error) {
					after, err = change(s, v)
					return err
				})
				s.done(changing)
				g.Open()
				s.done(sync)
				s.became(v, after...)
				s.check()
				for i, v := range after {
					for _, l := range v.Translations() {
						if l.Write || l.Dirty {
							s.t.Errorf("view %d: %+v after the writeback", i, l)
						}
					}
					page, _ := v.Bounds()
					store(s.t, v, []byte{byte(0x10 + i)}, int64(page)*pageSize+7)
					s.sync()
					s.onMedium("stored afterwards", page, 7, []byte{byte(0x10 + i)})
				}
			})
		})
	}
}

// A walk through the views is in the middle of the list when a view behind is changed:
// the change waits until the walk is over, so that nothing is missed.
//
// Guards I31, I10.
func TestSC38_ChangeInTheMiddleOfAWalk(t *testing.T) {
	for name, change := range viewChanges {
		t.Run(name, func(t *testing.T) {
			eachStage(t, func(s *stage) {
				s.written()
				at, open := make(chan struct{}), make(chan struct{})
				once := false
				first, err := sim.New(sim.Config{PMDOrder: s.order}).Map(s.file, 0, 2*s.n, sharedRW)
				if err != nil {
					s.t.Fatal(err)
				}
				slow := &hooked{View: first, protect: func() {
					if !once {
						once = true
						close(at)
						sched.Sleep(open)
					}
				}}
				if err := s.m.Attach(context.Background(), slow, s.file); err != nil {
					s.t.Fatal(err)
				}
				v := s.whole(sharedRW)
				store(s.t, v, []byte{1}, 0)
				sync := s.syncs("sync")
				s.waits(sync)
				<-at
				var after []*sim.View
				changing := s.op("change", func() (err error) {
					after, err = change(s, v)
					return err
				})
				s.waits(changing)
				close(open)
				s.done(sync, changing)
				s.became(v, after...)
				s.check()
				if err := s.m.Detach(slow); err != nil {
					s.t.Fatal(err)
				}
				first.Close()
			})
		})
	}
}
