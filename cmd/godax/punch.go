package main

import (
	"errors"
	"math"
	"os"

	"godax"

	"github.com/spf13/cobra"
)

func newPunch(a *app) *cobra.Command {
	var flags openFlags
	cmd := &cobra.Command{
		Use:   "punch OFFSET LENGTH IMAGE:/FILE...",
		Short: "Punch holes into files",
		Long: `punch gives back the storage of LENGTH bytes at OFFSET; they read as zero then. The
size of the file stays. Both numbers take the suffixes K, M, G and T.`,
		Example:           `  godax punch 2M 4M disk.img:/db`,
		Args:              cobra.MinimumNArgs(3),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			off, err := parseSize(args[0])
			if err != nil {
				return usageError{err}
			}
			n, err := parseSize(args[1])
			if err != nil {
				return usageError{err}
			}
			if n == 0 || n > math.MaxInt64-off {
				return usagef("length %d at offset %d is not a range", n, off)
			}
			return a.forEach("punch", &flags, true, args[2:], func(fsys *godax.FS, at name) (err error) {
				f, err := fsys.OpenFile(at.path, os.O_RDWR, 0)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				return f.PunchHole(off, n)
			})
		},
	}
	flags.add(cmd)
	return cmd
}
