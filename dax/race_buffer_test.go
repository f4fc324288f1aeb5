package dax_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"godax/dax"
	"godax/vm/sim"
)

// Reads and writes whose user buffer is a view of the same file.

// bufferCase is a range of the file and the buffer, which is another one.
type bufferCase struct {
	name          string
	off, buf, len int64 // bytes of the file: what is read or written, and the buffer
}

// bufferCases are buffers in the same page, the next one, and in huge runs.
func (s *stage) bufferCases() []bufferCase {
	return []bufferCase{
		{"same bytes", pageSize, pageSize, 1000},
		{"same page", pageSize + 10, pageSize + 2000, 1000},
		{"same page, overlapping", pageSize + 10, pageSize + 30, 1000},
		{"next page", pageSize + 10, 2*pageSize - 500, 400},
		{"across the border", 5, s.run - 300, 600},
		{"huge run", 0, s.run, s.run},
		{"huge run, not aligned", 100, s.run - 50, s.run},
	}
}

// eachBuffer runs a test for every case, the buffer untouched, loaded or stored to before,
// and the file a hole, unwritten, or mapped. data is what the file reads as.
func eachBuffer(t *testing.T, test func(s *stage, c bufferCase, v *sim.View, data []byte)) {
	for _, touch := range []string{"unfaulted", "loaded", "stored"} {
		for _, kind := range []string{"hole", "unwritten", "mapped", "half"} {
			t.Run(touch+"/"+kind, func(t *testing.T) {
				eachOne(t, func(t *testing.T, first *stage) {
					for i, c := range first.bufferCases() {
						s := first
						if i > 0 {
							s = newStage(t, first.order, first.small)
						}
						switch kind {
						case "unwritten":
							s.prealloc(0, 2*s.n)
						case "mapped":
							s.mustWrite(pattern(2*s.run, 1), 0)
						case "half":
							s.mustWrite(pattern(s.run, 1), c.buf/s.run*s.run)
						}
						data := s.reads()
						v := s.whole(sharedRW)
						switch touch {
						case "loaded":
							load(t, v, c.buf, int(c.len))
						case "stored":
							store(t, v, data[c.buf:][:c.len], c.buf)
						}
						t.Run(c.name, func(t *testing.T) {
							s.t, s.file.t = t, t
							s.play(func(s *stage) { test(s, c, v, data) })
						})
					}
				})
			})
		}
	}
}

// wrote is what the file reads as after buf was written to off, piece by piece in
// ascending order, as a processor copies.
func (s *stage) wrote(data []byte, to, from, n int64) []byte {
	want := bytes.Clone(data)
	copy(want[to:to+n], data[from:from+n])
	return want
}

// userCopy makes of an access of a view what copies between frames and the user's buffer:
// it reports how much it did.
func userCopy(access func(ctx context.Context, b []byte, off int64) error, off int64) func(b []byte) (int, error) {
	return func(b []byte) (int, error) {
		if err := access(ctx, b, off); err != nil {
			return 0, err
		}
		off += int64(len(b))
		return len(b), nil
	}
}

// A write(2) takes its bytes from a view of the file that it writes to: it ends, and the
// bytes are right.
//
// Guards I55, I54, I24, I25.
func TestSC15_WriteFromView(t *testing.T) {
	eachBuffer(t, func(s *stage, c bufferCase, v *sim.View, data []byte) {
		s.done(s.op("write", func() error {
			s.inode.Lock()
			defer s.inode.Unlock()
			n, err := s.m.WriteFrom(ctx, c.off, c.len, s.file, userCopy(v.Load, c.buf))
			if err == nil && n != c.len {
				err = fmt.Errorf("%d bytes of %d", n, c.len)
			}
			return err
		}))
		if c.off < c.buf+c.len && c.buf < c.off+c.len && c.off != c.buf {
			return // in overlapping ranges every order of copying is right
		}
		equal(s.t, "the file", s.reads(), s.wrote(data, c.off, c.buf, c.len))
	})
}

// A read(2) puts its bytes into a view of the file that it reads.
//
// Guards I55, I54, I24, I25.
func TestSC15_ReadToView(t *testing.T) {
	eachBuffer(t, func(s *stage, c bufferCase, v *sim.View, data []byte) {
		s.done(s.op("read", func() error {
			s.inode.RLock()
			defer s.inode.RUnlock()
			n, err := s.m.ReadTo(ctx, c.off, c.len, s.file, userCopy(v.Store, c.buf))
			if err == nil && n != c.len {
				err = fmt.Errorf("%d bytes of %d", n, c.len)
			}
			return err
		}))
		if c.off < c.buf+c.len && c.buf < c.off+c.len && c.off != c.buf {
			return
		}
		equal(s.t, "the file", s.reads(), s.wrote(data, c.buf, c.off, c.len))
	})
}

// A direct transfer of a file's bytes has its buffer pinned, and that lies in the same
// file: it needs nothing that the pin keeps others from.
//
// Guards I55, I40, I24.
func TestSC15_TransferWithPinnedBuffer(t *testing.T) {
	for _, write := range []bool{true, false} {
		t.Run(fmt.Sprintf("write %t", write), func(t *testing.T) {
			eachBuffer(t, func(s *stage, c bufferCase, _ *sim.View, data []byte) {
				pin := s.pin(c.buf, c.len, dax.PinWrite)
				s.done(s.op("transfer", func() error {
					off := c.off
					for _, b := range pin.Slices() {
						var n int
						var err error
						if write {
							n, err = s.write(b, off)
						} else {
							n, err = s.read(b, off)
						}
						if err != nil || n < len(b) {
							return fmt.Errorf("%d bytes of %d: %w", n, len(b), err)
						}
						off += int64(n)
					}
					return nil
				}))
				pin.Release()
				if c.off < c.buf+c.len && c.buf < c.off+c.len && c.off != c.buf {
					return
				}
				to, from := c.buf, c.off
				if write {
					to, from = from, to
				}
				equal(s.t, "the file", s.reads(), s.wrote(data, to, from, c.len))
			})
		})
	}
}
