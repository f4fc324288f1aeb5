package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"godax"
	"godax/dax"
	"godax/fs/ext"
	"godax/pmem"

	"github.com/spf13/cobra"
)

// The demo's sizes.
const (
	demoDevice = 256 << 20
	demoFile   = 64 << 20
	demoStores = 1000
	demoPath   = "/data/big"
)

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "A tour: make, map, store, clean, punch, truncate, check",
		Long: `demo makes an ext2 file system in anonymous memory and walks through what this
program is about, printing what each step did. It needs no root and leaves nothing
behind. At the end it lists the checks it made; the exit code is 1 if one failed.`,
		Example: `  godax demo`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			d := &demo{app: a, begun: time.Now()}
			err := d.run()
			if cerr := d.close(); err == nil {
				err = cerr
			}
			if err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			return d.report()
		},
	}
}

// demo is the state of the tour.
type demo struct {
	*app
	begun  time.Time
	step   int
	checks []demoCheck

	dev  pmem.Device
	fsys *godax.FS
	file *godax.File
	view *godax.Mapping
	want []byte // what the file should hold
	last byte   // keeps a load from being optimised away
}

// demoCheck is one check and its outcome.
type demoCheck struct {
	what   string
	ok     bool
	detail string
}

// title starts a step; say prints a line of it.
func (d *demo) title(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.step, fmt.Sprintf(format, args...))
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "   "+format+"\n", args...)
}

// check records one.
func (d *demo) check(ok bool, what, format string, args ...any) {
	d.checks = append(d.checks, demoCheck{what, ok, fmt.Sprintf(format, args...)})
}

// checkSame records whether got, read with err, is what the file should hold.
func (d *demo) checkSame(what string, got []byte, err error) {
	if err == nil && !bytes.Equal(got, d.want) {
		err = errors.New("it differs")
	}
	d.checkError(what, err)
}

// checkView is checkSame for what the mapping shows. Past the end of the file it may
// not be touched.
func (d *demo) checkView(what string) {
	err := d.view.Do(func(b []byte) error {
		if !bytes.Equal(b[:len(d.want)], d.want) {
			return errors.New("it differs")
		}
		return nil
	})
	d.checkError(what, err)
}

// checkError records a check that failed if there is an error.
func (d *demo) checkError(what string, err error) {
	if err != nil {
		d.check(false, what, "%s", reason(err))
		return
	}
	d.check(true, what, "")
}

// run takes the steps in order.
func (d *demo) run() error {
	for _, step := range []func() error{d.make, d.write, d.mmap, d.store, d.punch, d.truncate, d.unmount} {
		if err := step(); err != nil {
			return err
		}
		if d.stopped() {
			return context.Canceled
		}
	}
	return nil
}

// close gives back what a failed step left open.
func (d *demo) close() error {
	var err error
	if d.view != nil {
		err = errors.Join(err, d.view.Close())
	}
	if d.file != nil {
		err = errors.Join(err, d.file.Close())
	}
	if d.fsys != nil {
		err = errors.Join(err, d.fsys.Close())
	}
	if d.dev != nil {
		err = errors.Join(err, d.dev.Close())
	}
	return err
}

// make makes the device and the file system.
func (d *demo) make() (err error) {
	d.title("A file system in memory")
	if d.dev, err = pmem.NewMemory(demoDevice, pmem.MemoryOptions{}); err != nil {
		return err
	}
	if err := ext.Format(d.dev, ext.FormatOptions{BlockSize: 4096, Label: "demo"}); err != nil {
		return err
	}
	if d.fsys, err = godax.OpenDevice(d.dev, godax.Options{}); err != nil {
		return err
	}
	dev, f := describe(d.fsys)
	d.say("device: %s of kind %q, flush: %s", formatSize(dev.Size), dev.Kind, dev.Flush)
	d.say("file system: %s, %d blocks of %d bytes, %d free", f.Type, f.Usage.Blocks, f.Usage.BlockSize, f.Usage.Free)
	d.say("mappable: %s", f.Mappable)
	d.say("write tracking: %s", dev.Tracking)
	return nil
}

// demoPattern fills b with text that names its own place, 64 bytes a line.
func demoPattern(b []byte) {
	for off := 0; off < len(b); off += 64 {
		copy(b[off:min(off+64, len(b))], fmt.Sprintf("%-18s byte %-12d %24s\n", demoPath, off, ""))
	}
}

