package killtest

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"godax"
	"godax/fs/ext"
	"godax/internal/daxtest"
	"godax/pmem"
)

var (
	rounds = flag.Int("rounds", 0, "writers to kill; 0 is a small number, and 200 in a soak")
	first  = flag.Int("first", 1, "number of the first round, which is its seed")
)

const (
	imageSize = 24 << 20
	perImage  = 8                      // rounds that one image lives through
	mostLines = 12                     // that a writer says before its end is near
	longest   = 100 * time.Millisecond // from then to the kill
)

func TestMain(m *testing.M) {
	for env, child := range map[string]func() error{imageEnv: child, markEnv: mark} {
		if os.Getenv(env) == "" {
			continue
		}
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// config is the kind of image of some rounds.
type config struct {
	blockSize, inodeSize int
	carrier              string
}

var configs = []config{
	{4096, 256, "iomap"}, {1024, 128, "bh"}, {2048, 256, "iomap"},
	{4096, 128, "bh"}, {1024, 256, "iomap"}, {2048, 128, "bh"},
}

// TestKill kills writers. One image goes through several rounds, so that what a repair
// leaves is written to again.
func TestKill(t *testing.T) {
	fsck := daxtest.Tool(t, "e2fsck")
	n, first := *rounds, *first
	soak, _ := strconv.Atoi(os.Getenv("GODAX_SOAK")) // the number of the soak's round
	switch {
	case n > 0:
	case soak > 0:
		n, first = 200, 200*soak+1
	case testing.Short():
		n = 6
	default:
		n = 24
	}
	var sum tally
	var img *image
	for k := first; k < first+n; k++ {
		age := (k - 1) % perImage
		if age == 0 || img == nil {
			img = newImage(t, configs[(k-1)/perImage%len(configs)])
		}
		img.round(t, fsck, uint64(k), &sum)
		if t.Failed() {
			t.Fatalf("round %d, %+v; the image began with -first %d", k, img.config, max(first, k-age))
		}
	}
	t.Logf("%d writers killed; %d images needed a repair; %d files made durable, %d checks of one",
		n, sum.repaired, sum.durable, sum.checked)
	// A test that kills idle writers shows nothing.
	if sum.durable == 0 || sum.checked == 0 || sum.repaired == 0 {
		t.Error("the writers were killed before they did anything")
	}
}

// tally is what all rounds together did.
type tally struct{ repaired, durable, checked int }

// image is an image, and what must be on it.
type image struct {
	config
	path string
	want map[string]content // by path
	// moving has the new names of the files that were being moved when the writer died.
	moving map[string]string
}

func newImage(t *testing.T, c config) *image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, imageSize); err != nil {
		t.Fatal(err)
	}
	dev, err := pmem.Open(path, pmem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(ext.Format(dev, ext.FormatOptions{BlockSize: c.blockSize, InodeSize: c.inodeSize}), dev.Close())
	if err != nil {
		t.Fatal(err)
	}
	return &image{config: c, path: path, want: map[string]content{}}
}

// round starts a writer, kills it, repairs the image and checks it.
func (m *image) round(t *testing.T, fsck string, seed uint64, sum *tally) {
	t.Helper()
	m.moving = map[string]string{}
	m.kill(t, seed, sum)
	if t.Failed() {
		return
	}
	out, err := exec.Command(fsck, "-fp", m.path).CombinedOutput()
	ee, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case ee != nil && ee.ExitCode() == 1:
		sum.repaired++
	default:
		t.Fatalf("e2fsck -fp: %v\n%s", err, out)
	}
	if out, err := exec.Command(fsck, "-fn", m.path).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck -fn after the repair: %v\n%s", err, out)
	}
	m.check(t, sum)
}

// kill runs a writer until a random moment, and takes note of what it says.
func (m *image) kill(t *testing.T, seed uint64, sum *tally) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), imageEnv+"="+m.path, carrierEnv+"="+m.carrier, fmt.Sprintf("%s=%d", seedEnv, seed))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	out := bufio.NewReader(pipe)
	var readErr error
	lines := 0
	if r.IntN(8) > 0 { // otherwise it can die while it mounts
		_, readErr = out.ReadString('\n')
		lines = r.IntN(mostLines + 1)
	}
	// However slow the machine is, most writers get something done before they are killed.
	for ; readErr == nil; lines-- {
		if lines == 0 {
			timer := time.AfterFunc(time.Duration(r.Int64N(int64(longest))), func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		var line string
		if line, readErr = out.ReadString('\n'); readErr == nil {
			m.note(t, strings.TrimSuffix(line, "\n"), sum)
		}
	}
	err = cmd.Wait()
	ee, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ee.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || readErr != io.EOF {
		t.Fatalf("the writer ended by itself: %v, %v\n%s", err, readErr, stderr.Bytes())
	}
}

// note understands one line of a writer.
func (m *image) note(t *testing.T, line string, sum *tally) {
	var a, b string
	var c content
	if n, _ := fmt.Sscanf(line, "durable %s %d %d", &a, &c.seed, &c.size); n == 3 {
		m.want[a] = c
		sum.durable++
	} else if n, _ := fmt.Sscanf(line, "moving %s %s", &a, &b); n == 2 {
		m.moving[a] = b
	} else if n, _ := fmt.Sscanf(line, "moved %s %s", &a, &b); n == 2 {
		m.want[b] = m.want[a]
		delete(m.want, a)
		delete(m.moving, a)
	} else if n, _ := fmt.Sscanf(line, "removing %s", &a); n == 1 {
		delete(m.want, a)
	} else if line != "open" {
		t.Errorf("the writer says %q", line)
	}
}

// check compares the files of the image with what they must be, and settles where those
// are that were being moved.
func (m *image) check(t *testing.T, sum *tally) {
	t.Helper()
	f, err := godax.Open(m.path, godax.Options{ReadOnly: true, Carrier: m.carrier})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	for from, to := range m.moving {
		c, replaced := m.want[from], m.want[to]
		got, err := f.ReadFile(to)
		switch {
		case err == nil && c.holds(got):
			m.want[to] = c
			if _, err := f.Lstat(from); errors.Is(err, fs.ErrNotExist) {
				delete(m.want, from)
			}
		case errors.Is(err, fs.ErrNotExist) && replaced.size == 0:
			// Not there yet.
		case err == nil && replaced.size > 0 && replaced.holds(got):
		default:
			t.Errorf("%s, to which %s was moved, is neither the old nor the new file: %d bytes, %v", to, from, len(got), err)
		}
	}
	for name, c := range m.want {
		sum.checked++
		if got, err := f.ReadFile(name); err != nil || !c.holds(got) {
			t.Errorf("%s was closed after Sync and is not whole: %d bytes of %d, %v", name, len(got), c.size, err)
		}
	}
}
