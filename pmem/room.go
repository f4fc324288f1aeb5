package pmem

import (
	"sync"
	"sync/atomic"
)

// room is what is known about the blocks underneath a file: one bit for each page
// that has them, in chunks made when they are needed. The zero value is a device that
// has room everywhere. Any number of goroutines may use it.
type room struct {
	some   atomic.Bool // there may be pages without room
	look   sync.Once   // the file as a whole was looked at
	chunks []atomic.Pointer[roomChunk]
}

// roomChunk is the bits of 16384 pages, 64 MiB.
type roomChunk [chunkWords]atomic.Uint64

const (
	chunkWords = 256
	chunkPages = 64 * chunkWords
)

// init says that nothing is known about the pages of a file of size bytes.
func (r *room) init(size int64) {
	r.chunks = make([]atomic.Pointer[roomChunk], (pagesUp(size)+chunkPages-1)/chunkPages)
	r.some.Store(true)
}

// everywhere records that all of the device has room.
func (r *room) everywhere() { r.some.Store(false) }

// has reports whether all pages of [from, to) are known to have room.
func (r *room) has(from, to uint64) bool {
	if !r.some.Load() {
		return true
	}
	for from < to {
		mask, next := wordMask(from, to)
		c := r.chunks[from/chunkPages].Load()
		if c == nil || c[from%chunkPages/64].Load()&mask != mask {
			return false
		}
		from = next
	}
	return true
}

// add records that the pages of [from, to) have room.
func (r *room) add(from, to uint64) {
	for from < to {
		mask, next := wordMask(from, to)
		p := &r.chunks[from/chunkPages]
		if p.Load() == nil {
			p.CompareAndSwap(nil, new(roomChunk))
		}
		p.Load()[from%chunkPages/64].Or(mask)
		from = next
	}
}

// wordMask returns the bits that the pages of [from, to) have in the word of the first,
// and the first page that is not in that word.
func wordMask(from, to uint64) (mask, next uint64) {
	next = min(to, from/64*64+64)
	return ^uint64(0) >> (64 - (next - from)) << (from % 64), next
}

// pagesUp is the number of pages that n bytes take.
func pagesUp(n int64) uint64 { return (uint64(n) + PageSize - 1) / PageSize }
