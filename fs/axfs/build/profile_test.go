package build

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadProfile(t *testing.T) {
	text := "./a/b,4096,3\r\n\n  \na/b,0,1\n/c,d,e,8192,18446744073709551615\n././x, 1 , 2 \n\xff,0,0"
	want := Profile{{"a/b", 4096, 3}, {"a/b", 0, 1}, {"c,d,e", 8192, 1<<64 - 1}, {"x", 1, 2}, {"\xff", 0, 0}}
	got, err := ReadProfile(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for text, reason := range map[string]string{
		"a":                      `line 1: "a" is not path,offset,count`,
		"x,0,1\na,1":             `line 2: "a,1" is not`,
		",0,1":                   "no path",
		"./,0,1":                 "no path",
		"a,-1,1":                 `offset "-1"`,
		"a,x,1":                  `offset "x"`,
		"a,1,-1":                 `count "-1"`,
		"a,1,":                   `count ""`,
		strings.Repeat("a", 1e5): "line 1: ",
	} {
		if _, err := ReadProfile(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%.20q: error is %v, want %q", text, err, reason)
		}
	}
}

func TestWriteProfile(t *testing.T) {
	p := Profile{{"b", 8192, 1}, {"b", 0, 2}, {"a,b", 4096, 3}}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	if want := "./a,b,4096,3\n./b,0,2\n./b,8192,1\n"; out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
	again, err := ReadProfile(&out)
	if err != nil {
		t.Fatal(err)
	}
	p.sort()
	if d := cmp.Diff(p, again); d != "" {
		t.Error(d)
	}
	out.Reset()
	err = Profile{{"x\ny", 0, 1}, {"z", 0, 1}}.Write(&out)
	if !errors.Is(err, errLineBreak) || out.String() != "./z,0,1\n" {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
}

func TestProfilePages(t *testing.T) {
	p := Profile{{"a", 0, 1}, {"a", 4096, 0}, {"a", 16384, 1}, {"a", 16385, 1}, {"a", 70000, 1}, {"b", 1, 1}}
	tests := map[int64]map[string][]uint64{
		4096:  {"a": {0, 4, 5, 17, 18}, "b": {0, 1}},
		16384: {"a": {0, 1, 4}, "b": {0}},
		65536: {"a": {0, 1}, "b": {0}},
	}
	for size, want := range tests {
		if d := cmp.Diff(want, p.Pages(size)); d != "" {
			t.Errorf("pages of %d: %s", size, d)
		}
	}
}

// FuzzProfile: what reads writes, and reads the same again.
func FuzzProfile(f *testing.F) {
	f.Add("./a/b,4096,3\r\n\nx,0,1\n")
	f.Add("a,b,c,1,2")
	f.Add(",,,\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ReadProfile(strings.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := p.Write(&out); err != nil {
			return // a carriage return inside of a path
		}
		again, err := ReadProfile(&out)
		if err != nil {
			t.Fatal(err)
		}
		p.sort()
		if len(again) != len(p) {
			t.Fatalf("%d lines become %d", len(p), len(again))
		}
		for size := range map[int64]bool{4096: true, 65536: true} {
			if d := cmp.Diff(p.Pages(size), again.Pages(size)); d != "" {
				t.Fatal(d)
			}
		}
	})
}
