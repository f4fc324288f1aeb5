package modeltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"godax"
)

// kind is what an operation does.
type kind uint8

const (
	opOpen        kind = iota // Slot: handle, Path, Arg: openFlags, Mode
	opClose                   // Slot
	opPwrite                  // Slot, Off, N, Arg: seed of the bytes
	opAppend                  // Slot, N, Arg: seed
	opPread                   // Slot, Off, N
	opFtruncate               // Slot, N: size
	opAllocate                // Slot, Off, N
	opPunch                   // Slot, Off, N
	opZero                    // Slot, Off, N
	opFsync                   // Slot
	opSeekData                // Slot, Off
	opSeekHole                // Slot, Off
	opFstat                   // Slot
	opExtents                 // Slot
	opMmap                    // Slot, Slot2: view, Off, N, Arg: 1 = stores
	opMunmap                  // Slot2
	opLoad                    // Slot2, Off in the view, N
	opStore                   // Slot2, Off in the view, N, Arg: seed
	opMsync                   // Slot2
	opPrivate                 // Slot, Off, N: map privately, store, unmap
	opPin                     // Slot, Slot2: pin, Off, N, Arg: 1 = stores
	opUnpin                   // Slot2
	opPinLoad                 // Slot2
	opPinStore                // Slot2, Off in the pin, N, Arg: seed
	opTruncate                // Path, N: size
	opMkdir                   // Path, Mode
	opMknod                   // Path, Mode, Arg: device number
	opRemove                  // Path
	opRemoveAll               // Path
	opRename                  // Path, Path2
	opLink                    // Path, Path2
	opSymlink                 // Path: target, Path2
	opReadlink                // Path
	opChmod                   // Path, Mode
	opChown                   // Path, Arg: uid, N: gid; -1 keeps
	opLchown                  // Path, Arg: uid, N: gid
	opChtimes                 // Path, Arg: atime, N: mtime; seconds, 0 keeps
	opSetXattr                // Path, Name, N, Arg: seed, Mode: XattrFlag; of the link itself
	opXattr                   // Path, Name
	opListXattr               // Path
	opRemoveXattr             // Path, Name
	opReadDir                 // Path, N: entries at a time
	opStat                    // Path
	opLstat                   // Path
	opSync                    //
	opReopen                  // closes everything and opens the image again
	nkinds
)

var kindNames = [nkinds]string{
	"opOpen", "opClose", "opPwrite", "opAppend", "opPread", "opFtruncate", "opAllocate", "opPunch", "opZero",
	"opFsync", "opSeekData", "opSeekHole", "opFstat", "opExtents", "opMmap", "opMunmap", "opLoad", "opStore",
	"opMsync", "opPrivate", "opPin", "opUnpin", "opPinLoad", "opPinStore", "opTruncate", "opMkdir", "opMknod",
	"opRemove", "opRemoveAll", "opRename", "opLink", "opSymlink", "opReadlink", "opChmod", "opChown", "opLchown",
	"opChtimes", "opSetXattr", "opXattr", "opListXattr", "opRemoveXattr", "opReadDir", "opStat", "opLstat",
	"opSync", "opReopen",
}

// Slots for open files, views and pins.
const (
	nhandles = 8
	nviews   = 4
	npins    = 2
)

// Flags of opOpen, in Arg.
const (
	openWrite  = 1 << iota // without openRead: write only
	openRead               // with openWrite: both
	openCreate             //
	openExcl               //
	openTrunc              //
	openAppend             //
)

// op is one operation, with all it needs: an operation can be left out of a list and
// the others still mean the same.
type op struct {
	Kind        kind
	Slot, Slot2 int
	Path, Path2 string
	Name        string
	Off, N      int64
	Arg         int64
	Mode        fs.FileMode
}

// String is the operation as a Go literal, without zero fields.
func (o op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{Kind: %s", kindNames[o.Kind])
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"Slot", int64(o.Slot)}, {"Slot2", int64(o.Slot2)}, {"Off", o.Off}, {"N", o.N}, {"Arg", o.Arg},
	} {
		if f.v != 0 {
			fmt.Fprintf(&b, ", %s: %d", f.name, f.v)
		}
	}
	if o.Mode != 0 {
		fmt.Fprintf(&b, ", Mode: %#o", uint32(o.Mode))
	}
	for _, f := range [][2]string{{"Path", o.Path}, {"Path2", o.Path2}, {"Name", o.Name}} {
		if f[1] != "" {
			fmt.Fprintf(&b, ", %s: %q", f[0], f[1])
		}
	}
	return b.String() + "}"
}

// attrs is what stat tells, as far as it can be compared.
type attrs struct {
	mode                fs.FileMode
	nlink, uid, gid     uint32
	major, minor        uint32
	size                int64 // not of directories
	atime, mtime, ctime int64 // seconds
	ino                 uint64
}

// outcome is what an operation said.
type outcome struct {
	err  string // "" or the name of an error
	n    int64  // how many bytes; an offset
	data string // bytes, names, a target
	st   *attrs
	node *node // that the model took st of
}

func (o outcome) String() string {
	s := fmt.Sprintf("err %q, n %d", o.err, o.n)
	if o.data != "" {
		s += fmt.Sprintf(", data %d bytes %q", len(o.data), o.data[:min(len(o.data), 60)])
	}
	if o.st != nil {
		s += fmt.Sprintf(", %+v", *o.st)
	}
	return s
}

// Classes of errors that are no errno.
const (
	errBeyond      = "beyond end"   // access past the end of the file through a view
	errNotMappable = "not mappable" // a hole, or cached pages, cannot be pinned
)

// class is the name of an error's class: the name of an errno where there is one.
func class(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil || err == io.EOF:
		return ""
	case errors.Is(err, godax.ErrBeyondEnd):
		return errBeyond
	case errors.Is(err, godax.ErrNotMappable):
		return errNotMappable
	case errors.Is(err, syscall.ENOTEMPTY): // is fs.ErrExist too
		errno = syscall.ENOTEMPTY
	case errors.Is(err, syscall.EBUSY):
		errno = syscall.EBUSY
	case errors.Is(err, fs.ErrExist):
		errno = syscall.EEXIST
	case errors.Is(err, fs.ErrNotExist):
		errno = syscall.ENOENT
	case errors.As(err, &errno):
	default:
		return err.Error()
	}
	return unix.ErrnoName(errno)
}

// fill makes b the bytes that a seed stands for. None of them is zero.
func fill(b []byte, seed int64) {
	x := uint64(seed)*0x9e3779b97f4a7c15 + 0x1234567
	var w [8]byte
	for len(b) > 0 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(w[:], x|0x0101010101010101)
		b = b[copy(b, w[:]):]
	}
}

// filled is fill of n new bytes.
func filled(n, seed int64) []byte {
	b := make([]byte, n)
	fill(b, seed)
	return b
}
