//go:build !linux

package main

import (
	"errors"
	"fmt"
)

// mount needs Linux.
func (a *app) mount(*mountJob) error {
	return fmt.Errorf("mounting needs Linux: %w", errors.ErrUnsupported)
}

// umount needs Linux.
func (a *app) umount(string, bool) error {
	return fmt.Errorf("mounting needs Linux: %w", errors.ErrUnsupported)
}
