package main

import "testing"

func TestParseSize(t *testing.T) {
	tests := []struct {
		s    string
		want int64 // -1: refused
	}{
		{"0", 0}, {"4096", 4096}, {"512B", 512}, {"1K", 1 << 10}, {"64k", 64 << 10}, {"256M", 256 << 20},
		{"1G", 1 << 30}, {"1GiB", 1 << 30}, {"1GB", 1 << 30}, {"2T", 2 << 40}, {"8388607T", 8388607 << 40},
		{"8388608T", -1}, {"", -1}, {"M", -1}, {"-1", -1}, {"1.5G", -1}, {"1Q", -1}, {"1KK", -1}, {"1iB", -1}, {"1BB", -1}, {"1Ki", -1},
		{"99999999999999999999", -1}, {"0x10", -1}, {"+5", -1}, {"1 M", -1},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.s)
		if err != nil {
			got = -1
		}
		if got != tt.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", tt.s, got, err, tt.want)
		}
	}
}

func TestFormatSize(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1 KiB"}, {1536, "1.5 KiB"}, {256 << 20, "256 MiB"},
		{1 << 40, "1 TiB"}, {1<<63 - 1, "8 EiB"},
	}
	for _, tt := range tests {
		if got := formatSize(tt.n); got != tt.want {
			t.Errorf("formatSize(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}
