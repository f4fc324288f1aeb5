package main

import (
	"io/fs"

	"godax"

	"github.com/spf13/cobra"
)

func newChmod(a *app) *cobra.Command {
	var flags openFlags
	var recursive bool
	cmd := &cobra.Command{
		Use:   "chmod [-R] MODE IMAGE:/PATH...",
		Short: "Change permissions",
		Long: `chmod sets the permission bits: an octal number up to 7777, or symbolic clauses as
in chmod(1): u+rwX,go-w. Without u, g, o or a a clause means everybody. A mode that
begins with a minus sign goes after "--". With -R symbolic links below a directory are
left alone.`,
		Example: `  godax chmod 0644 disk.img:/etc/motd
  godax chmod -R u+rwX,go-w disk.img:/home`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			change, err := parseMode(args[0])
			if err != nil {
				return usageError{err}
			}
			return a.forEach("chmod", &flags, true, args[1:], func(fsys *godax.FS, n name) error {
				work := func(p string, fi fs.FileInfo) error {
					if fi.Mode().Type() == fs.ModeSymlink {
						return nil // has no mode of its own; not followed below a directory
					}
					return fsys.Chmod(p, goMode(change(unixMode(fi.Mode()), fi.IsDir())))
				}
				fi, err := fsys.Stat(n.path)
				if err != nil {
					return err
				}
				if recursive && fi.IsDir() {
					return a.below("chmod", fsys, n.followed(), work)
				}
				return work(n.path, fi)
			})
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "what is below directories, too")
	flags.add(cmd)
	return cmd
}

// below runs work on n and everything below it; links are not followed. Errors are
// reported one by one.
func (a *app) below(op string, fsys *godax.FS, n name, work func(p string, fi fs.FileInfo) error) error {
	return walk(a.ctx, fsys, n.path, func(p string, fi fs.FileInfo, err error) error {
		if err == nil {
			err = work(p, fi)
		}
		if err != nil {
			a.warn(failure(op, name{image: n.image, path: p}.String(), err))
		}
		return nil
	})
}
