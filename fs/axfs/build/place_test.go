package build

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"godax/internal/axfsdec"
)

func TestPlaceRuns(t *testing.T) {
	// Runs of one file each, in pages of 4 KiB: 512 are 2 MiB, 16 are 64 KiB.
	tests := []struct {
		name string
		runs []span
		want []uint64
	}{
		{"small ones follow", []span{{0, 3}, {5, 1}, {0, 15}}, []uint64{0, 3, 4}},
		{"medium first, then small", []span{{0, 3}, {0, 16}, {0, 20}}, []uint64{36, 0, 16}},
		{"medium in step", []span{{0, 17}, {0, 64}}, []uint64{0, 32}},
		{"too wide a gap", []span{{0, 17}, {0, 16}}, []uint64{0, 17}},
		{"medium from the middle", []span{{7, 100}}, []uint64{7}},
		{"huge", []span{{0, 5}, {0, 513}, {0, 600}}, []uint64{600, 1024, 0}},
		{"huge from the middle", []span{{100, 1200}}, []uint64{100}},
		{"long, but no whole 2 MiB", []span{{300, 700}}, []uint64{12}},
		{"a gap is filled", []span{{0, 513}, {0, 512}, {0, 300}, {0, 11}}, []uint64{0, 1024, 528, 513}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := placeRuns(tt.runs); !slices.Equal(got, tt.want) {
				t.Errorf("placed at %v, want %v", got, tt.want)
			}
		})
	}
}

// placeRuns places runs of one file each.
func placeRuns(runs []span) []uint64 {
	b := &builder{pageSize: 4096, o: Options{NoDedup: true, MaxPadding: 100}}
	for _, s := range runs {
		b.nodes = append(b.nodes, &inode{segs: []segment{{span: s}}})
	}
	b.place()
	var at []uint64
	for _, n := range b.nodes {
		at = append(at, n.segs[0].at)
	}
	return at
}

// TestPlaceRandom places random runs: none overlap, big ones are in step, and what is lost
// is bounded.
func TestPlaceRandom(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := &builder{pageSize: []int64{4 << 10, 16 << 10, 64 << 10}[seed%3], o: Options{NoDedup: true}}
		p := newPlacer(b.pageSize)
		b.o.MaxPadding = []int{0, 15, 1e6}[rnd.IntN(3)]
		files := 1 + rnd.IntN(60)
		for range files {
			n := new(inode)
			for page, runs := uint64(rnd.IntN(4)), rnd.IntN(5); runs > 0; runs-- {
				s := span{page, 1 + uint64(rnd.IntN(1<<rnd.IntN(12)))}
				n.segs = append(n.segs, segment{span: s})
				page = s.end() + 1 + uint64(rnd.IntN(600))
			}
			b.nodes = append(b.nodes, n)
		}
		b.place()
		var all []span
		total := uint64(0)
		for _, n := range b.nodes {
			for i := range n.segs {
				s := &n.segs[i]
				total += s.n
				all = append(all, span{s.at, s.n})
				if b.o.MaxPadding == 1e6 && s.holds(p.huge) && s.at%p.huge != s.page%p.huge {
					t.Fatalf("seed %d: run %v at %d is out of step with 2 MiB", seed, s.span, s.at)
				}
				if i > 0 && s.at < n.segs[i-1].at+n.segs[i-1].n {
					t.Fatalf("seed %d: the runs of a file are out of order", seed)
				}
			}
		}
		slices.SortFunc(all, func(a, b span) int { return int(a.page) - int(b.page) })
		for i := 1; i < len(all); i++ {
			if all[i-1].end() > all[i].page {
				t.Fatalf("seed %d: %v and %v overlap", seed, all[i-1], all[i])
			}
		}
		if len(all) > 0 && (all[len(all)-1].end() != b.xipPages || b.xipPages != total+b.stats.XIPPadding) {
			t.Fatalf("seed %d: %d pages, %d of them used, %d in gaps", seed, b.xipPages, total, b.stats.XIPPadding)
		}
		if limit := total * 15 / 100; b.o.MaxPadding == 15 && b.stats.XIPPadding > limit+total/4 {
			t.Errorf("seed %d: %d pages in gaps, of %d", seed, b.stats.XIPPadding, total)
		}
	}
}

