package ext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"godax/dax"
	"godax/internal/daxtest"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
	"godax/vm/sim"
)

// mapSim maps n pages of a file into a simulated address space.
func mapSim(t testing.TB, space *sim.Space, fl *file, page, n uint64, flags vm.Flags) *sim.View {
	t.Helper()
	v, err := space.Map(fl, page, n, flags)
	if err != nil {
		t.Fatal(err)
	}
	if err := fl.Mapping().Attach(context.Background(), v, fl); err != nil {
		t.Fatal(err)
	}
	return v
}

func unmapSim(t testing.TB, fl *file, v *sim.View) {
	t.Helper()
	if err := fl.Mapping().Detach(v); err != nil {
		t.Fatal(err)
	}
	v.Close()
}

// Stores through a view reach the file, its blocks and its times; both carriers ask and answer the
// same.
func TestViews(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			var traces [2][]dax.Trace
			for i, carrier := range []string{"iomap", "bh"} {
				traces[i] = runViews(t, bs, carrier)
			}
			for i := range min(len(traces[0]), len(traces[1])) {
				if !reflect.DeepEqual(traces[0][i], traces[1][i]) {
					t.Fatalf("call %d:\niomap %+v\nbh    %+v", i, traces[0][i], traces[1][i])
				}
			}
			if len(traces[0]) != len(traces[1]) {
				t.Errorf("%d calls with iomap, %d with bh", len(traces[0]), len(traces[1]))
			}
		})
	}
}

