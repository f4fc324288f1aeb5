// Package revokefs is a file system that takes frames back at random while they are in
// use, for tests of the DAX core. It is a [logfs.File] with a restless cleaner.
package revokefs

import (
	"context"
	"errors"
	"math/rand/v2"

	"godax/dax"
	"godax/internal/daxtest/logfs"
	"godax/pmem"
)

// File is the file.
type File struct{ *logfs.File }

// New makes an empty file on the device.
func New(dev pmem.Device, c dax.Config) *File { return &File{logfs.New(dev, c)} }

// Revoke takes back some pages in one of the ways there are: it moves them, closes all of
// them, or has DAX forget what it knows, which it may refuse for dirty pages.
func (f *File) Revoke(ctx context.Context, r *rand.Rand) error {
	pages := uint64(f.M.Size()+logfs.PageSize-1) / logfs.PageSize
	if pages == 0 {
		return nil
	}
	page := r.Uint64N(pages)
	n := 1 + r.Uint64N(pages-page)
	switch r.IntN(4) {
	case 0:
		return f.Fsync(ctx)
	case 1:
		if err := f.M.Invalidate(page, n); err != nil && !errors.Is(err, dax.ErrBusy) {
			return err
		}
		return nil
	default:
		return f.Clean(ctx, page, n)
	}
}
