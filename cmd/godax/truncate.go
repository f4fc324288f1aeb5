package main

import (
	"errors"
	"io/fs"
	"os"

	"godax"

	"github.com/spf13/cobra"
)

func newTruncate(a *app) *cobra.Command {
	var flags openFlags
	size := sizeFlag(-1)
	var noCreate bool
	cmd := &cobra.Command{
		Use:   "truncate -s SIZE IMAGE:/FILE...",
		Short: "Set the size of files",
		Long: `truncate cuts files to SIZE, or extends them with a hole. A file that does not exist
is made. SIZE takes the suffixes K, M, G and T.`,
		Example: `  godax truncate -s 0 disk.img:/log
  godax truncate -s 1G disk.img:/sparse`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			if size < 0 {
				return usagef("--size is missing")
			}
			return a.forEach("truncate", &flags, true, args, func(fsys *godax.FS, n name) (err error) {
				flag := os.O_WRONLY | os.O_CREATE
				if noCreate {
					flag = os.O_WRONLY
				}
				f, err := fsys.OpenFile(n.path, flag, 0o644)
				if noCreate && errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				return f.Truncate(int64(size))
			})
		},
	}
	cmd.Flags().VarP(&size, "size", "s", "new size")
	cmd.Flag("size").DefValue = ""
	cmd.Flags().BoolVarP(&noCreate, "no-create", "c", false, "make no files")
	flags.add(cmd)
	return cmd
}
