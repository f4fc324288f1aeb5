package main

import (
	"fmt"
	"io/fs"
	"time"

	"godax"

	"github.com/spf13/cobra"
)

// statInfo is what stat shows of a file.
type statInfo struct {
	Path   string     `json:"path"`
	Type   string     `json:"type"`
	Mode   string     `json:"mode"`
	Ino    uint64     `json:"ino"`
	Nlink  uint32     `json:"nlink"`
	UID    uint32     `json:"uid"`
	GID    uint32     `json:"gid"`
	Size   int64      `json:"size"`
	Blocks uint64     `json:"blocks_512"`
	Block  int64      `json:"block_size"`
	Rdev   string     `json:"rdev,omitempty"`
	Target string     `json:"target,omitempty"`
	Atime  time.Time  `json:"atime"`
	Mtime  time.Time  `json:"mtime"`
	Ctime  time.Time  `json:"ctime"`
	Btime  *time.Time `json:"btime,omitempty"`
	Usage  *usage     `json:"pages,omitempty"`       // regular files only
	Closed string     `json:"pages_error,omitempty"` // why there is none: the file cannot be opened
	Xattrs []string   `json:"xattrs,omitempty"`

	lsMode string
}

func newStat(a *app) *cobra.Command {
	var flags openFlags
	var asJSON, follow bool
	cmd := &cobra.Command{
		Use:   "stat [-L] IMAGE:/FILE...",
		Short: "Show a file's attributes and how it can be mapped",
		Long: `stat shows the attributes of files, the names of their extended attributes, and for
a regular file that can be opened what holds its pages: page frames of the device (direct), frames that
hold a copy because the blocks cannot be mapped (cached), or nothing (hole); and which
share of the file can be mapped with 2 MiB pages.`,
		Example: `  godax stat disk.img:/db
  godax stat --json disk.img:/db disk.img:/log`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			all := []statInfo{}
			err := a.forEach("stat", &flags, false, args, func(fsys *godax.FS, n name) error {
				st, err := a.stat(fsys, n, follow)
				if err != nil {
					return err
				}
				if asJSON {
					all = append(all, st)
				} else {
					a.printStat(st)
				}
				return nil
			})
			if asJSON && err == nil {
				err = a.printJSON(all)
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "dereference", "L", false, "follow symbolic links")
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}

// stat collects what is known about n.
func (a *app) stat(fsys *godax.FS, n name, follow bool) (statInfo, error) {
	look, xattrs := fsys.Lstat, fsys.LListXattr
	if follow {
		look, xattrs = fsys.Stat, fsys.ListXattr
	}
	fi, err := look(n.path)
	if err != nil {
		return statInfo{}, err
	}
	st := sysOf(fi)
	info := statInfo{
		Path: jsonName(n.path), Type: string(typeLetter(fi.Mode())), Mode: fmt.Sprintf("%04o", unixMode(fi.Mode())),
		Ino: st.Ino, Nlink: st.Nlink, UID: st.UID, GID: st.GID, Size: fi.Size(), Blocks: st.Blocks,
		Block: st.BlockSize, Atime: st.Atime.UTC(), Mtime: fi.ModTime().UTC(), Ctime: st.Ctime.UTC(),
		lsMode: lsMode(fi.Mode()),
	}
	if !st.Btime.IsZero() {
		t := st.Btime.UTC()
		info.Btime = &t
	}
	switch {
	case fi.Mode()&fs.ModeDevice != 0:
		info.Rdev = fmt.Sprintf("%d:%d", st.RdevMajor, st.RdevMinor)
	case fi.Mode().Type() == fs.ModeSymlink:
		target, err := fsys.Readlink(n.path)
		if err != nil {
			return info, err
		}
		info.Target = jsonName(target)
	case fi.Mode().IsRegular():
		f, err := fsys.Open(n.path)
		if err != nil {
			info.Closed = err.Error()
			break
		}
		defer f.Close()
		runs, err := runsOf(a.ctx, f)
		if err != nil {
			return info, err
		}
		u := tally(runs)
		info.Usage = &u
	}
	names, err := xattrs(n.path)
	if err = noXattrs(err); err != nil {
		return info, err
	}
	for _, x := range names {
		info.Xattrs = append(info.Xattrs, jsonName(x))
	}
	return info, nil
}

// printStat prints the attributes, one per line.
func (a *app) printStat(st statInfo) {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(a.out, "%10s: %s\n", key, fmt.Sprintf(format, args...))
	}
	line("path", "%s", st.Path)
	line("mode", "%s (%s)", st.lsMode, st.Mode)
	line("inode", "%d, %d links", st.Ino, st.Nlink)
	line("owner", "%d:%d", st.UID, st.GID)
	line("size", "%d (%d blocks of 512; file system blocks of %d)", st.Size, st.Blocks, st.Block)
	if st.Rdev != "" {
		line("device", "%s", st.Rdev)
	}
	if st.Target != "" {
		line("target", "%s", st.Target)
	}
	const layout = "2006-01-02 15:04:05.000000000 MST"
	line("accessed", "%s", st.Atime.Format(layout))
	line("modified", "%s", st.Mtime.Format(layout))
	line("changed", "%s", st.Ctime.Format(layout))
	if st.Btime != nil {
		line("born", "%s", st.Btime.Format(layout))
	}
	for _, x := range st.Xattrs {
		line("xattr", "%s", x)
	}
	if st.Closed != "" {
		line("pages", "not known: %s", st.Closed)
	}
	if u := st.Usage; u != nil {
		line("pages", "%d: %d direct, %d cached, %d hole, %d unwritten; %d dirty", u.Pages, u.Direct, u.Cached, u.Hole, u.Unwritten, u.Dirty)
		line("frames", "%d contiguous runs on the device", u.Frames)
		line("2 MiB", "%s of the pages mappable as huge pages", percent(u.PMD, u.Pages))
	}
}

// percent is part of whole in percent.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f %%", float64(part)*100/float64(whole))
}
