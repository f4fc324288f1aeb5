package main

import (
	"io/fs"
	"syscall"

	"godax"

	"github.com/spf13/cobra"
)

func newMv(a *app) *cobra.Command {
	var flags openFlags
	cmd := &cobra.Command{
		Use:   "mv IMAGE:/SRC... IMAGE:/DST",
		Short: "Rename files within an image",
		Long: `mv renames a file or a directory, or moves several into a directory. An existing
file at the new name is replaced, an existing directory only if it is empty and the
source is one. All names must be in the same image: use cp and rm otherwise.`,
		Example: `  godax mv disk.img:/a disk.img:/b
  godax mv disk.img:/a disk.img:/b disk.img:/dir`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.intoLast("mv", &flags, args, func(fsys *godax.FS, src, dst name) error {
				return fsys.Rename(src.path, dst.path)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// intoLast runs work for each name but the last, which is the destination: a
// directory to work into, or the new name if there is only one source. All names
// are in one image.
func (a *app) intoLast(op string, flags *openFlags, args []string, work func(fsys *godax.FS, src, dst name) error) (err error) {
	names, err := filesInImage(args)
	if err != nil {
		return err
	}
	last := len(names) - 1
	dst := names[last]
	for _, n := range names[:last] {
		if imageKey(n.image) != imageKey(dst.image) {
			return usagef("%s and %s are in different images", n, dst)
		}
	}
	im := newImages(flags, names...)
	defer im.close(&err)
	fsys, err := im.get(dst)
	if err != nil {
		return err
	}
	into, err := isDir(fsys, dst, last > 1)
	if err != nil {
		return failure(op, dst.String(), err)
	}
	for _, src := range names[:last] {
		to := dst
		if into {
			to = dst.join(src.base())
		}
		if err := work(fsys, src, to); err != nil {
			a.warn(failure(op, src.String()+" to "+to.String(), err))
		}
	}
	return nil
}

// isDir reports whether n is a directory to put things into. It is an error if it
// must be one and is not, or if it was written with a slash and is something else.
func isDir(fsys interface {
	Stat(string) (fs.FileInfo, error)
}, n name, must bool) (bool, error) {
	fi, err := fsys.Stat(n.path)
	switch {
	case err == nil && fi.IsDir():
		return true, nil
	case err == nil && (must || n.dir):
		return false, syscall.ENOTDIR
	case err != nil && must:
		return false, err
	}
	return false, nil
}
