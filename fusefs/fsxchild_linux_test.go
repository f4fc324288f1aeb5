package fusefs_test

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel's side of fsx is a process of its own: one that faults on a mapping of a mount
// that it serves itself can wait for ever.

// childEnv makes the test program such a process.
const childEnv = "GODAX_FSX_CHILD"

// fsxOp is one operation of the child.
type fsxOp struct {
	Kind     string
	FD       int // 0 plain, 1 O_DIRECT, 2 O_APPEND
	Off, Len int64
	To       int64 // of a copy
	Data     []byte
}

// fsxReply is what came of it.
type fsxReply struct {
	Err  unix.Errno
	Text string
	Data []byte
	N    int64
}

// fsxChild serves operations on a file until its standard input ends.
func fsxChild(path string) error {
	c := &fsxFile{path: path}
	if err := c.open(); err != nil {
		return err
	}
	dec, enc := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	for {
		var op fsxOp
		if err := dec.Decode(&op); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var r fsxReply
		if err := c.do(&op, &r); err != nil {
			r.Text = err.Error()
			errors.As(err, &r.Err)
		}
		if err := enc.Encode(&r); err != nil {
			return err
		}
	}
}

// fsxFile is the file in the child.
type fsxFile struct {
	path string
	fds  []int
}

// open opens the file anew in its three ways.
func (c *fsxFile) open() error {
	for _, fd := range c.fds {
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	c.fds = nil
	for _, flags := range []int{unix.O_RDWR, unix.O_RDWR | unix.O_DIRECT, unix.O_WRONLY | unix.O_APPEND} {
		fd, err := unix.Open(c.path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		c.fds = append(c.fds, fd)
	}
	return nil
}

func (c *fsxFile) do(op *fsxOp, r *fsxReply) error {
	fd := c.fds[op.FD]
	switch op.Kind {
	case "reopen":
		return c.open()
	case "read":
		r.Data = make([]byte, op.Len)
		n, err := unix.Pread(fd, r.Data, op.Off)
		r.Data = r.Data[:max(n, 0)]
		return err
	case "write":
		n, err := unix.Pwrite(fd, op.Data, op.Off)
		if err == nil && n != len(op.Data) {
			err = fmt.Errorf("%d of %d bytes", n, len(op.Data))
		}
		return err
	case "mapread", "mapwrite", "mapsync":
		return c.mapped(op, r)
	case "truncate":
		return unix.Ftruncate(fd, op.Len)
	case "punch":
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, op.Off, op.Len)
	case "zero":
		return unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, op.Off, op.Len)
	case "allocate":
		return unix.Fallocate(fd, 0, op.Off, op.Len)
	case "copy":
		in, out := op.Off, op.To
		for left := int(op.Len); left > 0; {
			n, err := unix.CopyFileRange(fd, &in, fd, &out, left, 0)
			if err != nil || n == 0 {
				return errors.Join(err, errIf(n == 0, "copy ends early"))
			}
			left -= n
		}
		return nil
	case "fsync":
		return unix.Fsync(fd)
	case "fdatasync":
		return unix.Fdatasync(fd)
	case "size":
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		r.N = st.Size
		return err
	}
	return fmt.Errorf("no operation %q", op.Kind)
}

func errIf(bad bool, text string) error {
	if bad {
		return errors.New(text)
	}
	return nil
}

// mapped reads or writes through a mapping of the kernel's.
func (c *fsxFile) mapped(op *fsxOp, r *fsxReply) error {
	from := op.Off &^ 4095
	prot := unix.PROT_READ
	if op.Kind != "mapread" {
		prot |= unix.PROT_WRITE
	}
	b, err := unix.Mmap(c.fds[0], from, int(op.Off-from+op.Len), prot, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	at := b[op.Off-from:][:op.Len]
	if op.Kind == "mapread" {
		r.Data = append([]byte{}, at...)
	} else {
		copy(at, op.Data)
	}
	if op.Kind == "mapsync" {
		err = unix.Msync(b, unix.MS_SYNC)
	}
	return errors.Join(err, unix.Munmap(b))
}

// fsxProcess is the child as the test sees it.
type fsxProcess struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *gob.Encoder
	dec *gob.Decoder
}

// startChild starts a child on a file.
func startChild(t testing.TB, path string) *fsxProcess {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &fsxProcess{t: t, cmd: cmd, in: in, enc: gob.NewEncoder(in), dec: gob.NewDecoder(out)}
}

// do runs one operation; the reply's error is the operation's.
func (p *fsxProcess) do(op fsxOp) (r fsxReply) {
	p.t.Helper()
	if err := p.enc.Encode(&op); err != nil {
		p.t.Fatalf("fsx child: %v", err)
	}
	if err := p.dec.Decode(&r); err != nil {
		p.t.Fatalf("fsx child: %v", err)
	}
	return r
}

// must runs an operation that has to work.
func (p *fsxProcess) must(op fsxOp) fsxReply {
	p.t.Helper()
	r := p.do(op)
	if r.Text != "" {
		p.t.Fatalf("%s at %d, %d bytes: %s", op.Kind, op.Off, op.Len, r.Text)
	}
	return r
}

// stop ends the child.
func (p *fsxProcess) stop() {
	p.t.Helper()
	if err := errors.Join(p.in.Close(), p.cmd.Wait()); err != nil {
		p.t.Errorf("fsx child: %v", err)
	}
}
