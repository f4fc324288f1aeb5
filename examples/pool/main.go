package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"godax"
	"godax/fs/famfs"
	"godax/pmem"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pool:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "read":
		return read(args[1], in, out)
	case len(args) == 4 && args[0] == "write":
		size, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return write(args[1], args[2], size)
	case len(args) == 1 && args[0] == "demo":
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		return demo(func(image string) *exec.Cmd { return exec.Command(exe, "read", image) }, 3, 100, out)
	}
	return errors.New("usage: pool demo | read IMAGE | write IMAGE NAME SIZE")
}

// read prints a line for each object until the input ends: name, size, sum of the bytes, and how
// long ago it was made and complete, in nanoseconds.
func read(image string, in io.Reader, out io.Writer) error {
	f, err := godax.Open(image, godax.Options{ReadOnly: true, Shared: true})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, in); cancel() }()
	err = each(ctx, f, func(o *object) error {
		t := now()
		_, err := fmt.Fprintln(out, o.name, len(o.bytes), crc32.ChecksumIEEE(o.bytes), t-o.made, t-o.ready)
		return err
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// write makes one object.
func write(image, name string, size int64) error {
	f, err := godax.Open(image, godax.Options{})
	if err != nil {
		return err
	}
	return errors.Join(put(f, name, size, pattern(name)), f.Close())
}

// pattern fills an object with bytes that depend on its name.
func pattern(name string) func(b []byte) error {
	return func(b []byte) error {
		seed := crc32.ChecksumIEEE([]byte(name))
		for i := range b {
			b[i] = byte(seed>>(8*(i%4))) + byte(i)
		}
		return nil
	}
}

// demo makes a pool in memory, starts readers, makes objects one after the other, and tells how
// fast they were seen. The first object only shows that the readers are there.
func demo(reader func(image string) *exec.Cmd, readers, objects int, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("/dev/shm", "pool-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "pool")
	if err := newPool(image, 64<<20); err != nil {
		return err
	}
	f, err := godax.Open(image, godax.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	seen := make([][]sight, readers)
	lines := make([]*bufio.Scanner, readers)
	for i := range readers {
		r, end, err := start(reader(image))
		if err != nil {
			return err
		}
		defer end()
		lines[i] = bufio.NewScanner(r)
	}
	for i := range objects + 1 {
		name := fmt.Sprintf("object-%03d", i)
		if err := put(f, name, sizeOf(i), pattern(name)); err != nil {
			return err
		}
		for r := range lines {
			s, err := next(lines[r])
			if err != nil {
				return fmt.Errorf("reader %d, %s: %w", r, name, err)
			}
			seen[r] = append(seen[r], s)
		}
	}
	return report(seen, out)
}

// sizeOf is the size of an object of the demonstration.
func sizeOf(i int) int64 { return int64(1 + i*997%50_000) }

// start starts a reader; end ends it.
func start(cmd *exec.Cmd) (lines io.Reader, end func(), err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if lines, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	return lines, func() { in.Close(); _ = cmd.Wait() }, cmd.Start()
}

// newPool formats an image file of small allocation units.
func newPool(image string, size int64) error {
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, size); err != nil {
		return err
	}
	dev, err := pmem.Open(image, pmem.Options{})
	if err != nil {
		return err
	}
	return errors.Join(famfs.Format(dev, famfs.FormatOptions{Unit: 4096}), dev.Close())
}

// sight is what a reader said of one object.
type sight struct {
	name        string
	size        int
	sum         uint32
	made, ready time.Duration // ago
}

// next reads a line of a reader.
func next(lines *bufio.Scanner) (s sight, err error) {
	if !lines.Scan() {
		return s, errors.Join(io.ErrUnexpectedEOF, lines.Err())
	}
	if _, err := fmt.Sscan(lines.Text(), &s.name, &s.size, &s.sum, &s.made, &s.ready); err != nil {
		return s, fmt.Errorf("%q: %w", lines.Text(), err)
	}
	return s, nil
}

// report checks that every reader has seen every object, in order and with the right bytes, and
// prints how soon.
func report(seen [][]sight, out io.Writer) error {
	var ago []time.Duration
	for _, objects := range seen {
		for i, s := range objects {
			want := make([]byte, sizeOf(i))
			if err := pattern(s.name)(want); err != nil {
				return err
			}
			if s.name != fmt.Sprintf("object-%03d", i) || s.size != len(want) || s.sum != crc32.ChecksumIEEE(want) {
				return fmt.Errorf("object %d is seen as %+v", i, s)
			}
			if s.made < s.ready {
				return fmt.Errorf("%s was complete before it was begun", s.name)
			}
			if i > 0 {
				ago = append(ago, s.ready)
			}
		}
	}
	slices.Sort(ago)
	within := 0
	for within < len(ago) && ago[within] <= 10*time.Millisecond {
		within++
	}
	fmt.Fprintf(out, "%d readers, %d objects each; after an object was complete a reader had it mapped within\n", len(seen), len(ago)/len(seen))
	fmt.Fprintf(out, "  half: %v   99%%: %v   all: %v   (%.1f%% within 10 ms)\n",
		ago[len(ago)/2], ago[len(ago)*99/100], ago[len(ago)-1], 100*float64(within)/float64(len(ago)))
	return nil
}
