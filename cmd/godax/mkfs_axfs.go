package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"godax/fs/axfs/build"

	"github.com/spf13/cobra"
)

// axfsOptions are the flags of mkfs axfs.
type axfsOptions struct {
	build    build.Options
	page     sizeFlag
	block    sizeFlag
	mode     string
	profile  string
	tail     string
	padding  int
	second   string
	time     string
	force    bool
	asJSON   bool
	readFrom openFlags // of an image that is the source
}

// xipModes are the values of --xip.
var xipModes = map[string]build.Mode{
	"none": build.ModeNone, "exec": build.ModeExecutable, "elf": build.ModeELF, "all": build.ModeAll,
}

func newMkfsAxfs(a *app) *cobra.Command {
	o := axfsOptions{}
	cmd := &cobra.Command{
		Use:   "axfs DIR|IMAGE:/DIR OUT",
		Short: "Make an AXFS image of a directory",
		Long: `axfs makes a read-only AXFS image (version 2.2) of a directory of the host or of an
image, in the file OUT.

Pages that are stored in place ("XIP") are mapped where they are: they take no memory
when the image is used, but their full size in it. All others are compressed. --xip
chooses whole files: "exec" are ELF files that their owner may execute, "elf" all ELF files, so
shared libraries too, "all" everything. --xip-glob adds files by name: a pattern with a
slash in it matches the path from the root, one without any element of it, and a directory
stands for all below it. --profile adds single pages: those that a page list names, as "godax
profile" and the Linux driver write it.

Pages in place lie where memory can be mapped in pages of 64 KiB and 2 MiB. Identical files
and pages are stored once.

The same tree gives the same bytes: the times of all files are --timestamp, or the environment variable
SOURCE_DATE_EPOCH, or 0.

OUT is written under another name first. An existing file is refused without --force if it
holds anything but zeros.`,
		Example: `  godax mkfs axfs rootfs/ root.axfs
  godax mkfs axfs --xip elf --block-size 64K rootfs/ root.axfs
  godax mkfs axfs --profile pages.csv --second flash.bin disk.img:/ rom.bin`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			return failure("mkfs", args[1], a.mkfsAxfs(args[0], args[1], o))
		},
	}
	o.page = 4096
	f := cmd.Flags()
	f.Var(&o.page, "page-size", "bytes in a page: 4096, 16384 or 65536")
	f.Var(&o.block, "block-size", "largest compressed block before compression, up to 64K (default a page)")
	cmd.Flag("block-size").DefValue = ""
	f.IntVar(&o.build.BlockPages, "block-pages", 0, "most pages and ends of files in a compressed block (default as many as fit)")
	f.IntVar(&o.build.Level, "level", 9, "compression, 1 (fast) to 9 (small)")
	f.BoolVar(&o.build.NoDedup, "no-dedup", false, "store identical files and pages as often as there are")
	f.StringVar(&o.mode, "xip", "none", "files to have in place: none, exec, elf or all")
	f.StringArrayVar(&o.build.XIP.Globs, "xip-glob", nil, "pattern for files to have in place; may be repeated")
	f.StringVar(&o.profile, "profile", "", "page list: lines of path,offset,count")
	f.BoolVar(&o.build.XIP.WholeProfile, "profile-files", false, "have all of each file in the page list in place")
	f.StringVar(&o.tail, "tail", "xip", "the short last page of a file in place: xip (a page with zeros) or bytes")
	f.IntVar(&o.padding, "xip-padding", 15, "pages to leave empty at most for pages of 2 MiB, in percent of those in place")
	f.StringVar(&o.second, "second", "", "write what need not be mapped to this file (OUT and it are the two devices)")
	f.StringVar(&o.time, "timestamp", "", "time of all files: seconds since 1970, or RFC 3339")
	f.BoolVar(&o.build.AllRoot, "all-root", false, "all files belong to user and group 0")
	f.IntVar(&o.build.Workers, "jobs", 0, "files and blocks to work on at a time (default one for each core)")
	f.BoolVar(&o.force, "force", false, "overwrite what is there")
	f.BoolVar(&o.asJSON, "json", false, "print the summary as JSON")
	for flag, values := range map[string][]string{"xip": {"none", "exec", "elf", "all"}, "tail": {"xip", "bytes"}} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flags were declared above
		}
	}
	o.readFrom.add(cmd)
	o.readFrom.addShared(cmd)
	return cmd
}

