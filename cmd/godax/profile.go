package main

import (
	"errors"
	"os"
	"time"

	"godax/fs/axfs/build"
	"godax/fs/axfs/profile"

	"github.com/spf13/cobra"
)

// profileOptions are the flags of profile.
type profileOptions struct {
	flags    openFlags
	output   string
	from     string
	mount    string
	svg      string
	asJSON   bool
	noReport bool
	build    build.Options
	page     sizeFlag
	block    sizeFlag
}

func newProfile(a *app) *cobra.Command {
	o := profileOptions{page: 4096}
	cmd := &cobra.Command{
		Use:   "profile IMAGE -- COMMAND [ARG...]",
		Short: "Learn which pages a program touches, and what having them in place would cost",
		Long: `profile mounts IMAGE, of any type, read-only and runs COMMAND. Each page of each file that
is read, or touched in a mapping, goes into a page list: lines of path,offset,count that
"godax mkfs axfs --profile" takes, as the Linux driver of AXFS writes them. The kernel keeps what it
has read, so a count is mostly 1.

COMMAND runs in the root of the mount, which the environment variable GODAX_MOUNT names. It
may do what it wants; "chroot ." for instance. With --mount DIR and no COMMAND the image is
mounted there until it is unmounted or the command is interrupted.

Then a report says what AXFS images of the tree would cost: their size with nothing, the touched
pages, all ELF files or everything in place, and the memory that the touched pages need, those
that are not in place; and a curve in between. Sizes are of images built as with
--page-size, --block-size and --level. --from makes the report for an existing page list.`,
		Example: `  godax profile -o pages.csv root.axfs -- chroot . /bin/sh -c 'ls -l /usr'
  godax profile --mount /mnt -o pages.csv root.axfs
  godax profile --from pages.csv --svg curve.svg root.axfs`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			command := args[1:]
			if at := cmd.ArgsLenAtDash(); at >= 0 && at != 1 || at < 0 && len(command) > 0 {
				return usagef("write IMAGE -- COMMAND")
			}
			if err := o.complete(command); err != nil {
				return err
			}
			return failure("profile", args[0], a.profile(imageArg(args[0]), command, o))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "file for the page list")
	f.StringVar(&o.from, "from", "", "read the page list from this file, and run nothing")
	f.StringVar(&o.mount, "mount", "", "directory to mount at (default a new one)")
	f.StringVar(&o.svg, "svg", "", "draw the curve into this file")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	f.BoolVar(&o.noReport, "no-report", false, "only write the page list")
	f.Var(&o.page, "page-size", "of the images in the report: 4096, 16384 or 65536")
	f.Var(&o.block, "block-size", "of the images in the report (default a page)")
	cmd.Flag("block-size").DefValue = ""
	f.IntVar(&o.build.Level, "level", 9, "of compression in the report, 1 (fast) to 9 (small)")
	o.flags.add(cmd)
	o.flags.addShared(cmd)
	return cmd
}

// complete checks the flags.
func (o *profileOptions) complete(command []string) error {
	switch {
	case o.from != "" && (len(command) > 0 || o.mount != "" || o.output != "" || o.noReport):
		return usagef("--from goes without COMMAND, --mount, --output and --no-report")
	case o.from == "" && len(command) == 0 && o.mount == "":
		return usagef("nothing to run: write -- COMMAND, or --mount DIR")
	case o.from == "" && o.output == "":
		return usagef("no file for the page list: write --output FILE")
	case o.noReport && (o.svg != "" || o.asJSON):
		return usagef("--svg and --json are forms of the report, which --no-report leaves out")
	}
	if o.page == 0 || o.build.Level == 0 {
		return usagef("--page-size and --level must not be 0")
	}
	o.build.PageSize, o.build.BlockSize = int(o.page), int(o.block)
	if err := o.build.Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// profile makes the page list, and the report.
func (a *app) profile(image string, command []string, o profileOptions) (err error) {
	var list build.Profile
	if o.from != "" {
		list, err = readProfile(o.from)
	} else {
		list, err = a.record(image, command, o)
	}
	if err == nil {
		err = a.ctx.Err()
	}
	if err != nil || o.noReport {
		return err
	}
	fsys, err := o.flags.open(image, false)
	if err != nil {
		return err
	}
	defer closing(image, fsys, &err)
	if a.errTTY {
		o.build.Progress = a.bars()
	}
	r, err := profile.Measure(a.ctx, tree{imageStore{fsys}, "/"}, list, o.build)
	if err != nil {
		return treeError(image+":/", err)
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, drawCurve(r), 0o666); err != nil {
			return failure("write", o.svg, err)
		}
	}
	if o.asJSON {
		return a.printJSON(newProfileReport(r))
	}
	a.printProfile(r)
	return nil
}

// readProfile reads a page list from a file of the host.
func readProfile(name string) (build.Profile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, failure("read", name, err)
	}
	defer f.Close()
	list, err := build.ReadProfile(f)
	return list, failure("read", name, err)
}

// bars is a progress bar for several builds.
func (a *app) bars() func(done, total int64) {
	var bar *progress
	return func(done, total int64) {
		if done == 0 {
			bar = newProgress(a.stderr, total, time.Now)
		}
		bar.add(done - bar.done)
		if done == total {
			bar.clear()
		}
	}
}

// record mounts the image, runs the command, and writes what it touched.
func (a *app) record(image string, command []string, o profileOptions) (_ build.Profile, err error) {
	var rec profile.Recorder
	o.flags.touched = rec.Touched
	fsys, err := o.flags.open(image, false)
	if err != nil {
		return nil, err
	}
	defer closing(image, fsys, &err)
	if err := a.runMounted(fsys, command, o); err != nil {
		return nil, err
	}
	list, err := rec.Profile(fsys.VFS())
	if err != nil {
		return nil, err
	}
	return list, failure("write", o.output, writeProfile(o.output, list))
}

// writeProfile writes a page list to a file of the host.
func writeProfile(name string, list build.Profile) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(list.Write(f), f.Close())
}
