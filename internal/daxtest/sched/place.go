package sched

import (
	"fmt"

	"godax/internal/hook"
)

// event is a kind of report of package hook.
type event uint8

const (
	evStart event = iota // an operation before its first step
	evPoint
	evAcquire
	evRelease
	evBlock
	evSleep // in Sleep, for the test's own purposes
)

// place is where a goroutine was when it reported last.
type place struct {
	event event
	point hook.Point
	rank  hook.Rank
	try   bool
	obj   any
	page  uint64
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
	case evAcquire:
		return "got " + lockName(p.rank, p.page)
	case evRelease:
		return "gave back " + lockName(p.rank, p.page)
	case evBlock:
		return "asleep"
	}
	return "asleep in the test"
}

func lockName(r hook.Rank, page uint64) string {
	if r == hook.Entry {
		return fmt.Sprintf("entry lock of page %d", page)
	}
	return r.String() + " lock"
}
