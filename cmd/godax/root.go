package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// exitCodes ends every help text.
const exitCodes = `
Exit codes: 0 done, 1 the operation failed, 2 the arguments are wrong.
`

// app is one run of the command: where it writes, and whether it failed.
type app struct {
	ctx    context.Context // ends with a signal, or when standard output is broken
	in     io.Reader
	out    *bufio.Writer // standard output; flushed when the command has run
	stdout *output       // what is below out
	stderr io.Writer

	outTTY bool // standard output is a terminal
	errTTY bool // standard error is a terminal

	started bool // arguments were understood, the command's work has begun
	failed  bool // warn was called
	result  int  // exit code of a command that has done its work, and whose answer it is
}

// usageError is a mistake in the arguments that only the command itself can find.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef makes a [usageError].
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the whole command: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sink := &output{w: stdout, ctx: ctx, cancel: cancel}
	a := &app{
		ctx:    ctx,
		in:     stdin,
		out:    bufio.NewWriterSize(sink, 1<<16),
		stdout: sink,
		stderr: stderr,
		outTTY: isTerminal(stdout),
		errTTY: isTerminal(stderr),
	}
	root := newRoot(a)
	root.SetArgs(args)
	var cmd *cobra.Command
	var err error
	if filepath.Base(os.Args[0]) == helperName {
		cmd, err = root, a.runHelper(args)
		a.started = true
	} else {
		cmd, err = root.ExecuteContextC(ctx)
	}

	if ferr := a.out.Flush(); ferr != nil {
		err = failure("write", "standard output", ferr)
	}
	var usage usageError
	switch {
	case err == nil && !a.failed:
		return a.result
	case err == nil:
		return exitFailed
	case errors.Is(err, syscall.EPIPE):
		return exitFailed // nobody reads on: nothing to say
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "godax: interrupted")
		return exitFailed
	case !a.started || errors.As(err, &usage):
		fmt.Fprintf(stderr, "godax: %v\nTry '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	a.report(err)
	return exitFailed
}

// report prints an error, or several that were joined, one per line.
func (a *app) report(err error) {
	if errs := joined(err); errs != nil {
		for _, err := range errs {
			a.report(err)
		}
		return
	}
	fmt.Fprintf(a.stderr, "godax: %v\n", err)
}

// joined are the parts of what errors.Join returned, nil for any other error. One of
// fmt.Errorf may have parts too, but says more than they do.
func joined(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(several.Unwrap()...).Error() {
		return nil
	}
	return several.Unwrap()
}

// warn reports an error on one of several arguments; the command goes on and the
// exit code will be 1.
func (a *app) warn(err error) {
	a.failed = true
	a.out.Flush() // what was said before comes first; its error is kept for the end
	a.report(err)
}

// stopped reports whether the command should end: a signal came, or standard output
// is broken.
func (a *app) stopped() bool { return a.ctx.Err() != nil }

// output is standard output. Its first error ends the command's context, so that
// commands need not look at the result of each write.
type output struct {
	w      io.Writer
	ctx    context.Context
	cancel func()
	err    error
}

// maxWrite bounds one write, so that a signal is noticed in between.
const maxWrite = 8 << 20

func (o *output) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) && o.err == nil {
		var n int
		n, o.err = o.w.Write(b[done:min(len(b), done+maxWrite)])
		done += n
		if o.err == nil {
			o.err = o.ctx.Err()
		}
	}
	if o.err != nil {
		o.cancel()
	}
	return done, o.err
}

// newRoot makes the command with all subcommands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "godax",
		Short: "DAX file systems in user space",
		Long: `godax reads, writes and maps file systems that live in memory: persistent
memory, CXL, tmpfs, huge pages, or a plain image file; no mount, no copy, no page
cache.

IMAGE is an image file, a file on a DAX mount, or a DAX character device.
IMAGE:/path names a file in it; every other name is a file of the host. A host file
that exists under the very name wins; to name one below a directory whose name ends
in a colon, write dir:./file.`,
		Example: `  godax mkfs ext2 --size 256M disk.img
  godax cp -a photos disk.img:/
  godax map disk.img:/photos/one.raw`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.stderr)
	root.SetHelpTemplate(root.HelpTemplate() + exitCodes)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newMkfs(a), newInfo(a), newLs(a), newCat(a), newCp(a), newRm(a), newMkdir(a),
		newMv(a), newLn(a), newChmod(a), newChown(a), newTruncate(a), newPunch(a),
		newStat(a), newMap(a), newManifest(a), newProfile(a),
		newFsck(a), newCreate(a), newWatch(a), newDemo(a),
		newMount(a), newUmount(a),
	)
	completionExamples(root)
	return root
}

// completionExamples gives the completion commands, which cobra makes, examples like
// all others.
func completionExamples(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	examples := map[string]string{
		"completion": "  source <(godax completion bash)\n  godax completion zsh > \"${fpath[1]}/_godax\"",
		"bash":       "  source <(godax completion bash)",
		"zsh":        "  source <(godax completion zsh)",
		"fish":       "  godax completion fish | source",
		"powershell": "  godax completion powershell | Out-String | Invoke-Expression",
	}
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Example = examples[cmd.Name()]
		for _, shell := range cmd.Commands() {
			shell.Example = examples[shell.Name()]
		}
	}
}

// isTerminal reports whether w is a character device: a terminal, for all that
// matters here.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice|os.ModeCharDevice
}

// opError is an operation on a named file that failed: "cat disk.img:/x: no such
// file or directory". Names come from images: what would harm a terminal or look
// like a second error is escaped.
type opError struct {
	op, name string
	err      error
}

func (e *opError) Error() string { return e.op + " " + printable(e.name) + ": " + reason(e.err) }
func (e *opError) Unwrap() error { return e.err }

// failure wraps err with the operation and the name that the user gave; nil and
// what is wrapped already stay as they are.
func failure(op, name string, err error) error {
	var oe *opError
	if err == nil || errors.As(err, &oe) {
		return err
	}
	return &opError{op, name, err}
}

// reason is the text of an error without the operation and path that the user is
// told anyway, in the words of errno.
func reason(err error) string {
	for {
		var next error
		switch e := err.(type) {
		case *fs.PathError:
			next = e.Err
		case *os.LinkError:
			next = e.Err
		case *os.SyscallError:
			next = e.Err
		default:
			if errs := joined(err); errs != nil {
				return reasons(errs)
			}
		}
		if next == nil {
			break
		}
		err = next
	}
	switch err {
	case fs.ErrNotExist:
		return syscall.ENOENT.Error()
	case fs.ErrExist:
		return syscall.EEXIST.Error()
	case fs.ErrPermission:
		return syscall.EACCES.Error()
	case fs.ErrInvalid:
		return syscall.EINVAL.Error()
	}
	return strings.TrimSuffix(err.Error(), "\n")
}

// reasons is the text of several errors.
func reasons(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = reason(err)
	}
	return strings.Join(texts, "; ")
}