// complete makes options of the flags' texts.
func (o *axfsOptions) complete() error {
	var ok bool
	if o.build.XIP.Mode, ok = xipModes[o.mode]; !ok {
		return usagef("--xip %q is none of none, exec, elf, all", o.mode)
	}
	switch o.tail {
	case "xip":
	case "bytes":
		o.build.Tail = build.TailBytes
	default:
		return usagef("--tail %q is neither xip nor bytes", o.tail)
	}
	if o.profile == "" && o.build.XIP.WholeProfile {
		return usagef("--profile-files needs --profile")
	}
	if o.page == 0 || o.build.Level == 0 {
		return usagef("--page-size and --level must not be 0")
	}
	o.build.PageSize, o.build.BlockSize = int(o.page), int(o.block)
	if o.build.MaxPadding = o.padding; o.padding <= 0 {
		o.build.MaxPadding = -1
	}
	var err error
	if o.build.Timestamp, err = timestamp(o.time); err != nil {
		return err
	}
	if err := o.build.Check(); err != nil {
		return usageError{err}
	}
	if o.profile != "" {
		o.build.XIP.Profile, err = readProfile(o.profile)
		return err
	}
	return nil
}

// timestamp is the time that all files get.
func timestamp(flag string) (uint64, error) {
	text, name := flag, "--timestamp"
	if text == "" {
		text, name = os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	}
	if text == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return uint64(n), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil && flag != "" && t.Unix() >= 0 {
		return uint64(t.Unix()), nil
	}
	return 0, usagef("%s %q is not a time since 1970", name, text)
}

// mkfsAxfs makes the image.
func (a *app) mkfsAxfs(from, out string, o axfsOptions) (err error) {
	im := newImages(&o.readFrom)
	defer im.close(&err)
	src, err := openTree(im, from)
	if err != nil {
		return failure("read", from, err)
	}
	first, err := newOutput(out, o.force)
	if err != nil {
		return err
	}
	defer first.drop()
	outputs := []*outputFile{first}
	if o.second != "" {
		second, err := newOutput(o.second, o.force)
		if err != nil {
			return failure("mkfs", o.second, err)
		}
		defer second.drop()
		o.build.Second = second.f
		outputs = append([]*outputFile{second}, first) // the image appears when its second part is there
	}
	o.build.Exclude = make(map[build.ID]bool)
	for _, f := range outputs {
		f.exclude(o.build.Exclude)
	}
	o.build.TempDir = filepath.Dir(first.name)
	o.build.Warn = func(err error) { fmt.Fprintf(a.stderr, "godax: warning: %v\n", treeError(from, err)) }
	if a.errTTY {
		o.build.Progress = a.bars()
	}
	st, err := build.Build(a.ctx, src, first.f, o.build)
	if err != nil {
		return treeError(from, err)
	}
	for _, f := range outputs {
		if err := f.keep(); err != nil {
			return failure("mkfs", f.name, err)
		}
	}
	if o.asJSON {
		return a.printJSON(newAxfsSummary(out, o, st))
	}
	a.printAxfsSummary(newAxfsSummary(out, o, st))
	return nil
}

// errNotFile is an output that cannot be replaced by another file.
var errNotFile = errors.New("not a regular file (write the image to one, and copy it)")

// outputFile is a file that is written under another name until it is complete.
type outputFile struct {
	name string
	f    *os.File
	kept bool
}

// newOutput begins to write the file name.
func newOutput(name string, force bool) (*outputFile, error) {
	if fi, err := os.Lstat(name); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		real, err := filepath.EvalSymlinks(name)
		if err != nil {
			return nil, fmt.Errorf("is a symbolic link that leads nowhere: %w", err)
		}
		name = real // the link stays
	}
	perm := os.FileMode(0o666)
	if fi, err := os.Stat(name); err == nil {
		if !fi.Mode().IsRegular() {
			return nil, errNotFile
		}
		if !force {
			if err := checkEmpty(name, fi); err != nil {
				return nil, err
			}
		}
		perm = fi.Mode().Perm()
	}
	dir, base := filepath.Split(name)
	for n := 0; ; n++ {
		temp := filepath.Join(dir, fmt.Sprintf(".%s.%d.%d", base, os.Getpid(), n))
		f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if !errors.Is(err, os.ErrExist) {
			return &outputFile{name: name, f: f}, err
		}
	}
}

// exclude keeps the file, old and new, out of the image that it may be in.
func (o *outputFile) exclude(ids map[build.ID]bool) {
	for _, name := range []string{o.name, o.f.Name()} {
		if at, err := (hostSource{}).Lstat(name); err == nil && at.id != (fileID{}) {
			ids[build.ID{Dev: at.id.dev, Ino: at.id.ino}] = true
		}
	}
}

// keep gives the file its name.
func (o *outputFile) keep() error {
	err := errors.Join(o.f.Sync(), o.f.Close())
	if err == nil {
		err = os.Rename(o.f.Name(), o.name)
	}
	o.kept = err == nil
	return err
}

// drop takes the file away, if it was not kept.
func (o *outputFile) drop() {
	if !o.kept {
		o.f.Close()
		os.Remove(o.f.Name())
	}
}
