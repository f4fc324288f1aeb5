package main

import (
	"io/fs"
	"testing"
)

func TestParseMode(t *testing.T) {
	tests := []struct {
		mode string
		from uint32
		dir  bool
		want uint32
	}{
		{"644", 0o777, false, 0o644},
		{"0", 0o777, false, 0},
		{"7777", 0, false, 0o7777},
		{"u+x", 0o644, false, 0o744},
		{"+x", 0o644, false, 0o755},
		{"a-w", 0o666, false, 0o444},
		{"go=", 0o777, false, 0o700},
		{"u=rw,go=r", 0o777, false, 0o644},
		{"g=u", 0o740, false, 0o770},
		{"o=g-w", 0o770, false, 0o775},
		{"u+rwX,go-w", 0o466, false, 0o644},
		{"+X", 0o644, false, 0o644},
		{"+X", 0o744, false, 0o755},
		{"+X", 0o644, true, 0o755},
		{"u+s", 0o755, false, 0o4755},
		{"g+s", 0o755, false, 0o2755},
		{"o+s", 0o755, false, 0o755},
		{"+t", 0o777, true, 0o1777},
		{"-t", 0o1777, true, 0o777},
		{"u=rwx", 0o4755, false, 0o755},
		{"g=rx", 0o2775, true, 0o2755},
		{"a=rx", 0o7777, false, 0o1555},
		{"=rx", 0o7777, false, 0o555},
		{"u+r-w+x", 0o200, false, 0o500},
	}
	for _, tt := range tests {
		change, err := parseMode(tt.mode)
		if err != nil {
			t.Errorf("parseMode(%q): %v", tt.mode, err)
			continue
		}
		if got := change(tt.from, tt.dir); got != tt.want {
			t.Errorf("%q on %04o (dir %v) = %04o, want %04o", tt.mode, tt.from, tt.dir, got, tt.want)
		}
	}
	for _, bad := range []string{"", "8", "10000", "u", "u+q", "x+r", "u+r,", "u*r", "0x1", "99999999999"} {
		if _, err := parseMode(bad); err == nil {
			t.Errorf("parseMode(%q) was accepted", bad)
		}
	}
}

func TestModeRoundTrip(t *testing.T) {
	for u := range uint32(allMode + 1) {
		if got := unixMode(goMode(u)); got != u {
			t.Fatalf("unixMode(goMode(%04o)) = %04o", u, got)
		}
	}
}

func TestLsMode(t *testing.T) {
	tests := []struct {
		mode fs.FileMode
		want string
	}{
		{0o644, "-rw-r--r--"},
		{fs.ModeDir | goMode(0o1777), "drwxrwxrwt"},
		{fs.ModeDir | goMode(0o1776), "drwxrwxrwT"},
		{goMode(0o6755), "-rwsr-sr-x"},
		{goMode(0o6644), "-rwSr-Sr--"},
		{fs.ModeSymlink | 0o777, "lrwxrwxrwx"},
		{fs.ModeDevice | fs.ModeCharDevice | 0o600, "crw-------"},
		{fs.ModeDevice | 0o600, "brw-------"},
		{fs.ModeNamedPipe, "p---------"},
		{fs.ModeSocket, "s---------"},
	}
	for _, tt := range tests {
		if got := lsMode(tt.mode); got != tt.want {
			t.Errorf("lsMode(%v) = %q, want %q", tt.mode, got, tt.want)
		}
	}
}
