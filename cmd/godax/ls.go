package main

import (
	"fmt"
	"io/fs"
	"time"

	"godax"

	"github.com/spf13/cobra"
)

// listed is one file of a listing.
type listed struct {
	Name   string    `json:"name"`
	Type   string    `json:"type"`
	Mode   string    `json:"mode"` // octal
	Nlink  uint32    `json:"nlink"`
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   int64     `json:"size"`
	Blocks uint64    `json:"blocks_512"`
	Mtime  time.Time `json:"mtime"`
	Ino    uint64    `json:"ino"`
	Rdev   string    `json:"rdev,omitempty"`
	Target string    `json:"target,omitempty"`

	mode fs.FileMode
}

// lister is one run of ls.
type lister struct {
	*app
	flags     openFlags
	long      bool
	recursive bool
	json      bool
	all       []listed // for --json
}

func newLs(a *app) *cobra.Command {
	l := &lister{app: a}
	cmd := &cobra.Command{
		Use:   "ls [-l] [-R] IMAGE[:/PATH]...",
		Short: "List directories",
		Long: `ls lists directories by name, with names that begin with a dot. A name of anything
else than a directory is listed itself.

With --json it prints one array; in names, backslashes and what is not printable UTF-8
are written \xHH.`,
		Example: `  godax ls disk.img
  godax ls -lR disk.img:/home`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImage,
		RunE: func(_ *cobra.Command, args []string) error {
			names := make([]name, len(args))
			for i, arg := range args {
				if names[i] = parseName(arg); !names[i].inImage() {
					names[i] = name{image: arg, path: "/"}
				}
			}
			heading := len(args) > 1 || l.recursive
			err := a.forNames("ls", &l.flags, false, names, func(fsys *godax.FS, n name) error {
				return l.list(fsys, n, heading)
			})
			if l.json && err == nil {
				err = a.printJSON(append([]listed{}, l.all...))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&l.long, "long", "l", false, "type, mode, links, owner, size and time too")
	f.BoolVarP(&l.recursive, "recursive", "R", false, "directories below, too")
	f.BoolVar(&l.json, "json", false, jsonUsage)
	l.flags.add(cmd)
	l.flags.addShared(cmd)
	return cmd
}

// list lists what n names.
func (l *lister) list(fsys *godax.FS, n name, heading bool) error {
	fi, err := fsys.Lstat(n.path)
	if err == nil && fi.Mode().Type() == fs.ModeSymlink && !l.long {
		if to, terr := fsys.Stat(n.path); terr == nil && to.IsDir() {
			fi = to
		}
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return l.print(fsys, n.path, n.String(), fi)
	}
	return l.listDir(fsys, n, heading, make(map[uint64]bool))
}

// listDir lists the directory n; seen holds the directories listed before.
func (l *lister) listDir(fsys *godax.FS, n name, heading bool, seen map[uint64]bool) error {
	entries, err := fsys.ReadDir(n.path)
	if err != nil {
		return err
	}
	if heading && !l.json {
		if len(seen) > 0 {
			fmt.Fprintln(l.out)
		}
		fmt.Fprintf(l.out, "%s:\n", l.shown(n.String()))
	}
	var dirs []name
	for _, e := range entries {
		at := n.join(e.Name())
		fi, err := fsys.Lstat(at.path)
		if err != nil {
			l.warn(failure("ls", at.String(), err))
			continue
		}
		show := e.Name()
		if l.json && l.recursive {
			show = at.path
		}
		if err := l.print(fsys, at.path, show, fi); err != nil {
			l.warn(failure("ls", at.String(), err))
		}
		if fi.IsDir() {
			dirs = append(dirs, at)
		}
	}
	seen[0] = true // a heading was printed
	if !l.recursive {
		return nil
	}
	for _, d := range dirs {
		if l.stopped() {
			break
		}
		fi, err := fsys.Lstat(d.path)
		if err == nil && seen[sysOf(fi).Ino] {
			err = errTwice
		}
		if err == nil {
			seen[sysOf(fi).Ino] = true
			err = l.listDir(fsys, d, heading, seen)
		}
		if err != nil {
			l.warn(failure("ls", d.String(), err))
		}
	}
	return nil
}

// print prints one line, or keeps the file for the JSON array.
func (l *lister) print(fsys *godax.FS, p, show string, fi fs.FileInfo) error {
	st := sysOf(fi)
	e := listed{
		Name: show, Type: string(typeLetter(fi.Mode())), Mode: fmt.Sprintf("%04o", unixMode(fi.Mode())),
		Nlink: st.Nlink, UID: st.UID, GID: st.GID, Size: fi.Size(), Blocks: st.Blocks,
		Mtime: fi.ModTime().UTC(), Ino: st.Ino, mode: fi.Mode(),
	}
	if fi.Mode()&fs.ModeDevice != 0 {
		e.Rdev = fmt.Sprintf("%d:%d", st.RdevMajor, st.RdevMinor)
	}
	if fi.Mode().Type() == fs.ModeSymlink && (l.long || l.json) {
		target, err := fsys.Readlink(p)
		if err != nil {
			return err
		}
		e.Target = target
	}
	if l.json {
		e.Name, e.Target = jsonName(e.Name), jsonName(e.Target)
		l.all = append(l.all, e)
		return nil
	}
	l.out.WriteString(l.line(e))
	return nil
}

// line is a file's line of output.
func (l *lister) line(e listed) string {
	if !l.long {
		return l.shown(e.Name) + "\n"
	}
	size := fmt.Sprint(e.Size)
	if e.Rdev != "" {
		size = e.Rdev
	}
	s := fmt.Sprintf("%s %3d %5d %5d %12s %s %s", lsMode(e.mode), e.Nlink, e.UID, e.GID, size,
		e.Mtime.Format("2006-01-02 15:04"), l.shown(e.Name))
	if e.Target != "" {
		s += " -> " + l.shown(e.Target)
	}
	return s + "\n"
}
