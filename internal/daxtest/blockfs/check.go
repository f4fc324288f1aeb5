package blockfs

import (
	"errors"
	"fmt"

	"godax/dax"
)

// errAbsent is what a page is populated with that Check only looks at.
var errAbsent = errors.New("blockfs: not in the index")

// Check verifies, while no operation is in flight, that every file's index is in order and
// says what the extent map says (I56), and that blocks are in use exactly where a file has
// them (I17). It returns all violations.
func (fs *FS) Check() error {
	var errs []error
	for _, f := range fs.Files() {
		if err := f.M.CheckInvariants(true); err != nil {
			errs = append(errs, fmt.Errorf("file %d: %w", f.ID, err))
		}
		if err := f.checkIndex(); err != nil {
			errs = append(errs, err)
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	refs := map[Block]int{}
	for _, f := range fs.files {
		for _, e := range f.ext {
			refs[e.Block]++
		}
	}
	taken := 0
	for dev := range fs.space.refs {
		for p, n := range fs.space.refs[dev] {
			b := Block{dev, uint64(p)}
			if n != refs[b] {
				errs = append(errs, fmt.Errorf("block %v: %d references counted, files have %d", b, n, refs[b]))
			}
			if n > 0 || fs.space.used[b] {
				taken++
			}
			if n > 0 && fs.space.used[b] {
				errs = append(errs, fmt.Errorf("block %v: freed and in use", b))
			}
		}
	}
	if taken != fs.space.taken {
		errs = append(errs, fmt.Errorf("%d blocks counted, %d taken", fs.space.taken, taken))
	}
	return errors.Join(errs...)
}

// checkIndex compares what DAX has with the extent map, page by page.
func (f *File) checkIndex() error {
	var errs []error
	bad := func(page uint64, what string) {
		errs = append(errs, fmt.Errorf("I56: file %d page %d: %s", f.ID, page, what))
	}
	absent := dax.PopulateFunc(func(*dax.Request) error { return errAbsent })
	for page := range pagesUp(f.M.Size()) {
		for d, err := range f.M.Entries(nil, page, 1, absent) {
			if err != nil {
				break
			}
			e, ok := f.Ext(page)
			switch {
			case d.Kind == dax.Hole && ok && !e.Raw:
				bad(page, "a hole in the index")
			case d.Kind == dax.Hole:
			case !ok || e.Raw:
				bad(page, fmt.Sprintf("frame %#x in the index, none in the file", uint64(d.PFN)))
			case d.PFN != f.FS.PFN(e.Block):
				bad(page, fmt.Sprintf("frame %#x in the index, %#x in the file", uint64(d.PFN), uint64(f.FS.PFN(e.Block))))
			case f.FS.Refs(e.Block) > 1 && (d.Attr&dax.SharedPFN == 0 || d.Attr&dax.Writable != 0):
				bad(page, "shared, and the index does not say so")
			}
		}
	}
	return errors.Join(errs...)
}

// Raw returns what the file's blocks say about n bytes at off, without asking DAX.
func (f *File) Raw(off, n int64) ([]byte, error) {
	b := make([]byte, n)
	for at := off; at < off+n; {
		page := uint64(at) / PageSize
		k := min(int64(page+1)*PageSize, off+n) - at
		if e, ok := f.Ext(page); ok && !e.Raw {
			bytes, err := f.FS.devices[e.Block.Dev].Bytes(int64(e.Block.Page)*PageSize+at%PageSize, k)
			if err != nil {
				return nil, err
			}
			copy(b[at-off:], bytes)
		}
		at += k
	}
	return b, nil
}
