// Package build makes AXFS images, version 2.2, of a tree of files.
//
// # What goes where
//
// Every page of every file is stored in one of three ways: in place (XIP: a whole page,
// aligned, that a driver maps), compressed, or as it is at any byte (byte aligned, for what
// does not compress). The caller chooses the pages to have in place ([XIP]); they take
// their full size in the image and none of the reader's memory.
//
// # How XIP pages are laid out
//
// The chosen pages of a file lie one after another, in the file's order. Memory is mapped
// in larger pages where file offset and image offset agree, so:
//
//   - a run of chosen pages with a whole aligned 2 MiB in it lies where its image offset is
//     congruent to its file offset modulo 2 MiB, as long as the gaps that this leaves can
//     be filled with other files, or are [Options].MaxPadding percent of all chosen pages
//     at most; the files with most pages come first;
//   - a run with a whole aligned 64 KiB in it lies congruent modulo 64 KiB, if that leaves
//     a gap of a quarter of the run at most;
//   - other runs follow whatever was before.
//
// Files with runs of the first kind are placed first. The gaps that they leave are filled
// with the files of the other kinds, and the one before the first with the tables. What
// stays empty is [Stats].XIPPadding.
//
// # What is stored once
//
// Files of the same contents share all their nodes, runs of XIP pages of the same contents
// their place, and all other pages of the same contents one stored piece, an XIP page if
// there is one. Full pages of zeros are always shared, so that sparse files of any size can
// be built.
//
// # Reproducibility
//
// The image is a function of the names, attributes and contents of the tree and of
// [Options]; neither times of files, nor the order of directories, nor where holes are, nor
// the number of cores matter. It depends on the version of the compressor
// (github.com/klauspost/compress, fixed in go.mod) and not on that of Go.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"runtime"

	"godax/fs/axfs/internal/format"

	"github.com/klauspost/compress/zlib"
)

// Options are the ways to build an image. The zero value builds one with pages and blocks of
// 4 KiB, compressed as well as possible, with nothing in place.
type Options struct {
	PageSize  int // bytes: 4096 (0 means that), 16384 or 65536
	BlockSize int // largest compressed block before compression, bytes: a multiple of 4096 from PageSize (0 means that) to 65536

	// BlockPages is how many pages, or ends of files, share a compressed block at most; 0 is as
	// many as fit. The published builder has 1.
	BlockPages int

	Level   int  // of zlib, 1 to 9; 0 means 9
	NoDedup bool // store identical files and pages, except pages of zeros, as often as there are

	XIP  XIP  // which pages are in place
	Tail Tail // what becomes of the short last page of a file that is to be in place

	// MaxPadding is how many pages may stay empty for the sake of pages of 2 MiB, in percent of
	// the pages in place; 0 means 15, negative none.
	MaxPadding int

	// Second, if not nil, gets what need not be mapped: the image is split. The first
	// part has superblock, XIP pages, tables and names.
	Second Target

	Timestamp uint64 // of all files, seconds since 1970, up to the year 9999
	AllRoot   bool   // all files belong to user and group 0

	// Exclude are files to leave out, wherever they are in the tree.
	Exclude map[ID]bool

	TempDir string // for what must be kept until its place is known; empty means os.TempDir
	Workers int    // goroutines that read and compress; 0 is one for each core

	// Progress, if not nil, is called with the size of all files first, done 0, and then now
	// and then with how much was done. Calls do not overlap.
	Progress func(done, total int64)

	// Warn, if not nil, is called with what is in the image but may not be understood by other
	// readers.
	Warn func(error)

	// OnPage, if not nil, is called at the end for every page of every regular file, in the
	// order of files in the image.
	OnPage func(PageInfo)
}

// Tail says what becomes of the short last page of a file that is chosen to be in
// place.
type Tail uint8

const (
	TailXIP   Tail = iota // a whole page in place, filled up with zeros: all of the file can be mapped
	TailBytes             // byte aligned, as the published builder does
)

// PageInfo says how a page of a file is stored.
type PageInfo struct {
	Path   string // from the tree's root, without a slash before it
	Page   uint64
	Kind   byte   // 'X' in place, 'C' compressed, 'B' byte aligned
	Piece  uint64 // the same for pages that are stored once together
	Shared bool   // a page with the same Piece came before
	Stored int64  // bytes it takes in the image: of a compressed block its share
}

// Target is what an image is written to: an empty file.
type Target interface {
	io.WriterAt
	Truncate(size int64) error
}

// Discard is a [Target] that keeps nothing: to learn how large an image would be.
var Discard Target = discard{}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (discard) Truncate(int64) error                   { return nil }

// Stats say what is in an image that was built.
type Stats struct {
	Files, Dirs, Symlinks, Others uint64 // inodes
	InputBytes                    uint64 // sizes of all files
	ImageBytes                    uint64 // all of the image, padding at the end included
	MappedBytes                   uint64 // the part to be mapped: all, if the image is not split

	Nodes                    uint64 // pages of files that have nodes of their own
	XIPNodes                 uint64 // of these: in place
	CompressedNodes          uint64 // compressed
	ByteNodes                uint64 // byte aligned
	XIPPages                 uint64 // stored pages in place
	XIPPadding               uint64 // empty pages between them
	XIPRuns                  uint64 // runs of them
	Huge, Medium             uint64 // pages of XIPPages in aligned, congruent blocks of 2 MiB, and of 64 KiB
	Blocks                   uint64 // compressed blocks
	DupFiles, DupFileBytes   uint64 // files that share all nodes of another, and their sizes
	DupPages, DupPageBytes   uint64 // other pages that share a stored page, and their sizes
	ZeroPages                uint64 // full pages of zeros among them
	XIPBytes, CompBytes      uint64 // regions
	ByteAlignedBytes         uint64
	TableBytes, StringsBytes uint64
}

