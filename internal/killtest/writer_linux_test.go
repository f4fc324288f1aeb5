package killtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"sync"
	"syscall"

	"godax"
)

// What a child is to do, from its environment.
const (
	imageEnv   = "GODAX_KILL_IMAGE"
	carrierEnv = "GODAX_KILL_CARRIER"
	seedEnv    = "GODAX_KILL_SEED"
)

// content is what a file holds: bytes made from a seed, with holes.
type content struct {
	seed uint64
	size int
}

// piece is the unit of holes in contents; it is not a multiple of any block.
const piece = 3000

// bytes makes the content. Pieces of zeros are holes, or may be.
func (c content) bytes() []byte {
	r := rand.New(rand.NewPCG(c.seed, 2))
	b := make([]byte, c.size)
	for at := 0; at < c.size; at += piece {
		if r.IntN(4) == 0 {
			continue
		}
		for i := range b[at:min(at+piece, c.size)] {
			b[at+i] = byte(1 + r.Uint32()%255)
		}
	}
	return b
}

func (c content) holds(b []byte) bool { return bytes.Equal(b, c.bytes()) }

// child is the writer. It returns only if something went wrong.
func child() error {
	seed, err := strconv.ParseUint(os.Getenv(seedEnv), 10, 64)
	if err != nil {
		return err
	}
	f, err := godax.Open(os.Getenv(imageEnv), godax.Options{Carrier: os.Getenv(carrierEnv)})
	if err != nil {
		return err
	}
	fmt.Println("open")
	const workers = 3
	errs := make(chan error)
	var say sync.Mutex
	for i := range workers {
		w := &writer{
			f: f, r: rand.New(rand.NewPCG(seed, uint64(10+i))), say: &say,
			dir: fmt.Sprintf("/w%d", i), prefix: fmt.Sprintf("%d-", seed),
		}
		go func() { errs <- w.run() }()
	}
	return <-errs
}

// writer is one goroutine of a child, with a directory of its own.
type writer struct {
	f           *godax.FS
	r           *rand.Rand
	dir, prefix string
	n           int      // names made so far
	kept        []string // durable files
	other       []string // names whose files may be anything

	say *sync.Mutex // lines come whole
}

// tell writes a line with a single system call: what was said before the kill arrives.
func (w *writer) tell(format string, args ...any) error {
	w.say.Lock()
	defer w.say.Unlock()
	_, err := fmt.Fprintf(os.Stdout, format+"\n", args...)
	return err
}

func (w *writer) newName() string {
	w.n++
	return path.Join(w.dir, fmt.Sprintf("%s%d", w.prefix, w.n))
}

// take removes a random element.
func take(r *rand.Rand, names *[]string) string {
	i := r.IntN(len(*names))
	name := (*names)[i]
	(*names)[i] = (*names)[len(*names)-1]
	*names = (*names)[:len(*names)-1]
	return name
}

// run works until it is killed. A full image is no error: room is made.
func (w *writer) run() error {
	if err := w.f.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	// What earlier rounds left may be anything by now, or is still watched: it is removed
	// when there is too much of it.
	entries, err := w.f.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		w.other = append(w.other, path.Join(w.dir, e.Name()))
	}
	for {
		err := w.step()
		if errors.Is(err, syscall.ENOSPC) || len(w.kept)+len(w.other) > 60 {
			err = w.clean()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.dir, err)
		}
	}
}

func (w *writer) step() error {
	switch op := w.r.IntN(10); {
	case op < 4:
		return w.keep()
	case op == 4 && len(w.kept) > 0:
		return w.move()
	case op == 5:
		return w.tree()
	case op == 6:
		return w.f.Sync()
	}
	return w.churn()
}

