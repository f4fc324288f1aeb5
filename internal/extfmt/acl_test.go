package extfmt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func TestACL(t *testing.T) {
	value, _ := hex.DecodeString("0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff")
	wantDisk, _ := hex.DecodeString("010000000100060002000600e8030000040004001000060020000400")
	disk, ok := ACLToDisk(value)
	if !ok || !bytes.Equal(disk, wantDisk) {
		t.Errorf("to disk: got %x, want %x", disk, wantDisk)
	}
	back, err := ACLFromDisk(disk)
	if err != nil || !bytes.Equal(back, value) {
		t.Errorf("from disk: got %x, %v; want %x", back, err, value)
	}
	if perm, extended := ACLPerm(disk); perm != 0o664 || !extended {
		t.Errorf("permissions %o, extended %v; want 664, true", perm, extended)
	}
	changed := ACLSetPerm(disk, 0o751)
	if perm, extended := ACLPerm(changed); perm != 0o751 || !extended {
		t.Errorf("permissions %o, extended %v; want 751, true", perm, extended)
	}
	if changed[18] != 4 { // the group's own entry stays under the mask
		t.Errorf("group entry has permissions %o, want 4", changed[18])
	}
	for name, bad := range map[string]string{
		"empty":        "",
		"version":      "0100000001000600ffffffff04000400ffffffff20000400ffffffff",
		"length":       "0200000001000600ffffffff04000400ffffffff20000400ffff",
		"no owner":     "0200000004000400ffffffff20000400ffffffff",
		"order":        "0200000004000400ffffffff01000600ffffffff20000400ffffffff",
		"twice":        "0200000001000600ffffffff01000600ffffffff04000400ffffffff20000400ffffffff",
		"no mask":      "0200000001000600ffffffff02000600e803000004000400ffffffff20000400ffffffff",
		"permission":   "0200000001000800ffffffff04000400ffffffff20000400ffffffff",
		"tag":          "0200000001000600ffffffff04000400ffffffff20000400ffffffff40000400ffffffff",
		"user without": "0200000001000600ffffffff02000600ffffffff04000400ffffffff10000600ffffffff20000400ffffffff",
	} {
		v, _ := hex.DecodeString(bad)
		if _, ok := ACLToDisk(v); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, bad := range map[string]string{"empty": "", "version": "02000000", "cut": "010000000100", "tag": "0100000003000600", "no id": "0100000002000600"} {
		v, _ := hex.DecodeString(bad)
		if _, err := ACLFromDisk(v); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want corrupt", name, err)
		}
	}
}
