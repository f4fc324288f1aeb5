package main

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func newCp(a *app) *cobra.Command {
	var flags openFlags
	var c copier
	cmd := &cobra.Command{
		Use:   "cp [-r] [-a] SRC... DST",
		Short: "Copy files into, out of and between images",
		Long: `cp copies from the host to an image, from an image to the host, or between images.
DST is a directory to copy into, or the new name if there is one source.

Holes stay holes. Without -a new files have the source's permissions less 022, and
belong to the caller; symbolic links given as arguments are followed, and pipes of the
host are read to their end. With -r links and special files are copied as such. With -a modes, owners, times, hard links,
extended attributes and devices are kept too; owners of host files only as root.

What is at the destination already: a file's contents are replaced, a directory is
copied into, a link or special file is replaced and never followed. Nothing in an
image, neither a name nor a link, makes cp write outside of DST.`,
		Example: `  godax cp notes.txt disk.img:/
  godax cp -a disk.img:/home backup/
  godax cp -a old.img:/. new.img:/
  date | godax cp /dev/stdin disk.img:/when`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.cp(c, &flags, args)
		},
	}
	cmd.Flags().BoolVarP(&c.recursive, "recursive", "r", false, "directories and what is below them")
	cmd.Flags().BoolVarP(&c.archive, "archive", "a", false, "like -r, and keep everything")
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}

// cp parses the names, opens both sides and copies.
func (a *app) cp(c copier, flags *openFlags, args []string) (err error) {
	c.app = a
	c.recursive = c.recursive || c.archive
	c.links = make(map[fileKey]string)
	names := make([]name, len(args))
	images := 0
	for i, arg := range args {
		names[i] = parseName(arg)
		if names[i].inImage() {
			images++
		}
	}
	last := len(names) - 1
	srcs, dst := names[:last], names[last]
	if !dst.inImage() && images < last || images == 0 {
		return usagef("neither %s nor %s is in an image: write IMAGE:/path", srcs[0], dst)
	}

	im := newImages(flags, dst)
	defer im.close(&err)
	into, prefix, err := c.openSink(im, dst, last > 1)
	if err != nil {
		return failure("cp", dst.String(), err)
	}
	defer func() { err = errors.Join(err, c.dst.Close()) }()
	c.mustDir = dst.dir && !into

	type job struct {
		from source
		path string
		n    name
	}
	var jobs []job
	for _, n := range srcs {
		j := job{from: hostSource{}, path: n.path, n: n}
		if n.inImage() {
			fsys, err := im.get(n)
			if err != nil {
				return err
			}
			j.from = imageStore{fsys}
		}
		jobs = append(jobs, j)
	}
	c.imageFiles = im.files()
	if a.errTTY {
		total := int64(0)
		for _, j := range jobs {
			total += c.measure(j.from, j.path)
		}
		c.bar = newProgress(a.stderr, total, time.Now)
		defer c.bar.clear()
	}
	for _, j := range jobs {
		to := prefix
		if into && !j.n.contents {
			to = path.Join(prefix, j.n.base())
		}
		c.src, c.srcName, c.dstName = j.from, j.n, dst
		c.seen = make(map[fileID]bool)
		c.copy(j.path, to, true)
		if a.stopped() {
			return a.ctx.Err()
		}
	}
	return c.summary()
}

// openSink opens the destination: into says that it is a directory, prefix is its
// path in c.dst.
func (c *copier) openSink(im *images, dst name, must bool) (into bool, prefix string, err error) {
	if dst.inImage() {
		fsys, err := im.get(dst)
		if err != nil {
			return false, "", err
		}
		c.dst = imageStore{fsys}
		into, err = isDir(fsys, dst, must)
		return into, dst.path, err
	}
	into, err = isDir(hostStat{}, dst, must)
	if err != nil {
		return false, "", err
	}
	dir, prefix := dst.path, "."
	if !into {
		clean := filepath.Clean(dst.path) // of "new/" the directory is "."
		dir, prefix = filepath.Dir(clean), filepath.Base(clean)
		if fi, err := os.Stat(dst.path); err == nil {
			c.special = !fi.Mode().IsRegular()
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, "", err
	}
	c.dst, c.dstDir = hostSink{root}, dir
	return into, prefix, nil
}

// hostStat is os.Stat as a method.
type hostStat struct{}

func (hostStat) Stat(p string) (fs.FileInfo, error) { return os.Stat(p) }
