package build

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Profile says which pages of which files were touched: a page list in the format of
// the Linux driver of AXFS, which the published builder reads:
//
//	./usr/bin/prog,8192,17
//
// is a path, the offset of a page in the file in bytes, and how often it was touched.
type Profile []ProfileLine

// ProfileLine is one line of a [Profile].
type ProfileLine struct {
	Path   string // from the tree's root, without "./" or a slash before it
	Offset int64  // any byte in the page
	Count  uint64
}

// maxProfileLine bounds a line: a path can have 4096 bytes and two numbers follow.
const maxProfileLine = 1 << 16

// ReadProfile reads a page list. Lines may end in CR LF and be empty; paths may begin with
// "./" or "/". The last two commas of a line separate: paths may have commas themselves.
func ReadProfile(r io.Reader) (Profile, error) {
	var p Profile
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxProfileLine)
	number := 0
	for lines.Scan() {
		number++
		text := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(text) == "" {
			continue
		}
		line, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("page list, line %d: %w", number, err)
		}
		p = append(p, line)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("page list, line %d: %w", number+1, err)
	}
	return p, nil
}

func parseLine(text string) (line ProfileLine, err error) {
	second := strings.LastIndexByte(text, ',')
	first := -1
	if second > 0 {
		first = strings.LastIndexByte(text[:second], ',')
	}
	if first < 0 {
		return line, fmt.Errorf("%q is not path,offset,count", text)
	}
	line.Path = cleanPath(text[:first])
	if line.Path == "" {
		return line, fmt.Errorf("%q has no path", text)
	}
	offset := strings.TrimSpace(text[first+1 : second])
	if line.Offset, err = strconv.ParseInt(offset, 10, 64); err != nil || line.Offset < 0 {
		return line, fmt.Errorf("offset %q is not a number of bytes", offset)
	}
	count := strings.TrimSpace(text[second+1:])
	if line.Count, err = strconv.ParseUint(count, 10, 64); err != nil {
		return line, fmt.Errorf("count %q is not a number", count)
	}
	return line, nil
}

// cleanPath takes "./" or slashes off the start of a path.
func cleanPath(p string) string {
	for {
		q := strings.TrimLeft(strings.TrimPrefix(p, "./"), "/")
		if q == p {
			return p
		}
		p = q
	}
}

// errLineBreak is a path that a page list cannot hold.
var errLineBreak = errors.New("a line break in a path")

// Write writes the list, sorted by path and offset. A path with a line break in it cannot be
// written: the others are, and an error says how many were not.
func (p Profile) Write(w io.Writer) error {
	p = slices.Clone(p)
	p.sort()
	out := bufio.NewWriter(w)
	left := 0
	for _, line := range p {
		if strings.ContainsAny(line.Path, "\r\n") {
			left++
			continue
		}
		fmt.Fprintf(out, "./%s,%d,%d\n", line.Path, line.Offset, line.Count)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%d pages of the list left out: %w", left, errLineBreak)
	}
	return nil
}

// sort sorts by path and offset.
func (p Profile) sort() {
	slices.SortFunc(p, func(a, b ProfileLine) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return int(min(1, max(-1, a.Offset-b.Offset)))
	})
}

// Pages are the pages of each file that the list names and that have a count, sorted. pageSize
// is in bytes.
func (p Profile) Pages(pageSize int64) map[string][]uint64 {
	byPath := make(map[string][]uint64)
	for _, line := range p {
		if line.Count == 0 {
			continue
		}
		// As in the published builder, what is noted is a page-long piece: from an offset
		// inside of a page it reaches into the next one.
		first := uint64(line.Offset / pageSize)
		byPath[line.Path] = append(byPath[line.Path], first)
		if line.Offset%(1<<pageBits) != 0 && (line.Offset+1<<pageBits-1)/pageSize != int64(first) {
			byPath[line.Path] = append(byPath[line.Path], first+1)
		}
	}
	for path, pages := range byPath {
		slices.Sort(pages)
		byPath[path] = slices.Compact(pages)
	}
	return byPath
}
