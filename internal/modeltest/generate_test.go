package modeltest

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"

	"godax"
)

// generator makes operations that mean something in the state of a model.
type generator struct {
	r     *rand.Rand
	m     *model
	cfg   config
	drain int // so many operations still are to make room
	count int // operations until the next look at how much there is

	weights *[nkinds]int
	sum     int          // of weights
	free    func() int64 // bytes; on huge pages
}

func newGenerator(cfg config, m *model) *generator {
	g := &generator{r: rand.New(rand.NewPCG(cfg.seed, 0x6f64)), m: m, cfg: cfg, weights: &weights}
	if cfg.huge() {
		g.weights = &hugeWeights
	}
	for _, w := range g.weights {
		g.sum += w
	}
	return g
}

// weights say how often each operation comes.
var weights = [nkinds]int{
	opOpen: 90, opClose: 60, opPwrite: 90, opAppend: 50, opPread: 60, opFtruncate: 25, opAllocate: 12, opPunch: 25,
	opZero: 15, opFsync: 10, opSeekData: 10, opSeekHole: 10, opFstat: 20, opExtents: 8, opMmap: 25, opMunmap: 16,
	opLoad: 40, opStore: 50, opMsync: 12, opPrivate: 5, opPin: 10, opUnpin: 10, opPinLoad: 5, opPinStore: 8,
	opTruncate: 15, opMkdir: 30, opMknod: 6, opRemove: 45, opRemoveAll: 3, opRename: 60, opLink: 25, opSymlink: 20,
	opReadlink: 8, opChmod: 10, opChown: 6, opLchown: 4, opChtimes: 10, opSetXattr: 30, opXattr: 15, opListXattr: 8,
	opRemoveXattr: 15, opReadDir: 15, opStat: 15, opLstat: 15, opSync: 2, opReopen: 1,
}

// next is the next operation.
func (g *generator) next() op {
	if g.count--; g.count < 0 {
		g.count = 64
		if !g.cfg.full && g.crowded() {
			g.drain = max(g.drain, 30)
		}
	}
	if g.drain > 0 {
		g.drain--
		return g.makeRoom()
	}
	w := g.r.IntN(g.sum)
	for k := range nkinds {
		if w -= g.weights[k]; w < 0 {
			return g.op(k)
		}
	}
	panic("unreachable")
}

// sawFull is told that there was no space left. Mostly the next operations then free
// some; now and then the file system stays full for a while.
func (g *generator) sawFull() {
	if g.r.IntN(8) == 0 {
		g.drain = 10 + g.r.IntN(60)
	}
}

// crowded reports whether it is time to make room.
func (g *generator) crowded() bool {
	if g.free != nil {
		return g.free() < g.cfg.size/4
	}
	return g.usage() > g.cfg.size/3
}

// usage is about how many bytes the files with names have, and 4 KiB for each name.
func (g *generator) usage() (n int64) {
	g.m.each(func(_ string, f *node) { n += pageSize * int64(1+len(f.pages)) })
	return n
}

func (g *generator) makeRoom() op {
	switch g.r.IntN(6) {
	case 0:
		return op{Kind: opRemoveAll, Path: g.existing()}
	case 1:
		return op{Kind: opTruncate, Path: g.existing()}
	case 2:
		return g.op(opClose)
	case 3:
		return g.op(opMunmap)
	case 4:
		return g.op(opPunch)
	}
	return op{Kind: opRemove, Path: g.existing()}
}

// dir is a random directory, mostly not deep.
func (g *generator) dir() (string, *node) {
	path, d := "", g.m.root
	for g.r.IntN(3) > 0 {
		var dirs []string
		for _, name := range d.names() {
			if d.kids[name].isDir() && name != "lost+found" {
				dirs = append(dirs, name)
			}
		}
		if len(dirs) == 0 {
			break
		}
		name := dirs[g.r.IntN(len(dirs))]
		path, d = path+"/"+name, d.kids[name]
	}
	return path, d
}

// existing is the path of something.
func (g *generator) existing() string {
	path, d := g.dir()
	names := slices.DeleteFunc(d.names(), func(n string) bool { return n == "lost+found" })
	if len(names) == 0 {
		return path + "/" + g.name(path)
	}
	return path + "/" + names[g.r.IntN(len(names))]
}

// name is a name for something in a directory, from a small set so that it often exists.
func (g *generator) name(dir string) string {
	if strings.HasPrefix(dir, "/big") {
		return fmt.Sprintf("file-%04d", g.r.IntN(600))
	}
	switch g.r.IntN(20) {
	case 0:
		return strings.Repeat(string(rune('q'+g.r.IntN(6))), []int{20, 60, 61, 120, 254, 255}[g.r.IntN(6)])
	case 1:
		return "ß " + string(rune('a'+g.r.IntN(4))) + "\n\xff"
	case 2:
		if g.r.IntN(8) == 0 {
			return strings.Repeat("z", 256)
		}
		return "." + string(rune('a'+g.r.IntN(3)))
	}
	return string(rune('a' + g.r.IntN(9)))
}

