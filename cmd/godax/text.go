package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape writes what manifests cannot hold as it is, bytes outside printable ASCII
// and backslashes, as \xHH.
func escape(s string) string {
	plain := func(c byte) bool { return c >= ' ' && c < 0x7f && c != '\\' }
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// printable keeps text as it is and writes as \xHH only what would harm a terminal:
// bytes that are not UTF-8, and controls.
func printable(s string) string { return escapeRunes(s, unsafeRune) }

// jsonName is a name in a JSON document: printable, and backslashes are escaped as
// well, so that different names stay different and every \xHH stands for a byte.
func jsonName(s string) string {
	return escapeRunes(s, func(r rune) bool { return r == '\\' || unsafeRune(r) })
}

// jsonUsage explains the flag --json of commands that print names.
const jsonUsage = `print JSON; \xHH in a name is a byte`

// escapeRunes writes as \xHH the bytes that are not UTF-8, and those of runes for
// which escape holds.
func escapeRunes(s string, escape func(rune) bool) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, escape) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 || escape(r) {
			for i := range n {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			}
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// unsafeRune reports whether r does something else than show itself.
func unsafeRune(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Cf) }

// shown is a name for standard output: as it is, but made harmless on a terminal.
func (a *app) shown(s string) string {
	if a.outTTY {
		return printable(s)
	}
	return s
}

// printJSON writes v as one indented document.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
