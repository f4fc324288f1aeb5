package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages are what the tree is made of.
var packages = []string{
	"python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "zlib1g", "libexpat1", "libgcc-s1", "busybox",
}

// workload is the program, in the tree, that is measured.
var workload = []string{"/usr/bin/python3.11", "-c", "import json, re, argparse, email.message; print(json.dumps({'a': [1, 2]}))"}

func main() {
	dir := flag.String("dir", "/dev/shm", "a directory on a tmpfs")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "axfscompare:", err)
		os.Exit(1)
	}
}

// bench is a directory with everything in it.
type bench struct {
	dir, tree, godax, list string
}

func run(parent string) (err error) {
	if len(os.Args) == 4 && os.Args[1] == "resident" {
		return printResident(os.Args[2], os.Args[3])
	}
	dir, err := os.MkdirTemp(parent, "axfscompare-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{dir: dir, tree: filepath.Join(dir, "tree"), godax: filepath.Join(dir, "godax"), list: filepath.Join(dir, "pages.csv")}
	if err := b.prepare(); err != nil {
		return err
	}
	var rows []row
	for _, make := range []func() ([]row, error){b.axfs, b.squashfs, b.erofs, b.cramfs} {
		more, err := make()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	return b.print(rows)
}

// prepare makes the tree and the command.
func (b *bench) prepare() error {
	debs := filepath.Join(b.dir, "debs")
	if err := errors.Join(os.Mkdir(debs, 0o755), os.Mkdir(b.tree, 0o755)); err != nil {
		return err
	}
	get := exec.Command("apt-get", append([]string{"download"}, packages...)...)
	get.Dir = debs
	if err := command(get); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := command(exec.Command("dpkg", "-x", f, b.tree)); err != nil {
			return err
		}
	}
	return command(exec.Command("go", "build", "-o", b.godax, "./cmd/godax"))
}

// command runs a command; its output is part of the error.
func command(c *exec.Cmd) error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, out)
	}
	return nil
}

// image is the path of an image.
func (b *bench) image(name string) string { return filepath.Join(b.dir, name) }

// row is one line of the table. Sizes are in bytes.
type row struct {
	name     string
	size     int64
	resident int64 // -1: could not be measured
	ahead    int64 // resident with the kernel's read-ahead
	note     string
}

// imageSize is the size of a file.
func imageSize(name string) (int64, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// axfs makes the AXFS images.
func (b *bench) axfs() ([]row, error) {
	first := b.image("profiled.axfs")
	if err := command(exec.Command(b.godax, "mkfs", "axfs", b.tree, first)); err != nil {
		return nil, err
	}
	run := append([]string{"profile", "--no-report", "-o", b.list, first, "--", "chroot", "."}, workload...)
	if err := command(exec.Command(b.godax, run...)); err != nil {
		return nil, err
	}
	var rows []row
	for _, kind := range []struct {
		name string
		args []string
	}{
		{"axfs, all compressed, 4K blocks", nil},
		{"axfs, all compressed, 64K blocks", []string{"--block-size", "64K"}},
		{"axfs, touched pages in place, 4K blocks", []string{"--profile", b.list}},
		{"axfs, touched pages in place, 64K blocks", []string{"--profile", b.list, "--block-size", "64K"}},
		{"axfs, all ELF files in place, 64K blocks", []string{"--xip", "elf", "--block-size", "64K"}},
		{"axfs, everything in place", []string{"--xip", "all"}},
	} {
		image := b.image("image.axfs")
		args := append([]string{"mkfs", "axfs", "--force"}, kind.args...)
		if err := command(exec.Command(b.godax, append(args, b.tree, image)...)); err != nil {
			return nil, err
		}
		size, err := imageSize(image)
		if err != nil {
			return nil, err
		}
		resident, err := b.residentAxfs(image)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{kind.name, size, resident, resident, ""})
	}
	return rows, nil
}

