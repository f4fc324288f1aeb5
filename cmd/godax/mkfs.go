package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"godax/fs/ext"
	"godax/pmem"

	"github.com/spf13/cobra"
)

// mkfsOptions are the flags of mkfs.
type mkfsOptions struct {
	size   sizeFlag
	force  bool
	format ext.FormatOptions
	block  sizeFlag
	ratio  sizeFlag
}

// defaultSize is the size of a new image.
const defaultSize = 256 << 20

func newMkfs(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mkfs TYPE ...",
		Short: "Make a file system",
		Long: `mkfs makes a file system: an empty one that can be written, in an image file or on a DAX
device (ext2, famfs), or a read-only image of a directory (axfs).`,
		Example: `  godax mkfs ext2 --size 256M disk.img
  godax mkfs ext2 --label scratch --force /dev/dax0.0
  godax mkfs axfs rootfs/ root.axfs`,
		// Only the commands below do anything; cobra asks this one about all other types.
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("type of file system is missing: write ext2, axfs or famfs")
			}
			return fmt.Errorf("file system type %q is not known: write ext2, axfs or famfs", args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(newMkfsExt2(a), newMkfsAxfs(a), newMkfsFamfs(a))
	return cmd
}

func newMkfsExt2(a *app) *cobra.Command {
	o := mkfsOptions{}
	cmd := &cobra.Command{
		Use:   "ext2 IMAGE",
		Short: "Make an ext2 file system",
		Long: `ext2 makes an ext2 file system whose data blocks start at a 2 MiB boundary, so that
large files can be mapped with 2 MiB pages. Only blocks of 4096 bytes can be mapped
directly; files in smaller ones are mapped through cached pages.

IMAGE is made if it does not exist. An existing file keeps its size unless it is empty
or --size is given, and is refused without --force if there is anything but zeros where
file systems have their superblocks.`,
		Example: `  godax mkfs ext2 disk.img
  godax mkfs ext2 --size 1G --label data --inode-ratio 64K disk.img`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.block == 0 {
				return usagef("block size 0 is not 1024, 2048 or 4096")
			}
			o.format.BlockSize = int(o.block)
			o.format.InodeRatio = int64(o.ratio)
			size := int64(-1)
			if cmd.Flags().Changed("size") {
				size = int64(o.size)
			}
			return failure("mkfs", args[0], a.mkfs(args[0], size, o))
		},
	}
	o.size, o.block = defaultSize, 4096
	f := cmd.Flags()
	f.Var(&o.size, "size", "size of the image; suffixes K, M, G, T")
	f.Var(&o.block, "block-size", "bytes in a block: 1024, 2048 or 4096")
	f.Var(&o.ratio, "inode-ratio", "bytes of the image for each inode (default chosen by size)")
	cmd.Flag("inode-ratio").DefValue = ""
	f.StringVar(&o.format.Label, "label", "", "volume label, at most 16 bytes")
	f.StringVar(&o.format.UUID, "uuid", "", "UUID (default random)")
	f.BoolVar(&o.force, "force", false, "overwrite what is there")
	return cmd
}

// mkfs makes the image and the file system in it. size is -1 if it was not given.
// A file made here goes away again if anything fails.
func (a *app) mkfs(image string, size int64, o mkfsOptions) (err error) {
	fi, err := os.Stat(image)
	if size < 0 && (err != nil || fi.Mode().IsRegular() && fi.Size() == 0) {
		size = defaultSize
	}
	if err := tryFormat(size, o.format); err != nil {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
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
	default:
		if !o.force {
			if err := checkEmpty(image, fi); err != nil {
				return err
			}
		}
		if err := resize(image, fi, size); err != nil {
			return err
		}
	}
	dev, err := pmem.Open(image, pmem.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	if err := ext.Format(dev, o.format); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: ext2, %s in blocks of %d\n", a.shown(image), formatSize(dev.Size()), o.format.BlockSize)
	return nil
}

// trySize is the size of the file systems that tryFormat makes: larger ones fail for
// no other reasons.
const trySize = 64 << 20

// tryFormat makes the file system in memory first: what is wrong with the options, or
// with a size that is not -1, must come out before an existing image is cut or
// overwritten.
func tryFormat(size int64, o ext.FormatOptions) (err error) {
	if size == 0 {
		return usagef("a file system of 0 bytes has no room for files")
	}
	if o.Size = trySize; size > 0 {
		o.Size = min(size, trySize)
	}
	dev, err := pmem.NewMemory(o.Size, pmem.MemoryOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	err = ext.Format(dev, o)
	if errors.Is(err, syscall.EINVAL) {
		return usageError{err}
	}
	return err
}

// newImage makes a file of zeros that does not exist yet.
func newImage(image string, size int64) error {
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(size), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(image))
	}
	return err
}

// checkEmpty refuses an image with anything but zeros in its first 128 KiB, where
// every file system and partition table has its mark.
func checkEmpty(image string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		dev, err := pmem.Open(image, pmem.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		defer dev.Close()
		b, err := dev.Bytes(0, min(dev.Size(), int64(len(emptyStart))))
		if err != nil {
			return err
		}
		return refuseData(b)
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(len(emptyStart))))
	if err != nil {
		return err
	}
	return refuseData(b)
}

// emptyStart is what the start of an unused image holds.
var emptyStart [128 << 10]byte

func refuseData(b []byte) error {
	if bytes.Equal(b, emptyStart[:len(b)]) {
		return nil
	}
	return errors.New("holds data already (--force overwrites it)")
}

// resize gives an existing image file the size asked for; -1 keeps it.
func resize(image string, fi fs.FileInfo, size int64) error {
	if size < 0 || size == fi.Size() {
		return nil
	}
	if !fi.Mode().IsRegular() {
		return errors.New("the size of a device cannot be changed (leave --size out)")
	}
	// Another program may have the file mapped: only who can lock it may cut it.
	dev, err := pmem.Open(image, pmem.Options{})
	if err == nil {
		err = dev.Close()
	}
	if err != nil && fi.Size() > 0 {
		return err
	}
	return os.Truncate(image, size)
}
