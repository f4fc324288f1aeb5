package main

import (
	"strconv"
	"strings"

	"godax"

	"github.com/spf13/cobra"
)

func newCreate(a *app) *cobra.Command {
	var flags openFlags
	var size sizeFlag
	var stripe, mode string
	cmd := &cobra.Command{
		Use:   "create --size SIZE [--stripe N[:CHUNK]] [-m MODE] IMAGE:/FILE...",
		Short: "Make files of a given size",
		Long: `create makes new files of a given size, which read as zero and have all their storage.
On famfs, where a file keeps the size it was made with, this and cp are the ways to make
one.

--stripe spreads a file over N runs of storage, one on each device or each part of a
device, in pieces of CHUNK bytes (default 2M): famfs only.`,
		Example: `  godax create --size 4G disk.img:/table
  godax create --size 64G --stripe 8:4M /dev/dax0.0:/matrix`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("size") {
				return usagef("--size is missing")
			}
			change, err := parseMode(mode)
			if err != nil {
				return usageError{err}
			}
			o := godax.CreateOptions{Perm: goMode(change(0o644, false))}
			if o.Stripe, err = parseStripe(stripe); err != nil {
				return usageError{err}
			}
			return a.forEach("create", &flags, true, args, func(fsys *godax.FS, n name) error {
				f, err := fsys.CreateSized(n.path, int64(size), o)
				if err != nil {
					return err
				}
				return f.Close()
			})
		},
	}
	f := cmd.Flags()
	f.Var(&size, "size", "bytes of each file; suffixes K, M, G, T")
	cmd.Flag("size").DefValue = ""
	f.StringVar(&stripe, "stripe", "", "number of runs, and size of pieces: 4 or 4:2M")
	f.StringVarP(&mode, "mode", "m", "0644", "permissions, octal or symbolic")
	flags.add(cmd)
	return cmd
}

// parseStripe reads "N" or "N:CHUNK"; "" is no stripe.
func parseStripe(s string) (st godax.Stripe, err error) {
	if s == "" {
		return st, nil
	}
	strips, chunk, with := strings.Cut(s, ":")
	if st.Strips, err = strconv.Atoi(strips); err != nil || st.Strips < 1 {
		return st, usagef("--stripe %q is not a number of runs, or N:CHUNK", s)
	}
	if with {
		st.Chunk, err = parseSize(chunk)
		if err == nil && st.Chunk == 0 {
			err = usagef("--stripe %q has pieces of 0 bytes", s)
		}
	}
	return st, err
}
