package dax_test

import (
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/vm"
)

// As race_buffer_test.go, with buffers that are real mappings of this process.

// A write(2) or read(2) whose buffer is a real view of the same file: of a hole, which
// gets storage under the copy, or of what is mapped; in the same page, the next one, and
// in another huge run.
//
// Guards I55, I24, I25.
func TestSC15_RealViewAsBuffer(t *testing.T) {
	for _, kind := range []string{"hole", "mapped"} {
		for _, write := range []bool{true, false} {
			for _, small := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/write %t/small %t", kind, write, small), func(t *testing.T) {
					for _, c := range (&stage{run: run}).bufferCases() {
						f, _ := newSimFile(t, 64, dax.Config{})
						f.onePage = small
						f.sized(2 * run)
						if kind == "mapped" {
							f.mustWrite(pattern(2*run, 1), 0)
						}
						data := f.mustRead(0, 2*run)
						flags := sharedRW
						if write {
							flags = sharedRO // holes stay holes until the write
						}
						v := f.process(0, 2*pmdPages, flags)
						b, n, err := v.Bytes()[c.buf:][:c.len], 0, error(nil)
						if write {
							n, err = f.write(b, c.off)
						} else {
							n, err = f.read(b, c.off)
						}
						if err != nil || n != int(c.len) {
							t.Fatalf("%s: %d, %v", c.name, n, err)
						}
						to, from := c.buf, c.off
						if write {
							to, from = from, to
						}
						want := (&stage{}).wrote(data, to, from, c.len)
						if got := f.mustRead(0, 2*run); to == from || to+c.len <= from || from+c.len <= to {
							equal(t, c.name, got, want)
						} else {
							want = got
						}
						equal(t, c.name+", the view", v.Bytes(), want)
						f.check()
					}
				})
			}
		}
	}
}

// A buffer that ends past the end of the file: the touch raises SIGBUS in the middle of
// the copy, with the inode lock held. No lock is left behind, and the file goes on.
//
// Guards I6, I26, I55.
func TestSC15_RealBufferPastTheEnd(t *testing.T) {
	f, _ := newSimFile(t, 64, dax.Config{})
	data := pattern(2*pageSize, 1)
	f.mustWrite(data, 0)
	v := f.process(0, 4, sharedRW)
	for name, transfer := range map[string]func(b []byte) error{
		"write": func(b []byte) error { _, err := f.write(b, 0); return err },
		"read":  func(b []byte) error { _, err := f.read(b, 0); return err },
	} {
		var bus *vm.BusError
		if err := v.Do(func() error { return transfer(v.Bytes()[2*pageSize:][:100]) }); !errors.As(err, &bus) || bus.Page != 2 {
			t.Errorf("%s: %v", name, err)
		}
		f.check()
		equal(t, name, f.mustRead(0, 2*pageSize), data)
		f.mustWrite(data, 0)
	}
}
