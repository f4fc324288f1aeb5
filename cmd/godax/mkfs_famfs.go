package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"godax/fs/famfs"
	"godax/pmem"

	"github.com/spf13/cobra"
)

// famfsFlags are the flags of mkfs famfs.
type famfsFlags struct {
	size, unit, log sizeFlag
	force           bool
	devices         []string
	format          famfs.FormatOptions
}

func newMkfsFamfs(a *app) *cobra.Command {
	o := &famfsFlags{}
	cmd := &cobra.Command{
		Use:   "famfs [--devices DEV,...] DEV",
		Short: "Make a famfs, for memory that hosts share",
		Long: `famfs makes a famfs on a DAX device or an image file. The host it runs on becomes the
master, the only one that can add files; its identity is the UUID in the environment
variable GODAX_SYSTEM_UUID, else that of the famfs tools in /opt/famfs/system_uuid, else
one derived from /etc/machine-id.

An image is made if it does not exist and --size is given. What holds data already is
refused without --force. A log of 8M has entries for 15420 files and directories, which
are all that can ever be made: it is never made shorter.

--devices names further devices. They are given a UUID, by which they are found when
they are named with --device later; their number cannot be changed afterwards. The tools
of the reference take no devices below 4 GiB, and none with more than one device yet.`,
		Example: `  godax mkfs famfs /dev/dax0.0
  godax mkfs famfs --size 4G pool.img
  godax mkfs famfs --devices /dev/dax1.0,/dev/dax2.0 /dev/dax0.0`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.format.Unit, o.format.LogLen = int64(o.unit), int64(o.log)
			size := int64(-1)
			if cmd.Flags().Changed("size") {
				size = int64(o.size)
			}
			return failure("mkfs", args[0], a.mkfsFamfs(args[0], size, o))
		},
	}
	o.unit, o.log = 2<<20, 8<<20
	f := cmd.Flags()
	f.Var(&o.size, "size", "size of a new image; suffixes K, M, G, T")
	cmd.Flag("size").DefValue = ""
	f.Var(&o.unit, "unit", "allocation unit: 2M, or 4K for many small files that need no huge pages")
	f.Var(&o.log, "log-size", "bytes of the log, a power of two from 8M")
	f.StringSliceVar(&o.devices, "devices", nil, "further devices; what is on them is lost")
	f.StringVar(&o.format.UUID, "uuid", "", "UUID (default random)")
	f.StringVar(&o.format.System, "system-uuid", "", "UUID of the host that is to be the master (default this one)")
	f.IntVar(&o.format.Version, "version", 48, "superblock version: 48, or 47 for older tools")
	f.BoolVar(&o.force, "force", false, "overwrite what is there")
	return cmd
}

// mkfsFamfs makes the image, if it is a new one, and the file system. A file made here goes away
// again if anything fails.
func (a *app) mkfsFamfs(image string, size int64, o *famfsFlags) (err error) {
	fi, err := os.Stat(image)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if size < 0 {
			return usagef("%s does not exist: give --size for a new image", image)
		}
		if err := newImage(image, size); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, os.Remove(image))
			}
		}()
	case err != nil:
		return err
	case size >= 0 && !(fi.Mode().IsRegular() && fi.Size() == 0):
		return usagef("--size is for new images: %s exists", image)
	case size >= 0:
		if err := resize(image, fi, size); err != nil {
			return err
		}
	}
	opened := []string{image}
	opened = append(opened, o.devices...)
	devs := make([]pmem.Device, 0, len(opened))
	for _, path := range opened {
		dev, openErr := pmem.Open(path, pmem.Options{})
		if openErr != nil {
			return failure("mkfs", path, openErr)
		}
		defer func() { err = errors.Join(err, dev.Close()) }()
		devs = append(devs, dev)
		if o.force {
			continue
		}
		b, err := dev.Bytes(0, min(dev.Size(), int64(len(emptyStart))))
		if err == nil {
			err = refuseData(b)
		}
		if err != nil {
			return failure("mkfs", path, err)
		}
	}
	o.format.Devices = devs[1:]
	if err := famfs.Format(devs[0], o.format); err != nil {
		if errors.Is(err, syscall.EINVAL) {
			return usageError{err}
		}
		return err
	}
	fmt.Fprintf(a.out, "%s: famfs, %s in units of %s", a.shown(image), formatSize(devs[0].Size()), formatSize(int64(o.unit)))
	if n := len(o.devices); n > 0 {
		fmt.Fprintf(a.out, ", further devices: %d", n)
	}
	fmt.Fprintln(a.out)
	return nil
}
