package main

import (
	"os"
	"testing"
)

func TestParseName(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"dir", "colon:", "deep/a:"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"a.img", "colon:/x", "deep/a:/b.img", "a:b"} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		arg  string
		want name
	}{
		{"a.img", name{path: "a.img"}},
		{"a.img:/", name{image: "a.img", path: "/", dir: true, contents: true}},
		{"a.img:/x/../y", name{image: "a.img", path: "/y"}},
		{"a.img:/x/", name{image: "a.img", path: "/x/", dir: true}},
		{"a.img:/x/.", name{image: "a.img", path: "/x", contents: true}},
		{"a.img:/../../etc", name{image: "a.img", path: "/etc"}},
		{"a.img:/a:/b", name{image: "a.img", path: "/a:/b"}},
		{"a.img:x", name{path: "a.img:x"}},
		{"a:b", name{path: "a:b"}},
		{"a:b:/x", name{image: "a:b", path: "/x"}},
		{"colon:/x", name{path: "colon:/x"}},                                 // exists
		{"colon:/new", name{path: "colon:/new"}},                             // its directory exists
		{"colon:./new", name{path: "colon:./new"}},                           // the escape
		{"deep/a:/b.img:/c", name{image: "deep/a:/b.img", path: "/c"}},       // a directory is no image
		{"missing.img:/x", name{image: "missing.img", path: "/x"}},           // so that open reports it
		{"missing.img:/x/y:/z", name{image: "missing.img", path: "/x/y:/z"}}, // the first colon
		{":/x", name{path: ":/x"}},                                           // no image's name is empty
		{"/", name{path: "/", dir: true, contents: true}},
		{".", name{path: ".", contents: true}},
		{"dir/..", name{path: "dir/..", contents: true}},
		{"dir/./", name{path: "dir/./", dir: true, contents: true}},
		{"", name{}},
	}
	for _, tt := range tests {
		if got := parseName(tt.arg); got != tt.want {
			t.Errorf("parseName(%q) = %+v, want %+v", tt.arg, got, tt.want)
		}
	}
}

func TestNameText(t *testing.T) {
	in := name{image: "a.img", path: "/x"}
	if got, want := in.join("y").String(), "a.img:/x/y"; got != want {
		t.Errorf("join: got %q, want %q", got, want)
	}
	if got, want := in.join("..").String(), "a.img:/"; got != want {
		t.Errorf("join of ..: got %q, want %q", got, want)
	}
	if got, want := (name{path: "x/y"}).base(), "y"; got != want {
		t.Errorf("base: got %q, want %q", got, want)
	}
}
