package famfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/pmem/sim"
	"godax/vfs"
)

// Power cuts: the simulated device keeps, of every cache line that was not both flushed and
// waited for, any state it has had. After each store, flush and barrier of an operation some
// such images are made, and each must be the old file system or the new one, to readers and
// to a master that goes on.

const crashHost = "00000000-1111-8222-8333-444444444444"

// crashSize leaves room for a few files of small units behind the log.
const crashSize = 11 << 20

// litter is what a new file must never show.
const litter = 0xA5

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crashDevices makes devices with litter in every byte, durable.
func crashDevices(t *testing.T, n int) []*sim.Device {
	t.Helper()
	var devs []*sim.Device
	for i := range n {
		size := crashSize
		if i > 0 {
			size = 3 << 20
		}
		devs = append(devs, simDevice(t, bytes.Repeat([]byte{litter}, size)))
	}
	return devs
}

func simDevice(t *testing.T, image []byte) *sim.Device {
	t.Helper()
	d, err := sim.FromImage(image)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// rest are the devices after the first one.
func rest(devs []*sim.Device) (list []pmem.Device) {
	for _, d := range devs[1:] {
		list = append(list, d)
	}
	return list
}

// mountAs mounts as the host that formatted.
func mountAs(t testing.TB, devs []*sim.Device, readOnly bool) (*FS, error) {
	t.Helper()
	return mount(devs[0], vfs.MountOptions{ReadOnly: readOnly, Devices: rest(devs)}, Config{HostUUID: crashHost})
}

// seen is what a mount shows: every path with its attributes and a sum of its bytes.
func seen(t testing.TB, f *FS) (string, bool) {
	t.Helper()
	var out bytes.Buffer
	clean := true
	_, err := f.Follow(0, func(c vfs.Change) bool {
		fmt.Fprintf(&out, "%s %v %d %d %d %s\n", c.Path, c.Attr.Mode, c.Attr.UID, c.Attr.GID, c.Attr.Size, c.Note)
		if c.Path == "" || c.IsDir() {
			return true
		}
		in, err := f.Inode(c.Attr.Ino)
		must(t, err)
		b := make([]byte, c.Attr.Size)
		n, err := in.(vfs.File).ReadAt(context.Background(), b, 0)
		must(t, err)
		if n != len(b) || bytes.IndexByte(b, litter) >= 0 {
			clean = false
		}
		must(t, in.Evict(context.Background()))
		return true
	})
	must(t, err)
	return out.String(), clean
}

// crashPoints runs do, which is handed a hook for every store, flush and barrier, and looks at
// some images that a power cut could leave at each.
func crashPoints(t *testing.T, devs []*sim.Device, do func(hook func()), look func(step int, images []*sim.Device)) (steps int) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 9))
	images := 2
	if testing.Short() || raceEnabled { // copies of whole devices are slow there
		images = 1
	}
	do(func() {
		steps++
		for range images {
			cut := make([]*sim.Device, len(devs))
			for i, d := range devs {
				image, err := sim.FromImage(d.Crash(r))
				must(t, err)
				cut[i] = image
			}
			look(steps, cut)
			for _, d := range cut {
				must(t, d.Close())
			}
		}
	})
	return steps
}

// oneOf demands that a medium after a power cut shows one of the states, to a client and
// to a master, and that the master can go on.
func oneOf(t *testing.T, step int, devs []*sim.Device, states ...string) {
	t.Helper()
	f, err := mountAs(t, devs, true)
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	got, clean := seen(t, f)
	if !clean {
		t.Fatalf("step %d: a file shows what the memory held before", step)
	}
	ok := false
	for _, s := range states {
		ok = ok || got == s
	}
	if !ok || f.torn != nil || f.worst > vfs.Note {
		t.Fatalf("step %d: a client sees\n%s%v %v, want one of\n%q", step, got, f.torn, f.findings, states)
	}
	m, err := mountAs(t, devs, false)
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	if m.forget == nil {
		t.Fatalf("step %d: cannot go on: %s", step, m.noAppend)
	}
	// The master may have finished what was cut off; a client never sees less than before.
	now, _ := seen(t, m)
	if now != got && now != states[len(states)-1] {
		t.Fatalf("step %d: the master sees\n%s", step, now)
	}
	_, err = m.create(m.root, "after", vfs.NewInode{Mode: 0o600, Size: 100})
	must(t, err)
	must(t, m.Close(context.Background()))
	r, err := check(context.Background(), devs[0], vfs.MountOptions{Devices: rest(devs)}, Config{})
	if w, _ := r.Worst(); err != nil || w > vfs.Note {
		t.Fatalf("step %d: check after going on: %+v, %v", step, r.Findings, err)
	}
}

