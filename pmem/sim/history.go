package sim

import (
	"bytes"
	"math/rand/v2"

	"godax/pmem"
)

// LineSize is the number of bytes that reach the medium together.
const LineSize = 64

// line is the contents of one line; of the last one maybe only a part is used.
type line [LineSize]byte

// lineOf is the part of image that line i covers.
func (d *Device) lineOf(image []byte, i int64) []byte {
	return image[i*LineSize : min((i+1)*LineSize, d.size)]
}

// linesOf is the first line that the n bytes at off touch, and the first one after
// them.
func linesOf(off, n int64) (first, end int64) {
	if n == 0 {
		return 0, 0
	}
	return off / LineSize, (off+n-1)/LineSize + 1
}

// newestLocked is what line i will be on the medium after the next Barrier.
func (d *Device) newestLocked(i int64) []byte {
	durable := d.lineOf(d.medium, i)
	if p := d.pending[i]; len(p) > 0 {
		return p[len(p)-1][:len(durable)]
	}
	return durable
}

// flushLocked makes the lines of the n bytes at off pending.
func (d *Device) flushLocked(off, n int64) {
	d.counts.FlushedBytes += n
	for o := off; o < off+n; {
		page := uint64(o) / pmem.PageSize
		end := min(int64(page+1)*pmem.PageSize, off+n)
		d.flushed[page] += end - o
		o = end
	}
	first, end := linesOf(off, n)
	for i := first; i < end; i++ {
		var l line
		now := l[:copy(l[:], d.lineOf(d.mem, i))] // one copy: it may change under us
		if !bytes.Equal(now, d.newestLocked(i)) {
			d.pending[i] = append(d.pending[i], l)
		}
	}
}

// barrierLocked makes everything pending durable.
func (d *Device) barrierLocked() {
	for i := range d.pending {
		copy(d.lineOf(d.medium, i), d.newestLocked(i))
	}
	clear(d.pending)
}

// lost is what the bytes of a bad page are.
const lost = 0xbd

// loseLocked destroys the n bytes at off, whole lines, everywhere.
func (d *Device) loseLocked(off, n int64) {
	for i := off; i < off+n; i++ {
		d.mem[i], d.medium[i] = lost, lost
	}
	first, end := linesOf(off, n)
	for i := first; i < end; i++ {
		delete(d.pending, i)
	}
}

// eachLocked calls f, in ascending order, for every line of the n bytes at off
// that is cached or pending: its present contents are not what is on the medium,
// or it was flushed since the last Barrier. now is a copy of the present contents,
// valid during the call.
func (d *Device) eachLocked(off, n int64, f func(i int64, now []byte)) {
	if d.closed {
		return
	}
	var l line
	first, end := linesOf(off, n)
	for i := first; i < end; {
		// Most pages have nothing to look at.
		const perPage = pmem.PageSize / LineSize
		next := min((i/perPage+1)*perPage, end)
		from, to := i*LineSize, min(next*LineSize, d.size)
		if len(d.pending) == 0 && bytes.Equal(d.mem[from:to], d.medium[from:to]) {
			i = next
			continue
		}
		for ; i < next; i++ {
			now := l[:copy(l[:], d.lineOf(d.mem, i))]
			if len(d.pending[i]) > 0 || !bytes.Equal(now, d.lineOf(d.medium, i)) {
				f(i, now)
			}
		}
	}
}

// Lines counts the lines of the n bytes at off that a crash could lose: cached
// ones, whose present contents were not flushed, and pending ones, flushed since
// the last Barrier. A line that was stored to again after its Flush is both. Both
// are 0 where everything stored is durable.
func (d *Device) Lines(off, n int64) (cached, pending int, err error) {
	if err := pmem.CheckBytes(d.size, off, n); err != nil {
		return 0, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.eachLocked(off, n, func(i int64, now []byte) {
		if len(d.pending[i]) > 0 {
			pending++
		}
		if !bytes.Equal(now, d.newestLocked(i)) {
			cached++
		}
	})
	return cached, pending, nil
}

// Durable returns a copy of the medium: what the unluckiest crash leaves. The device
// goes on.
func (d *Device) Durable() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.medium)
}

// Crash returns an image that a crash now could leave; r chooses among them, every
// possible content of every line with the same chance. The same r and history give
// the same image. The device goes on: call it again for another one.
func (d *Device) Crash(r *rand.Rand) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	image := bytes.Clone(d.medium)
	d.eachLocked(0, d.size, func(i int64, now []byte) {
		flushed := d.pending[i]
		contents := len(flushed)
		if !bytes.Equal(now, d.newestLocked(i)) {
			contents++
		}
		switch k := r.IntN(contents + 1); {
		case k < len(flushed):
			copy(d.lineOf(image, i), flushed[k][:])
		case k < contents:
			copy(d.lineOf(image, i), now)
		}
	})
	return image
}

// Evict writes some of the cached and pending lines back, as a cache does when it
// needs room: their present contents are durable from now on. r chooses each with
// a chance of one half.
func (d *Device) Evict(r *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.eachLocked(0, d.size, func(i int64, now []byte) {
		if r.IntN(2) == 0 {
			copy(d.lineOf(d.medium, i), now)
			delete(d.pending, i)
		}
	})
}
