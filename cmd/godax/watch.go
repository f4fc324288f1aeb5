package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"godax"

	"github.com/spf13/cobra"
)

// watcher is one run of watch.
type watcher struct {
	*app
	flags    openFlags
	image    string
	interval time.Duration
	count    int
	onlyNew  bool
	json     bool

	shownSoFar int
}

// event is one line of watch --json.
type event struct {
	Event string `json:"event"` // file, directory, note, or formatted
	Pos   uint64 `json:"pos"`   // entries of the log up to it
	Path  string `json:"path,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Mode  string `json:"mode,omitempty"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Note  string `json:"note,omitempty"`
}

func newWatch(a *app) *cobra.Command {
	w := &watcher{app: a}
	cmd := &cobra.Command{
		Use:   "watch [--new] [--count N] IMAGE",
		Short: "Follow a file system that others write, and print what appears",
		Long: `watch follows a famfs as a client: it prints what is there and then, until it is
interrupted, what other processes and hosts add, one line each: type and mode, size, path.
It looks every --interval, keeps no writer away, and goes on when the medium is formatted
anew.

With --json each line is one object: event (file, directory, note, formatted), pos, path,
size, mode, uid, gid, note.`,
		Example: `  godax watch /dev/dax0.0
  godax watch --json --new --count 1 pool.img`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if w.interval <= 0 {
				return usagef("--interval %v is no time to wait", w.interval)
			}
			w.image = imageArg(args[0])
			w.flags.shared = true
			return failure("watch", w.image, w.run())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&w.interval, "interval", 5*time.Millisecond, "time between two looks")
	f.IntVar(&w.count, "count", 0, "end after so many lines; 0 is never")
	f.BoolVar(&w.onlyNew, "new", false, "leave out what is there when watch begins")
	f.BoolVar(&w.json, "json", false, "print one JSON object per line; "+`\xHH in a name is a byte`)
	w.flags.add(cmd)
	return cmd
}

// run follows one file system after the other.
func (w *watcher) run() error {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	skip := w.onlyNew
	for again := false; ; again = true {
		fsys, err := w.flags.open(w.image, false)
		if err == nil {
			if again {
				w.show(event{Event: "formatted", Note: fsys.Info().FS.UUID})
			}
			err = w.follow(fsys, tick, skip)
			err = errors.Join(err, fsys.Close())
		} else if again && w.ctx.Err() == nil {
			// It is being formatted: until that is done there is nothing that could be opened.
			if w.wait(tick) {
				continue
			}
			return nil
		}
		if !errors.Is(err, syscall.ESTALE) {
			return err
		}
		skip = false
	}
}

// wait waits for the next look; false when the command is to end.
func (w *watcher) wait(tick *time.Ticker) bool {
	select {
	case <-tick.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// done reports whether enough was printed.
func (w *watcher) done() bool { return w.count > 0 && w.shownSoFar >= w.count }

// follow prints what appears, until the command is to end (nil) or the medium is another one
// (ESTALE).
func (w *watcher) follow(fsys *godax.FS, tick *time.Ticker, skip bool) error {
	for pos := uint64(0); ; skip = false {
		changes, next, err := fsys.Follow(pos)
		if err != nil {
			return err
		}
		pos = next
		for _, c := range changes {
			if skip {
				continue
			}
			if w.show(eventOf(c)); w.done() {
				return nil
			}
		}
		if err := w.out.Flush(); err != nil {
			return nil // nobody reads on; the output keeps the error
		}
		if !w.wait(tick) {
			return nil
		}
	}
}

// eventOf describes a change.
func eventOf(c godax.Change) event {
	e := event{Event: "note", Pos: c.Pos, Note: c.Note}
	if c.Path == "" {
		return e
	}
	e.Event, e.Path = "file", c.Path
	if c.IsDir() {
		e.Event = "directory"
	}
	e.Size, e.UID, e.GID = c.Attr.Size, c.Attr.UID, c.Attr.GID
	e.Mode = fmt.Sprintf("%04o", unixMode(c.Attr.Mode))
	return e
}

// show prints one line.
func (w *watcher) show(e event) {
	w.shownSoFar++
	if w.json {
		e.Path, e.Note = jsonName(e.Path), printable(e.Note)
		b, err := json.Marshal(e)
		if err == nil {
			w.out.Write(append(b, '\n'))
		}
		return
	}
	if e.Path == "" {
		fmt.Fprintf(w.out, "# %s%s\n", map[string]string{"formatted": "formatted anew: "}[e.Event], printable(e.Note))
		return
	}
	fmt.Fprintf(w.out, "%c %s %12d %s", e.Event[0], e.Mode, e.Size, w.shown(e.Path))
	if e.Note != "" {
		fmt.Fprintf(w.out, "  # %s", printable(e.Note))
	}
	fmt.Fprintln(w.out)
}