// pageBits is log2 of the smallest page.
const pageBits = 12

// errEmpty: the driver of the reference refuses an image with nothing in its root.
var errEmpty = errors.New("the directory is empty: an AXFS image must have at least one file")

// check fills in what was left out, and refuses what cannot be.
func (o *Options) check() error {
	switch o.PageSize {
	case 0:
		o.PageSize = 1 << pageBits
	case 4 << 10, 16 << 10, 64 << 10:
	default:
		return fmt.Errorf("page size %d is not 4096, 16384 or 65536", o.PageSize)
	}
	if o.BlockSize == 0 {
		o.BlockSize = o.PageSize
	}
	if o.BlockSize < o.PageSize || o.BlockSize > 64<<10 || o.BlockSize%(1<<pageBits) != 0 {
		return fmt.Errorf("compressed block size %d is not a multiple of 4096 from the page size %d to 65536", o.BlockSize, o.PageSize)
	}
	if o.BlockPages < 0 {
		return fmt.Errorf("%d pages in a compressed block", o.BlockPages)
	}
	if o.Level == 0 {
		o.Level = zlib.BestCompression
	}
	if o.Level < zlib.BestSpeed || o.Level > zlib.BestCompression {
		return fmt.Errorf("compression level %d is not from 1 to 9", o.Level)
	}
	if o.Timestamp > maxTime {
		return fmt.Errorf("time %d is after the year 9999", o.Timestamp)
	}
	switch {
	case o.MaxPadding == 0:
		o.MaxPadding = 15
	case o.MaxPadding < 0:
		o.MaxPadding = 0
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return o.XIP.check()
}

// Check says what is wrong with the options, as Build would before it looks at the
// tree.
func (o Options) Check() error { return o.check() }

// builder is one run of Build.
type builder struct {
	o        Options
	src      Source
	out      Target
	pageSize int64

	nodes   []*inode // by inode number
	ids     []modeID // by mode index
	strings []byte

	xipPages   uint64            // of the region, padding included
	xipBase    int64             // image offset of the region
	xipHash    map[digest]uint64 // first page of the region with the contents
	refs       []ref             // by node number
	store      *pieces
	done       int64
	total      int64
	stats      Stats
	primaryOf  map[*inode]*inode // by file that shares the nodes of another
	zeroDigest digest
}

// Build makes an image of the tree src and writes it to out. What is in out if it fails
// means nothing.
//
// Errors: of out and temporary files; of ctx; *FileError for those of src, and for what the
// format cannot hold: a name of more than 255 bytes, a symbolic link longer than a page, a
// file of unknown type, an empty tree, more than 2^28 pages in all files; a file that became shorter
// while it was read.
func Build(ctx context.Context, src Source, out Target, o Options) (_ *Stats, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b := &builder{o: o, src: src, out: out, pageSize: int64(o.PageSize), primaryOf: make(map[*inode]*inode)}
	b.zeroDigest = digestOf(make([]byte, b.pageSize))
	for _, step := range []func(context.Context) error{b.scan, b.choose, b.findDuplicates, b.hashRuns} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	spool, err := newSpool(o.TempDir) // after the tree was scanned: it may be in there
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, spool.close()) }()
	b.place()
	if err := b.writeXIP(ctx); err != nil {
		return nil, err
	}
	if b.store, err = b.writePieces(ctx, spool); err != nil {
		return nil, err
	}
	if err := b.assemble(ctx, spool); err != nil {
		return nil, err
	}
	b.report()
	return &b.stats, nil
}

// pagesOf is how many pages n bytes take.
func (b *builder) pagesOf(n int64) uint64 {
	pages := uint64(n / b.pageSize)
	if n%b.pageSize > 0 {
		pages++
	}
	return pages
}

// add counts bytes of files that are done.
func (b *builder) add(n int64) {
	b.done += n
	b.o.Progress(b.done, b.total)
}

// pageShift is log2 of the page size.
func (b *builder) pageShift() uint8 { return uint8(bits.TrailingZeros(uint(b.pageSize))) }

// spool are temporary files for the two regions that grow while the tree is read.
type spool struct {
	compressed, bytes *os.File
}

func newSpool(dir string) (*spool, error) {
	s := new(spool)
	for _, f := range []**os.File{&s.compressed, &s.bytes} {
		var err error
		if *f, err = os.CreateTemp(dir, ".mkaxfs-*"); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// close takes the files away.
func (s *spool) close() error {
	var errs []error
	for _, f := range []*os.File{s.compressed, s.bytes} {
		if f != nil {
			errs = append(errs, f.Close(), os.Remove(f.Name()))
		}
	}
	return errors.Join(errs...)
}

// Limits: of the format, and of what readers believe.
const (
	maxName = format.MaxName
	maxTime = 253402300799 // end of the year 9999

	// maxPages bounds the pages of all files, other names of one file left out: 1 TiB with pages
	// of 4 KiB. Each takes some bytes of memory here and of tables in the image, also where a
	// sparse file has nothing but a size.
	maxPages = 1 << 28
)
