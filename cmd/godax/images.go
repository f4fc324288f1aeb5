package main

import (
	"errors"
	"os"
	"path/filepath"

	"godax"

	"github.com/spf13/cobra"
)

// openFlags are the flags of every command that opens an image.
type openFlags struct {
	carrier string
	devices []string
	shared  bool
	touched func(ino uint64, off, n int64) // no flag: for godax.Options
}

// add declares the flags.
func (o *openFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.carrier, "carrier", "", "how extents are described to DAX: iomap or bh (default iomap)")
	if err := cmd.RegisterFlagCompletionFunc("carrier", cobra.FixedCompletions([]string{"iomap", "bh"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was declared on the line above
	}
	cmd.Flags().StringArrayVar(&o.devices, "device", nil, "a further device of the file system; may be repeated")
}

// addShared declares --shared, for commands that only read.
func (o *openFlags) addShared(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.shared, "shared", false, "read even while another process has the image open for writing")
}

// open opens an image, for writing or not. New files belong to the user.
func (o *openFlags) open(image string, write bool) (*godax.FS, error) {
	return o.openAs(image, write, "")
}

// openAs is open with the name of the driver; empty is found.
func (o *openFlags) openAs(image string, write bool, driver string) (*godax.FS, error) {
	if o.carrier != "" && o.carrier != "iomap" && o.carrier != "bh" {
		return nil, usagef("--carrier %q is neither iomap nor bh", o.carrier)
	}
	fsys, err := godax.Open(image, godax.Options{
		ReadOnly: !write,
		Shared:   o.shared && !write,
		Type:     driver,
		Carrier:  o.carrier,
		Devices:  o.devices,
		Touched:  o.touched,
		UID:      uint32(max(os.Getuid(), 0)),
		GID:      uint32(max(os.Getgid(), 0)),
	})
	if errors.Is(err, godax.ErrInUse) && !write {
		err = errors.New(reason(err) + " (--shared reads all the same)")
	}
	if err != nil {
		return nil, failure("open", image, err)
	}
	return fsys, nil
}

// closing closes an image after a command, and keeps the first error.
func closing(image string, fsys *godax.FS, err *error) {
	*err = errors.Join(*err, failure("close", image, fsys.Close()))
}

// images are the images that one command works on, each opened once.
type images struct {
	flags *openFlags
	write map[string]bool // by key; the others are opened read-only
	open  map[string]*godax.FS
	order []string // keys, in the order of opening
}

// newImages makes the set; names says which images will be changed.
func newImages(flags *openFlags, changed ...name) *images {
	im := &images{flags: flags, write: make(map[string]bool), open: make(map[string]*godax.FS)}
	for _, n := range changed {
		if n.inImage() {
			im.write[imageKey(n.image)] = true
		}
	}
	return im
}

// imageKey is the same for two names of one image file.
func imageKey(image string) string {
	if real, err := filepath.EvalSymlinks(image); err == nil {
		image = real
	}
	if abs, err := filepath.Abs(image); err == nil {
		image = abs
	}
	return image
}

// get opens the image of n, or returns it if it is open.
func (im *images) get(n name) (*godax.FS, error) {
	key := imageKey(n.image)
	if fsys := im.open[key]; fsys != nil {
		return fsys, nil
	}
	fsys, err := im.flags.open(n.image, im.write[key])
	if err != nil {
		return nil, err
	}
	im.open[key] = fsys
	im.order = append(im.order, key)
	return fsys, nil
}

// files are the host files that the open images are in: true for those open for
// writing. Where the host does not tell files apart there are none.
func (im *images) files() map[fileID]bool {
	files := make(map[fileID]bool)
	for _, key := range im.order {
		if at, err := (hostSource{}).Stat(key); err == nil && at.id != (fileID{}) {
			files[at.id] = im.write[key]
		}
	}
	return files
}

// close closes all images and joins its errors to err.
func (im *images) close(err *error) {
	for _, key := range im.order {
		closing(key, im.open[key], err)
	}
}

// forEach runs work for each file in an image; op names the operation in errors. An
// error with one file is reported, and the others are done all the same.
func (a *app) forEach(op string, flags *openFlags, write bool, args []string, work func(*godax.FS, name) error) error {
	names, err := filesInImage(args)
	if err != nil {
		return err
	}
	return a.forNames(op, flags, write, names, work)
}

// forNames is forEach for names.
func (a *app) forNames(op string, flags *openFlags, write bool, names []name, work func(*godax.FS, name) error) (err error) {
	var changed []name
	if write {
		changed = names
	}
	im := newImages(flags, changed...)
	defer im.close(&err)
	for _, n := range names {
		fsys, err := im.get(n)
		if err != nil {
			return err
		}
		err = work(fsys, n)
		if a.stopped() {
			return a.ctx.Err()
		}
		if err != nil {
			a.warn(failure(op, n.String(), err))
		}
	}
	return nil
}
