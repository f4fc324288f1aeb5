package build

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"testing"
)

// TestRandomTrees builds random trees with random options, and reads what comes out with
// both readers.
func TestRandomTrees(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 42))
		src, list := randomTree(rnd)
		o := randomOptions(rnd, list)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			if rnd.IntN(3) > 0 {
				b, _ := image(t, src, o)
				src.check(t, o, b)
				src.read(t, o, b)
				return
			}
			second := new(memTarget)
			o.Second = second
			b, _ := image(t, src, o)
			src.check(t, o, b, second.b)
			src.read(t, o, b, second.b)
		})
	}
}

// randomTree makes a tree, and a page list for it.
func randomTree(rnd *rand.Rand) (memTree, Profile) {
	src := newTree()
	dirs := []string{"."}
	var list Profile
	var pool [][]byte
	for i := range 1 + rnd.IntN(40) {
		name := fmt.Sprintf("%c%d", 'a'+rune(rnd.IntN(3)), rnd.IntN(1000))
		if rnd.IntN(10) == 0 {
			name = fmt.Sprintf("\x80\xff-%d", i)
		}
		p := path.Join(dirs[rnd.IntN(len(dirs))], name)
		if src[p] != nil {
			continue
		}
		attr := Attr{Mode: fs.FileMode(rnd.IntN(0o1000)), UID: uint32(rnd.IntN(3)), GID: rnd.Uint32()}
		switch k := rnd.IntN(20); {
		case k < 4:
			attr.Mode |= fs.ModeDir
			src.add(p, &memFile{attr: attr})
			dirs = append(dirs, p)
		case k == 4:
			attr.Mode |= fs.ModeSymlink
			src.add(p, &memFile{attr: attr, target: string(prose(i, 1+rnd.IntN(200)))})
		case k == 5:
			attr.Mode |= fs.ModeDevice
			attr.Major, attr.Minor = uint32(rnd.IntN(4096)), uint32(rnd.IntN(1<<20))
			src.add(p, &memFile{attr: attr})
		default:
			b := randomData(rnd, pool)
			pool = append(pool, b)
			src.add(p, &memFile{attr: attr, data: b, holes: rnd.IntN(2) == 0})
			for range rnd.IntN(6) {
				list = append(list, ProfileLine{p, int64(rnd.IntN(len(b) + 5000)), uint64(rnd.IntN(3))})
			}
		}
	}
	src.file("last", []byte("never empty"))
	return src, list
}

// randomData makes contents of pages of all kinds, some of them seen before.
func randomData(rnd *rand.Rand, pool [][]byte) []byte {
	var b []byte
	for range rnd.IntN(6) {
		n := []int{4096, 4096, 16384, 65536, rnd.IntN(100000)}[rnd.IntN(5)]
		switch rnd.IntN(5) {
		case 0:
			b = append(b, make([]byte, n)...)
		case 1:
			b = append(b, noise(rnd.IntN(4), n)...)
		case 2:
			if len(pool) > 0 {
				b = append(b, pool[rnd.IntN(len(pool))]...)
				b = b[:min(len(b), 1<<20)]
			}
		default:
			b = append(b, prose(rnd.IntN(4), n)...)
		}
	}
	if len(b) > 0 && rnd.IntN(4) == 0 {
		b = b[:rnd.IntN(len(b))]
	}
	return b
}

// randomOptions are options of all kinds.
func randomOptions(rnd *rand.Rand, list Profile) Options {
	o := Options{
		PageSize: 4096 << (2 * rnd.IntN(3)), NoDedup: rnd.IntN(3) == 0, Level: 1 + rnd.IntN(9), Tail: Tail(rnd.IntN(2)),
		BlockPages: rnd.IntN(4), Workers: 1 + rnd.IntN(5), Timestamp: rnd.Uint64N(maxTime + 1), AllRoot: rnd.IntN(4) == 0,
		XIP: XIP{Mode: Mode(rnd.IntN(4) * rnd.IntN(2))},
	}
	o.BlockSize = o.PageSize + rnd.IntN((64<<10-o.PageSize)/4096+1)*4096
	if rnd.IntN(2) == 0 {
		o.XIP.Globs = []string{"a*"}
	}
	if rnd.IntN(2) == 0 {
		o.XIP.Profile, o.XIP.WholeProfile = list, rnd.IntN(4) == 0
	}
	return o
}
