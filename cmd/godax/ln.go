package main

import (
	"path"

	"godax"

	"github.com/spf13/cobra"
)

func newLn(a *app) *cobra.Command {
	var flags openFlags
	var symbolic bool
	cmd := &cobra.Command{
		Use:   "ln IMAGE:/FILE IMAGE:/NEW | ln -s TARGET IMAGE:/NEW",
		Short: "Make hard and symbolic links",
		Long: `ln gives a file another name. With -s it makes a symbolic link that holds TARGET as
it is written; absolute targets begin at the image's root.`,
		Example: `  godax ln disk.img:/a disk.img:/b
  godax ln -s ../share/doc disk.img:/usr/doc`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			if !symbolic {
				return a.intoLast("ln", &flags, args, func(fsys *godax.FS, src, dst name) error {
					return fsys.Link(src.path, dst.path)
				})
			}
			return a.forEach("ln", &flags, true, args[1:], func(fsys *godax.FS, n name) error {
				into, err := isDir(fsys, n, false)
				if err != nil {
					return err
				}
				if into {
					n = n.join(path.Base(args[0]))
				}
				return fsys.Symlink(args[0], n.path)
			})
		},
	}
	cmd.Flags().BoolVarP(&symbolic, "symbolic", "s", false, "make a symbolic link")
	flags.add(cmd)
	return cmd
}
