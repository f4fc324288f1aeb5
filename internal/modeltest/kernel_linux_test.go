package modeltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"godax/pmem"
)

// errSkipped is the outcome of what the kernel's driver cannot do.
const errSkipped = "skipped"

// kernelSystem is the kernel's driver on a loop mount of a copy of the image. One thread
// of its own does everything: its root is that of the image, so that paths mean the same as
// for godax and links never lead to the host.
type kernelSystem struct {
	image, dir string
	calls      chan func()
	done       chan struct{}

	handles [nhandles]int
	views   [nviews][]byte
	pins    [npins]kernelPin
}

// kernelPin stands for a pin: reads and stores through a descriptor do the same.
type kernelPin struct {
	fd     int
	off, n int64
}

// newKernelSystem mounts a copy of what is on dev. Errors: EPERM without the rights.
func newKernelSystem(dev pmem.Device, _ int) (system, error) {
	b, err := dev.Bytes(0, dev.Size())
	if err != nil {
		return nil, err
	}
	s := &kernelSystem{}
	if s.image, err = writeSparse(b); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "godax-model-*"); err != nil {
		return nil, err
	}
	if err := s.mount(); err != nil {
		return nil, errors.Join(errNoMount, err, os.Remove(s.image), os.Remove(s.dir))
	}
	return s, nil
}

func (s *kernelSystem) mount() error {
	// nodev: the nodes have random numbers, which may be those of this machine's devices.
	if out, err := exec.Command("mount", "-t", "ext2", "-o", "loop,noatime,nodev,user_xattr", s.image, s.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	for i := range s.handles {
		s.handles[i] = -1
	}
	s.calls, s.done = make(chan func()), make(chan struct{})
	ready := make(chan error)
	go func() {
		// The thread ends with the goroutine, or at the latest with the process: it is never used
		// for anything else. The main thread does not end, so its root is given back.
		runtime.LockOSThread()
		defer close(s.done)
		host, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Unshare(unix.CLONE_FS)
		}
		if err == nil {
			err = unix.Chroot(s.dir)
		}
		if err == nil {
			err = unix.Chdir("/")
		}
		if err == nil {
			unix.Umask(0)
		}
		ready <- err
		for f := range s.calls {
			f()
		}
		if unix.Fchdir(host) == nil {
			_ = unix.Chroot(".")
		}
		_ = unix.Close(host)
	}()
	return <-ready
}

