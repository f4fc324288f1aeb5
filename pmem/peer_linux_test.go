package pmem

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestPeer: a peer stores beside a writer and beside others like it, whoever came first, and
// keeps nobody away.
func TestPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 2*PageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	var devs []Device
	for _, o := range []Options{{Peer: true}, {}, {Peer: true}, {ReadOnly: true, Shared: true}} {
		d, err := Open(path, o)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		defer d.Close()
		devs = append(devs, d)
	}
	if d, err := Open(path, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second writer: %v, %v", d, err)
	}
	if d, err := Open(path, Options{ReadOnly: true, Peer: true}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a peer that only reads: %v, %v", d, err)
	}
	for i, d := range devs[:3] {
		b, err := d.Bytes(int64(i), 1)
		if err != nil {
			t.Fatal(err)
		}
		b[0] = byte(i) + 1
	}
	b, err := devs[3].Bytes(0, 3)
	if err != nil || string(b) != "\x01\x02\x03" {
		t.Errorf("%q, %v", b, err)
	}
}
