package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// Server is a mounted file system.
type Server struct {
	fs   *fileSystem
	ops  opStats
	raw  *fuse.Server
	dir  string
	conn uint32      // number of the connection in /sys/fs/fuse/connections
	root *vfs.Handle // keeps the file system open as long as it is mounted
	done chan struct{}
}

// Mount mounts m on a directory of the host and serves it until it is unmounted: by
// [Server.Unmount], or by anybody else with umount(8). m is the caller's to close after
// [Server.Wait]; until then its Close is an error that names the mount.
//
// Who may not mount (CAP_SYS_ADMIN) does it with the help of fusermount3.
func Mount(dir string, m *vfs.Mount, o Options) (_ *Server, err error) {
	if dir, err = mountPoint(dir); err != nil {
		return nil, err
	}
	o.ReadOnly = o.ReadOnly || m.ReadOnly()
	if o.Source == "" {
		o.Source = "godax"
	}
	if o.Subtype == "" {
		o.Subtype = "godax"
	}
	s := &Server{fs: newFileSystem(m, o), dir: dir, done: make(chan struct{})}
	s.fs.dir = dir
	if err := s.hold(); err != nil {
		return nil, err
	}
	if err := s.mount(&o); err != nil {
		return nil, errors.Join(err, s.letGo())
	}
	stop := m.Watch(s.fs)
	go func() {
		s.serve()
		stop()
		close(s.done)
	}()
	if err := s.settle(&o); err != nil {
		if uerr := unmountDir(dir, true); uerr != nil {
			return nil, errors.Join(err, uerr)
		}
		s.Wait()
		return nil, err
	}
	return s, nil
}

// hold opens the root, and makes it known to the kernel.
func (s *Server) hold() error {
	root, err := s.fs.m.Root()
	if err != nil {
		return err
	}
	s.root, err = root.Open(context.Background(), os.O_RDONLY, "mounted at "+s.dir)
	if err != nil {
		root.Put()
		return err
	}
	s.fs.nodes.update(fuse.FUSE_ROOT_ID, func(*node) *node {
		return &node{Node: root, id: fuse.FUSE_ROOT_ID, lookups: 1}
	})
	return nil
}

// letGo ends what hold began.
func (s *Server) letGo() error {
	s.fs.end()
	return s.root.Close()
}

// mount mounts, and reads the kernel's first request.
func (s *Server) mount(o *Options) (err error) {
	fd, err := mountSelf(s.dir, o)
	switch {
	case err == nil:
		// The name makes go-fuse use the descriptor as it is. It must not mount.
		s.raw, err = fuse.NewServer(metered{s.fs, &s.ops}, "/dev/fd/"+strconv.Itoa(fd), o.fuseOptions())
		if err != nil { // it has closed the descriptor
			err = errors.Join(err, unmountDir(s.dir, true))
		}
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		if o.Subtype == "-" {
			return fmt.Errorf("a mount without a subtype needs CAP_SYS_ADMIN: %w", err)
		}
		s.raw, err = fuse.NewServer(metered{s.fs, &s.ops}, s.dir, o.fuseOptions())
	}
	return err
}

// serve answers requests until the kernel has no more.
func (s *Server) serve() {
	s.raw.Serve()
	_ = s.letGo() // a directory's Handle without uses
}

// pollName is a name that go-fuse answers itself, for the sake of settle.
const pollName = "/.go-fuse-epoll-hack"

// settle makes the kernel ask once whether open files can be waited for (poll). The answer
// is no, and it does not ask again. Without that a Go program that opens files of a mount of
// its own could have no thread left to answer.
func (s *Server) settle(o *Options) error {
	var st unix.Stat_t
	if err := unix.Stat(s.dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: s.dir, Err: err}
	}
	s.conn = unix.Minor(st.Dev)
	if o.ReadAhead == 0 {
		s.setReadAhead(st.Dev)
	}
	fd, err := unix.Open(s.dir+pollName, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.EACCES || err == unix.EPERM {
		return nil // nor will this process open any file there
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: s.dir, Err: err}
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd))
}

// setReadAhead raises the kernel's read-ahead to two requests, one being answered while the
// other is copied to the reader, if it lets us.
func (s *Server) setReadAhead(dev uint64) {
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(dev), unix.Minor(dev))
	_ = os.WriteFile(name, []byte(strconv.Itoa(2*maxRequest>>10)), 0) // 128 KiB do as well
}

// Dir is the directory that is mounted on.
func (s *Server) Dir() string { return s.dir }

// Wait waits until the file system is unmounted and every request answered.
func (s *Server) Wait() { <-s.done }

// Done is closed when Wait would return.
func (s *Server) Done() <-chan struct{} { return s.done }

// Unmount unmounts and waits for the end. While files are open it changes nothing: EBUSY.
func (s *Server) Unmount() error {
	select {
	case <-s.done:
		// Of a connection that was aborted the mount is left, and answers so.
		if unix.Statfs(s.dir, new(unix.Statfs_t)) == unix.ENOTCONN {
			return unmountDir(s.dir, true)
		}
		return nil
	default:
	}
	if err := unmountDir(s.dir, false); err != nil {
		return err
	}
	s.Wait()
	return nil
}

// Shutdown unmounts, also while files are open: whoever uses them gets ENOTCONN from then on.
// What the kernel had not written yet is written first. It waits for the end, after which the
// file system can be closed. EBUSY if it is in use and nobody may end that: a user without
// privileges needs fusectl on /sys/fs/fuse/connections for it.
func (s *Server) Shutdown() error {
	err := s.Unmount()
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	s.flush()
	if err := s.Unmount(); !errors.Is(err, unix.EBUSY) {
		return err
	}
	// Forced, the kernel ends the connection, whether or not it can unmount then.
	switch ferr := unix.Unmount(s.dir, unix.MNT_FORCE); ferr {
	case nil:
		s.Wait()
		return nil
	case unix.EBUSY:
	default:
		if s.Abort() != nil {
			return err
		}
	}
	s.Wait()
	return unmountDir(s.dir, true)
}

// flush makes the kernel write pages that were stored to through mappings.
func (s *Server) flush() {
	fd, err := unix.Open(s.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // nothing can be reached any more
	}
	_ = unix.Syncfs(fd) // whoever waits for the bytes learns of the error from fsync
	_ = unix.Close(fd)
}

// WriteMetrics writes what was counted since the mount, and what there is now, in the text
// format of Prometheus.
func (s *Server) WriteMetrics(w io.Writer) error {
	e := &exposition{w: w}
	s.ops.write(e)
	stats := s.fs.m.Stats()
	writeDAX(e, &stats, s.fs.m.Statfs())
	e.one("godax_fuse_inodes", "gauge", "Inodes that the kernel knows.", uint64(s.fs.nodes.len()))
	return e.err
}

// Abort ends the connection to the kernel without regard to who uses it: their calls
// fail with ENOTCONN. The directory stays mounted on, and dead, until it is unmounted. It
// needs fusectl mounted on /sys/fs/fuse/connections, and root.
func (s *Server) Abort() error {
	return os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", s.conn), []byte("1"), 0)
}