// TestHugeInImage builds an image with a file of more than 2 MiB, from the middle of which
// a part is in place as well.
func TestHugeInImage(t *testing.T) {
	src := newTree()
	src.file("a", noise(1, 5000))
	src.file("big", noise(2, 5<<20))
	src.file("part", noise(3, 4<<20+100))
	var list Profile
	for off := int64(100 << 12); off < 4<<20; off += 4096 {
		list = append(list, ProfileLine{"part", off, 1})
	}
	b, st := image(t, src, Options{XIP: XIP{Globs: []string{"big", "a"}, Profile: list}, Level: 1, MaxPadding: 100})
	im := src.check(t, Options{}, b)
	for p, first := range map[string]int{"/big": 0, "/part": 100} {
		e := entry(t, im, p)
		for i, n := range e.Nodes {
			if (i >= first && i < 1024) != (n.Kind == 'X') && p == "/part" {
				t.Fatalf("%s, page %d is %c", p, i, n.Kind)
			}
			if n.Kind != 'X' {
				continue
			}
			if _, off, _ := im.XIPPage(n.Index); off%hugeSize != uint64(i)*4096%hugeSize {
				t.Fatalf("%s, page %d is at %#x of the image", p, i, off)
			}
		}
	}
	if st.Huge != 1024+512 || st.XIPRuns != 3 {
		t.Errorf("%d pages in 2 MiB pages, %d runs", st.Huge, st.XIPRuns)
	}
	if off := im.Regions[axfsdec.NodeType].Offset; off >= hugeSize {
		t.Errorf("tables at %#x, after the XIP pages", off)
	}
}

// TestDedup counts what is stored once.
func TestDedup(t *testing.T) {
	src := newTree()
	a := noise(1, 40000)
	src.file("one/a", a)
	src.file("one/same", a)
	src.file("two/a", append(append([]byte{}, a[:8192]...), noise(2, 8192)...)) // shares two pages
	src.file("zeros", make([]byte, 10*4096))
	src.file("other", noise(3, 40000))
	src["one/hard"] = src["other"]
	sizes := make(map[string]int)
	for name, o := range map[string]Options{
		"": {}, "none": {NoDedup: true}, "xip": {XIP: XIP{Mode: ModeAll}}, "mixed": {XIP: XIP{Globs: []string{"one/a"}}},
	} {
		b, st := image(t, src, o)
		im := src.check(t, o, b)
		sizes[name] = len(b)
		hard, other := entry(t, im, "/one/hard"), entry(t, im, "/other")
		if hard.First != other.First {
			t.Errorf("%q: two names of a file have nodes of their own", name)
		}
		same := entry(t, im, "/one/same").First == entry(t, im, "/one/a").First
		shared := 0
		for _, n := range entry(t, im, "/two/a").Nodes[:2] {
			if slices.Contains(entry(t, im, "/one/a").Nodes, n) {
				shared++
			}
		}
		want := struct {
			same          bool
			shared        int
			files, pages  uint64
			kinds, zeroes string
		}{true, 2, 2, 11, "", ""}
		switch name {
		case "none":
			want.same, want.shared, want.files, want.pages = false, 0, 1, 9
		case "xip":
			want.shared, want.pages = 0, 0
		}
		if same != want.same || shared != want.shared || st.DupFiles != want.files || st.DupPages != want.pages {
			t.Errorf("%q: same %v, %d shared, statistics %+v; want %+v", name, same, shared, st, want)
		}
		if kinds := fmt.Sprint(entry(t, im, "/one/same").Pages()[:3], entry(t, im, "/two/a").Pages()); name == "mixed" && kinds != "XXXXXBB" {
			t.Errorf("mixed: pages are %s", kinds)
		}
	}
	if sizes[""] >= sizes["none"] || sizes["xip"] >= sizes["none"]+11*4096+4096 {
		t.Errorf("sizes are %v", sizes)
	}
}

// TestDedupChosen: of a file with several names, and of identical files, all pages are in
// place that any of them is listed with.
func TestDedupChosen(t *testing.T) {
	src := newTree()
	src.file("a", noise(1, 8*4096))
	src.file("b", src["a"].data)
	src["c"] = src["a"]
	list := Profile{{"a", 0, 1}, {"b", 2 * 4096, 1}, {"b", 3 * 4096, 1}, {"c", 3 * 4096, 1}, {"c", 7 * 4096, 1}}
	b, _ := image(t, src, Options{XIP: XIP{Profile: list}})
	im := src.check(t, Options{}, b)
	for _, p := range []string{"/a", "/b", "/c"} {
		if got, want := entry(t, im, p).Pages(), "XBXXBBBX"; got != want {
			t.Errorf("%s: pages are %s, want %s", p, got, want)
		}
	}
	if got := union([]span{{0, 2}, {5, 1}}, []span{{1, 3}, {4, 1}, {9, 2}}); !slices.Equal(got, []span{{0, 6}, {9, 2}}) {
		t.Errorf("union is %v", got)
	}
}
