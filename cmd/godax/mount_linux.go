package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"godax/fusefs"

	"golang.org/x/sys/unix"
)

// childEnv is set in the process that serves in the background. Its descriptor 3 is a pipe to
// the one that started it.
const childEnv = "GODAX_MOUNT_CHILD"

// mounted is what the child says when the mount is there.
const mounted = "mounted\n"

// serverProcs is how much Go code may run at once while serving. Most of it waits in the kernel
// for requests, and with as few as there are processors each one that comes would have to
// take its turn from another: a tenth of the time that a small request takes.
const serverProcs = 16

// mount mounts and serves, in the background unless told otherwise.
func (a *app) mount(j *mountJob) error {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(serverProcs, runtime.GOMAXPROCS(0)))
	}
	if os.Getenv(childEnv) != "" {
		return a.mountChild(j)
	}
	if j.foreground {
		return a.serve(j, func() error { return nil })
	}
	return a.mountInBackground()
}

// mountInBackground starts this program again with the same arguments, in a session of its own, and
// returns when that has mounted, or has failed to.
func (a *app) mountInBackground() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ready, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.ExtraFiles = []*os.File{told}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	told.Close()
	if err != nil {
		return err
	}
	word, err := io.ReadAll(ready)
	if err != nil {
		return err
	}
	if string(word) == mounted {
		return cmd.Process.Release()
	}
	// It has said why on standard error.
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) && exit.ExitCode() == exitFailed {
		a.failed = true
		return nil
	} else if err != nil {
		return fmt.Errorf("the serving process: %w", err)
	}
	return errors.New("the serving process ended without a word")
}

// mountChild serves in the background.
func (a *app) mountChild(j *mountJob) error {
	pipe := os.NewFile(3, "pipe")
	syscall.CloseOnExec(3)
	if err := os.Unsetenv(childEnv); err != nil {
		return err
	}
	return a.serve(j, func() error {
		// The caller's directory and terminal are nothing to us from here on.
		if err := os.Chdir("/"); err != nil {
			return err
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for fd := range 3 {
			if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
				return err
			}
		}
		if _, err := pipe.WriteString(mounted); err != nil {
			return err
		}
		return errors.Join(pipe.Close(), null.Close())
	})
}

// serve mounts, calls ready, and serves until the end: an unmount by whomever, or a signal.
func (a *app) serve(j *mountJob, ready func() error) (err error) {
	// From here on signals end the mount, not the process: the image has to be closed.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP)

	fsys, err := j.openImage()
	if err != nil {
		return err
	}
	defer closing(j.image, fsys, &err)
	stopMetrics, setServer, err := serveMetrics(j.metrics)
	if err != nil {
		return err
	}
	defer stopMetrics()
	s, err := fusefs.Mount(j.dir, fsys.VFS(), j.fuse)
	if err != nil {
		return failure("mount", j.dir, err)
	}
	setServer(s)
	if err := ready(); err != nil {
		return errors.Join(err, s.Shutdown())
	}
	for {
		select {
		case <-s.Done():
			return nil
		case <-signals:
			if err := s.Shutdown(); err != nil {
				a.warn(failure("umount", j.dir, err)) // it is in use; the next signal tries again
			}
		}
	}
}

// serveMetrics serves the metrics of the server that set is called with; an empty address is
// none.
func serveMetrics(addr string) (stop func(), set func(*fusefs.Server), err error) {
	if addr == "" {
		return func() {}, func(*fusefs.Server) {}, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	servers := make(chan *fusefs.Server, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		s := <-servers
		servers <- s
		var b bytes.Buffer
		if err := s.WriteMetrics(&b); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // who asked has gone
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }() // ends with Close
	return func() { _ = srv.Close() }, func(s *fusefs.Server) { servers <- s }, nil
}
