package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"godax"
	"godax/fusefs"

	"github.com/spf13/cobra"
)

// mountJob is what a mount command is asked to do.
type mountJob struct {
	image, dir string
	open       openFlags
	options    []string // of --option, as given
	typ        string   // driver; empty is found
	readOnly   bool
	foreground bool
	metrics    string // address of the metrics; empty is none
	fuse       fusefs.Options
	sloppy     bool // unknown options are no error
}

func newMount(a *app) *cobra.Command {
	j := &mountJob{}
	cmd := &cobra.Command{
		Use:   "mount [--read-only] [--foreground] [-o OPTION,...] IMAGE DIR",
		Short: "Mount an image for every program, by way of FUSE",
		Long: `mount serves the files of IMAGE below the directory DIR of the host, until it is
unmounted: godax umount DIR, umount(8), or SIGTERM or SIGINT to the process, which
then also ends the use of files that are open. It returns when the mount is there, and goes on
in the background. SIGHUP is ignored.

As root it mounts itself; other users need fusermount3. Permissions are checked by
the kernel against the owners and modes in the image.

Options (-o, several with commas):
  ro, rw               read-only, read-write
  allow_other          access for other users than yours
  suid, dev, exec, noatime, sync, dirsync, ...  as for mount(8); default nosuid,nodev
  cache=exclusive      the kernel keeps what it has read (default)
  cache=none           it keeps no bytes beyond an answer
  timeout=SECONDS      how long it keeps names and attributes
  readahead=BYTES      how much it reads in advance; 0 is none
  fsname=, subtype=    how the mount is shown
  carrier=, device=, type=  as the flags of the same names, type being the driver's
  metrics=ADDR         as --metrics
  debug                print every request; with --foreground`,
		Example: `  godax mount disk.img /mnt
  godax mount --read-only -o allow_other,cache=none disk.axfs /mnt
  godax mount --metrics localhost:9500 disk.img /mnt

A line for /etc/fstab, with the command installed as /sbin/mount.fuse.godax too:
  /srv/disk.img  /mnt  fuse.godax  defaults,noauto  0  0`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			j.image, j.dir = imageArg(args[0]), args[1]
			if err := j.parse(); err != nil {
				return usageError{err}
			}
			return a.mount(j)
		},
	}
	cmd.Flags().BoolVarP(&j.readOnly, "read-only", "r", false, "mount read-only")
	cmd.Flags().BoolVarP(&j.foreground, "foreground", "f", false, "do not go to the background")
	cmd.Flags().StringArrayVarP(&j.options, "option", "o", nil, "options, with commas; may be repeated")
	cmd.Flags().StringVar(&j.metrics, "metrics", "", "serve metrics for Prometheus on this loopback address, such as localhost:9500")
	j.open.add(cmd)
	j.open.addShared(cmd)
	return cmd
}

// ignoredOptions are for mount(8) and the boot, not for us.
var ignoredOptions = []string{
	"defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "group", "_netdev", "nofail",
	"default_permissions", "nonempty", "big_writes", "splice_read",
}

// optionSetters apply options with a value.
var optionSetters = map[string]func(j *mountJob, value string) error{
	"fsname":  func(j *mountJob, v string) error { j.fuse.Source = v; return nil },
	"subtype": func(j *mountJob, v string) error { j.fuse.Subtype = v; return nil },
	"carrier": func(j *mountJob, v string) error { j.open.carrier = v; return nil },
	"device":  func(j *mountJob, v string) error { j.open.devices = append(j.open.devices, v); return nil },
	"type":    func(j *mountJob, v string) error { j.typ = v; return nil },
	"metrics": func(j *mountJob, v string) error { j.metrics = v; return nil },
	"timeout": (*mountJob).setTimeout, "attr_timeout": (*mountJob).setTimeout, "entry_timeout": (*mountJob).setTimeout,
	"readahead": func(j *mountJob, v string) error {
		n, err := strconv.ParseUint(v, 10, 30)
		if j.fuse.ReadAhead = int(n); n == 0 {
			j.fuse.ReadAhead = -1
		}
		return err
	},
	"cache": func(j *mountJob, v string) error {
		switch v {
		case "exclusive":
			j.fuse.Cache = fusefs.CacheExclusive
		case "none":
			j.fuse.Cache = fusefs.CacheNone
		default:
			return errors.New("neither exclusive nor none")
		}
		return nil
	},
}

