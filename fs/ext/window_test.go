package ext

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Small files that are written and closed lie side by side, however long they are known; those
// that are open keep room to grow, and nobody else is put there.
func TestWindows(t *testing.T) {
	const files = 40
	f := newFS(t, 16<<20, 4096, "")
	defer f.closeClean()
	write := func(name string) (*file, uint64) {
		t.Helper()
		fl := f.create(name)
		if _, err := fl.WriteAt(context.Background(), fill(100, 1), 0); err != nil {
			t.Fatal(err)
		}
		x, err := fl.blocks(0, 1, false)
		if err != nil || x.pblk == 0 {
			t.Fatalf("%s: block %d, %v", name, x.pblk, err)
		}
		return fl, x.pblk
	}
	var closed, open []uint64
	var growing []*file
	for i := range files {
		fl, b := write(fmt.Sprint("closed", i))
		fl.Release()
		defer f.evict(fl)
		closed = append(closed, b)
	}
	if first, last := slices.Min(closed), slices.Max(closed); last-first != files-1 {
		t.Errorf("%d blocks of files that are closed are spread over %d", files, last-first+1)
	}
	for i := range files {
		fl, b := write(fmt.Sprint("open", i))
		defer f.evict(fl)
		growing = append(growing, fl)
		open = append(open, b)
	}
	g := f.groupOf(open[0])
	if !slices.IsSortedFunc(g.windows, func(a, b *window) int { return int(a.pblk+a.n) - int(b.pblk) }) {
		t.Error("the windows are not in their order")
	}
	for i, fl := range growing {
		if _, err := fl.WriteAt(context.Background(), fill(4096, 2), 4096); err != nil {
			t.Fatal(err)
		}
		if x, err := fl.blocks(1, 1, false); err != nil || x.pblk != open[i]+1 {
			t.Errorf("open%d: blocks %d and %d, %v", i, open[i], x.pblk, err)
		}
	}
	for _, fl := range growing {
		fl.Release()
	}
	if len(g.windows) != 0 {
		t.Errorf("%d windows are left", len(g.windows))
	}
}

// What is left of a run beside windows, against a look at every one of them.
func TestClip(t *testing.T) {
	g := &group{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b, n := rng.Uint64N(200), 1+rng.Uint64N(12)
		own := (*window)(nil)
		if len(g.windows) > 0 && rng.IntN(2) == 0 {
			own = g.windows[rng.IntN(len(g.windows))]
		}
		want, wantSkip := n, uint64(0)
		for _, w := range g.windows {
			if w == own || w.pblk+w.n <= b || w.pblk >= b+want {
				continue
			}
			if want = 0; w.pblk > b {
				want = w.pblk - b
			} else {
				wantSkip = w.pblk + w.n
			}
		}
		k, skip := g.clipLocked(b, n, own)
		if k != want || skip != wantSkip {
			t.Fatalf("%d blocks at %d: %d and %d, want %d and %d", n, b, k, skip, want, wantSkip)
		}
		switch {
		case k > 0 && own == nil && len(g.windows) < 20:
			g.reserveLocked(0, b, k)
		case own != nil && len(g.windows) > 10:
			g.dropLocked(own)
			if slices.Contains(g.windows, own) {
				t.Fatal("a window is still there")
			}
		}
	}
}
