package main

import (
	"io/fs"
	"math"
	"strconv"
	"strings"

	"godax"

	"github.com/spf13/cobra"
)

func newChown(a *app) *cobra.Command {
	var flags openFlags
	var recursive, noDeref bool
	cmd := &cobra.Command{
		Use:   "chown [-R] [-P] UID[:GID] IMAGE:/PATH...",
		Short: "Change owners",
		Long: `chown sets owner, group or both; the ids are numbers, since an image has its own
users. ":GID" changes the group only.`,
		Example: `  godax chown 1000:1000 disk.img:/home/me
  godax chown -R :100 disk.img:/srv`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			uid, gid, err := parseOwner(args[0])
			if err != nil {
				return err
			}
			return a.forEach("chown", &flags, true, args[1:], func(fsys *godax.FS, n name) error {
				switch {
				case recursive:
					return a.below("chown", fsys, n, func(p string, _ fs.FileInfo) error {
						return fsys.Lchown(p, uid, gid)
					})
				case noDeref:
					return fsys.Lchown(n.path, uid, gid)
				}
				return fsys.Chown(n.path, uid, gid)
			})
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "what is below directories, too; symbolic links themselves")
	cmd.Flags().BoolVarP(&noDeref, "no-dereference", "P", false, "change symbolic links themselves")
	flags.add(cmd)
	return cmd
}

// parseOwner reads UID, UID:GID or :GID; -1 stands for what is not named.
func parseOwner(s string) (uid, gid int, err error) {
	user, group, both := strings.Cut(s, ":")
	number := func(s string) int {
		n, perr := strconv.ParseUint(s, 10, 32)
		if perr != nil || n == math.MaxUint32 {
			err = usagef("owner %q: write UID, UID:GID or :GID in numbers below 4294967295", s)
		}
		return int(n)
	}
	uid, gid = -1, -1
	if user != "" || !both {
		uid = number(user)
	}
	if group != "" || user == "" {
		gid = number(group)
	}
	return uid, gid, err
}