// path is a path that may or may not lead to something.
func (g *generator) path() string {
	if g.r.IntN(6) == 0 && len(g.m.root.kids) > 1 && g.m.root.kids["big"] != nil {
		return "/big/" + g.name("/big")
	}
	switch g.r.IntN(40) {
	case 0:
		return g.existing() + "/"
	case 1:
		d, _ := g.dir()
		return d + "/" + g.name(d) + "//"
	case 2:
		d, _ := g.dir()
		return d + "/../" + g.name("")
	case 3:
		return g.existing() + "/./" + g.name("")
	case 4:
		return strings.TrimLeft(g.existing(), "/")
	case 5, 6, 7:
		return g.existing() + "/" + g.name("")
	}
	if g.r.IntN(3) > 0 {
		return g.existing()
	}
	d, _ := g.dir()
	return d + "/" + g.name(d)
}

// used returns a random index of a slot that is, or with free is not, in use.
func used[T any](g *generator, slots []*T, free bool) int {
	at := g.r.IntN(len(slots))
	for i := range slots {
		if k := (at + i) % len(slots); (slots[k] == nil) == free {
			return k
		}
	}
	return at
}

// offset is an offset in or near a file of the given size.
func (g *generator) offset(size int64) int64 {
	if g.cfg.huge() && g.r.IntN(2) == 0 {
		return g.edge(size)
	}
	switch g.r.IntN(12) {
	case 0:
		return size
	case 1:
		return g.r.Int64N(size + 64<<10)
	case 2:
		return g.r.Int64N(4 << 20)
	case 3:
		if g.r.IntN(4) == 0 {
			return g.r.Int64N(g.cfg.far)
		}
		return 0
	case 4:
		if g.r.IntN(10) == 0 {
			return -1 - g.r.Int64N(10)
		}
		return 0
	case 5, 6, 7:
		block := int64(g.cfg.blockSize)
		return g.r.Int64N(size/block+8) * block
	}
	return g.r.Int64N(max(min(size, 256<<10), 1))
}

// length is a number of bytes.
func (g *generator) length() int64 {
	switch g.r.IntN(10) {
	case 0:
		return 0
	case 1, 2:
		return pageSize * g.r.Int64N(8)
	case 3:
		return g.r.Int64N(g.cfg.longest)
	case 4, 5:
		return g.r.Int64N(32 << 10)
	}
	return g.r.Int64N(6000)
}

var (
	xattrNames = []string{
		"user.a", "user.b", "user.comment", "trusted.t", "trusted.overlay.opaque", "security.s", "user.x1", "user.x2",
	}
	fileModes = []fs.FileMode{0o644, 0o600, 0o755, 0o777, 0, 0o444, 0o666 | fs.ModeSetuid, 0o710 | fs.ModeSetgid}
	dirModes  = []fs.FileMode{0o755, 0o700, 0o777 | fs.ModeSticky, 0o755 | fs.ModeSetgid}
	nodeModes = []fs.FileMode{
		fs.ModeNamedPipe | 0o600, fs.ModeSocket | 0o644, fs.ModeDevice | fs.ModeCharDevice | 0o620, fs.ModeDevice | 0o660, 0o640,
	}
	owners = []int64{0, 1, 1000, 65534, 65536, 100000, 1<<32 - 2, -1}
)

func pick[T any](g *generator, from []T) T { return from[g.r.IntN(len(from))] }

// op makes an operation of a kind.
func (g *generator) op(k kind) op {
	o := op{Kind: k}
	switch {
	case k == opOpen:
		o.Slot, o.Path, o.Mode = used(g, g.m.handles[:], true), g.path(), pick(g, fileModes)
		o.Arg = openRead | openWrite
		switch g.r.IntN(8) {
		case 0:
			o.Arg = openRead
		case 1:
			o.Arg = openWrite
		}
		for _, x := range [][2]int64{{openCreate, 2}, {openExcl, 8}, {openTrunc, 8}, {openAppend, 4}} {
			if g.r.Int64N(x[1]) == 0 {
				o.Arg |= x[0]
			}
		}
	case k <= opPrivate && k != opMunmap && k != opLoad && k != opStore && k != opMsync || k == opPin:
		g.onHandle(&o)
	case k < opTruncate:
		g.onView(&o)
	case k <= opSymlink:
		g.onName(&o)
	default:
		g.onNode(&o)
	}
	return o
}

