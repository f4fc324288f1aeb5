package axfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// inflater is a zlib reader that is used again and again.
type inflater struct {
	src bytes.Reader
	z   io.ReadCloser // nil until the first stream with a good header
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// errTooLong: a stream has more bytes than there is room for.
var errTooLong = errors.New("inflates to more bytes than that")

// inflate inflates a whole zlib stream into dst, and returns how many bytes it has. The
// stream must end cleanly, with the right checksum; bytes behind it are ignored, as in
// Linux.
//
// Errors: errTooLong, those of package zlib.
func inflate(dst, stream []byte) (int, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.src.Reset(stream)
	defer f.src.Reset(nil)
	if err := f.reset(); err != nil {
		return 0, fmt.Errorf("not a zlib stream: %w", err)
	}
	n := 0
	for {
		var more [1]byte
		b := dst[n:]
		if len(b) == 0 {
			b = more[:]
		}
		k, err := f.z.Read(b)
		if k > 0 && n == len(dst) {
			return 0, errTooLong
		}
		n += k
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("broken zlib stream: %w", err)
		}
	}
}

// reset begins with a new stream.
func (f *inflater) reset() (err error) {
	if f.z == nil {
		f.z, err = zlib.NewReader(&f.src)
		return err
	}
	return f.z.(zlib.Resetter).Reset(&f.src, nil)
}