// TestCrashAppend cuts the power at each step of every operation that appends.
func TestCrashAppend(t *testing.T) {
	ops := []struct {
		name    string
		devices int
		ni      vfs.NewInode
	}{
		{"create", 1, vfs.NewInode{Mode: 0o644, UID: 1, GID: 2, Size: 3*4096 + 5}},
		{"mkdir", 1, vfs.NewInode{Mode: fs.ModeDir | 0o755}},
		{"striped create", 1, vfs.NewInode{Mode: 0o600, Size: 9 * 4096, Stripe: vfs.Stripe{Strips: 3, Chunk: 4096}}},
		{"create striped over two devices", 2, vfs.NewInode{Mode: 0o600, Size: 7 * 4096, Stripe: vfs.Stripe{Strips: 4, Chunk: 4096}}},
	}
	for _, op := range ops {
		t.Run(op.name, func(t *testing.T) {
			devs := crashDevices(t, op.devices)
			must(t, Format(devs[0], FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost, Devices: rest(devs)}))
			f, err := mountAs(t, devs, false)
			must(t, err)
			_, err = f.create(f.root, "dir", vfs.NewInode{Mode: fs.ModeDir | 0o700})
			must(t, err)
			_, err = f.create(f.dirs["dir"], "kept", vfs.NewInode{Mode: 0o644, Size: 5000})
			must(t, err)
			before, _ := seen(t, f)
			// The state after is that of the same operation on a copy.
			after := before + stateOf(t, devs, op.ni)

			steps := crashPoints(t, devs, func(hook func()) {
				f.med.hook = hook
				_, err = f.create(f.dirs["dir"], "new", op.ni)
				f.med.hook = nil
				must(t, err)
			}, func(step int, cut []*sim.Device) { oneOf(t, step, cut, before, after) })
			if steps < 7 {
				t.Errorf("only %d steps", steps)
			}
			t.Logf("%d steps", steps)
			// What returned is durable: of whatever was not flushed nothing may matter.
			for _, d := range devs {
				must(t, d.Close())
			}
		})
	}
}

// stateOf is the line that an operation adds to what is seen.
func stateOf(t *testing.T, devs []*sim.Device, ni vfs.NewInode) string {
	t.Helper()
	var copies []*sim.Device
	for _, d := range devs {
		copies = append(copies, simDevice(t, d.Durable()))
	}
	f, err := mountAs(t, copies, false)
	must(t, err)
	before, _ := seen(t, f)
	_, err = f.create(f.dirs["dir"], "new", ni)
	must(t, err)
	after, clean := seen(t, f)
	if !clean {
		t.Error("a new file shows what the memory held before")
	}
	must(t, f.Close(context.Background()))
	return after[len(before):]
}

// TestDurable: what a call that returned has done survives every power cut.
func TestDurable(t *testing.T) {
	devs := crashDevices(t, 1)
	must(t, Format(devs[0], FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost}))
	f, err := mountAs(t, devs, false)
	must(t, err)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 5 {
		_, err := f.create(f.root, fmt.Sprint(i), vfs.NewInode{Mode: 0o600, Size: int64(i)*4096 + 1})
		must(t, err)
		want, _ := seen(t, f)
		oneOf(t, i, []*sim.Device{simDevice(t, devs[0].Crash(r))}, want)
		if cached, pending, err := devs[0].Lines(0, crashSize); cached+pending > 0 || err != nil {
			t.Errorf("file %d: %d lines are not flushed, %d not waited for, %v", i, cached, pending, err)
		}
	}
}

