package build

import (
	"bytes"

	"github.com/klauspost/compress/zlib"
)

// blockPiece is a piece in a block: n bytes at off before compression.
type blockPiece struct {
	id     uint64
	off, n int
}

// block is a compressed block on its way through the builder.
type block struct {
	pieces []blockPiece
	buf    []byte
	bare   bool // not to be compressed

	stream []byte       // of the pieces that are compressed; nil if none is
	packed []blockPiece // these, with their offsets in what stream inflates to
	plain  []blockPiece // the others
	err    error
	done   chan struct{}
}

// compressor compresses blocks, one after another.
type compressor struct {
	z   *zlib.Writer
	out bytes.Buffer
}

func newCompressor(level int) (*compressor, error) {
	c := new(compressor)
	var err error
	c.z, err = zlib.NewWriterLevel(&c.out, level)
	return c, err
}

// deflate returns a stream, which the next call overwrites.
func (c *compressor) deflate(b []byte) ([]byte, error) {
	c.out.Reset()
	c.z.Reset(&c.out)
	if _, err := c.z.Write(b); err != nil {
		return nil, err
	}
	if err := c.z.Close(); err != nil {
		return nil, err
	}
	return c.out.Bytes(), nil
}

// Pieces of blocks that shrink to less than 3/4 stay together. In others each of triedSize
// bytes or more is tried alone, and taken out if it does not shrink to less than 15/16.
const triedSize = 512

// pack compresses a block. What does not become smaller stays as it is.
func (c *compressor) pack(b *block) error {
	if b.bare {
		b.plain = b.pieces
		return nil
	}
	stream, err := c.deflate(b.buf)
	if err != nil {
		return err
	}
	if len(b.pieces) > 1 && len(stream) > len(b.buf)*3/4 {
		return c.packSome(b)
	}
	if len(stream) < len(b.buf) {
		b.stream, b.packed = bytes.Clone(stream), b.pieces
	} else {
		b.plain = b.pieces
	}
	return nil
}

// packSome compresses those pieces of a block that get smaller.
func (c *compressor) packSome(b *block) error {
	var buf []byte
	var packed []blockPiece
	for _, p := range b.pieces {
		piece := b.buf[p.off : p.off+p.n]
		if p.n >= triedSize {
			stream, err := c.deflate(piece)
			if err != nil {
				return err
			}
			if len(stream) >= p.n*15/16 {
				b.plain = append(b.plain, p)
				continue
			}
		}
		packed = append(packed, blockPiece{p.id, len(buf), p.n})
		buf = append(buf, piece...)
	}
	if len(packed) == 0 {
		return nil
	}
	stream, err := c.deflate(buf)
	if err != nil {
		return err
	}
	if len(stream) < len(buf) {
		b.stream, b.packed = bytes.Clone(stream), packed
	} else {
		b.plain = b.pieces
	}
	return nil
}
