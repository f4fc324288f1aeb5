package famfs_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godax"
	"godax/fs/famfs"
	"godax/vfs"
)

var stress = flag.Duration("stress", time.Second, "how long TestWriterAndReaders writes at least (a minute with GODAX_SOAK)")

const (
	readerEnv   = "GODAX_FAMFS_READER" // image that a process of this binary is to read
	stressSize  = 48 * mib
	stressFiles = 200 // that every reader sees at least
	stressRound = 500 // entries after which the medium is formatted anew
	looksApart  = time.Millisecond
)

// stressName is a name that says what its file has to be, with a sum against tearing.
func stressName(dir string, gen, i, size int) string {
	text := fmt.Sprintf("%d-%d-%d", gen, i, size)
	return fmt.Sprintf("%s%s-%08x", dir, text, crc32.ChecksumIEEE([]byte(text)))
}

// parseStress takes a name apart.
func parseStress(p string) (gen, i, size int, err error) {
	var sum uint32
	name := path.Base(p)
	if _, err := fmt.Sscanf(name, "%d-%d-%d-%08x", &gen, &i, &size, &sum); err != nil {
		return 0, 0, 0, fmt.Errorf("torn name %q", p)
	}
	if p != stressName(p[:len(p)-len(name)], gen, i, size) {
		return 0, 0, 0, fmt.Errorf("torn name %q", p)
	}
	return gen, i, size, nil
}

// stressByte is what the writer stores at a place of a file; never 0.
func stressByte(gen, i, at int) byte { return byte(1 + (gen*131+i*31+at*7+at/253)%250) }

// stressReader follows one image.
type stressReader struct {
	image  string
	buf    []byte
	files  int
	anew   int
	mapped int
	looks  int
	checks int
}

// run reads until stop says so. Files are verified as they appear; whatever is wrong with one
// counts only if the medium is still the same afterwards.
func (r *stressReader) run(stop func() bool, seen func(files int)) error {
	tick := time.NewTicker(looksApart)
	defer tick.Stop()
	for !stop() {
		f, err := godax.Open(r.image, godax.Options{ReadOnly: true, Shared: true})
		if err != nil {
			// While it is being formatted there is no file system, or another one than a moment ago.
			if errors.Is(err, godax.ErrUnknownFormat) || errors.Is(err, syscall.ESTALE) || errors.Is(err, godax.ErrCorrupt) && strings.Contains(err.Error(), "magic is 0") {
				<-tick.C
				continue
			}
			return err
		}
		err = r.follow(f, stop, seen, tick)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil && !errors.Is(err, syscall.ESTALE) {
			return err
		}
		r.anew++
	}
	return nil
}

// follow reads one file system until it is another one.
func (r *stressReader) follow(f *godax.FS, stop func() bool, seen func(int), tick *time.Ticker) error {
	for pos := uint64(0); !stop(); {
		changes, next, err := f.Follow(pos)
		if err != nil {
			return err
		}
		pos = next
		if r.looks++; r.looks%32 == 0 {
			report, err := godax.Check(context.Background(), r.image, godax.Options{Shared: true})
			if w, _ := report.Worst(); err != nil || w > vfs.Note {
				if _, _, lost := f.Follow(pos); errors.Is(lost, syscall.ESTALE) {
					return lost
				}
				return fmt.Errorf("the checker finds %+v, %w", report.Findings, err)
			}
			r.checks++
		}
		for _, c := range changes {
			if err := r.verify(f, c); err != nil {
				if _, _, lost := f.Follow(pos); errors.Is(lost, syscall.ESTALE) {
					return lost
				}
				return fmt.Errorf("%s: %w", c.Path, err)
			}
			if r.files++; seen != nil {
				seen(r.files)
			}
		}
		<-tick.C
	}
	return nil
}

// verify reads a file that has just appeared: all of it is zero, or what the writer stores.
func (r *stressReader) verify(f *godax.FS, c godax.Change) error {
	if c.Path == "" || c.Note != "" {
		return fmt.Errorf("note %q", c.Note)
	}
	gen, i, size, err := parseStress(c.Path)
	if err != nil {
		return err
	}
	if c.IsDir() {
		return nil
	}
	if c.Attr.Size != int64(size) {
		return fmt.Errorf("%d bytes", c.Attr.Size)
	}
	file, err := f.Open(c.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	r.buf = append(r.buf[:0], make([]byte, size)...)
	b := r.buf
	if i%2 == 0 {
		if n, err := file.ReadAt(b, 0); n != size || err != nil {
			return fmt.Errorf("%d bytes of %d: %w", n, size, err)
		}
	} else {
		m, err := file.Mmap(0, size, godax.MapShared)
		if err != nil {
			return err
		}
		defer m.Close()
		b = m.Bytes()
		r.mapped++
	}
	for at, got := range b {
		if want := stressByte(gen, i, at); got != 0 && got != want {
			return fmt.Errorf("byte %d of %d is %#x, neither 0 nor %#x", at, size, got, want)
		}
	}
	return nil
}

// readerProcess is the process of a reader: it reads until its standard input ends, tells when it has seen
// enough, and says in the end what it did.
func readerProcess(image string) int {
	done := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	r := stressReader{image: image}
	err := r.run(func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}, func(files int) {
		if files == stressFiles {
			fmt.Println("enough")
		}
	})
	fmt.Printf("%d files, %d of them mapped, %d file systems, %d checks, error %v\n", r.files, r.mapped, r.anew, r.checks, err)
	if err != nil {
		return 1
	}
	return 0
}

