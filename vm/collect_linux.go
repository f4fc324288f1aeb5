package vm

import "godax/pmem"

// noteReplacedLocked remembers as written the pages of [page, end) that stores
// could reach: the mapping that knew whether they did is gone, and a store might
// have come after asking it.
func (v *ProcessView) noteReplacedLocked(page, end uint64) {
	v.segs.each(page, end, func(s segment) {
		if s.kind == Frames && s.write {
			v.written.add(s.page, s.n)
		}
	})
}

// trackLocked has the kernel find stores to a segment just mapped, all of whose
// pages count as not written. Once the view is live others may store between mmap
// and here, and may be forgotten by the simple request; then
//   - pages found present in the step that arms the detection count as written;
//   - memory on large pages, where that step leaves out absent pages, counts as
//     written altogether.
//
// If the kernel cannot do it, the segment stays untracked.
func (v *ProcessView) trackLocked(s segment) {
	if !v.tracks() {
		return
	}
	if v.beforeTrack != nil {
		v.beforeTrack()
	}
	addr, length := v.area.addr(v.offset(s.page)), bytesOf(s.n)
	if v.kernel.register(addr, length) != nil {
		return
	}
	simple := !v.live || s.unit > 1
	var err error
	if simple {
		err = v.kernel.protect(addr, length)
	} else {
		all := pmScan{flags: scanProtect | scanMustTrack, mask: pageTracked, returned: pagePresent | pageSwapped}
		err = v.kernel.scan(all, addr, addr+length, v.vec, func(r pageRegion) {
			if r.categories != 0 {
				v.noteLocked(r)
			}
		})
	}
	if err != nil || simple && v.live {
		v.written.add(s.page, s.n)
	}
	if err == nil {
		i := v.segs.first(s.page)
		v.segs[i].tracked = true
	}
}

// noteLocked remembers a region as written.
func (v *ProcessView) noteLocked(r pageRegion) {
	first, _ := v.pageAt(uintptr(r.start))
	v.written.add(first, (r.end-r.start)/pmem.PageSize)
}

// Collect implements [Collector]. Where the kernel keeps no track everything
// writable is reported, every time. Pages that Unmap took away, or that were
// replaced, are reported once more: stores may have reached their frames to the
// last. On memory with larger pages all of a page is reported.
//
// found is called without a lock of the view.
func (v *ProcessView) Collect(page, n uint64, found func(page, n uint64)) error {
	first, end := v.clip(page, n)
	for first < end {
		runs, next, err := v.collectSome(first, end)
		if err != nil {
			return err
		}
		for _, r := range runs {
			found(r.page, r.n)
		}
		first = next
	}
	return nil
}

// collectBatch is how many runs Collect gathers before it reports them, about.
const collectBatch = 4096

// collectSome takes the written runs of [page, end), or of a first part of it, and
// returns them with the page where it stopped.
func (v *ProcessView) collectSome(page, end uint64) (runs runSet, next uint64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, 0, ErrClosed
	}
	// What is pending is not mapped, so nobody has stored to it. Mapping it here would cut a run
	// that is being put together.
	next = page
	var always runSet // untracked, written for ever
	for batch := len(v.written) + collectBatch; next < end && len(v.written) < batch; {
		tracked, stop := v.stretchLocked(next, end)
		if tracked {
			stop = v.scanLocked(next, stop)
		} else {
			v.segs.each(next, stop, func(s segment) {
				if s.kind == Frames && s.write {
					always.add(s.page, s.n)
				}
			})
		}
		next = stop
	}
	runs = v.written.take(page, next)
	for _, r := range always {
		runs.add(r.page, r.n)
	}
	return runs, next, nil
}

// stretchLocked returns how far all pages from page on are tracked, or all are not.
func (v *ProcessView) stretchLocked(page, end uint64) (tracked bool, stop uint64) {
	i := v.segs.first(page)
	stop = page
	for ; i < len(v.segs) && v.segs[i].page <= stop && v.segs[i].tracked && stop < end; i++ {
		tracked, stop = true, v.segs[i].end()
	}
	if tracked {
		return true, min(stop, end)
	}
	for ; i < len(v.segs) && v.segs[i].page < end; i++ {
		if v.segs[i].tracked {
			return false, v.segs[i].page
		}
	}
	return false, end
}

// scanLocked adds the written pages of the tracked run [page, end) to v.written,
// and arms the detection again. It may stop early, and returns where.
//
// Not everything that is absent is clean: memory pressure can take a written page
// out of the page tables. It is so because every clean page, absent or not, was
// marked when it was mapped. So the scan asks for nothing but "not marked".
func (v *ProcessView) scanLocked(page, end uint64) (stop uint64) {
	// A large page is armed as a whole or not at all. What is found outside the range
	// waits in v.written.
	from, to := v.wholeLocked(page).page, v.wholeLocked(end-1).end()
	want := pmScan{flags: scanProtect | scanMustTrack, mask: pageWritten, returned: pageWritten}
	want.start, want.end = uint64(v.area.addr(v.offset(from))), uint64(v.area.addr(v.offset(to)))
	regions, err := want.ioctl(v.kernel.pagemap, v.vec)
	for _, r := range regions {
		v.noteLocked(r)
	}
	if err != nil || want.walkEnd <= want.start {
		v.written.add(from, to-from) // cannot tell
		return end
	}
	stop, _ = v.pageAt(uintptr(want.walkEnd))
	return min(max(stop, page+1), end)
}
