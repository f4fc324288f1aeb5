package daxtest

import "testing"

func TestHugeIn(t *testing.T) {
	smaps := []byte(`7f0000000000-7f0000400000 rw-s 00000000 00:2b 3   /image
Size:               4096 kB
ShmemPmdMapped:     2048 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
VmFlags: rd wr sh
7f0000400000-7f0000800000 r--s 00400000 00:2b 3   /image
ShmemPmdMapped:     4096 kB
Private_Hugetlb:    2048 kB
`)
	for _, c := range []struct {
		from, n uint64
		want    int64
	}{
		{0x7f0000000000, 0x400000, 2 << 20},
		{0x7f0000400000, 0x400000, 6 << 20},
		{0x7f0000200000, 0x400000, 8 << 20},
		{0x7f0000800000, 0x400000, 0},
	} {
		if got, err := hugeIn(smaps, c.from, c.n); got != c.want || err != nil {
			t.Errorf("hugeIn(%#x, %#x) = %d, %v, want %d", c.from, c.n, got, err, c.want)
		}
	}
	if _, err := hugeIn([]byte("nonsense\n"), 0, 1); err == nil {
		t.Error("no error for nonsense")
	}
}
