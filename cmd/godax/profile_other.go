//go:build !linux

package main

import (
	"errors"
	"fmt"

	"godax"
)

// runMounted needs a mount.
func (a *app) runMounted(*godax.FS, []string, profileOptions) error {
	return fmt.Errorf("mounting needs Linux: %w", errors.ErrUnsupported)
}
