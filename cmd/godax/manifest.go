package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"

	"godax"

	"github.com/spf13/cobra"
)

// bigFile is the size above which a file's hash covers its data segments only.
const bigFile = 64 << 30

// manifestRow is one file of a manifest.
type manifestRow struct {
	Path   string `json:"path"`
	Type   string `json:"type"`
	Mode   string `json:"mode"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size"`
	Target string `json:"target,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// xattrRow is one extended attribute of a manifest.
type xattrRow struct {
	Path  string `json:"path"`
	Name  string `json:"name"`
	Value string `json:"value_hex"`

	raw string
}

func newManifest(a *app) *cobra.Command {
	var flags openFlags
	var asJSON, xattr bool
	cmd := &cobra.Command{
		Use:   "manifest IMAGE",
		Short: "List everything in an image, with hashes, for comparison",
		Long: `manifest prints one line per name, sorted bytewise by path, tab-separated: path, type
(f d l p s c b), mode in octal, uid, gid, size, target of a symbolic link, SHA-256 of the
contents; "-" where a column does not apply. Bytes outside printable ASCII, and
backslashes, are written \xHH.

The hash of a file over 64 GiB is "data:" and the SHA-256 of, for each data segment,
"OFFSET:LENGTH:" followed by its bytes.

With --xattr it prints the extended attributes instead: path, name, value in hex ("-" if
empty). A file that cannot be read is reported, and has "error" for its hash.`,
		Example: `  godax manifest disk.img > before.tsv
  godax manifest --xattr disk.img`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			image := imageArg(args[0])
			fsys, err := flags.open(image, false)
			if err != nil {
				return err
			}
			defer closing(image, fsys, &err)
			if xattr {
				return a.xattrManifest(fsys, image, asJSON)
			}
			return a.manifest(fsys, image, asJSON)
		},
	}
	cmd.Flags().BoolVar(&xattr, "xattr", false, "extended attributes instead of files")
	cmd.Flags().BoolVar(&asJSON, "json", false, jsonUsage)
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}

// dash is "-" for an empty column.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// manifest prints the files. Rows are sorted first and hashed when they are printed,
// so that the output flows.
func (a *app) manifest(fsys *godax.FS, image string, asJSON bool) error {
	type file struct {
		path string
		info fs.FileInfo
	}
	var files []file
	err := walk(a.ctx, fsys, "/", func(p string, fi fs.FileInfo, err error) error {
		if err != nil {
			a.warn(failure("manifest", image+":"+p, err))
			return nil
		}
		files = append(files, file{p, fi})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(x, y file) int { return strings.Compare(x.path, y.path) })

	rows := []manifestRow{}
	hashes := hasher{app: a, fsys: fsys, known: make(map[uint64]string)}
	if !asJSON {
		fmt.Fprintln(a.out, "path\ttype\tmode\tuid\tgid\tsize\ttarget\tsha256")
	}
	for _, f := range files {
		if a.stopped() {
			return a.ctx.Err()
		}
		row, err := hashes.row(f.path, f.info)
		if err != nil {
			a.warn(failure("manifest", image+":"+f.path, err))
		}
		if asJSON {
			rows = append(rows, row)
			continue
		}
		fmt.Fprintf(a.out, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", row.Path, row.Type, row.Mode, row.UID, row.GID,
			row.Size, dash(row.Target), dash(row.SHA256))
	}
	if asJSON {
		return a.printJSON(rows)
	}
	return nil
}

// hasher makes rows.
type hasher struct {
	*app
	fsys  *godax.FS
	buf   []byte
	known map[uint64]string // hashes of files with several names, by inode number
}

// row describes one file. With an error it is complete but for what the error is
// about.
func (h *hasher) row(p string, fi fs.FileInfo) (manifestRow, error) {
	st := sysOf(fi)
	row := manifestRow{
		Path: escape(p), Type: string(typeLetter(fi.Mode())), Mode: fmt.Sprintf("%04o", unixMode(fi.Mode())),
		UID: st.UID, GID: st.GID, Size: fi.Size(),
	}
	switch {
	case fi.Mode().Type() == fs.ModeSymlink:
		target, err := h.fsys.Readlink(p)
		if err != nil {
			row.Target = "error"
			return row, err
		}
		row.Target = escape(target)
	case fi.Mode().IsRegular():
		if sum, ok := h.known[st.Ino]; ok {
			row.SHA256 = sum
			return row, nil
		}
		sum, err := h.sum(p, fi.Size())
		if err != nil {
			row.SHA256 = "error"
			return row, err
		}
		row.SHA256 = sum
		if st.Nlink > 1 {
			h.known[st.Ino] = sum
		}
	}
	return row, nil
}

// sum is the hash of a file.
func (h *hasher) sum(p string, size int64) (string, error) {
	f, err := h.fsys.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if h.buf == nil {
		h.buf = make([]byte, 1<<20)
	}
	prefix := ""
	if size > bigFile {
		prefix = "data:"
	}
	sum := sha256.New()
	for off := int64(0); off < size; {
		start, end := segment(f, off, size)
		if prefix == "" {
			if err := h.zeros(sum, start-off); err != nil {
				return "", err
			}
		} else if start < end {
			fmt.Fprintf(sum, "%d:%d:", start, end-start)
		}
		if err := h.data(sum, f, start, end); err != nil {
			return "", err
		}
		off = end
	}
	return prefix + hex.EncodeToString(sum.Sum(nil)), nil
}

// zeroBlock is what holes are hashed from.
var zeroBlock [64 << 10]byte

// zeros hashes n zeros.
func (h *hasher) zeros(sum hash.Hash, n int64) error {
	for n > 0 && !h.stopped() {
		c := min(n, int64(len(zeroBlock)))
		sum.Write(zeroBlock[:c])
		n -= c
	}
	return h.ctx.Err()
}

// data hashes the bytes [off, end) of a file.
func (h *hasher) data(sum hash.Hash, f io.ReaderAt, off, end int64) error {
	for off < end {
		if h.stopped() {
			return h.ctx.Err()
		}
		n, err := f.ReadAt(h.buf[:min(int64(len(h.buf)), end-off)], off)
		sum.Write(h.buf[:n])
		off += int64(n)
		if errors.Is(err, io.EOF) && off < end {
			return io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// xattrManifest prints the extended attributes.
func (a *app) xattrManifest(fsys *godax.FS, image string, asJSON bool) error {
	rows := []xattrRow{}
	err := walk(a.ctx, fsys, "/", func(p string, _ fs.FileInfo, err error) error {
		var names []string
		if err == nil {
			names, err = fsys.LListXattr(p)
			err = noXattrs(err)
		}
		if err != nil {
			a.warn(failure("manifest", image+":"+p, err))
			return nil
		}
		for _, n := range names {
			value, err := fsys.LXattr(p, n)
			if err != nil {
				a.warn(failure("manifest", image+":"+p+": attribute "+n, err))
				continue
			}
			rows = append(rows, xattrRow{escape(p), escape(n), hex.EncodeToString(value), p})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(x, y xattrRow) int { return strings.Compare(x.raw, y.raw) })
	if asJSON {
		return a.printJSON(rows)
	}
	fmt.Fprintln(a.out, "path\tname\tvalue_hex")
	for _, r := range rows {
		fmt.Fprintf(a.out, "%s\t%s\t%s\n", r.Path, r.Name, dash(r.Value))
	}
	return nil
}