// TestCrashFormat cuts the power at each step of a format over an older file system: what is
// left is the new one, empty, or none; but for the first steps, before the old magic number is
// gone, the old one, whole.
func TestCrashFormat(t *testing.T) {
	for _, devices := range []int{1, 2} {
		t.Run(fmt.Sprint(devices, " devices"), func(t *testing.T) {
			devs := crashDevices(t, devices)
			o := FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost, Devices: rest(devs)}
			must(t, Format(devs[0], o))
			f, err := mountAs(t, devs, false)
			must(t, err)
			_, err = f.create(f.root, "old", vfs.NewInode{Mode: 0o644, Size: 5000})
			must(t, err)
			old, oldUUID := f.sb.FS, f.sb
			must(t, f.Close(context.Background()))

			none, whole, fresh := 0, 0, 0
			look := func(step int, cut []*sim.Device) {
				g, err := mountAs(t, cut, true)
				switch {
				case err != nil:
					none++
				case g.sb.FS == old:
					whole++
					if got, _ := seen(t, g); g.torn != nil || len(got) == 0 || g.sb.Device != oldUUID.Device {
						t.Fatalf("step %d: half of the old file system: %q, %v", step, got, g.torn)
					}
				default:
					fresh++
					if g.torn != nil || g.worst > vfs.Note || g.files != 0 || len(g.devices) != devices {
						t.Fatalf("step %d: a new file system that is not empty or not whole: %v", step, g.findings)
					}
					oneOf(t, step, cut, stateNow(t, g))
				}
			}
			steps := 0
			n := crashPoints(t, devs, func(hook func()) {
				must(t, format(devs[0], o, func() {
					// The log is cleared in many equal steps: some of them will do.
					if steps++; steps < 12 || steps%24 == 0 || steps > 2*(8<<20)/zeroPiece {
						hook()
					}
				}))
			}, look)
			t.Logf("%d steps, %d looked at: %d images without a file system, %d with the old one, %d with the new one", steps, n, none, whole, fresh)
			if none == 0 || fresh == 0 {
				t.Error("the steps are not those of a format")
			}
			g, err := mountAs(t, devs, true)
			must(t, err)
			if g.sb.FS == old {
				t.Error("the format left the old file system")
			}
			if cached, pending, err := devs[0].Lines(0, crashSize); cached+pending > 0 || err != nil {
				t.Errorf("%d lines are not flushed, %d not waited for, %v", cached, pending, err)
			}
		})
	}
}

func stateNow(t *testing.T, f *FS) string {
	t.Helper()
	s, _ := seen(t, f)
	return s
}

// TestCutBetweenCounts: a power cut between the stores of the two counts is finished by the
// next master, and only if the entry between them is whole.
func TestCutBetweenCounts(t *testing.T) {
	for _, whole := range []bool{true, false} {
		devs := crashDevices(t, 1)
		must(t, Format(devs[0], FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost}))
		f, err := mountAs(t, devs, false)
		must(t, err)
		_, err = f.create(f.root, "file", vfs.NewInode{Mode: 0o644, Size: 5000})
		must(t, err)
		must(t, f.Close(context.Background()))
		must(t, f.med.put64(famfsfmt.LogOffset+famfsfmt.IndexOffset, 0))
		if !whole {
			must(t, f.med.write(famfsfmt.EntryOffset(0)+50, []byte{0xff}))
		}
		r, err := check(context.Background(), devs[0], vfs.MountOptions{}, Config{})
		if w, _ := r.Worst(); w != vfs.Warning || err != nil {
			t.Errorf("check: %+v, %v", r.Findings, err)
		}
		g, err := mountAs(t, devs, false)
		must(t, err)
		if whole != (g.files == 1) || whole != (g.forget != nil) {
			t.Errorf("whole %v: %d files, read-only %v (%s)", whole, g.files, g.readOnly, g.noAppend)
		}
		must(t, g.Close(context.Background()))
	}
}

// TestFailingDevice: a flush that fails leaves no file, and whatever it leaves is one of the
// two states.
func TestFailingDevice(t *testing.T) {
	for _, op := range []sim.Op{sim.OpFlush, sim.OpBarrier} {
		for skip := range 4 {
			devs := crashDevices(t, 1)
			must(t, Format(devs[0], FormatOptions{Unit: famfsfmt.UnitSmall, System: crashHost}))
			f, err := mountAs(t, devs, false)
			must(t, err)
			bad := errors.New("bad line")
			stop := devs[0].Inject(sim.Fault{Op: op, Skip: skip, Times: 1, Err: bad})
			_, err = f.create(f.root, "file", vfs.NewInode{Mode: 0o644, Size: 5000})
			stop()
			if err != nil && !errors.Is(err, bad) {
				t.Errorf("%v %d: %v", op, skip, err)
			}
			published := f.refresh() == nil && f.files == 1
			if err == nil && !published {
				t.Errorf("%v %d: created, and not there", op, skip)
			}
			must(t, f.Close(context.Background()))
			g, err := mountAs(t, devs, false)
			must(t, err)
			if g.forget == nil || (g.files == 1) != published {
				t.Errorf("%v %d: %d files, published %v, %s", op, skip, g.files, published, g.noAppend)
			}
			must(t, g.Close(context.Background()))
		}
	}
}