func runViews(t *testing.T, bs int, carrier string) (trace []dax.Trace) {
	ctx := context.Background()
	f := newFS(t, 16<<20, bs, carrier)
	f.trace = func(x dax.Trace) {
		for i := range x.Answers { // frames belong to a device of this run
			x.Answers[i].PFN = pmem.PFN(x.Answers[i].PFN.Page())
		}
		trace = append(trace, x)
	}
	fl := f.create("file")
	const size = 3<<20 + 1234
	want := make([]byte, size)
	if err := fl.Truncate(ctx, size); err != nil {
		t.Fatal(err)
	}
	before := fl.Attr()
	space := sim.New(sim.Config{})
	v := mapSim(t, space, fl, 0, 1000, vm.Read|vm.Write|vm.Shared)
	r := rand.New(rand.NewPCG(1, 9))
	for i := range 300 {
		off, n := r.Int64N(size-10000), 1+r.IntN(9000)
		if i%2 == 0 {
			b := fill(n, uint64(i))
			copy(want[off:], b)
			if err := v.Store(ctx, b, off); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b := make([]byte, n)
		if err := v.Load(ctx, b, off); err != nil {
			t.Fatal(err)
		}
		compare(t, "load", b, want[off:off+int64(n)])
	}
	if a := fl.Attr(); a.Blocks == 0 || a.Mtime.Before(before.Mtime) {
		t.Errorf("after stores: %+v", a)
	}
	var be *vm.BusError
	if err := v.Load(ctx, make([]byte, 1), 7<<19); !errors.As(err, &be) {
		t.Errorf("load past the end: got %v, want SIGBUS", err)
	}
	if err := fl.Truncate(ctx, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := v.Load(ctx, make([]byte, 1), 2<<20); !errors.As(err, &be) {
		t.Errorf("load of what was cut off: got %v, want SIGBUS", err)
	}
	compare(t, "read", contents(t, fl), want[:1<<20])
	unmapSim(t, fl, v)
	if err := fl.Sync(ctx, false); err != nil {
		t.Fatal(err)
	}
	f.evict(fl)
	fl = f.open("file").(*file)
	compare(t, "read again", contents(t, fl), want[:1<<20])
	f.evict(fl)
	f.closeClean()
	return trace
}

// A sync view lets a store happen only when the way to its page is durable.
func TestSyncView(t *testing.T) {
	ctx := context.Background()
	f := newFS(t, 4<<20, 4096, "iomap")
	fl := f.create("file")
	if err := fl.Truncate(ctx, 1<<20); err != nil {
		t.Fatal(err)
	}
	v := mapSim(t, sim.New(sim.Config{}), fl, 0, 256, vm.Read|vm.Write|vm.Shared|vm.Sync)
	if err := v.Store(ctx, []byte{1}, 5*pmem.PageSize); err != nil {
		t.Fatal(err)
	}
	if f.st.pending() {
		t.Error("stored while metadata was not durable")
	}
	unmapSim(t, fl, v)
	f.evict(fl)
	f.closeClean()
}

// A store into a hole of a full file system is ENOSPC, as a bus error.
func TestViewNoSpace(t *testing.T) {
	ctx := context.Background()
	f := newFS(t, 1<<20, 4096, "iomap")
	big, fl := f.create("big"), f.create("file")
	if err := fl.Truncate(ctx, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := big.WriteAt(ctx, make([]byte, 2<<20), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v, want ENOSPC", err)
	}
	v := mapSim(t, sim.New(sim.Config{}), fl, 0, 256, vm.Read|vm.Write|vm.Shared)
	var be *vm.BusError
	if err := v.Store(ctx, []byte{1}, 0); !errors.As(err, &be) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want a bus error of ENOSPC", err)
	}
	unmapSim(t, fl, v)
	f.evict(fl)
	f.evict(big)
	f.closeClean()
}

// What a view can store to without a fault has storage: a cached page in which a hole is
// punched, and one that the end of the file moves in. Writing back would come too late to
// say that there is no space.
func TestViewKeepsStorage(t *testing.T) {
	ctx := context.Background()
	const size = 3*pmem.PageSize + 100
	for name, change := range map[string]func(fl *file) error{
		"punch":        func(fl *file) error { return fl.Allocate(ctx, vfs.AllocPunch, 1100, 3000) },
		"punch pages":  func(fl *file) error { return fl.Allocate(ctx, vfs.AllocPunch, 1100, 2*pmem.PageSize) },
		"punch to end": func(fl *file) error { return fl.Allocate(ctx, vfs.AllocPunch, 1100, size) },
		"grow":         func(fl *file) error { return fl.Truncate(ctx, 1<<20) },
		"cut and grow": func(fl *file) error { return errors.Join(fl.Truncate(ctx, 100), fl.Truncate(ctx, 4000)) },
		"write behind": func(fl *file) error { return second(fl.WriteAt(ctx, []byte{1}, size+2100)) },
		"reserve":      func(fl *file) error { return fl.Allocate(ctx, vfs.AllocReserve, size+2100, 10) },
	} {
		for _, bs := range []int{1024, 2048} {
			t.Run(fmt.Sprintf("%s/%d", name, bs), func(t *testing.T) {
				f := newFS(t, 2<<20, bs, "iomap")
				big, fl := f.create("big"), f.create("file")
				if err := second(fl.WriteAt(ctx, fill(size, 1), 0)); err != nil {
					t.Fatal(err)
				}
				v := mapSim(t, sim.New(sim.Config{}), fl, 0, 256, vm.Read|vm.Write|vm.Shared)
				for off := int64(0); off < size; off += pmem.PageSize {
					if err := v.Store(ctx, []byte{2}, off); err != nil {
						t.Fatal(err)
					}
				}
				if err := change(fl); err != nil {
					t.Fatal(err)
				}
				want := contents(t, fl)
				if _, err := big.WriteAt(ctx, make([]byte, 4<<20), 0); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("got %v, want ENOSPC", err)
				}
				for off := int64(0); off < min(int64(len(want)), 4*pmem.PageSize); off += 100 { // in every block
					if err := v.Store(ctx, []byte{3}, off); err == nil {
						want[off] = 3
					} else if !errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
				}
				unmapSim(t, fl, v)
				if err := fl.Sync(ctx, false); err != nil {
					t.Errorf("sync: %v", err)
				}
				f.evict(fl)
				fl = f.open("file").(*file)
				compare(t, "read again", contents(t, fl), want)
				f.evict(fl)
				f.evict(big)
				f.closeClean()
			})
		}
	}
}

// A view that stores asks for storage for all of a cached page, though the page is there, and
// writable, with blocks of it in holes: when it is attached, or at the store.
func TestViewOfPartlyStoredPage(t *testing.T) {
	ctx := context.Background()
	for _, bs := range []int{1024, 2048} {
		for _, full := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d/full=%t", bs, full), func(t *testing.T) {
				f := newFS(t, 2<<20, bs, "iomap")
				big, fl, other := f.create("big"), f.create("file"), f.create("other")
				for _, fl := range []*file{fl, other} {
					if err := errors.Join(fl.Truncate(ctx, pmem.PageSize), second(fl.WriteAt(ctx, []byte{1}, 0))); err != nil {
						t.Fatal(err)
					}
				}
				fill := func() {
					if _, err := big.WriteAt(ctx, make([]byte, 4<<20), 0); !errors.Is(err, syscall.ENOSPC) {
						t.Fatalf("got %v, want ENOSPC", err)
					}
				}
				if full {
					fill()
				}
				const flags = vm.Read | vm.Write | vm.Shared
				want := bytes.Repeat([]byte{0}, pmem.PageSize)
				want[0] = 1
				v, err := vm.NewView(0, 1, flags, vm.ViewOptions{})
				if err != nil {
					t.Fatal(err)
				}
				err = fl.Mapping().Attach(ctx, v, fl)
				sv := mapSim(t, sim.New(sim.Config{}), other, 0, 1, flags)
				serr := sv.Store(ctx, []byte{2}, pmem.PageSize-1)
				if full {
					if !errors.Is(err, syscall.ENOSPC) || !errors.Is(serr, syscall.ENOSPC) {
						t.Errorf("attach: %v, store: %v, want ENOSPC", err, serr)
					}
				} else {
					if err != nil || serr != nil {
						t.Fatalf("attach: %v, store: %v", err, serr)
					}
					v.Bytes()[pmem.PageSize-1] = 2
					want[pmem.PageSize-1] = 2
					fill()
					if err := fl.Mapping().Detach(v); err != nil {
						t.Error(err)
					}
				}
				unmapSim(t, other, sv)
				if err := v.Close(); err != nil {
					t.Error(err)
				}
				for _, fl := range []*file{fl, other} {
					if err := fl.Sync(ctx, false); err != nil {
						t.Errorf("sync: %v", err)
					}
				}
				f.evict(fl)
				f.evict(other)
				for _, name := range []string{"file", "other"} {
					fl := f.open(name).(*file)
					compare(t, name, contents(t, fl), want)
					f.evict(fl)
				}
				f.evict(big)
				f.closeClean()
			})
		}
	}
}