// write writes files, and shows which page frames hold the large one.
func (d *demo) write() (err error) {
	d.title("Files are written")
	if err := d.fsys.Mkdir("/data", 0o755); err != nil {
		return err
	}
	for i := range 10 {
		if err := d.fsys.WriteFile(fmt.Sprintf("/data/small-%d", i), fmt.Appendf(nil, "file %d\n", i), 0o644); err != nil {
			return err
		}
	}
	if d.file, err = d.fsys.Create(demoPath); err != nil {
		return err
	}
	d.want = make([]byte, demoFile)
	demoPattern(d.want)
	start := time.Now()
	if _, err := d.file.WriteAt(d.want, 0); err != nil {
		return err
	}
	took := time.Since(start)
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.say("10 small files, and %s with %s in %v (%s/s)", demoPath, formatSize(demoFile), took.Round(time.Millisecond),
		formatSize(int64(demoFile/max(took.Seconds(), 1e-9))))
	runs, err := d.showRuns()
	if err != nil {
		return err
	}
	u := tally(runs)
	d.say("%s of it mappable with 2 MiB pages", percent(u.PMD, u.Pages))
	d.check(u.PMD*10 >= u.Pages*9, "a 64 MiB file is at least 90 % mappable with 2 MiB pages", "%s", percent(u.PMD, u.Pages))
	return nil
}

// showRuns prints the file's runs, all but the first few if there are many.
func (d *demo) showRuns() ([]pageRun, error) {
	runs, err := runsOf(d.ctx, d.file)
	if err != nil {
		return nil, err
	}
	const most = 8
	for i, r := range runs {
		if i == most && len(runs) > most+1 {
			d.say("... and %d more runs", len(runs)-most)
			break
		}
		pfn := "-"
		if r.hasFrames() {
			pfn = fmt.Sprintf("%#x", uint64(r.PFN))
		}
		d.say("pages %6d to %6d: %-6s PFN %-14s order %d", r.Page, r.Page+r.Pages-1, r.Kind, pfn, r.Order)
	}
	return runs, nil
}

// mmap maps the large file and reads it through the mapping.
func (d *demo) mmap() (err error) {
	d.title("%s is mapped: its page frames, in this process, no copy", demoPath)
	start := time.Now()
	d.view, err = d.file.Mmap(0, demoFile, godax.MapRead|godax.MapWrite|godax.MapShared)
	if err != nil {
		return err
	}
	d.say("mapped in %v", time.Since(start).Round(time.Microsecond))
	entries, err := d.entriesByOrder()
	if err != nil {
		return err
	}
	for order := len(entries) - 1; order >= 0; order-- {
		if n := entries[order]; n > 0 {
			d.say("faults answered at order %d (%s): %d", order, formatSize(pmem.PageSize<<order), n)
		}
	}
	d.checkView("the mapping shows what was written")
	return nil
}

// entriesByOrder counts the index entries with frames, by order: what the faults of
// the mapping made.
func (d *demo) entriesByOrder() ([]uint64, error) {
	runs, err := runsOf(d.ctx, d.file)
	if err != nil {
		return nil, err
	}
	var count []uint64
	for _, r := range runs {
		if !r.hasFrames() {
			continue
		}
		for uint(len(count)) <= r.Order {
			count = append(count, 0)
		}
		count[r.Order] += max(1, r.Pages>>r.Order)
	}
	return count, nil
}

