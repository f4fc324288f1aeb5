// Package dax is the core: it stands between files and page frames.
//
// A [Mapping] is the index of one file. It takes page numbers to entries; an entry
// says which frames hold a run of pages, or that they read as zero. When a fault,
// a read or a write meets nothing there, the mapping asks the file system's
// [Populator] for frames (PopulatePFNs), keeps the answer, and never asks about it
// again until the file system takes it back (BreakLayout, Truncate, PunchHole,
// Invalidate). A store to an entry without the attribute [Writable] asks again.
//
// # Life of an entry
//
// An entry is absent, a placeholder (something to lock while the file system is
// asked), zero (a hole), or mapped; a mapped one may be DIRTY, and is TOWRITE
// while a writeback is about to flush it. Whoever changes an entry, or makes
// translations from it, holds its lock, a bit in it; others sleep on a queue that
// is keyed by the entry's first page. The bit needs no other lock where the entry is one
// word of the index; a second bit says that somebody sleeps. Marks, and all else, change
// under Mapping.mu.
//
// # Lock order
//
// Outermost first. Locks of the same line are never held together.
//
//	freeze protection of the file system                    (callers)
//	  inode lock: shared for reading, exclusive for writing,
//	              truncating and allocating                 (package vfs)
//	    a view's own lock; freeze protection of faults      (callers)
//	    Mapping.fillMu
//	      Mapping.inval       shared: faults, pins, fills; exclusive: removal
//	        file system transaction | Mapping.wbMu          (drivers)
//	          entry lock
//	            file system's extent and allocation locks   (drivers)
//	              vm.Views.mu
//	                Mapping.mu
//	                  Frames.mu, errSeq.mu
//	                page-table lock of a view
//
// A thread that holds an entry lock takes no other by waiting. No lock is held
// across PopulatePFNs but inval and the entry lock. Direct pages are copied to and
// from the caller's memory with no lock but the inode's, cached pages under their
// entry's lock. The wait for pins is made with inval dropped.
package dax