// unmount closes everything, and has the image checked.
func (s *kernelSystem) unmount() error {
	for i, v := range s.views {
		if v != nil {
			_ = unix.Munmap(v)
			s.views[i] = nil
		}
	}
	for i, p := range s.pins {
		if p.fd > 0 {
			_ = unix.Close(p.fd)
			s.pins[i] = kernelPin{}
		}
	}
	for _, fd := range s.handles {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	close(s.calls)
	<-s.done
	return retryBusy(func() error { return unix.Unmount(s.dir, 0) })
}

// retryBusy tries again while somebody, such as a daemon that looks at new mounts, has a file open.
func retryBusy(f func() error) (err error) {
	for range 1000 {
		if err = f(); err != unix.EBUSY {
			return err
		}
		runtime.Gosched()
		unix.Sync()
	}
	return err
}

func (s *kernelSystem) close() error {
	return errors.Join(s.unmount(), os.Remove(s.image), os.Remove(s.dir))
}

func (s *kernelSystem) do(o op) (got outcome) {
	if o.Kind == opReopen {
		return only(errors.Join(s.unmount(), s.mount()))
	}
	done := make(chan struct{})
	s.calls <- func() {
		defer close(done)
		switch {
		case o.Kind <= opPinStore:
			got = s.doHandle(o)
		case o.Kind <= opSymlink:
			got = only(s.doName(o))
		default:
			got = s.doNode(o)
		}
	}
	<-done
	return got
}

// at makes a path of the image one of the thread's root.
func at(path string) string { return "/" + strings.TrimLeft(path, "/") }

// eintr repeats a call that a signal interrupts.
func eintr(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (s *kernelSystem) doHandle(o op) outcome {
	fd, v, p := s.handles[o.Slot%nhandles], s.views[o.Slot2%nviews], s.pins[o.Slot2%npins]
	switch o.Kind {
	case opOpen:
		fd, err := eintr(func() (int, error) {
			return unix.Open(at(o.Path), flags(o.Arg)|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_LARGEFILE, goPerm(o.Mode))
		})
		if err == unix.EACCES {
			return fails("ENXIO") // a device; nothing else is forbidden to root
		}
		if err != nil {
			return only(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return only(err)
		}
		if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
			_ = unix.Close(fd)
			return fails("ENXIO")
		}
		s.handles[o.Slot] = fd
		return outcome{}
	case opClose:
		s.handles[o.Slot] = -1
		return only(unix.Close(fd))
	case opPwrite:
		n, err := eintr(func() (int, error) { return unix.Pwrite(fd, filled(o.N, o.Arg), o.Off) })
		return outcome{err: class(err), n: max(int64(n), 0)}
	case opAppend:
		n, err := eintr(func() (int, error) { return unix.Write(fd, filled(o.N, o.Arg)) })
		return outcome{err: class(err), n: max(int64(n), 0)}
	case opPread:
		b := make([]byte, o.N)
		n, err := unix.Pread(fd, b, o.Off)
		n = max(n, 0)
		return outcome{err: class(err), n: int64(n), data: string(b[:n])}
	case opFtruncate:
		return only(writable(fd, unix.Ftruncate(fd, o.N)))
	case opAllocate, opZero:
		return only(s.noBlocks(fd, o))
	case opPunch:
		return only(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.Off, o.N))
	case opFsync:
		return only(unix.Fsync(fd))
	case opSeekData, opSeekHole:
		whence := unix.SEEK_DATA
		if o.Kind == opSeekHole {
			whence = unix.SEEK_HOLE
		}
		n, err := unix.Seek(fd, o.Off, whence)
		return outcome{err: class(err), n: max(n, 0)}
	case opFstat:
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		return outcome{err: class(err), st: kernelAttrs(&st)}
	case opMmap:
		prot := unix.PROT_READ
		if o.Arg&1 != 0 {
			prot |= unix.PROT_WRITE
		}
		v, err := unix.Mmap(fd, o.Off, int(o.N), prot, unix.MAP_SHARED)
		switch err {
		case unix.EACCES:
			err = unix.EBADF
		case unix.ENODEV:
			err = unix.EISDIR
		}
		if err == nil {
			s.views[o.Slot2] = v
		}
		return only(err)
	case opMunmap:
		s.views[o.Slot2] = nil
		return only(unix.Munmap(v))
	case opLoad:
		b := make([]byte, o.N)
		n, e := touch(v, o.Off, b, func(mapped, b []byte) { copy(b, mapped) })
		return outcome{err: e, n: n, data: string(b[:n])}
	case opStore:
		n, e := touch(v, o.Off, filled(o.N, o.Arg), func(mapped, b []byte) { copy(mapped, b) })
		return outcome{err: e, n: n}
	case opMsync:
		return only(unix.Msync(v, unix.MS_SYNC))
	case opPin:
		fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		s.pins[o.Slot2] = kernelPin{fd, o.Off, o.N}
		return only(err)
	case opUnpin:
		s.pins[o.Slot2] = kernelPin{}
		return only(unix.Close(p.fd))
	case opPinLoad:
		b := make([]byte, p.n)
		_, err := unix.Pread(p.fd, b, p.off)
		return outcome{err: class(err), data: string(b)}
	case opPinStore:
		// Not with pwrite(2), which appends if the file was opened for that.
		first := (p.off + o.Off) &^ (pageSize - 1)
		in := p.off + o.Off - first
		v, err := unix.Mmap(p.fd, first, int(in+o.N), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return only(err)
		}
		copy(v[in:], filled(o.N, o.Arg))
		return only(unix.Munmap(v))
	}
	return fails(errSkipped)
}

// writable turns the error of a file that is not open for writing into that of write(2).
func writable(fd int, err error) error {
	if fl, ferr := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == unix.EINVAL && ferr == nil && fl&unix.O_ACCMODE == unix.O_RDONLY {
		return unix.EBADF
	}
	return err
}

// noBlocks does what allocating and zeroing mean for the bytes; the driver has neither.
func (s *kernelSystem) noBlocks(fd int, o op) error {
	if o.Off < 0 || o.N <= 0 {
		return unix.EINVAL
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	size := st.Size
	if o.Kind == opAllocate {
		size = max(size, o.Off+o.N)
	} else if o.Off < size {
		// A hole reads as zero, and costs nothing.
		if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.Off, o.N); err != nil {
			return err
		}
	}
	return writable(fd, unix.Ftruncate(fd, size))
}

// touch is pieces for memory of the kernel's.
func touch(v []byte, off int64, b []byte, move func(mapped, b []byte)) (n int64, e string) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			e = errBeyond
		}
	}()
	for n < int64(len(b)) {
		k := min(int64(len(b))-n, pageSize-(off+n)%pageSize)
		move(v[off+n:][:k], b[n:][:k])
		n += k
	}
	return n, ""
}

// goPerm is a mode's bits as the kernel has them.
func goPerm(m fs.FileMode) uint32 {
	p := uint32(m.Perm())
	for _, x := range []struct {
		m fs.FileMode
		p uint32
	}{{fs.ModeSetuid, unix.S_ISUID}, {fs.ModeSetgid, unix.S_ISGID}, {fs.ModeSticky, unix.S_ISVTX}} {
		if m&x.m != 0 {
			p |= x.p
		}
	}
	return p
}

// kernelFile reads a file on the thread.
type kernelFile struct {
	s  *kernelSystem
	fd int
}

func (s *kernelSystem) open(path string) (f reader, err error) {
	done := make(chan struct{})
	s.calls <- func() {
		defer close(done)
		var fd int
		fd, err = unix.Open(at(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		f = kernelFile{s, fd}
	}
	<-done
	return f, err
}

func (f kernelFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := unix.Pread(f.fd, b, off)
	if err == nil && n < len(b) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (f kernelFile) Seek(off int64, whence int) (int64, error) { return unix.Seek(f.fd, off, whence) }

func (f kernelFile) Close() error { return unix.Close(f.fd) }
