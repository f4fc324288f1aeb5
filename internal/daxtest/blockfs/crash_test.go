package blockfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"godax/internal/daxtest/blockfs"
	psim "godax/pmem/sim"
	"godax/vm"
)

// A crash at every call of a device during a copy on write, by write(2), by a store, by a
// store through a sync view, by unshare, and during the fsync after it: every line of the
// page is old or new, the other file has what it had, and after the fsync all is new.
//
// Guards I23, I27, I30, I36, I37.
func TestSF8_CrashInCopyOnWrite(t *testing.T) {
	for _, how := range []string{"write", "write pages", "store", "sync store", "unshare"} {
		t.Run(how, func(t *testing.T) {
			eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
				junk := w.file(bytes.Repeat([]byte{0x66}, 100*pageSize))
				w.remove(junk)
				was := pages(1, 8)
				f, other := w.pair(was)
				w.ok(w.fs.Sync(ctx))
				now := slices.Clone(was)
				data, off := bytes.Repeat([]byte{0xf1}, pageSize), int64(pageSize+100)
				if how == "write pages" {
					data, off = bytes.Repeat([]byte{0xf1}, 3*pageSize), 2*pageSize
				}
				flags := sharedRW
				if how == "sync store" {
					flags |= vm.Sync
				}
				v := w.view(f, 0, 8, flags)
				load(t, v, 0, 8*pageSize)
				r := rand.New(rand.NewPCG(1, 2))
				type crash struct {
					what string
					im   *blockfs.Image
					now  []byte // what is being stored
					done bool   // and is durable
				}
				var crashes []crash
				look := func(what string, done bool) {
					im, err := w.fs.Crash(r)
					if err != nil {
						t.Error(err)
					}
					crashes = append(crashes, crash{what, im, slices.Clone(now), done})
				}
				verify := func(c crash) {
					after, err := c.im.Open()
					w.ok(err)
					defer after.Discard()
					for _, g := range after.Files() {
						got := make([]byte, len(was))
						if n, err := g.Read(ctx, got, 0); err != nil || n != len(was) {
							t.Fatalf("%s: read after the crash: %d, %v", c.what, n, err)
						}
						if g.ID == other.ID {
							equal(t, c.what+", the other file", got, was)
							continue
						}
						for p := 0; p < len(got); p += psim.LineSize {
							o, n, g := was[p:p+psim.LineSize], c.now[p:p+psim.LineSize], got[p:p+psim.LineSize]
							if !bytes.Equal(g, n) && (c.done || !bytes.Equal(g, o)) {
								t.Fatalf("%s: line at %d is %x, was %x, is to be %x", c.what, p, g[:8], o[:8], n[:8])
							}
						}
					}
				}
				for _, d := range w.devs {
					d.Hook(func(c psim.Call) {
						if len(crashes) < 24 {
							look(fmt.Sprint("crash in call ", c), false)
						}
					})
				}
				switch how {
				case "unshare":
					w.ok(f.Unshare(ctx, off, int64(len(data))))
				case "store", "sync store":
					copy(now[off:], data)
					store(t, v, data, off)
				default:
					copy(now[off:], data)
					w.write(f, data, off)
				}
				look("after it", false)
				w.ok(other.Fsync(ctx, 0, 1)) // commits the metadata of both
				look("after an fsync of the other", false)
				if how == "sync store" {
					// The metadata is durable; the user makes the data so, line by line.
					for p := range uint64(3) {
						e, _ := f.Ext(p)
						w.ok(w.devs[e.Block.Dev].Flush(int64(e.Block.Page)*pageSize, pageSize))
					}
					for _, d := range w.devs {
						w.ok(d.Barrier())
					}
				} else {
					w.ok(f.Fsync(ctx, off, int64(len(data))))
				}
				for _, d := range w.devs {
					d.Hook(nil)
				}
				look("after the fsync", true)
				if len(crashes) < 5 {
					t.Errorf("%d crashes", len(crashes))
				}
				for _, c := range crashes {
					verify(c)
				}
			})
		})
	}
}
