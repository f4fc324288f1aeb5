package main

import "testing"

func TestEscape(t *testing.T) {
	tests := []struct{ in, escape, printable, json string }{
		{"plain name", "plain name", "plain name", "plain name"},
		{`back\slash`, `back\x5cslash`, `back\slash`, `back\x5cslash`},
		{"tab\tnew\nline", `tab\x09new\x0aline`, `tab\x09new\x0aline`, `tab\x09new\x0aline`},
		{"café", `caf\xc3\xa9`, "café", "café"},
		{"bad\xff", `bad\xff`, `bad\xff`, `bad\xff`},
		{`bad\xff`, `bad\x5cxff`, `bad\xff`, `bad\x5cxff`},
		{"\x1b[31m", `\x1b[31m`, `\x1b[31m`, `\x1b[31m`},
		{"\u202e", `\xe2\x80\xae`, `\xe2\x80\xae`, `\xe2\x80\xae`},
		{"\x7f", `\x7f`, `\x7f`, `\x7f`},
	}
	for _, tt := range tests {
		if got := escape(tt.in); got != tt.escape {
			t.Errorf("escape(%q) = %q, want %q", tt.in, got, tt.escape)
		}
		if got := printable(tt.in); got != tt.printable {
			t.Errorf("printable(%q) = %q, want %q", tt.in, got, tt.printable)
		}
		if got := jsonName(tt.in); got != tt.json {
			t.Errorf("jsonName(%q) = %q, want %q", tt.in, got, tt.json)
		}
	}
}
