package main

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// The permission bits as Unix numbers them.
const (
	setuid  = 0o4000
	setgid  = 0o2000
	sticky  = 0o1000
	allMode = 0o7777
)

// unixMode is the permission bits of a Go mode as Unix numbers them.
func unixMode(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= setuid
	}
	if m&fs.ModeSetgid != 0 {
		u |= setgid
	}
	if m&fs.ModeSticky != 0 {
		u |= sticky
	}
	return u
}

// goMode is the reverse of unixMode.
func goMode(u uint32) fs.FileMode {
	m := fs.FileMode(u) & fs.ModePerm
	if u&setuid != 0 {
		m |= fs.ModeSetuid
	}
	if u&setgid != 0 {
		m |= fs.ModeSetgid
	}
	if u&sticky != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// typeLetter is the type of a file as manifests write it: f d l p s c b.
func typeLetter(m fs.FileMode) byte {
	switch m.Type() {
	case 0:
		return 'f'
	case fs.ModeDir:
		return 'd'
	case fs.ModeSymlink:
		return 'l'
	case fs.ModeNamedPipe:
		return 'p'
	case fs.ModeSocket:
		return 's'
	case fs.ModeDevice | fs.ModeCharDevice:
		return 'c'
	case fs.ModeDevice:
		return 'b'
	}
	return '?'
}

// lsMode is the ten letters of ls -l: "drwxr-sr-x".
func lsMode(m fs.FileMode) string {
	b := []byte("?rwxrwxrwx")
	if b[0] = typeLetter(m); b[0] == 'f' {
		b[0] = '-'
	}
	u := unixMode(m)
	for i := range 9 {
		if u&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	special := func(bit uint32, at int, letter byte) {
		if u&bit == 0 {
			return
		}
		if b[at] == '-' {
			letter -= 'a' - 'A'
		}
		b[at] = letter
	}
	special(setuid, 3, 's')
	special(setgid, 6, 's')
	special(sticky, 9, 't')
	return string(b)
}

// modeChange is what chmod does: a function from a file's Unix mode to its new
// one.
type modeChange func(mode uint32, dir bool) uint32

// parseMode reads a mode: octal digits, or symbolic clauses as in POSIX chmod
// ("u+rwX,go-w"). A symbolic clause without u, g, o or a means a: there is no
// umask here.
func parseMode(s string) (modeChange, error) {
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		n, err := strconv.ParseUint(s, 8, 32)
		if err != nil || n > allMode {
			return nil, fmt.Errorf("mode %q is not octal up to 7777", s)
		}
		return func(uint32, bool) uint32 { return uint32(n) }, nil
	}
	var steps []modeChange
	for clause := range strings.SplitSeq(s, ",") {
		more, err := parseClause(clause)
		if err != nil {
			return nil, fmt.Errorf("mode %q: %w", s, err)
		}
		steps = append(steps, more...)
	}
	return func(mode uint32, dir bool) uint32 {
		for _, step := range steps {
			mode = step(mode, dir)
		}
		return mode
	}, nil
}

// parseClause reads one symbolic clause: whom, then one or more actions.
func parseClause(clause string) ([]modeChange, error) {
	// who holds the bits that the clause may touch.
	var who uint32
	whom := clause[:len(clause)-len(strings.TrimLeft(clause, "ugoa"))]
	for _, c := range whom {
		switch c {
		case 'u':
			who |= setuid | 0o700
		case 'g':
			who |= setgid | 0o070
		case 'o':
			who |= 0o007
		case 'a':
			who |= setuid | setgid | 0o777
		}
	}
	all := whom == ""
	if all {
		who = setuid | setgid | 0o777
	}
	rest := clause[len(whom):]
	if rest == "" {
		return nil, fmt.Errorf("clause %q has no action", clause)
	}
	var steps []modeChange
	for rest != "" {
		op := rest[0]
		if op != '+' && op != '-' && op != '=' {
			return nil, fmt.Errorf("clause %q: %q is not +, - or =", clause, op)
		}
		end := 1
		for end < len(rest) && !strings.ContainsRune("+-=", rune(rest[end])) {
			end++
		}
		perms := rest[1:end]
		rest = rest[end:]
		if i := strings.IndexFunc(perms, func(r rune) bool { return !strings.ContainsRune("rwxXstugo", r) }); i >= 0 {
			return nil, fmt.Errorf("clause %q: %q is not a permission", clause, perms[i])
		}
		steps = append(steps, func(mode uint32, dir bool) uint32 {
			bits := permBits(perms, mode, dir)
			// The sticky bit belongs to nobody: t sets it whoever is named.
			mask := who
			if strings.Contains(perms, "t") || op == '=' && all {
				mask |= sticky
			}
			bits &= mask
			switch op {
			case '+':
				return mode | bits
			case '-':
				return mode &^ bits
			}
			if dir {
				mask &^= (setuid | setgid) &^ bits // = leaves a directory's setuid and setgid
			}
			return mode&^mask | bits
		})
	}
	return steps, nil
}

// permBits is the bits that the letters stand for, for everybody.
func permBits(perms string, mode uint32, dir bool) uint32 {
	var bits uint32
	for _, p := range perms {
		switch p {
		case 'r':
			bits |= 0o444
		case 'w':
			bits |= 0o222
		case 'x':
			bits |= 0o111
		case 'X':
			if dir || mode&0o111 != 0 {
				bits |= 0o111
			}
		case 's':
			bits |= setuid | setgid
		case 't':
			bits |= sticky
		case 'u':
			bits |= (mode >> 6 & 7) * 0o111
		case 'g':
			bits |= (mode >> 3 & 7) * 0o111
		case 'o':
			bits |= (mode & 7) * 0o111
		}
	}
	return bits
}
