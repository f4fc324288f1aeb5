package famfs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godax"
	"godax/fs/famfs"
	"godax/pmem"
	"godax/vfs"
)

// TestDevices: files on several devices, striped over them; one that is missing takes its files
// with it and no others.
func TestDevices(t *testing.T) {
	dir := filepath.Dir(imageFile(t, 16*mib, famfs.FormatOptions{}))
	paths := []string{filepath.Join(dir, "image"), filepath.Join(dir, "two"), filepath.Join(dir, "three")}
	for _, p := range paths[1:] {
		must(t, os.WriteFile(p, bytes.Repeat([]byte{litter}, 12*mib), 0o600))
	}
	var devs []pmem.Device
	for _, p := range paths {
		dev, err := pmem.Open(p, pmem.Options{})
		must(t, err)
		devs = append(devs, dev)
	}
	must(t, famfs.Format(devs[0], famfs.FormatOptions{Unit: 4 * kib, System: us, Devices: devs[1:]}))
	for _, d := range devs {
		must(t, d.Close())
	}
	// The order in which devices are given means nothing.
	opt := godax.Options{Drivers: driverOf(us), Devices: []string{paths[2], paths[1]}}
	f, err := godax.Open(paths[0], opt)
	must(t, err)
	want := map[string]wantFile{}
	make := func(name string, size int, s godax.Stripe) {
		t.Helper()
		file, err := f.CreateSized(name, int64(size), godax.CreateOptions{Perm: 0o644, Stripe: s})
		must(t, err)
		want[name] = wantFile{data: pattern(size, uint64(size)), perm: 0o644}
		_, err = file.WriteAt(want[name].data, 0)
		must(t, err)
		must(t, file.Close())
	}
	make("large", 7*mib, godax.Stripe{}) // too large for the first device
	make("small", 5000, godax.Stripe{})
	make("striped", 100_000, godax.Stripe{Strips: 3, Chunk: 4096})
	make("wide", 300_000, godax.Stripe{Strips: 7, Chunk: 8192})
	make("larger", 2*mib, godax.Stripe{Strips: 2, Chunk: 4096})
	must(t, f.Close())

	devs = nil
	for _, p := range paths {
		dev, err := pmem.Open(p, pmem.Options{ReadOnly: true})
		must(t, err)
		defer dev.Close()
		devs = append(devs, dev)
	}
	m := oracle(t, devs...)
	compareOracleFiles(t, m, want)
	used := map[uint64]bool{}
	for _, x := range m.entries[4].extents {
		used[x.dev] = true
	}
	if len(used) != 3 {
		t.Errorf("striped over %d devices: %+v", len(used), m.entries[4].extents)
	}
	wantClean(t, devs[0], devs[1], devs[2])

	// Without the third device.
	g, err := godax.Open(paths[0], godax.Options{ReadOnly: true, Devices: []string{paths[1]}})
	must(t, err)
	defer g.Close()
	there := 0
	for _, e := range m.entries[2:] {
		gone := slices.ContainsFunc(e.extents, func(x oExtent) bool { return x.dev == 2 })
		got, err := g.ReadFile(e.path)
		switch {
		case gone && (err == nil || !errors.Is(err, syscall.ENXIO) || !strings.Contains(err.Error(), m.entries[1].devUUID)):
			t.Errorf("%s on a missing device: %v", e.path, err)
		case !gone && (err != nil || !bytes.Equal(got, want[e.path].data)):
			t.Errorf("%s: %v", e.path, err)
		case !gone:
			there++
		}
		if fi, err := g.Stat(e.path); err != nil || fi.Size() != int64(e.size) {
			t.Errorf("%s: %v", e.path, err)
		}
	}
	if there == 0 || there == len(want) {
		t.Errorf("%d files are there", there)
	}
	for _, bad := range [][]string{{paths[1], paths[1]}, {paths[0]}} {
		if g, err := godax.Open(paths[0], godax.Options{ReadOnly: true, Devices: bad}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("devices %q: %v", bad, err)
			g.Close()
		}
	}
	if _, err := godax.Open(paths[1], godax.Options{ReadOnly: true}); !errors.Is(err, godax.ErrCorrupt) || !strings.Contains(err.Error(), m.super.fs) {
		t.Errorf("a further device alone: %v", err)
	}
}

// TestSuppliedByHost: devices of the reference, which carry nothing, are known by what the host
// says.
func TestSuppliedByHost(t *testing.T) {
	image := unpack(t, "multidev")
	c := readHostile(t, "dev-ref-known")
	defer patch(t, image, c)()
	one := filepath.Join(t.TempDir(), "one")
	must(t, os.WriteFile(one, nil, 0o600))
	must(t, os.Truncate(one, 8<<30))
	driver := famfs.NewDriver(famfs.Config{HostUUID: sampleHost, Identify: func(dev pmem.Device) (string, bool) {
		return "0b1c2d3e-4f50-4617-8829-3a4b5c6d7e8f", dev.Info().Path == one
	}})
	f, err := godax.Open(image, godax.Options{ReadOnly: true, Devices: []string{one}, Drivers: []vfs.Driver{driver}})
	must(t, err)
	defer f.Close()
	got, err := f.ReadFile("d/after")
	if err != nil || len(got) != 2_200_000 || bytes.Count(got, []byte{0}) != len(got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