// TestWriterAndReaders has one master create and fill files as fast as it can, and format the
// medium anew when it is full, while two readers in this process and two in processes of
// their own follow. None of them ever sees a torn name or place, or a byte that was not
// cleared.
func TestWriterAndReaders(t *testing.T) {
	long := *stress
	if os.Getenv("GODAX_SOAK") != "" {
		long = max(long, time.Minute)
	}
	image := imageFile(t, stressSize, famfs.FormatOptions{Unit: 4 * kib})
	file, err := os.OpenFile(image, os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte{0xff}, stressSize-10*mib), 10*mib)
	must(t, err)
	must(t, file.Close())

	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var readers, enough sync.WaitGroup
	defer readers.Wait()
	var once sync.Once
	end := func() { once.Do(func() { close(stop) }) }
	defer end()
	for n := range 2 {
		enough.Add(1)
		readers.Go(func() {
			r := stressReader{image: image}
			told := false
			tell := func() {
				if !told {
					told = true
					enough.Done()
				}
			}
			defer tell()
			err := r.run(stopped, func(files int) {
				if files == stressFiles {
					tell()
				}
			})
			t.Logf("reader %d: %d files, %d of them mapped, %d file systems, %d checks", n, r.files, r.mapped, r.anew, r.checks)
			if err != nil {
				t.Errorf("reader %d: %v", n, err)
			}
		})
	}
	for n := range 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), readerEnv+"="+image)
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		enough.Add(1)
		readers.Go(func() { <-stop; in.Close() })
		readers.Go(func() {
			lines, told := bufio.NewScanner(out), false
			for lines.Scan() {
				if lines.Text() == "enough" {
					told = true
					enough.Done()
					continue
				}
				t.Logf("process %d: %s", n, lines.Text())
			}
			if !told {
				enough.Done() // it has failed; what it said is above
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("process %d: %v", n, err)
			} else if !told {
				t.Errorf("process %d ended early", n)
			}
		})
	}
	all := make(chan struct{})
	go func() { enough.Wait(); close(all) }()
	files, formats := writeStress(t, image, long, all)
	end()
	t.Logf("writer: %d files, formatted %d times", files, formats)
}

// writeStress writes for a time, and until all readers have seen enough.
func writeStress(t *testing.T, image string, long time.Duration, all <-chan struct{}) (files, formats int) {
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	until := time.Now().Add(long)
	for gen := 0; ; gen++ {
		f, err := godax.Open(image, godax.Options{Drivers: driverOf(us)})
		must(t, err)
		dirs := []string{""}
		for i := 0; ; i++ {
			if i%64 == 0 && time.Now().After(until) {
				select {
				case <-all:
					must(t, f.Close())
					return files, formats
				default:
				}
			}
			dir := dirs[r.IntN(len(dirs))]
			if r.IntN(20) == 0 && len(dir) < 20 {
				name := stressName(dir, gen, i, 0)
				err = f.Mkdir(name, 0o755)
				dirs = append(dirs, name+"/")
			} else {
				err = writeStressFile(f, r, dir, gen, i)
				files++
			}
			if errors.Is(err, syscall.ENOSPC) || i == stressRound {
				break
			}
			must(t, err)
		}
		must(t, f.Close())
		formatFile(t, image, famfs.FormatOptions{Unit: 4 * kib})
		formats++
	}
}

// writeStressFile makes a file and fills it, in part, with what readers know.
func writeStressFile(f *godax.FS, r *rand.Rand, dir string, gen, i int) error {
	size := 1 + r.IntN(40*kib)
	o := godax.CreateOptions{Perm: 0o644}
	if r.IntN(3) == 0 {
		o.Stripe = godax.Stripe{Strips: 1 + r.IntN(4), Chunk: 4 * kib}
	}
	file, err := f.CreateSized(stressName(dir, gen, i, size), int64(size), o)
	if err != nil {
		return err
	}
	from := r.IntN(size)
	b := make([]byte, size-from)
	for k := range b {
		b[k] = stressByte(gen, i, from+k)
	}
	_, err = file.WriteAt(b, int64(from))
	return errors.Join(err, file.Close())
}
