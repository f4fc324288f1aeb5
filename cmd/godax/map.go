package main

import (
	"fmt"
	"strings"

	"godax"
	"godax/pmem"

	"github.com/spf13/cobra"
)

// fileMap is what map shows of a file.
type fileMap struct {
	Path  string    `json:"path"`
	Size  int64     `json:"size"`
	Runs  []pageRun `json:"runs"`
	Usage usage     `json:"pages"`
}

func newMap(a *app) *cobra.Command {
	var flags openFlags
	var asJSON, picture bool
	cmd := &cobra.Command{
		Use:   "map IMAGE:/FILE...",
		Short: "Show which page frames hold a file",
		Long: `map shows a file run by run: the pages of the file, their first page frame number on
the device, the order of the index entries (log2 of pages: 0 is 4 KiB, 9 is 2 MiB), and
what the pages are: direct, cached, hole or unwritten; "dirty" if stored to since the
last writeback. Nothing is allocated by looking.

On a terminal a picture follows.`,
		Example: `  godax map disk.img:/db
  godax map --json disk.img:/db | jq '.[0].runs[] | select(.order >= 9)'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			all := []fileMap{}
			err := a.forEach("map", &flags, false, args, func(fsys *godax.FS, n name) error {
				f, err := fsys.Open(n.path)
				if err != nil {
					return err
				}
				defer f.Close()
				fi, err := f.Stat()
				if err != nil {
					return err
				}
				if !fi.Mode().IsRegular() {
					return fmt.Errorf("not a regular file, but of type %c", typeLetter(fi.Mode()))
				}
				runs, err := runsOf(a.ctx, f)
				if err != nil {
					return err
				}
				m := fileMap{jsonName(n.path), fi.Size(), append([]pageRun{}, runs...), tally(runs)}
				if asJSON {
					all = append(all, m)
					return nil
				}
				if len(args) > 1 {
					fmt.Fprintf(a.out, "%s:\n", a.shown(n.String()))
				}
				a.printRuns(runs)
				if picture || a.outTTY {
					a.printPicture(m.Usage.Pages, runs)
				}
				return nil
			})
			if asJSON && err == nil {
				err = a.printJSON(all)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	cmd.Flags().BoolVar(&picture, "picture", false, "draw the picture even if standard output is no terminal")
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}

// printRuns prints one line per run.
func (a *app) printRuns(runs []pageRun) {
	for _, r := range runs {
		pages := fmt.Sprintf("%d-%d", r.Page, r.Page+r.Pages-1)
		dirty := ""
		if r.Dirty {
			dirty = "  dirty"
		}
		if r.hasFrames() {
			fmt.Fprintf(a.out, "pages %-19s  pfn %#-14x  order %2d  %s%s\n", pages, uint64(r.PFN), r.Order, r.Kind, dirty)
		} else {
			fmt.Fprintf(a.out, "pages %-19s  pfn %-14s  order  -  %s%s\n", pages, "-", r.Kind, dirty)
		}
	}
}

// look is how the picture shows pages.
type look struct{ color, cell, means string }

// The looks, from the one that wins in a cell down.
var looks = []look{
	{"\x1b[31m", "█", "dirty"},
	{"\x1b[32m", "█", "direct, 2 MiB pages"},
	{"\x1b[36m", "▓", "direct"},
	{"\x1b[33m", "▒", "cached"},
	{"\x1b[35m", "░", "unwritten"},
	{"\x1b[2m", "·", "hole"},
}

// lookOf is the index in looks of a run.
func lookOf(r pageRun) int {
	switch {
	case r.Dirty:
		return 0
	case r.kind == godax.Direct && 1<<r.Order >= pmdPages:
		return 1
	case r.kind == godax.Direct:
		return 2
	case r.kind == godax.Cached:
		return 3
	case r.kind == godax.Unwritten:
		return 4
	}
	return 5
}

// printPicture draws the file as cells of equal size, at most 16 lines of 64. A cell
// shows the first in looks of what it holds.
func (a *app) printPicture(pages uint64, runs []pageRun) {
	const perLine, lines = 64, 16
	if pages == 0 {
		return
	}
	per := uint64(1)
	for per*perLine*lines < pages {
		per *= 2
	}
	cells := make([]int, (pages+per-1)/per)
	for i := range cells {
		cells[i] = len(looks) - 1
	}
	used := make([]bool, len(looks))
	for _, r := range runs {
		l := lookOf(r)
		used[l] = true
		for c := r.Page / per; c <= (r.Page+r.Pages-1)/per && c < uint64(len(cells)); c++ {
			cells[c] = min(cells[c], l)
		}
	}
	const reset = "\x1b[0m"
	var b strings.Builder
	for i, c := range cells {
		if i%perLine == 0 {
			fmt.Fprintf(&b, "\n%12d ", uint64(i)*per)
		}
		if i%perLine == 0 || c != cells[i-1] {
			b.WriteString(reset + looks[c].color)
		}
		b.WriteString(looks[c].cell)
	}
	b.WriteString(reset)
	fmt.Fprintf(&b, "\n%12s %s each;", "", formatSize(int64(per)*pmem.PageSize))
	for i, l := range looks {
		if used[i] {
			fmt.Fprintf(&b, " %s%s%s %s", l.color, l.cell, reset, l.means)
		}
	}
	a.out.WriteString(b.String() + "\n")
}