func (g *generator) onHandle(o *op) {
	o.Slot = used(g, g.m.handles[:], false)
	if o.Kind == opPwrite || o.Kind == opAppend { // one that was opened for it
		for i := range nhandles {
			k := (o.Slot + i) % nhandles
			if h := g.m.handles[k]; h != nil && h.appd == (o.Kind == opAppend) {
				o.Slot = k
				break
			}
		}
	}
	if g.cfg.huge() {
		g.largeHandle(o)
	}
	size := int64(0)
	if h := g.m.handles[o.Slot]; h != nil {
		size = h.n.size
	}
	o.Off, o.N, o.Arg = g.offset(size), g.length(), g.r.Int64N(1<<30)
	if g.cfg.huge() {
		g.hugeLength(o, size)
	}
	switch o.Kind {
	case opFtruncate:
		o.N, o.Off, o.Arg = o.Off, 0, 0
		if g.r.IntN(3) == 0 {
			o.N = g.r.Int64N(max(size, 1))
		}
	case opMmap, opPrivate:
		o.Slot2 = used(g, g.m.views[:], true)
		o.Off = max(o.Off, 0) &^ (pageSize - 1)
		if o.Off > size {
			o.Off = 0
		}
		o.N = max(o.N, 1)
		o.Arg = min(o.Arg%4, 1)
		if g.cfg.huge() {
			g.hugeView(o, size)
		}
	case opPin:
		o.Slot2 = used(g, g.m.pins[:], true)
		o.Off = max(min(o.Off, size-1), 0)
		o.N = max(min(o.N, size-o.Off), 1)
		o.Arg = min(o.Arg%4, 1)
	case opAppend:
		o.Off = 0
	case opSeekData, opSeekHole:
		o.N, o.Arg = 0, 0
	case opClose, opFsync, opFstat, opExtents:
		o.Off, o.N, o.Arg = 0, 0, 0
	case opPread, opAllocate, opPunch, opZero:
		o.Arg = 0
	}
}

func (g *generator) onView(o *op) {
	var v *view
	if o.Kind >= opUnpin {
		o.Slot2 = used(g, g.m.pins[:], false)
		v = g.m.pins[o.Slot2]
	} else {
		o.Slot2 = used(g, g.m.views[:], false)
		v = g.m.views[o.Slot2]
	}
	switch o.Kind {
	case opLoad, opStore, opPinStore:
		if v != nil {
			o.Off = g.r.Int64N(v.n)
			if inside := v.h.n.size - v.off; inside > 0 && g.r.IntN(4) > 0 {
				o.Off = g.r.Int64N(min(v.n, inside))
			}
			if g.cfg.huge() && g.r.IntN(2) == 0 {
				o.Off = min(max(g.edge(v.off+v.n)-v.off, 0), v.n-1)
			}
		}
		o.N = max(g.length(), 1)
		if o.Kind != opLoad {
			o.Arg = g.r.Int64N(1 << 30)
		}
	}
}

func (g *generator) onName(o *op) {
	o.Path = g.path()
	switch o.Kind {
	case opTruncate:
		o.N = g.offset(64 << 10)
		if g.cfg.huge() && g.r.IntN(2) == 0 {
			o.N = hugePage * g.r.Int64N(4)
		}
	case opMkdir:
		o.Mode = pick(g, dirModes)
		if g.r.IntN(10) == 0 {
			o.Path = "/big"
		}
	case opMknod:
		o.Mode = pick(g, nodeModes)
		if o.Mode&fs.ModeDevice != 0 {
			o.Arg = g.r.Int64N(1 << 16)
		}
	case opRename:
		o.Path2 = g.path()
		if g.r.IntN(12) == 0 {
			o.Path2 = o.Path + "/" + g.name("")
		}
	case opLink:
		o.Path2 = g.path()
	case opSymlink:
		o.Path2 = g.path()
		switch g.r.IntN(6) {
		case 0:
			o.Path = "../" + g.name("")
		case 1:
			o.Path = g.name("") + "/" + g.name("")
		case 2:
			o.Path = strings.Repeat("long/", 1+g.r.IntN(240)) + "x"
		case 3:
			o.Path = strings.Repeat("t", 57+g.r.IntN(5))
		}
	}
}

func (g *generator) onNode(o *op) {
	o.Path = g.path()
	switch o.Kind {
	case opChmod:
		o.Mode = pick(g, fileModes)
	case opChown, opLchown:
		o.Arg, o.N = pick(g, owners), pick(g, owners)
	case opChtimes:
		if g.r.IntN(4) > 0 {
			o.Arg = 1 + g.r.Int64N(1<<29)
		}
		if g.r.IntN(4) > 0 {
			o.N = 1 + g.r.Int64N(1<<29)
		}
	case opSetXattr, opXattr, opRemoveXattr:
		o.Name = pick(g, xattrNames)
		if g.r.IntN(100) == 0 {
			o.Name = "foo.bar"
		}
		if o.Kind != opSetXattr {
			return
		}
		o.N, o.Arg = g.r.Int64N(60), g.r.Int64N(1<<30)
		if g.r.IntN(4) == 0 {
			o.N = g.r.Int64N(g.cfg.longXattr)
		}
		o.Mode = fs.FileMode([]godax.XattrFlag{0, 0, 0, godax.XattrCreate, godax.XattrReplace}[g.r.IntN(5)])
	case opReadDir:
		if p, _ := g.dir(); g.r.IntN(3) > 0 {
			o.Path = p + "/"
		}
		o.N = []int64{0, 0, 1, 3, 50}[g.r.IntN(5)]
	case opSync, opReopen:
		o.Path = ""
	}
}