func (j *mountJob) setTimeout(v string) error {
	s, err := strconv.ParseFloat(v, 64)
	if err != nil || !(s >= 0 && s < 1e9) {
		return fmt.Errorf("%q is no number of seconds", v)
	}
	if j.fuse.Timeout = time.Duration(s * float64(time.Second)); j.fuse.Timeout == 0 {
		j.fuse.Timeout = -1
	}
	return nil
}

// parse reads the options. The defaults of a process that only mounts are set first.
func (j *mountJob) parse() error {
	j.fuse.Cache = fusefs.CacheExclusive
	for _, list := range j.options {
		for option := range strings.SplitSeq(list, ",") {
			if err := j.parseOption(option); err != nil {
				return err
			}
		}
	}
	j.fuse.ReadOnly = j.readOnly
	if j.metrics != "" {
		var err error
		if j.metrics, err = loopback(j.metrics); err != nil {
			return err
		}
	}
	var err error
	if j.image, err = filepath.Abs(j.image); err != nil {
		return err
	}
	if j.fuse.Source == "" {
		j.fuse.Source = j.image
	}
	j.dir, err = filepath.Abs(j.dir)
	return err
}

func (j *mountJob) parseOption(option string) error {
	key, value, _ := strings.Cut(option, "=")
	switch set := optionSetters[key]; {
	case option == "", slices.Contains(ignoredOptions, key), strings.HasPrefix(key, "x-"), strings.HasPrefix(key, "comment"):
	case set != nil:
		if err := set(j, value); err != nil {
			return fmt.Errorf("option %s: %w", option, err)
		}
	case option == "ro":
		j.readOnly = true
	case option == "rw":
		j.readOnly = false
	case option == "allow_other":
		j.fuse.AllowOther = true
	case option == "debug":
		j.fuse.Debug = true
	case fusefs.IsFlag(option):
		j.fuse.Flags = append(j.fuse.Flags, option)
	case !j.sloppy:
		return fmt.Errorf("unknown option %q", option)
	}
	return nil
}

// loopback checks that an address is one of this machine only.
func loopback(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("--metrics %s: %w", addr, err)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("--metrics %s: not an address of the loopback", addr)
	}
	return net.JoinHostPort(host, port), nil
}

// openImage opens the image for the mount.
func (j *mountJob) openImage() (*godax.FS, error) {
	return j.open.openAs(j.image, !j.readOnly, j.typ)
}

// helperName is the name by which mount(8) calls the helper of our file systems.
const helperName = "mount.fuse.godax"

// runHelper is the command under the name mount.fuse.godax: mount(8) calls it with a device, a
// directory and options of its own, and other suites call it as a mount helper. Options that
// it does not know are no error. It becomes the arguments of godax mount.
func (a *app) runHelper(args []string) error {
	j := &mountJob{sloppy: true}
	var names []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-o" || arg == "-t" || arg == "-N":
			if i++; i == len(args) {
				return usagef("%s without a value", arg)
			}
			if arg == "-o" {
				j.options = append(j.options, args[i])
			}
		case strings.HasPrefix(arg, "-o"):
			j.options = append(j.options, arg[2:])
		case strings.HasPrefix(arg, "-") && arg != "-":
			if strings.Contains(arg, "f") {
				return nil // everything but the mount
			}
			j.readOnly = j.readOnly || strings.Contains(arg, "r")
		default:
			names = append(names, arg)
		}
	}
	if len(names) != 2 {
		return usagef("%s DEVICE DIR [-o OPTION,...]", helperName)
	}
	j.image, j.dir = names[0], names[1]
	j.fuse.Subtype = "-"
	j.fuse.AllowOther = os.Getuid() == 0 // as a mount by root is for everybody
	if os.Getuid() != 0 {
		j.fuse.Subtype = ""
	}
	if err := j.parse(); err != nil {
		return usageError{err}
	}
	if j.fuse.Source == j.image {
		j.fuse.Source = names[0]
	}
	return a.mount(j)
}
