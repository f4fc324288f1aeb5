package godax

import (
	"context"
	"errors"
	"fmt"

	"godax/pmem"
	"godax/vfs"
)

// Check looks for everything that breaks the format of the file system on the device or
// image file at path, and changes nothing. What it finds is in the report; ctx ends it.
//
// Errors are *fs.PathError with: [ErrInUse], [ErrUnknownFormat], errors.ErrUnsupported if the
// file system has no checker, those of open(2).
func Check(ctx context.Context, path string, o Options) (vfs.Report, error) {
	r, err := check(ctx, path, o)
	return r, wrap("check", path, err)
}

func check(ctx context.Context, path string, o Options) (r vfs.Report, err error) {
	shared := o.Shared || forClients(path, o)
	open := func(path string) (pmem.Device, error) {
		return pmem.Open(path, pmem.Options{ReadOnly: true, Shared: shared})
	}
	dev, err := open(path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	d, err := findDriver(dev, o)
	if err != nil {
		return r, err
	}
	if d.Check == nil {
		return r, fmt.Errorf("%s: no checker for this file system: %w", d.Name, errors.ErrUnsupported)
	}
	m := vfs.MountOptions{ReadOnly: true, Now: o.Now}
	for _, path := range o.Devices {
		extra, err := open(path)
		if err != nil {
			return r, err
		}
		defer extra.Close()
		m.Devices = append(m.Devices, extra)
	}
	return d.Check(ctx, dev, m)
}
