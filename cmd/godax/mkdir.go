package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"godax"

	"github.com/spf13/cobra"
)

func newMkdir(a *app) *cobra.Command {
	var flags openFlags
	var parents bool
	var mode string
	cmd := &cobra.Command{
		Use:   "mkdir [-p] [-m MODE] IMAGE:/PATH...",
		Short: "Make directories",
		Example: `  godax mkdir -p disk.img:/a/b/c
  godax mkdir -m 1777 disk.img:/tmp`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			change, err := parseMode(mode)
			if err != nil {
				return usageError{err}
			}
			perm := goMode(change(0o755, true))
			return a.forEach("mkdir", &flags, true, args, func(fsys *godax.FS, n name) error {
				if !parents {
					return fsys.Mkdir(n.path, perm)
				}
				if fi, err := fsys.Stat(n.path); err == nil && fi.IsDir() {
					return nil
				}
				if err := fsys.MkdirAll(path.Dir(path.Clean(n.path)), 0o755); err != nil {
					return err
				}
				err := fsys.Mkdir(n.path, perm)
				if errors.Is(err, fs.ErrExist) { // made by another meanwhile, or a link that leads nowhere
					err = fsys.MkdirAll(n.path, perm)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&parents, "parents", "p", false, "missing parents too, and no error if it exists")
	cmd.Flags().StringVarP(&mode, "mode", "m", fmt.Sprintf("%04o", 0o755), "permissions, octal or symbolic")
	flags.add(cmd)
	return cmd
}
