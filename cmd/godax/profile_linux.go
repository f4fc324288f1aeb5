package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"godax"
	"godax/fusefs"

	"golang.org/x/sys/unix"
)

// runMounted runs the command over a mount. That the command fails is only reported.
func (a *app) runMounted(fsys *godax.FS, command []string, o profileOptions) (err error) {
	dir := o.mount
	if dir == "" {
		if dir, err = os.MkdirTemp("", "godax-profile-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(dir)) }()
	}
	// Without read-ahead the kernel asks for the pages that are touched, and no others.
	server, err := fusefs.Mount(dir, fsys.VFS(), fusefs.Options{ReadOnly: true, ReadAhead: -1})
	if err != nil {
		return failure("mount", dir, err)
	}
	defer func() { err = errors.Join(err, failure("unmount", dir, endMount(server))) }()
	if len(command) == 0 {
		fmt.Fprintf(a.stderr, "godax: mounted at %s; unmount it when done\n", printable(dir))
		select {
		case <-server.Done():
		case <-a.ctx.Done():
		}
		return nil
	}
	// A shell goes into the mount, not a child of ours: between fork and exec this process
	// cannot stop for the collector, nor answer the kernel while it waits to.
	const enter = `cd -P -- "$GODAX_MOUNT" && exec "$@"`
	run := exec.CommandContext(a.ctx, "/bin/sh", append([]string{"-c", enter, "sh"}, command...)...)
	run.Env = append(os.Environ(), "GODAX_MOUNT="+server.Dir())
	a.out.Flush()
	run.Stdin, run.Stdout, run.Stderr = a.in, a.stdout.w, a.stderr
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.WaitDelay = 5 * time.Second
	var exit *exec.ExitError
	err = run.Run()
	if a.stopped() {
		return nil // what was touched so far is written
	}
	if errors.As(err, &exit) {
		a.warn(failure("run", command[0], err))
		return nil
	}
	return failure("run", command[0], err)
}

// endMount unmounts, also while something that a command has left behind is still in there;
// then that gets errors from now on, and so does the caller.
func endMount(s *fusefs.Server) error {
	err := s.Unmount()
	if err == nil {
		return nil
	}
	if aerr := s.Abort(); aerr != nil {
		return errors.Join(err, aerr)
	}
	s.Wait()
	return errors.Join(err, unix.Unmount(s.Dir(), unix.MNT_DETACH))
}
