// Package sched lets tests decide the order in which concurrent operations run. It
// stands on the reports of package hook, and so means something only in builds with
// the race detector or the tag daxdebug; elsewhere its tests are skipped.
//
// Two ways of use:
//
//   - Operations run freely, and some are held at a pause point: [Go] starts one under
//     a name, [Hold] makes a [Gate]. "X stops at HPn; Y runs; X goes on" is
//
//     g := sched.Hold(t, hook.SlotLocked, sched.Page(3))
//     x := sched.Go(t, "x", func() error { ... })
//     g.Wait()
//     y := sched.Go(t, "y", func() error { ... })
//     if !y.Blocked() { t.Error("y does not wait for x") }
//     g.Open()
//     if err := errors.Join(x.Err(), y.Err()); err != nil { ... }
//
//   - Exactly one operation runs at any time, and a strategy chooses which: [Explore].
//     It can try all schedules, random ones, or a given one again.
//
// In both, the lock order is watched (see [Record]), and an operation that comes to
// rest nowhere is reported with all others, their places and locks, and the stacks of
// all goroutines.
//
// # What counts as rest
//
// A free operation is at rest when it is held at a gate, when it sleeps on a channel
// that it announced with hook.Block and that is not closed yet, or when it has ended.
// Questions ([Op.Blocked], [Op.Done]) are answered when all operations are at rest: then
// nothing but the test itself, or a clock, can change the answer. Nothing is measured
// in time but [Patience].
//
// # Limits
//
// Hooks belong to the process: tests that use the package must not run in parallel with
// others. A goroutine that sleeps in a way that is not announced (a sync.Mutex that a
// held operation has, a channel of the test) looks busy, and is found by [Patience] only;
// tests that sleep themselves inside operations do it with [Sleep].
package sched
