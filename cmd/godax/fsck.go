package main

import (
	"fmt"

	"godax"
	"godax/vfs"

	"github.com/spf13/cobra"
)

// Exit codes of fsck beside those of all commands.
const (
	exitWarning = 3
	exitDamage  = 4
)

// findingRow is one finding as --json shows it.
type findingRow struct {
	Severity  string `json:"severity"`
	Structure string `json:"structure"`
	Offset    int64  `json:"offset"`
	Field     string `json:"field,omitempty"`
	Value     uint64 `json:"value"`
	Reason    string `json:"reason"`
}

func newFsck(a *app) *cobra.Command {
	var flags openFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck [--json] IMAGE",
		Short: "Check a file system; changes nothing",
		Long: `fsck looks for everything that breaks the format of a file system (famfs), and says
where: structure, its place on the device, field, value. It changes nothing, and can run
while the file system is in use.

A note is worth knowing and nothing is wrong; with a warning everything can be read but
the medium should not be written; damage means that something cannot be used.

Exit codes of this command: 0 nothing but notes, 1 the file system could not be checked,
3 warnings, 4 damage.`,
		Example: `  godax fsck disk.img
  godax fsck --json --device /dev/dax1.0 /dev/dax0.0`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			image := imageArg(args[0])
			r, err := godax.Check(a.ctx, image, godax.Options{Shared: flags.shared, Devices: flags.devices})
			if err != nil {
				return failure("fsck", image, err)
			}
			switch worst, _ := r.Worst(); worst {
			case vfs.Warning:
				a.result = exitWarning
			case vfs.Damage:
				a.result = exitDamage
			}
			if asJSON {
				return a.fsckJSON(r)
			}
			a.printReport(r)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	flags.add(cmd)
	flags.addShared(cmd)
	return cmd
}

// fsckJSON prints a report as one document.
func (a *app) fsckJSON(r vfs.Report) error {
	rows := []findingRow{}
	for _, f := range r.Findings {
		rows = append(rows, findingRow{f.Severity.String(), f.Structure, f.Offset, f.Field, f.Value, printable(f.Reason)})
	}
	facts := make(map[string]string)
	for _, kv := range r.Facts {
		facts[kv.Key] = kv.Value
	}
	worst := "clean"
	if w, any := r.Worst(); any {
		worst = w.String()
	}
	return a.printJSON(map[string]any{"result": worst, "findings": rows, "dropped": r.Dropped, "facts": facts})
}

// printReport prints a report, one finding per line, and what was checked.
func (a *app) printReport(r vfs.Report) {
	for _, f := range r.Findings {
		fmt.Fprintf(a.out, "%v: %s", f.Severity, f.Structure)
		if f.Offset >= 0 {
			fmt.Fprintf(a.out, " at %#x", f.Offset)
		}
		if f.Field != "" {
			fmt.Fprintf(a.out, ": %s is %d", f.Field, f.Value)
		}
		fmt.Fprintf(a.out, ": %s\n", printable(f.Reason))
	}
	if r.Dropped > 0 {
		fmt.Fprintf(a.out, "and %d findings more\n", r.Dropped)
	}
	for _, kv := range r.Facts {
		fmt.Fprintf(a.out, "%16s: %s\n", kv.Key, kv.Value)
	}
}