// store stores through the mapping and cleans.
func (d *demo) store() error {
	d.title("%d words are stored through the mapping, then the file is cleaned", demoStores)
	if _, err := d.view.Writeback(); err != nil { // so that only what follows is found
		return err
	}
	err := d.view.Do(func(b []byte) error {
		for i := range demoStores {
			// A page each, spread by a prime over the file.
			off := uint64(i) * 7919 % (demoFile / pmem.PageSize) * pmem.PageSize
			binary.LittleEndian.PutUint64(b[off:], uint64(i))
			binary.LittleEndian.PutUint64(d.want[off:], uint64(i))
		}
		return nil
	})
	if err != nil {
		return err
	}
	start := time.Now()
	first, err := d.view.Writeback()
	if err != nil {
		return err
	}
	took := time.Since(start)
	second, err := d.view.Writeback()
	if err != nil {
		return err
	}
	d.say("found written: %d pages; flushed: %d pages in %d index entries, in %v", first.Collected, first.Pages, first.Entries, took.Round(time.Microsecond))
	d.say("again, with nothing stored: %d pages found", second.Collected)
	d.check(first.Collected >= demoStores, "cleaning finds every page that was stored to", "%d of %d", first.Collected, demoStores)
	got := make([]byte, demoFile)
	n, err := d.file.ReadAt(got, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	d.checkSame("read returns what was stored through the mapping", got[:n], err)
	return nil
}

// punch punches a hole while the file is mapped. The mapping is one for reading: one
// for writing would give the hole new blocks at once, since a store to it must not
// fail.
func (d *demo) punch() (err error) {
	const off, n = 8 << 20, 4 << 20
	d.title("A hole of %s is punched at %s, under a mapping for reading", formatSize(n), formatSize(off))
	view := d.view
	d.view = nil
	if err := view.Close(); err != nil {
		return err
	}
	if d.view, err = d.file.Mmap(0, demoFile, godax.MapRead|godax.MapShared); err != nil {
		return err
	}
	before := d.fsys.Statfs()
	if err := d.file.PunchHole(off, n); err != nil {
		return err
	}
	clear(d.want[off : off+n])
	after := d.fsys.Statfs()
	d.say("blocks given back: %d", after.Free-before.Free)
	if _, err := d.showRuns(); err != nil {
		return err
	}
	d.checkView("the mapping reads zeros in the hole, the rest is unchanged")
	freed := int64(after.Free-before.Free) * after.BlockSize
	d.check(freed >= n, "the hole's blocks are free again", "%s", formatSize(freed))
	return nil
}

// truncate cuts the file under the mapping.
func (d *demo) truncate() error {
	const size = demoFile/2 + 100
	d.title("The file is cut to %d bytes, under the mapping", size)
	if err := d.file.Truncate(size); err != nil {
		return err
	}
	d.want = d.want[:size]
	touch := d.view.Do(func(b []byte) error {
		d.last = b[demoFile-1] // past the end: a SIGBUS, but in Do an error
		return nil
	})
	d.say("touching the last page of the mapping now: %v", touch)
	d.check(errors.Is(touch, dax.ErrBeyondEnd), "a load past the new end is an error, not a crash", "%v", touch)
	d.checkView("what is left reads the same")
	fi, err := d.file.Stat()
	if err != nil {
		return err
	}
	d.check(fi.Size() == size, "the size is the new one", "%d", fi.Size())
	return nil
}

// unmount closes everything, and checks the file system on the device.
func (d *demo) unmount() error {
	d.title("Everything is closed")
	busy := d.file.Close()
	d.say("closing the file while it is mapped: %v", busy)
	d.check(busy != nil, "a mapped file cannot be closed", "%v", busy)
	if busy == nil {
		d.file = nil
		return errors.New("a mapped file was closed")
	}
	view := d.view
	d.view = nil
	if err := view.Close(); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	runs, err := runsOf(d.ctx, d.file)
	if err != nil {
		return err
	}
	dirty := tally(runs).Dirty
	d.check(dirty == 0, "nothing is dirty after the last sync", "%d pages", dirty)
	file := d.file
	d.file = nil
	if err := file.Close(); err != nil {
		return err
	}
	fsys := d.fsys
	d.fsys = nil
	if err := fsys.Close(); err != nil {
		return err
	}
	return d.reopen()
}

// reopen opens the device again, compares, and has e2fsck look at a copy.
func (d *demo) reopen() error {
	again, err := godax.OpenDevice(d.dev, godax.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	got, err := again.ReadFile(demoPath)
	err = errors.Join(err, again.Close())
	d.checkSame("opened again, the file is the same", got, err)

	fsck := findTool("e2fsck")
	if fsck == "" {
		d.say("e2fsck is not installed: the file system is not checked by it")
		return nil
	}
	out, err := d.fsck(fsck)
	if err != nil {
		d.say("%s", out)
	}
	d.checkError("e2fsck -fn finds nothing", err)
	return nil
}

// findTool finds a program in PATH or where administrators' tools are.
func findTool(tool string) string {
	for _, p := range []string{tool, "/usr/sbin/" + tool, "/sbin/" + tool} {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	return ""
}

// fsck runs e2fsck on a copy of the device.
func (d *demo) fsck(tool string) (out []byte, err error) {
	b, err := d.dev.Bytes(0, d.dev.Size())
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "godax-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image := filepath.Join(dir, "demo.img")
	f, err := os.Create(image)
	if err != nil {
		return nil, err
	}
	err = writeSparse(f, b)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return exec.CommandContext(d.ctx, tool, "-fn", image).CombinedOutput()
}

// writeSparse writes b to f and leaves holes for zeros.
func writeSparse(f *os.File, b []byte) error {
	const piece = 64 << 10
	for off := 0; off < len(b); off += piece {
		p := b[off:min(off+piece, len(b))]
		if bytes.Equal(p, zeroBlock[:len(p)]) {
			continue
		}
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(b)))
}

// report lists the checks.
func (d *demo) report() error {
	failed := 0
	fmt.Fprintf(d.out, "\nChecks\n")
	for _, c := range d.checks {
		mark := "ok    "
		if !c.ok {
			mark = "FAILED"
			failed++
		}
		detail := ""
		if c.detail != "" {
			detail = " (" + c.detail + ")"
		}
		fmt.Fprintf(d.out, "   %s  %s%s\n", mark, c.what, detail)
	}
	fmt.Fprintf(d.out, "\n%d checks, %d failed, %v\n", len(d.checks), failed, time.Since(d.begun).Round(time.Millisecond))
	if failed > 0 {
		return fmt.Errorf("demo: %d of %d checks failed", failed, len(d.checks))
	}
	return nil
}