// clean removes half of the names.
func (w *writer) clean() error {
	for range (len(w.kept) + len(w.other) + 1) / 2 {
		names := &w.other
		if len(w.other) == 0 || len(w.kept) > 0 && w.r.IntN(2) == 0 {
			names = &w.kept
		}
		name := take(w.r, names)
		if err := w.tell("removing %s", name); err != nil {
			return err
		}
		if err := w.f.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// keep makes a file, syncs and closes it, and says so.
func (w *writer) keep() error {
	name, c := w.newName(), content{w.r.Uint64(), 1 + w.r.IntN(1<<(4+w.r.IntN(15)))}
	if err := w.write(name, c); err != nil {
		w.other = append(w.other, name)
		return err
	}
	w.kept = append(w.kept, name)
	return w.tell("durable %s %d %d", name, c.seed, c.size)
}

// write makes a file with the content: in pieces, in any order, or through a mapping.
func (w *writer) write(name string, c content) (err error) {
	h, err := w.f.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := h.Close(); err == nil {
			err = cerr
		}
	}()
	if w.r.IntN(3) == 0 {
		if err := w.f.SetXattr(name, "user.kept", c.bytes()[:min(c.size, 100)], 0); err != nil {
			return err
		}
	}
	b := c.bytes()
	if err := h.Truncate(int64(c.size)); err != nil {
		return err
	}
	if w.r.IntN(4) == 0 {
		return w.writeMapped(h, b)
	}
	for _, i := range w.r.Perm((c.size + piece - 1) / piece) {
		p := b[i*piece : min((i+1)*piece, c.size)]
		if p[0] == 0 {
			continue
		}
		if _, err := h.WriteAt(p, int64(i*piece)); err != nil {
			return err
		}
	}
	return h.Sync()
}

func (w *writer) writeMapped(h *godax.File, b []byte) error {
	m, err := h.Mmap(0, len(b), godax.MapRead|godax.MapWrite|godax.MapShared)
	if err != nil {
		return err
	}
	copy(m.Bytes(), b)
	return errors.Join(m.Sync(), m.Close())
}

// move gives a durable file another name, or the name of another durable file.
func (w *writer) move() error {
	from := take(w.r, &w.kept)
	to := w.newName()
	if len(w.kept) > 0 && w.r.IntN(2) == 0 {
		to = take(w.r, &w.kept)
	}
	if err := w.tell("moving %s %s", from, to); err != nil {
		return err
	}
	err := w.f.Rename(from, to)
	if err != nil {
		w.other = append(w.other, from, to)
		return err
	}
	w.kept = append(w.kept, to)
	return w.tell("moved %s %s", from, to)
}

// tree makes directories and moves them about.
func (w *writer) tree() error {
	a, b := w.newName(), w.newName()
	w.other = append(w.other, a, b)
	if err := w.f.MkdirAll(path.Join(a, "x/y/z"), 0o755); err != nil {
		return err
	}
	if err := w.f.Mkdir(b, 0o700); err != nil {
		return err
	}
	for i := range w.r.IntN(40) {
		if err := w.f.Symlink(fmt.Sprintf("%0*d", 1+w.r.IntN(200), i), path.Join(a, "x", fmt.Sprintf("link%d", i))); err != nil {
			return err
		}
	}
	if err := w.f.Rename(path.Join(a, "x/y"), path.Join(b, "moved")); err != nil {
		return err
	}
	if err := w.f.Rename(path.Join(b, "moved/z"), path.Join(a, "z")); err != nil {
		return err
	}
	return w.f.Rename(path.Join(b, "moved"), path.Join(a, "z"))
}

// churn changes a file that nobody watches, in every way.
func (w *writer) churn() error {
	name := path.Join(w.dir, "churn")
	h, err := w.f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = w.change(h, name)
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	return err
}

func (w *writer) change(h *godax.File, name string) error {
	const span = 1 << 20
	off := w.r.Int64N(span)
	switch w.r.IntN(8) {
	case 0:
		return h.Truncate(off)
	case 1:
		return h.PunchHole(off, 1+w.r.Int64N(span))
	case 2:
		return h.Allocate(off, 1+w.r.Int64N(span/4))
	case 3:
		_, err := h.WriteAt(make([]byte, 1+w.r.IntN(1000)), 64*span+off) // double indirect
		return err
	case 4: // unlinked while open
		if err := w.f.Remove(name); err != nil {
			return err
		}
	case 5:
		if err := w.f.Link(name, name+"2"); err != nil {
			return err
		}
		return w.f.Remove(name + "2")
	case 6:
		return w.f.SetXattr(name, fmt.Sprintf("user.%d", w.r.IntN(3)), make([]byte, w.r.IntN(300)), 0)
	}
	_, err := h.WriteAt(bytes.Repeat([]byte{'c'}, 1+w.r.IntN(span/4)), off)
	return err
}
