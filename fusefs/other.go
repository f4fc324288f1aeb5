//go:build !linux

package fusefs

import (
	"errors"
	"fmt"
	"io"

	"godax/vfs"
)

// errLinux: the front end speaks to the Linux kernel only.
var errLinux = fmt.Errorf("fusefs: mounting needs Linux: %w", errors.ErrUnsupported)

// Server is a mounted file system.
type Server struct{}

// Mount needs Linux: errors.ErrUnsupported.
func Mount(string, *vfs.Mount, Options) (*Server, error) { return nil, errLinux }

// Unmount does nothing.
func (*Server) Unmount() error { return errLinux }

// Shutdown does nothing.
func (*Server) Shutdown() error { return errLinux }

// WriteMetrics does nothing.
func (*Server) WriteMetrics(io.Writer) error { return errLinux }

// Dir is empty.
func (*Server) Dir() string { return "" }

// Done is closed.
func (*Server) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// IsFlag knows none.
func IsFlag(string) bool { return false }

// Wait returns at once.
func (*Server) Wait() {}