// kernelImage makes an image with a tool, mounts it, runs the program, and measures.
func (b *bench) kernelImage(name, fstype string, tool string, args ...string) (row, error) {
	image := b.image("image." + fstype)
	if err := os.Remove(image); err != nil && !errors.Is(err, os.ErrNotExist) {
		return row{}, err
	}
	if _, err := exec.LookPath(tool); err != nil {
		return row{name: name, resident: -1, note: tool + " is missing"}, nil
	}
	for i, a := range args {
		args[i] = strings.NewReplacer("IMAGE", image, "TREE", b.tree).Replace(a)
	}
	if err := command(exec.Command(tool, args...)); err != nil {
		return row{}, err
	}
	size, err := imageSize(image)
	if err != nil {
		return row{}, err
	}
	r := row{name: name, size: size}
	if r.resident, err = b.residentKernel(image, fstype, false); err != nil {
		r.resident, r.note = -1, "cannot be mounted here"
		return r, nil
	}
	r.ahead, err = b.residentKernel(image, fstype, true)
	return r, err
}

// kernelImages makes several.
func (b *bench) kernelImages(fstype, tool string, kinds map[string][]string, order []string) ([]row, error) {
	var rows []row
	for _, name := range order {
		r, err := b.kernelImage(name, fstype, tool, kinds[name]...)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (b *bench) squashfs() ([]row, error) {
	args := func(more ...string) []string {
		return append([]string{"TREE", "IMAGE", "-noappend", "-quiet", "-no-progress"}, more...)
	}
	return b.kernelImages("squashfs", "mksquashfs", map[string][]string{
		"squashfs, gzip, 128K blocks": args(), "squashfs, gzip, 4K blocks": args("-b", "4K"),
		"squashfs, xz, 128K blocks": args("-comp", "xz"),
	}, []string{"squashfs, gzip, 4K blocks", "squashfs, gzip, 128K blocks", "squashfs, xz, 128K blocks"})
}

func (b *bench) erofs() ([]row, error) {
	return b.kernelImages("erofs", "mkfs.erofs", map[string][]string{
		"erofs, not compressed":      {"--quiet", "IMAGE", "TREE"},
		"erofs, lz4hc, 4K clusters":  {"--quiet", "-zlz4hc,12", "IMAGE", "TREE"},
		"erofs, lz4hc, 64K clusters": {"--quiet", "-zlz4hc,12", "-C65536", "IMAGE", "TREE"},
	}, []string{"erofs, not compressed", "erofs, lz4hc, 4K clusters", "erofs, lz4hc, 64K clusters"})
}

func (b *bench) cramfs() ([]row, error) {
	return b.kernelImages("cramfs", "mkfs.cramfs", map[string][]string{"cramfs, 4K blocks": {"TREE", "IMAGE"}}, []string{"cramfs, 4K blocks"})
}

// print prints the table.
func (b *bench) print(rows []row) error {
	var tree int64
	err := filepath.WalkDir(b.tree, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			tree += fi.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	list, err := os.ReadFile(b.list)
	if err != nil {
		return err
	}
	fmt.Printf("tree: %s in files; the program touches %d pages, %s\n\n", mib(tree), strings.Count(string(list), "\n"),
		mib(int64(strings.Count(string(list), "\n"))*4096))
	fmt.Println("| image | size | memory | size and memory | memory with read-ahead |")
	fmt.Println("|---|--:|--:|--:|--:|")
	for _, r := range rows {
		switch {
		case r.size == 0:
			fmt.Printf("| %s | %s | | | |\n", r.name, r.note)
		case r.resident < 0:
			fmt.Printf("| %s | %s | %s | | |\n", r.name, mib(r.size), r.note)
		default:
			fmt.Printf("| %s | %s | %s | %s | %s |\n", r.name, mib(r.size), mib(r.resident), mib(r.size+r.resident), mib(r.ahead))
		}
	}
	return nil
}

// mib is a size in MiB.
func mib(n int64) string { return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20)) }
