package extfmt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testAttrs = []Xattr{
	{XattrUser, "bb", []byte("value")},
	{XattrUser, "a", nil},
	{XattrSecurity, "selinux", []byte("x")},
	{XattrACLAccess, "", bytes.Repeat([]byte{1}, 28)},
	{XattrUser, "aa", bytes.Repeat([]byte("v"), 63)},
}

func values(list []Xattr) map[string]string {
	m := map[string]string{}
	for i := range list {
		m[fmt.Sprint(list[i].Index, list[i].Name)] = string(list[i].Value)
	}
	return m
}

func TestXattrBlock(t *testing.T) {
	b := bytes.Repeat([]byte{0xee}, 1024)
	list := append([]Xattr(nil), testAttrs...)
	if !EncodeXattrBlock(b, list) {
		t.Fatal("does not fit")
	}
	got, refs, err := ParseXattrBlock(b)
	if err != nil || refs != 1 {
		t.Fatalf("refcount %d, %v", refs, err)
	}
	if diff := cmp.Diff(values(testAttrs), values(got)); diff != "" {
		t.Error(diff)
	}
	var order []string
	for i := range got {
		order = append(order, got[i].FullName())
	}
	want := []string{"user.a", "user.aa", "user.bb", NameACLAccess, "security.selinux"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
	if binary.LittleEndian.Uint32(b[XattrOffHash:]) == 0 {
		t.Error("no hash")
	}
	again := make([]byte, len(b))
	if EncodeXattrBlock(again, got); !bytes.Equal(again, b) {
		t.Error("encoding what was decoded gives another block")
	}
}

func TestXattrFits(t *testing.T) {
	// 32 header, 16+4 entry, 4 end mark: 968 bytes of a 1 KiB block are left.
	b := make([]byte, 1024)
	for n, want := range map[int]bool{968: true, 969: false, 1 << 20: false, 0: true} {
		if got := EncodeXattrBlock(b, []Xattr{{XattrUser, "x", make([]byte, n)}}); got != want {
			t.Errorf("value of %d bytes: got %v, want %v", n, got, want)
		}
	}
	area := make([]byte, 96)
	for n, want := range map[int]bool{68: true, 69: false} {
		if got := EncodeXattrInode(area, []Xattr{{XattrUser, "x", make([]byte, n)}}); got != want {
			t.Errorf("value of %d bytes in an inode: got %v, want %v", n, got, want)
		}
	}
	if EncodeXattrInode(nil, testAttrs) || !EncodeXattrInode(nil, nil) {
		t.Error("an inode without room took attributes")
	}
}

// TestXattrInodeAppend: the promise of EncodeXattrInode that an added attribute moves none.
func TestXattrInodeAppend(t *testing.T) {
	area := make([]byte, 256)
	for n := range testAttrs {
		before := bytes.Clone(area)
		old := testAttrs[:n]
		if !EncodeXattrInode(area, testAttrs[:n+1]) {
			t.Fatal("does not fit")
		}
		got, err := ParseXattrInode(area)
		if diff := cmp.Diff(values(testAttrs[:n+1]), values(got)); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		mark := XattrEndMark(old)
		if n > 0 && !bytes.Equal(before[:mark], area[:mark]) {
			t.Errorf("adding attribute %d changed the entries before it", n)
		}
	}
}

func TestXattrHostile(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(b []byte)
		field string
	}{
		{"magic", func(b []byte) { b[3] = 0 }, "h_magic"},
		{"refcount 0", func(b []byte) { b[4] = 0 }, "h_refcount"},
		{"refcount 1025", func(b []byte) { b[4], b[5] = 1, 4 }, "h_refcount"},
		{"two blocks", func(b []byte) { b[8] = 2 }, "h_blocks"},
		{"value beyond", func(b []byte) { binary.LittleEndian.PutUint32(b[32+8:], 2000) }, "e_value_size"},
		{"value size wraps", func(b []byte) { binary.LittleEndian.PutUint32(b[32+8:], 0xffffffff) }, "e_value_size"},
		{"value in entries", func(b []byte) { b[34], b[35] = 32, 0 }, "e_value_offs"},
		{"index 0", func(b []byte) { b[33] = 0 }, "e_name_index"},
		{"value inode", func(b []byte) { b[36] = 5 }, "e_value_inum"},
		{"NUL in name", func(b []byte) { b[48] = 0 }, "name"},
		{"name beyond", func(b []byte) { clear(b[32:]); b[1000] = 0; fill(b) }, ""},
	} {
		b := make([]byte, 1024)
		EncodeXattrBlock(b, []Xattr{{XattrUser, "n", []byte("value")}})
		c.spoil(b)
		_, _, err := ParseXattrBlock(b)
		var ce *CorruptError
		if !errors.As(err, &ce) || c.field != "" && ce.Field != c.field {
			t.Errorf("%s: got %v, want a corrupt %s", c.name, err, c.field)
		}
	}
}

// fill makes entries without an end.
func fill(b []byte) {
	for p := XattrBlockHeader; p+xattrEntryLen <= len(b); p += xattrEntryLen {
		b[p+1] = XattrUser
	}
}

func TestXattrNames(t *testing.T) {
	for name, want := range map[string]bool{
		"user.a": true, "trusted.x.y": true, "security.selinux": true, "system.data": true,
		NameACLAccess: true, NameACLDefault: true, "user." + strings.Repeat("n", 255): true,
		"user.": false, "user": false, "": false, "other.a": false, "user." + strings.Repeat("n", 256): false,
	} {
		index, rest, ok := SplitXattrName(name)
		if ok != want {
			t.Errorf("%.20q: got %v, want %v", name, ok, want)
		}
		if x := (Xattr{Index: index, Name: rest}); ok && x.FullName() != name {
			t.Errorf("%q came back as %q", name, x.FullName())
		}
	}
	if x := (Xattr{Index: 99, Name: "x"}); x.FullName() != "" {
		t.Errorf("index 99 has the name %q", x.FullName())
	}
}

func FuzzXattr(f *testing.F) {
	b := make([]byte, 1024)
	EncodeXattrBlock(b, append([]Xattr(nil), testAttrs...))
	f.Add(bytes.Clone(b))
	EncodeXattrInode(b[:200], testAttrs)
	f.Add(bytes.Clone(b[:200]))
	f.Add([]byte{0, 0, 2, 0xEA, 1, 0, 0, 0, 1, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 1, 0, 6, 0, 4, 0, 4, 0, 32, 0, 4, 0})
	for _, b := range imageBlocks(f, "ext2-xattr.img.gz", 1024, 8, isXattrBlock) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		if list, _, err := ParseXattrBlock(b); err == nil {
			size := len(b) &^ 3
			out := make([]byte, size)
			if EncodeXattrBlock(out, list) {
				again, _, err := ParseXattrBlock(out)
				if diff := cmp.Diff(values(list), values(again)); err != nil || diff != "" {
					t.Errorf("second reading: %v\n%s", err, diff)
				}
			}
		}
		ParseXattrInode(b)
		if v, err := ACLFromDisk(b); err == nil {
			if d, ok := ACLToDisk(v); ok && !bytes.Equal(d, b) {
				t.Errorf("ACL %x came back as %x", b, d)
			}
		}
	})
}
