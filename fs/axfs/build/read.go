package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"godax/fs/axfs/internal/format"
)

// chunkSize is how many bytes of a file are read at once: a multiple of every page
// size.
const chunkSize = 256 << 10

// holePages is how many pages of a hole are looked at, each of which takes its time, before it is seen whether
// there is still reason to go on.
const holePages = 1 << 16

// chunk are consecutive pages of a file on their way through the builder.
type chunk struct {
	span
	n    *inode
	in   *input
	hole bool     // full pages of zeros, which are not read
	data []byte   // up to the end of the file
	sums []digest // of the pages, if wanted
	zero []bool   // by page: it is full and has only zeros

	err  error
	done chan struct{} // closed when it was read
}

// input is an open file that several chunks are read from.
type input struct {
	Reader
	users atomic.Int32
}

// put closes the file when nobody uses it any more.
func (in *input) put() {
	if in != nil && in.users.Add(-1) == 0 {
		in.Close()
	}
}

// errShrunk is a file that is not what it was when the tree was scanned.
var errShrunk = errors.New("became shorter while it was read")

// size is the number of bytes of the file in the chunk.
func (c *chunk) size(pageSize int64) int64 {
	return min(int64(c.span.n)*pageSize, int64(c.n.size)-int64(c.page)*pageSize)
}

// pages yields the bytes of each page that was read, with its number in the chunk.
func (c *chunk) pages(pageSize int64) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for i := 0; int64(i)*pageSize < int64(len(c.data)); i++ {
			if !yield(i, c.data[int64(i)*pageSize:min(int64(len(c.data)), int64(i+1)*pageSize)]) {
				return
			}
		}
	}
}

// part is the pages of a file that are to be read.
type part struct {
	n     *inode
	spans []span
}

// read reads parts of files on all cores; another goroutine takes them from parts. work is
// called for each chunk by one of several goroutines, use for one after the other in the
// order of parts. The chunk is gone when use returns.
func (b *builder) read(ctx context.Context, parts iter.Seq[part], hash bool, work, use func(*chunk) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	todo := make(chan *chunk)
	queue := make(chan *chunk, 2*b.o.Workers)
	buffers := sync.Pool{New: func() any { return new([chunkSize]byte) }}
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	for range b.o.Workers {
		wg.Go(func() {
			for c := range todo {
				if c.err == nil {
					c.err = b.fill(c, &buffers, hash)
				}
				if c.err == nil && work != nil {
					c.err = work(c)
				}
				c.in.put()
				close(c.done)
			}
		})
	}
	wg.Go(func() {
		defer close(queue)
		defer close(todo)
		b.cut(parts, func(c *chunk) bool {
			c.done = make(chan struct{})
			select {
			case todo <- c:
			case <-ctx.Done():
				c.in.put()
				return false
			}
			select {
			case queue <- c:
			case <-ctx.Done():
				return false
			}
			return true
		})
	})
	for c := range queue {
		<-c.done
		if c.err != nil {
			return wrap("read", c.n.path(), c.err)
		}
		if use != nil {
			if err := use(c); err != nil {
				return err
			}
		}
		if c.data != nil && cap(c.data) == chunkSize {
			buffers.Put((*[chunkSize]byte)(c.data[:chunkSize]))
		}
	}
	return ctx.Err()
}

// cut opens the files and cuts what is to be read of them into chunks, until send returns
// false. Holes are found, not read.
func (b *builder) cut(parts iter.Seq[part], send func(*chunk) bool) {
	for p := range parts {
		if len(p.spans) == 0 {
			continue
		}
		if !p.n.isType(format.ModeRegular) {
			if !send(&chunk{n: p.n, span: p.spans[0]}) {
				return
			}
			continue
		}
		f, err := b.src.Open(p.n.path())
		if err != nil {
			send(&chunk{n: p.n, span: p.spans[0], err: err})
			return
		}
		in := &input{Reader: f}
		in.users.Add(1)
		ok := b.cutFile(p, in, send)
		in.put()
		if !ok {
			return
		}
	}
}

// cutFile is cut for one file.
func (b *builder) cutFile(p part, in *input, send func(*chunk) bool) bool {
	start, end := int64(0), int64(0) // data
	for _, s := range p.spans {
		for page := s.page; page < s.end(); {
			off := int64(page) * b.pageSize
			if off >= end {
				start, end = data(in, off, int64(p.n.size))
			}
			c := &chunk{n: p.n, in: in, span: span{page: page}}
			holeEnd := min(uint64(start/b.pageSize), s.end()) // a short last page is no hole
			if holeEnd > page {
				c.span.n, c.hole = min(holeEnd-page, holePages), true
			} else {
				c.span.n = min(s.end(), b.pagesOf(max(end, off+1)), page+uint64(chunkSize/b.pageSize)) - page
			}
			page = c.end()
			in.users.Add(1)
			if !send(c) {
				return false
			}
		}
	}
	return true
}

// zeros is what a page is compared with.
var zeros [64 << 10]byte

// fill reads the bytes of a chunk, and looks at its pages.
func (b *builder) fill(c *chunk, buffers *sync.Pool, hash bool) error {
	switch {
	case c.hole:
		return nil
	case c.n.isType(format.ModeSymlink):
		c.data = []byte(c.n.target)
	default:
		c.data = buffers.Get().(*[chunkSize]byte)[:c.size(b.pageSize)]
		n, err := c.in.ReadAt(c.data, int64(c.page)*b.pageSize)
		if n < len(c.data) {
			if err == nil || err == io.EOF {
				err = errShrunk
			}
			return err
		}
	}
	c.zero = make([]bool, c.span.n)
	if hash {
		c.sums = make([]digest, c.span.n)
	}
	for i, page := range c.pages(b.pageSize) {
		c.zero[i] = int64(len(page)) == b.pageSize && bytes.Equal(page, zeros[:b.pageSize])
		switch {
		case !hash:
		case c.zero[i]:
			c.sums[i] = b.zeroDigest
		default:
			c.sums[i] = digestOf(page)
		}
	}
	return nil
}
