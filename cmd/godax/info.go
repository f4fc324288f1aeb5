package main

import (
	"fmt"
	"strings"

	"godax"
	"godax/vfs"
	"godax/vm"

	"github.com/spf13/cobra"
)

// deviceInfo and the types below are what info shows.
type deviceInfo struct {
	Kind     string `json:"kind"`
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	PageSize int64  `json:"page_size"`
	Volatile bool   `json:"volatile"`
	Flush    string `json:"flush"`
	MapSync  bool   `json:"map_sync"`
	Tracking string `json:"write_tracking"`
}

type fsInfo struct {
	Type     string            `json:"type"`
	Driver   string            `json:"driver"`
	Label    string            `json:"label"`
	UUID     string            `json:"uuid"`
	Why      string            `json:"read_only_because,omitempty"`
	Features []string          `json:"features"`
	Mappable string            `json:"mappable"`
	Details  map[string]string `json:"details"`
	Usage    usageInfo         `json:"usage"`

	details []vfs.KV
}

type usageInfo struct {
	BlockSize int64  `json:"block_size"`
	Blocks    uint64 `json:"blocks"`
	Free      uint64 `json:"blocks_free"`
	Avail     uint64 `json:"blocks_available"`
	Files     uint64 `json:"inodes"`
	FilesFree uint64 `json:"inodes_free"`
}

func newInfo(a *app) *cobra.Command {
	var flags openFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info IMAGE",
		Short: "Describe an image: device, durability, file system, what can be mapped",
		Long: `info says what kind of memory the image is on and how stores to it become durable
(flush: none for volatile memory, msync for a file, else the CPU's instruction), how
stores through mappings are found (write tracking), and describes the file system:
features, free space, and what can be mapped directly.`,
		Example: `  godax info disk.img
  godax info --json /dev/dax0.0`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			image := imageArg(args[0])
			fsys, err := flags.open(image, false)
			if err != nil {
				return err
			}
			defer closing(image, fsys, &err)
			dev, fsi := describe(fsys)
			if asJSON {
				return a.printJSON(map[string]any{"device": dev, "filesystem": fsi})
			}
			a.printInfo(dev, fsi)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}

// describe collects what is known about an open image.
func describe(fsys *godax.FS) (deviceInfo, fsInfo) {
	in := fsys.Info()
	dev := deviceInfo{
		Kind: string(in.Device.Kind), Path: printable(in.Device.Path), Size: in.Device.DeviceSize,
		PageSize: in.Device.PageSize, Volatile: in.Device.Volatile,
		Flush: in.Device.Flush, MapSync: in.Device.MapSync, Tracking: vm.WriteTracking(),
	}
	f := fsInfo{
		Type: in.FS.Type, Driver: in.Driver, Label: printable(in.FS.Label), UUID: in.FS.UUID,
		Why: in.FS.Why, Features: append([]string{}, in.FS.Features...),
		Mappable: in.FS.Mappable, Details: make(map[string]string), details: in.FS.Details,
		Usage: usageInfo{in.Usage.BlockSize, in.Usage.Blocks, in.Usage.Free, in.Usage.Avail, in.Usage.Files, in.Usage.FilesFree},
	}
	for _, kv := range in.FS.Details {
		f.Details[kv.Key] = printable(kv.Value)
	}
	return dev, f
}

// printInfo prints the facts, one per line.
func (a *app) printInfo(dev deviceInfo, f fsInfo) {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(a.out, "%16s: %s\n", key, fmt.Sprintf(format, args...))
	}
	line("device", "%s, %s in pages of %s", dev.Kind, formatSize(dev.Size), formatSize(dev.PageSize))
	durable := "flush with " + dev.Flush
	if dev.Volatile {
		durable = "none, the memory is volatile; flush: " + dev.Flush
	}
	if dev.MapSync {
		durable += ", MAP_SYNC"
	}
	line("durability", "%s", durable)
	line("write tracking", "%s", dev.Tracking)
	label := ""
	if f.Label != "" {
		label = fmt.Sprintf(" %q", f.Label)
	}
	line("file system", "%s%s (driver %s)", f.Type, label, f.Driver)
	if f.UUID != "" {
		line("uuid", "%s", f.UUID)
	}
	if f.Why != "" {
		line("read-only", "%s", f.Why)
	}
	line("features", "%s", strings.Join(f.Features, " "))
	line("mappable", "%s", f.Mappable)
	u := f.Usage
	line("free space", "%s of %s, %d of %d inodes", formatSize(int64(u.Free)*u.BlockSize), formatSize(int64(u.Blocks)*u.BlockSize), u.FilesFree, u.Files)
	for _, kv := range f.details {
		line(kv.Key, "%s", printable(kv.Value))
	}
}
