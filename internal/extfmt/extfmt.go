// Package extfmt is the on-disk format of the ext family: constants, and decoders
// that take byte slices apart and refuse what cannot be.
//
// Everything is little-endian. Offsets and names are those of the kernel
// documentation (filesystems/ext4: "Super Block", "Block Group Descriptors",
// "Index Nodes", "Directory Entries"), without the s_, bg_ and i_ prefixes in Go
// names and with them in error messages.
package extfmt

import "encoding/binary"

var le = binary.LittleEndian
