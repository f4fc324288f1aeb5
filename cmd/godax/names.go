package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// name is a file name from the command line.
type name struct {
	image string // empty for a file of the host
	path  string // inside the image: absolute and clean, but for a slash at the end; on the host: as given
	dir   bool   // it was written with a slash at the end

	// contents: it names the contents of a directory, not the directory: a root, or
	// something that ends in "." or "..".
	contents bool
}

// inImage reports whether the name is inside an image.
func (n name) inImage() bool { return n.image != "" }

// String is the name as the user would write it.
func (n name) String() string {
	if n.inImage() {
		return n.image + ":" + n.path
	}
	return n.path
}

// join is the name of elem in the directory n.
func (n name) join(elem string) name {
	if n.inImage() {
		return name{image: n.image, path: path.Join(n.path, elem)}
	}
	return name{path: filepath.Join(n.path, elem)}
}

// followed is the name of the directory that n is, or is a symbolic link to.
func (n name) followed() name {
	if !strings.HasSuffix(n.path, "/") {
		n.path += "/"
	}
	return n
}

// base is the last element of the name.
func (n name) base() string {
	if n.inImage() {
		return path.Base(n.path)
	}
	return filepath.Base(n.path)
}

// parseName finds out what arg names.
//
// It is a host file if one exists under that name. Otherwise the first ":/" whose
// left side is an existing file (not a directory) ends the image's name. Otherwise
// it is a host file if its directory exists, else the first ":/" counts, so that a
// missing image is reported as such; so does ":/" at the end.
func parseName(arg string) name {
	host := name{path: arg, dir: strings.HasSuffix(arg, "/"), contents: isContents(arg)}
	if !strings.Contains(arg, ":/") {
		return host
	}
	if _, err := os.Lstat(arg); err == nil {
		return host
	}
	first := -1
	for at := 0; ; {
		i := strings.Index(arg[at:], ":/")
		if i < 0 {
			break
		}
		at += i
		if at > 0 {
			if first < 0 {
				first = at
			}
			if fi, err := os.Stat(arg[:at]); err == nil && !fi.IsDir() {
				return imageName(arg, at)
			}
		}
		at++
	}
	if first < 0 {
		return host
	}
	fi, err := os.Stat(filepath.Dir(filepath.Clean(arg)))
	if err == nil && fi.IsDir() && first < len(arg)-len(":/") {
		return host
	}
	return imageName(arg, first)
}

// imageName splits arg at the colon.
func imageName(arg string, colon int) name {
	p := arg[colon+1:]
	n := name{image: arg[:colon], path: path.Clean(p), dir: strings.HasSuffix(p, "/"), contents: isContents(p)}
	if n.dir && n.path != "/" {
		n.path += "/" // only a directory, or a link to one, can be meant
	}
	return n
}

// isContents reports whether p is "/" or its last element "." or "..".
func isContents(p string) bool {
	last := p[strings.LastIndexByte(strings.TrimRight(p, "/"), '/')+1:]
	last = strings.TrimRight(last, "/")
	return last == "." || last == ".." || last == "" && p != ""
}

// fileInImage is parseName for arguments that must be inside an image.
func fileInImage(arg string) (name, error) {
	n := parseName(arg)
	if !n.inImage() {
		return n, usagef("%q is not a file in an image: write IMAGE:/path", arg)
	}
	return n, nil
}

// filesInImage is fileInImage for all arguments.
func filesInImage(args []string) ([]name, error) {
	names := make([]name, len(args))
	for i, arg := range args {
		n, err := fileInImage(arg)
		if err != nil {
			return nil, err
		}
		names[i] = n
	}
	return names, nil
}

// imageArg is the name of an image itself: IMAGE, or IMAGE:/ meant so.
func imageArg(arg string) string {
	if n := parseName(arg); n.inImage() && n.path == "/" {
		return n.image
	}
	return arg
}

// completeImage is the shell completion of commands whose names are inside images:
// the shell completes the image's name, and leaves room for ":/path" behind it.
func completeImage(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault | cobra.ShellCompDirectiveNoSpace
}
