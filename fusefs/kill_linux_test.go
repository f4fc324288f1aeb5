package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godax"
	"godax/fusefs"
	"godax/internal/daxtest"
)

var killRounds = flag.Int("kill.rounds", 0, "servers to kill; 0 is 6")

// serverEnv makes the test program serve an image on a directory: "IMAGE\nDIR".
const serverEnv = "GODAX_FUSE_SERVER"

// serveChild mounts, says so, and serves until it is unmounted or killed.
func serveChild(what string) error {
	image, dir, _ := bytes.Cut([]byte(what), []byte("\n"))
	f, err := godax.Open(string(image), godax.Options{})
	if err != nil {
		return err
	}
	s, err := fusefs.Mount(string(dir), f.VFS(), fusefs.Options{Cache: fusefs.CacheExclusive, AllowOther: true, Flags: []string{"suid", "dev"}})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	fmt.Println("mounted")
	s.Wait()
	return f.Close()
}

// startServer starts such a process, and returns when it has mounted.
func startServer(t testing.TB, image, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serverEnv+"="+image+"\n"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	word := make([]byte, 8)
	if n, err := out.Read(word); err != nil || string(word[:n]) != "mounted\n" {
		_ = cmd.Process.Kill()
		t.Fatalf("the server says %q: %v", word[:n], err)
	}
	return cmd
}

// load writes files below dir until it meets an error, and remembers what was synced. What is
// synced under a name stays: a file is written once.
type load struct {
	dir string

	mu   sync.Mutex
	kept map[string][]byte // guarded by mu
}

func (l *load) run(worker int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, uint64(worker)))
	dir := filepath.Join(l.dir, fmt.Sprintf("w%d-%d", worker, r.Uint32()))
	if os.Mkdir(dir, 0o755) != nil {
		return
	}
	for i := 0; ; i++ {
		name := filepath.Join(dir, fmt.Sprintf("f%d", i))
		b := make([]byte, r.IntN(60_000))
		for j := range b {
			b[j] = byte(i + j*7)
		}
		way := []int{0, unix.O_DSYNC, unix.O_TMPFILE, 0}[i%4]
		path := name
		if way == unix.O_TMPFILE {
			path = dir
		} else {
			way |= os.O_CREATE | os.O_TRUNC
		}
		f, err := os.OpenFile(path, os.O_RDWR|way, 0o666)
		if err != nil {
			return
		}
		_, err = f.Write(b)
		if err == nil && path == dir {
			if i%16 == 2 {
				_ = f.Close() // it never gets a name
				continue
			}
			err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
		}
		if err == nil && i%3 == 0 {
			err = f.Sync()
		}
		if err == nil && (i%3 == 0 || way&unix.O_DSYNC != 0) {
			l.mu.Lock()
			l.kept[name] = b
			l.mu.Unlock()
		}
		if f.Close() != nil || err != nil {
			return
		}
		if i%5 == 0 || i%5 == 3 {
			continue
		}
		l.mu.Lock()
		delete(l.kept, name) // it is about to change
		l.mu.Unlock()
		switch i % 5 {
		case 1:
			err = os.Rename(name, name+".renamed")
		case 2:
			err = os.Remove(name)
		case 4:
			err = errors.Join(os.Truncate(name, int64(len(b)/3)), os.Link(name, name+".link"), os.Mkdir(name+".d", 0o700))
		}
		if err != nil {
			return
		}
	}
}

// TestKill kills servers while four workers write. e2fsck -p is enough each time, the image can
// be mounted again, and what was synced is there.
func TestKill(t *testing.T) {
	needFuse(t)
	fsck := daxtest.Tool(t, "e2fsck")
	rounds := *killRounds
	if rounds == 0 {
		rounds = 6
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	kept, repaired := 0, 0
	for round := range rounds {
		image := newImage(t, 256<<20, []int{4096, 1024, 2048}[round%3])
		dir := t.TempDir()
		cmd := startServer(t, image, dir)
		l := &load{dir: dir, kept: map[string][]byte{}}
		var workers sync.WaitGroup
		for w := range 4 {
			seed := r.Uint64()
			workers.Go(func() { l.run(w, seed) })
		}
		time.Sleep(time.Duration(20+r.IntN(400)) * time.Millisecond) // the moment is not to be planned
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		workers.Wait() // the kernel ends their calls
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(fsck, "-fp", image).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
			repaired++
			err = nil
		}
		if err != nil {
			t.Fatalf("round %d, seed %d: e2fsck -fp: %v\n%s", round, seed, err, out)
		}
		cmd = startServer(t, image, dir)
		for name, want := range l.kept {
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("round %d, seed %d: %s: %d bytes, want %d: %v", round, seed, filepath.Base(name), len(got), len(want), err)
			}
		}
		kept += len(l.kept)
		if err := os.WriteFile(filepath.Join(dir, "after"), []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("round %d: the server: %v", round, err)
		}
		daxtest.FsckFile(t, image)
	}
	t.Logf("%d rounds, %d images repaired, %d synced files found again", rounds, repaired, kept)
	if kept == 0 {
		t.Error("no file was synced: nothing was shown")
	}
}

// TestKillWaiter: a process that waits for a pin of ours can be killed.
func TestKillWaiter(t *testing.T) {
	needFuse(t)
	m := mountImage(t, newImage(t, 16<<20, 4096), fusefs.Options{})
	if err := m.fsys.WriteFile("/f", content(100_000), 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := m.fsys.OpenFile("/f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := file.Pin(0, 100_000, true)
	if err != nil {
		t.Fatal(err)
	}
	child := startChild(t, m.path("f"))
	if err := child.enc.Encode(fsxOp{Kind: "truncate", Len: 10}); err != nil {
		t.Fatal(err)
	}
	// It has to wait for the pin. Whether it is already at it or not, the kill ends it.
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if err := child.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	dead := make(chan error, 1)
	go func() { dead <- child.cmd.Wait() }()
	select {
	case <-dead:
	case <-ctx.Done():
		t.Error("a killed process goes on waiting for a pin")
	}
	pin.Release()
	fi, err := file.Stat()
	if err != nil || fi.Size() != 100_000 && fi.Size() != 10 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	m.closeClean(t)
}
