package main

import (
	"bufio"
	"bytes"
	"context"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godax"
	"godax/fs/famfs"
)

const readEnv = "GODAX_POOL_READ"

// TestMain is a reader if the environment says so.
func TestMain(m *testing.M) {
	if image := os.Getenv(readEnv); image != "" {
		if err := run([]string{"read", image}, os.Stdin, os.Stdout); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestProcesses has readers in processes of their own see every object that is made, in order and
// complete. How soon is printed, and is not what decides.
func TestProcesses(t *testing.T) {
	t.Setenv(famfs.HostEnv, "00000000-1111-8222-8333-444444444444")
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	must(t, demo(func(image string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), readEnv+"="+image)
		return cmd
	}, 3, 100, &out))
	t.Log(out.String())
	if !strings.Contains(out.String(), "3 readers, 100 objects each") {
		t.Error("the report is missing")
	}
}

// TestObject: an object is there for a reader once it is complete, as the device's own memory.
func TestObject(t *testing.T) {
	t.Setenv(famfs.HostEnv, "00000000-1111-8222-8333-444444444444")
	image := filepath.Join(t.TempDir(), "pool")
	must(t, newPool(image, 16<<20))
	w, err := godax.Open(image, godax.Options{})
	must(t, err)
	defer w.Close()
	r, err := godax.Open(image, godax.Options{ReadOnly: true, Shared: true})
	must(t, err)
	defer r.Close()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, put(w, "one", 10_000, func(b []byte) error {
		// The name is there already, and not the object.
		if _, err := r.Stat("one"); err != nil {
			t.Error(err)
		}
		if o, err := get(ctx, r, "one"); err != context.Canceled && !strings.Contains(err.Error(), "canceled") {
			t.Errorf("half an object: %v, %v", o, err)
		}
		return pattern("one")(b)
	}))
	o, err := get(t.Context(), r, "one")
	must(t, err)
	want := make([]byte, 10_000)
	must(t, pattern("one")(want))
	if !bytes.Equal(o.bytes, want) {
		t.Error("other bytes")
	}
	for x, err := range o.file.Extents() {
		if err != nil || x.Kind != godax.Direct {
			t.Errorf("%v, %v: not the device's own memory", x.Kind, err)
		}
	}
	// What another process stores is what is seen: nothing was copied.
	file, err := w.OpenFile("one", os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt([]byte("changed"), headerSize+5000)
	must(t, err)
	must(t, file.Close())
	if got := string(o.bytes[5000:5007]); got != "changed" {
		t.Errorf("%q", got)
	}
	must(t, o.close())
}

// TestCommand runs what the program offers.
func TestCommand(t *testing.T) {
	t.Setenv(famfs.HostEnv, "00000000-1111-8222-8333-444444444444")
	image := filepath.Join(t.TempDir(), "pool")
	must(t, newPool(image, 16<<20))
	must(t, run([]string{"write", image, "thing", "5000"}, strings.NewReader(""), io.Discard))
	in, end := io.Pipe()
	lines, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run([]string{"read", image}, in, out) }()
	got, err := next(bufio.NewScanner(lines))
	must(t, err)
	want := make([]byte, 5000)
	must(t, pattern("thing")(want))
	if got.name != "thing" || got.size != 5000 || got.sum != crc32.ChecksumIEEE(want) {
		t.Errorf("%+v", got)
	}
	end.Close()
	must(t, <-done)
	for _, args := range [][]string{nil, {"read"}, {"write", image, "x", "big"}, {"read", "/nonexistent"}} {
		if err := run(args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q works", args)
		}
	}
}
