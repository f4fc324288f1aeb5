package main

import (
	"bytes"
	"fmt"
	"strings"

	"godax/fs/axfs/profile"
)

// profileReport is a report as JSON. Sizes are in bytes.
type profileReport struct {
	PageSize  int            `json:"page_size"`
	Files     int            `json:"files"`
	Touched   int            `json:"touched_pages"`
	Distinct  int            `json:"distinct_pages"`
	TreeBytes int64          `json:"tree_bytes"`
	Images    []profileImage `json:"images"`
	Curve     []profilePoint `json:"curve"`
}

type profileImage struct {
	InPlace  string `json:"in_place"`
	Direct   int    `json:"touched_pages_in_place"`
	Bytes    int64  `json:"image_bytes"`
	Resident int64  `json:"resident_bytes"`
}

type profilePoint struct {
	Share    float64 `json:"share"`
	Bytes    int64   `json:"image_bytes"`
	Resident int64   `json:"resident_bytes"`
}

func newProfileReport(r *profile.Report) profileReport {
	out := profileReport{r.PageSize, r.Files, r.Touched, r.Distinct, r.TreeBytes, nil, nil}
	for _, i := range r.Images {
		out.Images = append(out.Images, profileImage{i.Name, i.Direct, i.Bytes, i.Resident})
	}
	for _, p := range r.Curve {
		out.Curve = append(out.Curve, profilePoint{p.Share, p.Bytes, p.Resident})
	}
	return out
}

// imageNames are the images of a report for people.
var imageNames = map[string]string{
	"nothing": "nothing", "touched": "the touched pages", "elf": "all ELF files", "all": "everything",
}

// printProfile prints a report as text.
func (a *app) printProfile(r *profile.Report) {
	fmt.Fprintf(a.out, "touched: %d pages of %d files, %d different; the tree has %s\n\n",
		r.Touched, r.Files, r.Distinct, formatSize(r.TreeBytes))
	if r.Touched == 0 {
		return
	}
	fmt.Fprintf(a.out, "%-18s %12s %12s %14s %12s\n", "in place", "image", "", "memory for the", "saved for a")
	fmt.Fprintf(a.out, "%-18s %12s %12s %14s %12s\n", "", "", "", "touched pages", "byte of image")
	base := r.Images[0]
	for _, i := range r.Images {
		more, saved := "", ""
		if i.Bytes != base.Bytes {
			more = fmt.Sprintf("%+.1f%%", 100*float64(i.Bytes-base.Bytes)/float64(base.Bytes))
		}
		if i.Bytes > base.Bytes {
			saved = fmt.Sprintf("%.2f", float64(base.Resident-i.Resident)/float64(i.Bytes-base.Bytes))
		}
		fmt.Fprintf(a.out, "%-18s %12s %12s %14s %12s\n", imageNames[i.Name], formatSize(i.Bytes), more, formatSize(i.Resident), saved)
	}
	fmt.Fprintf(a.out, "\nshare of the touched pages in place, those touched most first\n")
	most, resident := int64(1), int64(1)
	for _, p := range r.Curve {
		most, resident = max(most, p.Bytes), max(resident, p.Resident)
	}
	for i, p := range r.Curve {
		if i%2 == 0 || i == len(r.Curve)-1 {
			fmt.Fprintf(a.out, "%3.0f%%  image %10s %-24s memory %10s %s\n", 100*p.Share,
				formatSize(p.Bytes), bar(p.Bytes, most), formatSize(p.Resident), bar(p.Resident, resident))
		}
	}
}

// bar is n of most as a bar of at most 24 cells.
func bar(n, most int64) string { return strings.Repeat("█", int((n*24+most/2)/most)) }

// Size of the picture, and of the axes in it.
const (
	svgWidth, svgHeight         = 720, 420
	svgLeft, svgTop             = 90, 40
	svgRight, svgBottom         = svgWidth - 30, svgHeight - 60
	svgImage, svgMemory         = "#1f77b4", "#d62728"
	svgFont                     = `font-family="sans-serif" font-size="12"`
	svgLines            float64 = 5
)

// drawCurve draws the curve of a report as SVG: both sizes over the share of pages in
// place.
func drawCurve(r *profile.Report) []byte {
	most := int64(1)
	for _, p := range r.Curve {
		most = max(most, p.Bytes, p.Resident)
	}
	x := func(share float64) float64 { return svgLeft + share*(svgRight-svgLeft) }
	y := func(n float64) float64 { return svgBottom - n/float64(most)*(svgBottom-svgTop) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d">`+"\n", svgWidth, svgHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i := range int(svgLines) + 1 {
		part := float64(i) / svgLines
		n := part * float64(most)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%[2]f" stroke="#ddd"/>`+"\n", svgLeft, y(n), svgRight)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" %s>%s</text>`+"\n", svgLeft-8, y(n)+4, svgFont, formatSize(int64(n)))
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" %s>%.0f%%</text>`+"\n", x(part), svgBottom+18, svgFont, part*100)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle" %s>share of the touched pages in place</text>`+"\n", (svgLeft+svgRight)/2, svgBottom+40, svgFont)
	for i, line := range []struct {
		name, color string
		size        func(profile.Point) int64
	}{
		{"size of the image", svgImage, func(p profile.Point) int64 { return p.Bytes }},
		{"memory for the touched pages", svgMemory, func(p profile.Point) int64 { return p.Resident }},
	} {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, line.color)
		for _, p := range r.Curve {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p.Share), y(float64(line.size(p))))
		}
		fmt.Fprintf(&b, `"/>`+"\n")
		fmt.Fprintf(&b, `<text x="%d" y="24" fill="%s" %s>%s</text>`+"\n", svgLeft+i*220, line.color, svgFont, line.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
