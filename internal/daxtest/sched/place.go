package sched

import (
	"fmt"
	"runtime"

	"godax/internal/hook"
)

// event is a kind of report of package hook.
type event uint8

const (
	evStart event = iota // an operation before its first step
	evPoint
	evWant
	evAcquire
	evRelease
	evBlock
)

// place is where a goroutine was when it reported last.
type place struct {
	event event
	point hook.Point
	rank  hook.Rank
	try   bool // of evAcquire: the lock was not waited for, or that was said before
	obj   any
	page  uint64
	site  uint64 // of controlled runs: a hash of the stack's top
}

// hash is of what is the same in every run.
func (p place) hash() (h Hash) {
	h.Add(uint64(p.event), uint64(p.point), uint64(p.rank), p.page, p.site)
	return h
}

// sites is a hash of the top of the stack, from the function on that called package
// hook.
func sites() uint64 {
	var pcs [8]uintptr
	n := runtime.Callers(6, pcs[:]) // our methods and hooks come before it, 4 or 5 of them
	var h Hash
	for _, pc := range pcs[:n] {
		h.Add(uint64(pc))
	}
	return uint64(h)
}

var pointNames = [hook.Points]string{
	hook.FaultChecked:     "FaultChecked",
	hook.SlotLocked:       "SlotLocked",
	hook.ExtentKnown:      "ExtentKnown",
	hook.EntryStored:      "EntryStored",
	hook.DirtySet:         "DirtySet",
	hook.Installed:        "Installed",
	hook.WriteAllocated:   "WriteAllocated",
	hook.WriteInvalidated: "WriteInvalidated",
	hook.WritePiece:       "WritePiece",
	hook.WritebackTagged:  "WritebackTagged",
	hook.TowriteCleared:   "TowriteCleared",
	hook.Protected:        "Protected",
	hook.Flushed:          "Flushed",
	hook.LayoutIdle:       "LayoutIdle",
	hook.LayoutRemoved:    "LayoutRemoved",
	hook.SizePublished:    "SizePublished",
	hook.LayoutWaits:      "LayoutWaits",
	hook.SyncPending:      "SyncPending",
	hook.WaiterQueued:     "WaiterQueued",
	hook.PoisonFound:      "PoisonFound",
	hook.OrderChosen:      "OrderChosen",
	hook.IndexAllocates:   "IndexAllocates",
	hook.LayoutUnmapped:   "LayoutUnmapped",
}

// pointName is a point's name in package hook and in the scenarios.
func pointName(p hook.Point) string {
	if int(p) < len(pointNames) && pointNames[p] != "" {
		return fmt.Sprintf("HP%d %s", p, pointNames[p])
	}
	return fmt.Sprintf("point %d", p)
}

func (p place) String() string {
	switch p.event {
	case evStart:
		return "start"
	case evPoint:
		return fmt.Sprintf("%s, page %d", pointName(p.point), p.page)
	case evWant:
		return "wants " + lockName(p.rank, p.page)
	case evAcquire:
		return "got " + lockName(p.rank, p.page)
	case evRelease:
		return "gave back " + lockName(p.rank, p.page)
	}
	return "asleep"
}

func lockName(r hook.Rank, page uint64) string {
	if r == hook.Entry {
		return fmt.Sprintf("entry lock of page %d", page)
	}
	return r.String() + " lock"
}
