package main

import (
	"errors"
	"io/fs"
	"syscall"

	"godax"

	"github.com/spf13/cobra"
)

func newRm(a *app) *cobra.Command {
	var flags openFlags
	var recursive, force bool
	cmd := &cobra.Command{
		Use:   "rm [-r] [-f] IMAGE:/PATH...",
		Short: "Remove files",
		Long: `rm removes names, and with -r directories and what is below them. An empty
directory too needs -r.`,
		Example: `  godax rm disk.img:/tmp/a disk.img:/tmp/b
  godax rm -rf disk.img:/old`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.forEach("rm", &flags, true, args, func(fsys *godax.FS, n name) error {
				if n.path == "/" {
					return errors.New("the root directory cannot be removed")
				}
				fi, err := fsys.Lstat(n.path)
				switch {
				case errors.Is(err, fs.ErrNotExist) && force:
					return nil
				case err != nil:
					return err
				case !fi.IsDir():
					return fsys.Remove(n.path)
				case !recursive:
					return syscall.EISDIR
				}
				return fsys.RemoveAll(n.path)
			})
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "directories and what is below them")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "no error if a name does not exist")
	flags.add(cmd)
	return cmd
}
