package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the suffixes of sizes, as powers of two.
var sizeUnits = map[string]uint{"": 0, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}

// parseSize reads a number of bytes: decimal digits, then nothing or one of K, M,
// G, T (powers of 1024; "KiB" and "KB" mean the same).
func parseSize(s string) (int64, error) {
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	unit := strings.ToUpper(s[len(digits):])
	if len(unit) > 1 && unit[0] != 'B' && (unit[1:] == "B" || unit[1:] == "IB") {
		unit = unit[:1]
	}
	shift, ok := sizeUnits[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is not a size: write digits and K, M, G or T", s)
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %s is too large", s)
	}
	return n << shift, nil
}

// formatSize is n bytes for people: "1.5 MiB".
func formatSize(n int64) string {
	if n < 1024 && n > -1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n)/1024, 0
	for math.Abs(f) >= 1024 && unit < len("KMGTPE")-1 {
		f /= 1024
		unit++
	}
	text := strconv.FormatFloat(f, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0") + " " + "KMGTPE"[unit:unit+1] + "iB"
}

// sizeFlag is a pflag.Value for sizes.
type sizeFlag int64

func (f *sizeFlag) String() string { return strings.ReplaceAll(formatSize(int64(*f)), " ", "") }
func (f *sizeFlag) Type() string   { return "SIZE" }
func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}
