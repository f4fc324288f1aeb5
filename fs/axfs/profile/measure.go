package profile

import (
	"cmp"
	"context"
	"slices"

	"godax/fs/axfs/build"
)

// Report says what images of a tree cost, and what memory a program needs that touches the
// pages of a list.
type Report struct {
	PageSize  int   // bytes
	Files     int   // files that the list names and the tree has
	Touched   int   // pages of them that the list names
	Distinct  int   // of these, pages of different contents: each is in memory once
	TreeBytes int64 // sizes of all files

	// Images are built, nothing in place first.
	Images []Image

	// Curve goes from none of the touched pages in place to all of them, those that are touched
	// most first. Sizes are computed from the first image.
	Curve []Point
}

// Image is one way to build the image.
type Image struct {
	Name     string // "nothing", "touched", "elf", "all"
	Direct   int    // of the touched pages: in place
	Bytes    int64  // of the image
	Resident int64  // memory for the touched pages that are not in place
}

// Point is a point of the curve.
type Point struct {
	Share           float64 // of the distinct touched pages that are in place, 0 to 1
	Direct          int     // these pages
	Bytes, Resident int64   // as in Image
}

// curveSteps is the number of steps of the curve.
const curveSteps = 20

// Measure builds the images of the report and keeps none. o says how; its fields XIP,
// OnPage and Second are not used.
func Measure(ctx context.Context, src build.Source, list build.Profile, o build.Options) (*Report, error) {
	o.Second = nil
	m := measurer{src: src, o: o}
	if m.o.PageSize == 0 {
		m.o.PageSize = pageSize
	}
	m.report.PageSize = m.o.PageSize
	m.touched = counts(list, m.o.PageSize)
	images := []struct {
		name string
		xip  build.XIP
	}{
		{"nothing", build.XIP{}}, {"touched", build.XIP{Profile: list}},
		{"elf", build.XIP{Mode: build.ModeELF}}, {"all", build.XIP{Mode: build.ModeAll}},
	}
	for i, image := range images {
		pages, st, err := m.build(ctx, image.xip)
		if err != nil {
			return nil, err
		}
		r := &m.report
		direct, cached := 0, make(map[uint64]bool)
		for _, p := range pages {
			if p.Kind == 'X' {
				direct++
			} else {
				cached[p.Piece] = true
			}
		}
		if i == 0 {
			r.TreeBytes, r.Touched = int64(st.InputBytes), len(pages)
			m.curve(pages, int64(st.ImageBytes))
		}
		r.Images = append(r.Images, Image{image.name, direct, int64(st.ImageBytes), int64(len(cached)) * int64(m.o.PageSize)})
	}
	return &m.report, nil
}

// counts are how often each page of each file was touched.
func counts(list build.Profile, size int) map[string]map[uint64]uint64 {
	all := make(map[string]map[uint64]uint64)
	for p, pages := range list.Pages(int64(size)) {
		all[p] = make(map[uint64]uint64)
		for _, page := range pages {
			all[p][page] = 0
		}
	}
	for _, line := range list {
		if line.Count > 0 {
			all[line.Path][uint64(line.Offset)/uint64(size)] += line.Count
		}
	}
	return all
}

// measurer is one run of Measure.
type measurer struct {
	src     build.Source
	o       build.Options
	touched map[string]map[uint64]uint64
	report  Report
}

// build builds an image, and returns the touched pages.
func (m *measurer) build(ctx context.Context, xip build.XIP) ([]build.PageInfo, *build.Stats, error) {
	var pages []build.PageInfo
	o := m.o
	o.XIP = xip
	o.OnPage = func(p build.PageInfo) {
		if _, ok := m.touched[p.Path][p.Page]; ok {
			pages = append(pages, p)
		}
	}
	st, err := build.Build(ctx, m.src, build.Discard, o)
	return pages, st, err
}

// piece is a stored page, with how often it was touched.
type piece struct {
	id     uint64
	count  uint64
	stored int64
}

// curve computes the curve from the pages of an image of size bytes with nothing in place.
func (m *measurer) curve(pages []build.PageInfo, size int64) {
	index := make(map[uint64]int)
	files := make(map[string]bool)
	var all []piece
	for _, p := range pages {
		files[p.Path] = true
		i, ok := index[p.Piece]
		if !ok {
			i = len(all)
			index[p.Piece] = i
			all = append(all, piece{id: p.Piece, stored: p.Stored})
		}
		all[i].count += m.touched[p.Path][p.Page]
	}
	// Among equals those come first that cost least.
	slices.SortStableFunc(all, func(a, b piece) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(b.stored, a.stored))
	})
	r := &m.report
	r.Files, r.Distinct = len(files), len(all)
	unit := int64(m.o.PageSize)
	done := 0
	for step := range curveSteps + 1 {
		for want := len(all) * step / curveSteps; done < want; done++ {
			size += unit - all[done].stored
		}
		share := 1.0
		if len(all) > 0 {
			share = float64(done) / float64(len(all))
		}
		at := size
		if done > 0 {
			at += unit // the region begins at a page
		}
		r.Curve = append(r.Curve, Point{share, done, (at + unit - 1) / unit * unit, int64(len(all)-done) * unit})
	}
}
