package build

import (
	"context"
	"io"
	"os"
	"slices"

	"godax/fs/axfs/internal/format"
)

// writeXIP writes the pages in place. Pages of zeros are left out: the image has holes there.
func (b *builder) writeXIP(ctx context.Context) error {
	b.number()
	b.add(int64(b.stats.DupFileBytes))
	var parts []part
	for _, n := range b.nodes {
		var spans []span
		for _, s := range n.segs {
			if s.same == nil {
				spans = append(spans, s.span)
			} else {
				b.add((&chunk{n: n, span: s.span}).size(b.pageSize))
			}
		}
		parts = append(parts, part{n, spans})
	}
	write := func(c *chunk) error {
		if c.hole {
			return nil
		}
		for i, page := range c.pages(b.pageSize) {
			if c.zero[i] {
				continue
			}
			at := b.refs[c.n.first+c.page+uint64(i)] &^ refXIP
			if _, err := b.out.WriteAt(page, b.xipBase+int64(at)*b.pageSize); err != nil {
				return err
			}
		}
		return nil
	}
	return b.read(ctx, slices.Values(parts), false, write, func(c *chunk) error {
		b.add(c.size(b.pageSize))
		return nil
	})
}

// imageWriter writes at image offsets, to both parts.
type imageWriter struct {
	first, second Target
	split         int64 // where the second part begins
}

// WriteAt writes what lies in one part.
func (w *imageWriter) WriteAt(p []byte, off int64) (int, error) {
	if w.second != nil && off >= w.split {
		return w.second.WriteAt(p, off-w.split)
	}
	return w.first.WriteAt(p, off)
}

// copyTo copies a temporary file to an image offset.
func copyTo(ctx context.Context, w io.WriterAt, off int64, f *os.File, size uint64) error {
	buf := make([]byte, 1<<20)
	for at := int64(0); at < int64(size); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), int64(size)-at)], at)
		if n == 0 && err != nil {
			return err
		}
		if _, err := w.WriteAt(buf[:n], off+at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// padding is what the ends of the parts are a multiple of.
func padded(n, to int64) int64 { return (n + to - 1) / to * to }

// assemble writes everything but the XIP pages to the image.
func (b *builder) assemble(ctx context.Context, s *spool) error {
	var sb format.Superblock
	var desc [format.NumRegions]format.Descriptor
	head := int64(sb.Layout.SuperblockSize() + int(format.NumRegions)*sb.Layout.DescriptorSize())
	w := &imageWriter{first: b.out, second: b.o.Second}

	// Tables and names go before the XIP pages as long as there is room, then after
	// them.
	end := head // of what lies before the XIP pages, or of everything
	xipEnd := int64(0)
	if b.xipPages > 0 {
		xipEnd = b.xipBase + int64(b.xipPages)*b.pageSize
		desc[format.XIP] = format.Descriptor{Off: uint64(b.xipBase), Size: b.xipPages * uint64(b.pageSize)}
	}
	mapped := max(end, xipEnd)
	room := func(size int64) int64 {
		if xipEnd > 0 && size <= b.xipBase-end {
			end += size
			return end - size
		}
		if xipEnd == 0 {
			end += size
			mapped = end
			return end - size
		}
		mapped += size
		return mapped - size
	}
	for _, t := range b.tables() {
		d := t.descriptor()
		d.Off = uint64(room(int64(d.Size)))
		desc[t.region] = d
		b.stats.TableBytes += d.Size
		if err := t.write(w.first, int64(d.Off)); err != nil {
			return err
		}
	}
	d := format.Descriptor{Size: uint64(len(b.strings))}
	d.Off = uint64(room(int64(d.Size)))
	desc[format.Strings] = d
	if _, err := w.first.WriteAt(b.strings, int64(d.Off)); err != nil {
		return err
	}

	at := mapped
	if w.second != nil {
		at = padded(mapped, b.pageSize)
		w.split = at
	}
	desc[format.Compressed] = format.Descriptor{Off: uint64(at), Size: b.store.compressed}
	if err := copyTo(ctx, w, at, s.compressed, b.store.compressed); err != nil {
		return err
	}
	at += int64(b.store.compressed)
	desc[format.ByteAligned] = format.Descriptor{Off: uint64(at), Size: b.store.bytes}
	if err := copyTo(ctx, w, at, s.bytes, b.store.bytes); err != nil {
		return err
	}
	at += int64(b.store.bytes)
	return b.finish(w, &sb, &desc, at)
}

// finish writes the two magic numbers, and everything that names sizes. The data ends
// at end.
func (b *builder) finish(w *imageWriter, sb *format.Superblock, desc *[format.NumRegions]format.Descriptor, end int64) error {
	magic := []byte{format.Magic >> 24, format.Magic >> 16 & 0xff, format.Magic >> 8 & 0xff, format.Magic & 0xff}
	if _, err := w.WriteAt(magic, end); err != nil {
		return err
	}
	size := end + int64(len(magic))
	*sb = format.Superblock{
		CblockSize: uint32(b.o.BlockSize), Files: uint64(len(b.nodes)), Size: uint64(size), Blocks: uint64(len(b.refs)),
		MmapSize: uint64(size), Version: [3]uint8{2, 2, 0}, Timestamp: b.o.Timestamp, PageShift: b.pageShift(),
		Layout: format.LayoutNatural,
	}
	full := padded(size, b.pageSize)
	if w.second != nil {
		sb.MmapSize = uint64(w.split)
		if err := w.second.Truncate(full - w.split); err != nil {
			return err
		}
		if err := w.first.Truncate(w.split); err != nil {
			return err
		}
	} else if err := w.first.Truncate(full); err != nil {
		return err
	}
	var descriptors []byte
	for r := range format.NumRegions {
		sb.Descriptors[r] = uint64(sb.Layout.SuperblockSize() + len(descriptors))
		descriptors = desc[r].Append(descriptors, sb.Layout)
	}
	b.stats.ImageBytes, b.stats.MappedBytes = uint64(full), uint64(full)
	if w.second != nil {
		b.stats.MappedBytes = uint64(w.split)
	}
	_, err := w.first.WriteAt(append(sb.Append(nil), descriptors...), 0)
	return err
}