// The kernel reads what we wrote, and we read what it wrote.
func TestKernelFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	ctx := context.Background()
	for _, bs := range []int{1024, 2048, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			path, dev := imageFile(t, 24<<20)
			if err := Format(dev, FormatOptions{BlockSize: bs}); err != nil {
				t.Fatal(err)
			}
			f := mountTest(t, dev, vfs.MountOptions{})
			f.litter()
			fl := f.create("ours")
			want := fill(5<<20+77, 1)
			if _, err := fl.WriteAt(ctx, want, 0); err != nil {
				t.Fatal(err)
			}
			if err := fl.Allocate(ctx, vfs.AllocPunch, 100001, 2<<20); err != nil {
				t.Fatal(err)
			}
			clear(want[100001 : 100001+2<<20])
			f.evict(fl)
			f.closeClean()
			if err := dev.Flush(0, dev.Size()); err != nil {
				t.Fatal(err)
			}

			dir := t.TempDir()
			if out, err := exec.Command("mount", "-t", "ext2", "-o", "loop", path, dir).CombinedOutput(); err != nil {
				t.Skipf("cannot mount: %v\n%s", err, out)
			}
			theirs := fill(4<<20+5, 2)
			err := func() error {
				got, err := os.ReadFile(filepath.Join(dir, "ours"))
				if err != nil {
					return err
				}
				if !bytes.Equal(got, want) {
					t.Error("the kernel reads something else")
				}
				k, err := os.Create(filepath.Join(dir, "theirs"))
				if err != nil {
					return err
				}
				if _, err := k.Seek(3<<20, io.SeekStart); err != nil {
					return err
				}
				if _, err := k.Write(theirs); err != nil {
					return err
				}
				return k.Close()
			}()
			if out, uerr := exec.Command("umount", dir).CombinedOutput(); uerr != nil {
				t.Fatalf("umount: %v\n%s", uerr, out)
			}
			if err != nil {
				t.Fatal(err)
			}
			after := mountTest(t, daxtest.MemoryImage(t, path), vfs.MountOptions{})
			fl = after.open("theirs").(*file)
			compare(t, "theirs", contents(t, fl), append(make([]byte, 3<<20), theirs...))
			if e, err := fl.Extent(0); err != nil || e.Kind != vfs.ExtentHole || e.Len != 3<<20 {
				t.Errorf("first extent: %+v, %v", e, err)
			}
			after.evict(fl)
			after.closeClean()
		})
	}
}
