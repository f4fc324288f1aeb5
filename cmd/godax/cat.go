package main

import (
	"godax"

	"github.com/spf13/cobra"
)

func newCat(a *app) *cobra.Command {
	var flags openFlags
	cmd := &cobra.Command{
		Use:   "cat IMAGE:/FILE...",
		Short: "Write files to standard output",
		Example: `  godax cat disk.img:/etc/motd
  godax cat disk.img:/log/a disk.img:/log/b | less`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.forEach("cat", &flags, false, args, func(fsys *godax.FS, n name) error {
				f, err := fsys.Open(n.path)
				if err != nil {
					return err
				}
				defer f.Close()
				_, err = f.WriteTo(a.out)
				return err
			})
		},
	}
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}
