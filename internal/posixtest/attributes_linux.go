package posixtest

import (
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

func attributes(e *Env) {
	e.file("f", 0o666, "x")
	set := func(what, name, value string, flags int) {
		e.try("set "+what, unix.Setxattr(e.at("f"), name, []byte(value), flags))
	}
	get := func(name string, n int) {
		b := make([]byte, n)
		k, err := unix.Getxattr(e.at("f"), name, b)
		e.say("get %s into %d: %d %q, %s", name, n, k, b[:max(0, min(k, n))], errName(err))
	}
	set("one", "user.a", "value", 0)
	get("user.a", 100)
	get("user.a", 0)
	get("user.a", 2)
	get("user.b", 100)
	set("CREATE of what is there", "user.a", "x", unix.XATTR_CREATE)
	set("REPLACE of what is not", "user.b", "x", unix.XATTR_REPLACE)
	set("empty", "user.empty", "", 0)
	get("user.empty", 10)
	set("no namespace", "a", "x", 0)
	set("unknown namespace", "foo.a", "x", 0)
	set("empty name", "user.", "x", 0)
	set("long name", "user."+strings.Repeat("n", 250), "x", 0)
	set("longer name", "user."+strings.Repeat("n", 251), "x", 0)
	set("trusted", "trusted.a", "t", 0)
	b := make([]byte, 1000)
	n, err := unix.Listxattr(e.at("f"), b)
	list := strings.Split(strings.TrimSuffix(string(b[:max(n, 0)]), "\x00"), "\x00")
	list = slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, "security.") })
	sort.Strings(list)
	e.say("list: %d %q, %s", len(list), list[:min(3, len(list))], errName(err))
	_, err = unix.Listxattr(e.at("f"), make([]byte, 3))
	e.try("list into 3", err)
	e.try("remove", unix.Removexattr(e.at("f"), "user.a"))
	e.try("remove again", unix.Removexattr(e.at("f"), "user.a"))
	e.chown("f", 1000, 1000)
	e.chmod("f", 0o644)
	e.as(1001, 1001, nil, func() {
		set("another's", "user.z", "x", 0)
		get("user.empty", 10)
		get("trusted.a", 10)
		set("trusted, not by root", "trusted.z", "x", 0)
	})
	e.must(unix.Symlink("f", e.at("s")))
	e.try("user. on a symlink", unix.Lsetxattr(e.at("s"), "user.a", []byte("x"), 0))
	e.try("trusted. on a symlink", unix.Lsetxattr(e.at("s"), "trusted.a", []byte("x"), 0))
}

// acl is the value of an ACL attribute: tag, permissions and id of each entry.
func acl(entries ...[3]uint32) []byte {
	b := []byte{2, 0, 0, 0}
	for _, x := range entries {
		b = append(b, byte(x[0]), 0, byte(x[1]), 0, byte(x[2]), byte(x[2]>>8), byte(x[2]>>16), byte(x[2]>>24))
	}
	return b
}

const noID = ^uint32(0)

func acls(e *Env) {
	const access = "system.posix_acl_access"
	e.file("f", 0o600, "x")
	e.chown("f", 1000, 1000)
	e.try("a user more", unix.Setxattr(e.at("f"), access, acl([3]uint32{1, 6, noID}, [3]uint32{2, 6, 1001}, [3]uint32{4, 0, noID}, [3]uint32{16, 6, noID}, [3]uint32{32, 0, noID}), 0))
	e.stat("mode", "f")
	e.as(1001, 1001, nil, func() { e.open("the user", "f", unix.O_RDWR) })
	e.as(1002, 1002, nil, func() { e.open("another", "f", unix.O_RDONLY) })
	e.chmod("f", 0o640)
	e.as(1001, 1001, nil, func() { e.open("the user, masked", "f", unix.O_RDWR); e.open("reading", "f", unix.O_RDONLY) })
	b := make([]byte, 200)
	n, err := unix.Getxattr(e.at("f"), access, b)
	e.say("ACL after chmod: %x, %s", b[:max(n, 0)], errName(err))
	e.try("no more than a mode", unix.Setxattr(e.at("f"), access, acl([3]uint32{1, 6, noID}, [3]uint32{4, 4, noID}, [3]uint32{32, 4, noID}), 0))
	e.stat("mode", "f")
	_, err = unix.Getxattr(e.at("f"), access, b)
	e.try("ACL", err)
	e.try("nonsense", unix.Setxattr(e.at("f"), access, []byte("nonsense"), 0))
	e.as(1001, 1001, nil, func() {
		e.try("by another", unix.Setxattr(e.at("f"), access, acl([3]uint32{1, 7, noID}, [3]uint32{4, 7, noID}, [3]uint32{32, 7, noID}), 0))
	})
	e.file("sg", 0o750, "x")
	e.chown("sg", 1000, 55)
	e.chmod("sg", 0o2750)
	e.as(1000, 1000, nil, func() {
		e.try("setgid, not of the group", unix.Setxattr(e.at("sg"), access, acl([3]uint32{1, 7, noID}, [3]uint32{4, 5, noID}, [3]uint32{32, 5, noID}), 0))
	})
	e.stat("mode", "sg")
}

func defaultACL(e *Env) {
	const access, dflt = "system.posix_acl_access", "system.posix_acl_default"
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	e.mkdir("d", 0o777)
	e.try("set", unix.Setxattr(e.at("d"), dflt, acl([3]uint32{1, 7, noID}, [3]uint32{2, 7, 1001}, [3]uint32{4, 5, noID}, [3]uint32{16, 7, noID}, [3]uint32{32, 4, noID}), 0))
	e.open("create", "d/f", unix.O_CREAT|unix.O_WRONLY)
	e.must(unix.Mkdir(e.at("d/sub"), 0o777))
	e.must(unix.Symlink("x", e.at("d/s")))
	e.must(unix.Mkfifo(e.at("d/p"), 0o660))
	e.open("below", "d/sub/f", unix.O_CREAT|unix.O_WRONLY)
	for _, name := range []string{"d/f", "d/sub", "d/s", "d/p", "d/sub/f"} {
		e.stat(name, name)
		for _, a := range []string{access, dflt} {
			b := make([]byte, 200)
			n, err := unix.Lgetxattr(e.at(name), a, b)
			e.say("%s %s: %x, %s", name, a, b[:max(n, 0)], errName(err))
		}
	}
	e.try("on a file", unix.Setxattr(e.at("d/f"), dflt, acl([3]uint32{1, 7, noID}, [3]uint32{4, 5, noID}, [3]uint32{32, 4, noID}), 0))
	e.try("remove", unix.Removexattr(e.at("d"), dflt))
	e.open("create without", "d/g", unix.O_CREAT|unix.O_WRONLY)
	e.stat("d/g", "d/g")
}
